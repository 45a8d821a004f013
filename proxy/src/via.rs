//! Requests that go round in circles, as before a balancer that is its own backend: found by `Via`.
//!
//! Every hop of ours writes itself into `Via`, which nobody on the way may take out (RFC 9110 §7.6.3), so a
//! request that has passed many of them is refused with 508 instead of passing on for ever, each round a
//! connection more. Only a request that has the field costs a look at it.

/// The name under which a hop of ours stands in `Via`.
pub(crate) const NAME: &str = "sixfold";

/// So many hops of ours a request may have passed: a balancer, a gateway, and again for what a service asks
/// meanwhile, with room to spare.
pub(crate) const MOST: usize = 8;

/// Counts the hops of ours in a value of `Via`: `1.1 sixfold, 2 sixfold`.
pub(crate) fn count(value: &[u8]) -> usize {
    let is_ours = |entry: &&[u8]| {
        let mut words = entry.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
        words.nth(1).is_some_and(|name| name.eq_ignore_ascii_case(NAME.as_bytes()))
    };
    value.split(|byte| *byte == b',').filter(is_ours).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hops_of_ours_count() {
        assert_eq!(count(b"1.1 sixfold"), 1);
        assert_eq!(count(b"1.0 fred, 1.1 sixfold,2\tSIXFOLD (comment) , 1.1 sixfold.example:80"), 2);
        assert_eq!(count(b"sixfold"), 0);
        assert_eq!(count(b""), 0);
    }
}
