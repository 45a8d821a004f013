//! Sizes in configuration: `"512"`, `"16KiB"`, `"64MiB"`, `"2GiB"`; the unit is bytes.
//!
//! Use with `#[serde(with = "process::size")]` on a `u64` field.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserializer, Serializer};

/// The units a size may carry, largest first, with their length in bytes.
const UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Reads a size in bytes such as `"64MiB"`.
pub fn parse(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = if unit.trim().is_empty() { "B" } else { unit.trim() };
    let fault =
        || format!("`{text}` is not a size; write a whole number and B, KiB, MiB or GiB, as in \"64MiB\"");
    let number: u64 = number.parse().map_err(|_| fault())?;
    let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(fault)?;
    number.checked_mul(*scale).ok_or_else(fault)
}

/// Writes a size in the largest unit that keeps it whole.
pub fn format(bytes: u64) -> String {
    for (unit, scale) in UNITS {
        if bytes != 0 && bytes.is_multiple_of(scale) {
            return format!("{}{unit}", bytes / scale);
        }
    }
    "0B".to_owned()
}

/// Serialises as text, see [`format()`].
pub fn serialize<S: Serializer>(bytes: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format(*bytes))
}

/// Deserialises from text, see [`parse`].
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    deserializer.deserialize_str(Text)
}

/// Says to whoever forgot the quotes what is meant.
struct Text;

impl Visitor<'_> for Text {
    type Value = u64;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a size, as in \"64MiB\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
        parse(text).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_reads_back_as_written() {
        for text in ["0B", "1B", "16KiB", "64MiB", "2GiB", "1000B"] {
            assert_eq!(format(parse(text).unwrap()), text);
        }
        assert_eq!(parse("512"), Ok(512));
    }

    #[test]
    fn a_size_that_means_nothing_is_refused() {
        for text in ["", "MiB", "1.5MiB", "-1", "5MB", "99999999999GiB"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn one_without_quotes_is_told_how_it_is_written() {
        let error =
            deserialize(serde::de::value::I64Deserializer::<serde::de::value::Error>::new(30)).unwrap_err();
        assert_eq!(error.to_string(), "invalid type: integer `30`, expected a size, as in \"64MiB\"");
    }
}
