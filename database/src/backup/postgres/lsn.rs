//! Places in PostgreSQL's log, and the names of its segment files.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A place in the log, in bytes since the cluster was made; written as PostgreSQL does: `16/B374D848`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Gives the number of the segment that holds this place.
    pub(super) const fn segment(self, segment_bytes: u64) -> u64 {
        self.0 / segment_bytes
    }

    /// Gives the number of the segment that holds the last byte before this place.
    pub(super) const fn segment_before(self, segment_bytes: u64) -> u64 {
        self.0.saturating_sub(1) / segment_bytes
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl FromStr for Lsn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let half = |digits: &str| match digits.len() {
            1..=8 if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                u64::from_str_radix(digits, 16).ok()
            }
            _ => None,
        };
        let halves = text.split_once('/').and_then(|(high, low)| Some((half(high)?, half(low)?)));
        halves
            .map(|(high, low)| Self(high << 32 | low))
            .ok_or_else(|| format!("`{text}` is no place in PostgreSQL's log, such as 16/B374D848"))
    }
}

impl Serialize for Lsn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Lsn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// A segment file of the log: its timeline, its number on it, and whether it is still being received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SegmentName {
    pub(super) timeline: u32,
    pub(super) number: u64,
    pub(super) is_partial: bool,
}

impl SegmentName {
    /// Reads a file's name; `None` if it is not a segment's. Its numbers depend on the size of segments.
    pub(super) fn read(name: &str, segment_bytes: u64) -> Option<Self> {
        let (digits, is_partial) = match name.strip_suffix(".partial") {
            Some(digits) => (digits, true),
            None => (name, false),
        };
        if digits.len() != 24 || !digits.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b)) {
            return None;
        }
        let part = |from: usize| u64::from_str_radix(&digits[from..from + 8], 16).ok();
        let (timeline, high, low) = (part(0)?, part(8)?, part(16)?);
        let in_high = (1 << 32) / segment_bytes;
        (low < in_high).then(|| Self {
            timeline: u32::try_from(timeline).unwrap_or(u32::MAX),
            number: high * in_high + low,
            is_partial,
        })
    }

    /// Gives the file's name.
    pub(super) fn write(self, segment_bytes: u64) -> String {
        let in_high = (1 << 32) / segment_bytes;
        let (high, low) = (self.number / in_high, self.number % in_high);
        let suffix = if self.is_partial { ".partial" } else { "" };
        format!("{:08X}{high:08X}{low:08X}{suffix}", self.timeline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_back_as_postgresql_writes_it() {
        for text in ["0/0", "0/3000028", "16/B374D848", "FFFFFFFF/FFFFFFFF"] {
            assert_eq!(text.parse::<Lsn>().unwrap().to_string(), text);
        }
        assert_eq!("16/b374d848".parse::<Lsn>().unwrap(), Lsn(0x16_B374_D848));
        for text in ["", "16", "/1", "1/", "1/123456789", "x/1", "+1/1", "1/2/3"] {
            assert!(text.parse::<Lsn>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_segment_s_name_reads_back_as_written_and_another_is_none() {
        let bytes = 16 << 20;
        for name in
            ["000000010000000000000003", "0000000A00000001000000FF", "000000010000000000000003.partial"]
        {
            assert_eq!(SegmentName::read(name, bytes).unwrap().write(bytes), name);
        }
        let read = SegmentName::read("000000020000000100000003", bytes).unwrap();
        assert_eq!((read.timeline, read.number), (2, 256 + 3));
        for name in [
            "00000002.history",
            "000000010000000000000100",
            "00000001000000000000000a",
            "x",
            "archive_status",
        ] {
            assert_eq!(SegmentName::read(name, bytes), None, "{name}");
        }
        assert_eq!(Lsn(3 << 24).segment(bytes), 3);
        assert_eq!(Lsn(3 << 24).segment_before(bytes), 2);
    }
}
