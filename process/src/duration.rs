//! Durations in configuration: `"250ms"`, `"5s"`, `"2m"`, `"1h"`, `"7d"`.
//!
//! Use with `#[serde(with = "process::duration")]` on a [`Duration`] field.

use std::fmt;
use std::time::Duration;

use serde::de::{Error, Visitor};
use serde::{Deserializer, Serializer};

/// The units a duration may carry, largest first, with their length in milliseconds.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads a duration such as `"250ms"`; a number without a unit is an error, since its unit would be a guess.
pub fn parse(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = unit.trim();
    let fault =
        || format!("`{text}` is not a duration; write a whole number and ms, s, m, h or d, as in \"5s\"");
    let number: u64 = number.parse().map_err(|_| fault())?;
    let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(fault)?;
    number.checked_mul(*scale).map(Duration::from_millis).ok_or_else(fault)
}

/// Writes a duration in the largest unit that keeps it whole.
pub fn format(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return "0s".to_owned();
    }
    for (unit, scale) in UNITS {
        if millis % scale == 0 {
            return format!("{}{unit}", millis / scale);
        }
    }
    format!("{millis}ms")
}

/// Serialises as text, see [`format()`].
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format(*duration))
}

/// Deserialises from text, see [`parse`].
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    deserializer.deserialize_str(Text)
}

/// Says to whoever forgot the quotes what is meant.
struct Text;

impl Visitor<'_> for Text {
    type Value = Duration;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a duration, as in \"5s\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
        parse(text).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_reads_back_as_written() {
        for text in ["0s", "1ms", "250ms", "5s", "2m", "36h", "7d"] {
            assert_eq!(format(parse(text).unwrap()), text);
        }
    }

    #[test]
    fn a_number_without_a_unit_is_refused() {
        for text in ["5", "", "s", "-1s", "1.5s", "5 weeks", "99999999999999999999s", "18446744073709551615d"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn one_without_quotes_is_told_how_it_is_written() {
        let error =
            deserialize(serde::de::value::I64Deserializer::<serde::de::value::Error>::new(30)).unwrap_err();
        assert_eq!(error.to_string(), "invalid type: integer `30`, expected a duration, as in \"5s\"");
    }
}
