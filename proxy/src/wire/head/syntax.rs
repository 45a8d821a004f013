//! What bytes may stand where (RFC 9110 §5), and how far a run of them goes.

/// Tells for each byte whether it may be part of a token (RFC 9110 §5.6.2).
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let others = b"!#$%&'*+-.^_`|~";
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
};

/// Tells for each byte whether it may be part of a target: what is visible, but a fragment, which no client
/// may send and which backends understand in two ways.
const TARGET: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0x21;
    while byte < 0x7f {
        table[byte] = byte as u8 != b'#';
        byte += 1;
    }
    table
};

const ONES: u64 = u64::from_le_bytes([1; 8]);
const HIGHS: u64 = u64::from_le_bytes([0x80; 8]);

pub(in crate::wire) fn is_token_byte(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

/// Tells whether a text is a token.
pub(in crate::wire) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| is_token_byte(*byte))
}

/// Gives where a run of token bytes ends.
#[inline]
pub(in crate::wire) fn token_end(bytes: &[u8], from: usize) -> usize {
    run_end(bytes, from, &TOKEN)
}

/// Gives where a run of target bytes ends.
#[inline]
pub(in crate::wire) fn target_end(bytes: &[u8], from: usize) -> usize {
    run_end(bytes, from, &TARGET)
}

#[inline]
fn run_end(bytes: &[u8], from: usize, table: &[bool; 256]) -> usize {
    let run = bytes.get(from..).unwrap_or_default();
    from + run.iter().position(|byte| !table[usize::from(*byte)]).unwrap_or(run.len())
}

/// Gives where a run of bytes ends that a field value may hold (RFC 9110 §5.5): no control but the tab.
///
/// Looks at eight bytes at a time; values are most of a head.
#[inline]
pub(in crate::wire) fn value_end(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(eight) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*eight);
        let below_space = word.wrapping_sub(ONES * 0x20) & !word;
        let delete = word ^ (ONES * 0x7f);
        let found = (below_space | (delete.wrapping_sub(ONES) & !delete)) & HIGHS;
        if found == 0 {
            at += 8;
            continue;
        }
        // Borrows may mark bytes above the first one that is meant, never below.
        at += (found.trailing_zeros() / 8) as usize;
        if bytes[at] != b'\t' {
            return at;
        }
        at += 1;
    }
    while let Some(byte) = bytes.get(at) {
        if (*byte < b' ' && *byte != b'\t') || *byte == 0x7f {
            break;
        }
        at += 1;
    }
    at
}

/// Tells whether a byte is optional whitespace (RFC 9110 §5.6.3).
pub(in crate::wire) fn is_space(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// Removes optional whitespace from both ends.
pub(in crate::wire) fn trim(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_space(*first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && is_space(*last)
    {
        text = rest;
    }
    text
}

/// Gives the members of a comma-separated list (RFC 9110 §5.6.1), without empty ones.
pub(in crate::wire) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(trim).filter(|one| !one.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn eight_at_a_time_finds_what_one_at_a_time_does(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\t'), Just(0x7f), Just(0x80), any::<u8>(), 0x20u8..], 0..40),
        ) {
            let is_value = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
            let slow = bytes.iter().position(|byte| !is_value(byte)).unwrap_or(bytes.len());
            prop_assert_eq!(value_end(&bytes, 0), slow);
        }
    }

    #[test]
    fn a_list_has_its_members_and_no_empty_ones() {
        let members: Vec<&[u8]> = list(b" a ,, b\t,").collect();
        assert_eq!(members, [b"a", b"b"]);
    }
}
