//! What a write asks for and what it answers.

use bytes::Bytes;

use super::entries::NEVER;

/// One write of a value.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    /// The value.
    pub value: Bytes,
    /// When it ends.
    pub deadline: Deadline,
    /// What must hold for it to be stored.
    pub condition: Condition,
}

impl Write {
    /// Makes an unconditional write of a value that does not expire.
    pub(crate) fn new(value: Bytes) -> Self {
        Self { value, deadline: Deadline::Never, condition: Condition::None }
    }

    /// Sets when the value ends.
    pub(crate) fn deadline(self, deadline: Deadline) -> Self {
        Self { deadline, ..self }
    }

    /// Sets what must hold for the value to be stored.
    pub(crate) fn condition(self, condition: Condition) -> Self {
        Self { condition, ..self }
    }
}

/// When a value ends, in milliseconds of the store's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deadline {
    /// It does not expire.
    Never,
    /// It is gone from this moment on.
    At(u64),
    /// As the value it replaces; never, where there was none.
    Keep,
}

impl Deadline {
    pub(super) fn expires_ms(self) -> u64 {
        match self {
            Self::Never | Self::Keep => NEVER,
            Self::At(moment_ms) => moment_ms,
        }
    }
}

/// What must hold for a value to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Nothing.
    None,
    /// The key is absent (`NX`).
    Absent,
    /// The key is present (`XX`).
    Present,
}

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Written {
    /// Whether the condition held and the value was stored.
    pub stored: bool,
    /// The value that was there before.
    pub former: Option<Bytes>,
}

/// How long a key has to live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// There is no such key.
    Missing,
    /// It does not expire.
    Endless,
    /// It ends in this many milliseconds.
    Ends {
        /// Milliseconds from now.
        in_ms: u64,
    },
}

/// Why a number was not added to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddError {
    /// The value is not a decimal number of 64 bits.
    #[error("value is not an integer or out of range")]
    NotInteger,
    /// The sum has no 64 bits.
    #[error("increment or decrement would overflow")]
    Overflow,
}

/// Reads a number as strictly as Redis does: no white space, no `+`, no leading zero, no `-0`.
pub(crate) fn parse_integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let canonical = match digits {
        [] => false,
        [b'0'] => text.len() == 1,
        [first, ..] => (b'1'..=b'9').contains(first),
    };
    canonical.then(|| std::str::from_utf8(text).ok()?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_as_strictly_as_redis_reads_it() {
        for (text, number) in [("0", 0), ("-1", -1), ("9223372036854775807", i64::MAX)] {
            assert_eq!(parse_integer(text.as_bytes()), Some(number));
        }
        for text in ["", "-", "+1", " 1", "1 ", "01", "-0", "1.0", "9223372036854775808", "x"] {
            assert_eq!(parse_integer(text.as_bytes()), None, "{text}");
        }
    }
}
