//! An address with its weight, as lists in the config file have it: `"host:port"`, or
//! `{ address = "host:port", weight = 3 }`.

use std::fmt;
use std::ops::RangeInclusive;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The weight of what nobody gave another.
pub const WEIGHT: f64 = 1.0;

/// The weights there may be; beyond, one would starve or get everything.
pub const WEIGHTS: RangeInclusive<f64> = 0.001..=1000.0;

/// An address, and its share of the requests beside the weights of the others.
#[derive(Debug, Clone, PartialEq)]
pub struct Weighted {
    /// The address as it was written.
    pub address: String,
    /// Its weight, within [`WEIGHTS`].
    pub weight: f64,
}

/// The long form; the short one is the address alone.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
struct Long<T> {
    address: T,
    #[serde(default = "usual")]
    weight: Weight,
}

/// A weight that is checked where it is read, so that a fault is told with its line.
#[derive(Serialize)]
struct Weight(f64);

fn usual() -> Weight {
    Weight(WEIGHT)
}

/// Checks a weight somebody asks for; the text says what is wrong with it.
pub fn check_weight(weight: f64) -> Result<(), String> {
    if WEIGHTS.contains(&weight) {
        return Ok(());
    }
    Err(format!("a weight lies between {} and {}", WEIGHTS.start(), WEIGHTS.end()))
}

impl<'de> Deserialize<'de> for Weight {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let weight = f64::deserialize(deserializer)?;
        check_weight(weight).map_err(|fault| D::Error::custom(format!("`{weight}`: {fault}")))?;
        Ok(Self(weight))
    }
}

impl<'de> Deserialize<'de> for Weighted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EitherForm)
    }
}

struct EitherForm;

impl<'de> Visitor<'de> for EitherForm {
    type Value = Weighted;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an address, or { address = \"…\", weight = … }")
    }

    fn visit_str<E: Error>(self, address: &str) -> Result<Weighted, E> {
        Ok(address.into())
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Weighted, M::Error> {
        let Long { address, weight } = Long::<String>::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Weighted { address, weight: weight.0 })
    }
}

impl Serialize for Weighted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { address, weight } = self;
        match *weight == WEIGHT {
            true => address.serialize(serializer),
            false => Long { address, weight: Weight(*weight) }.serialize(serializer),
        }
    }
}

impl From<&str> for Weighted {
    fn from(address: &str) -> Self {
        address.to_owned().into()
    }
}

impl From<String> for Weighted {
    fn from(address: String) -> Self {
        Self { address, weight: WEIGHT }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};

    #[derive(Debug, Default, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Root {
        backends: Vec<Weighted>,
    }

    fn read(list: &str) -> Result<Vec<Weighted>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sixfold.toml");
        std::fs::write(&path, format!("backends = [\n{list}\n]\n")).unwrap();
        let sources = Sources { file: Some(path), ..Sources::default() };
        load::<Root>(&sources).map(|root| root.backends).map_err(|error| error.to_string())
    }

    #[test]
    fn both_forms_stand_in_one_list_and_read_back_as_written() {
        let list = read("\"a:1\",\n{ address = \"b:1\", weight = 3 },\n{ address = \"c:1\" }").unwrap();
        let weights: Vec<(&str, f64)> = list.iter().map(|one| (&*one.address, one.weight)).collect();
        assert_eq!(weights, [("a:1", 1.0), ("b:1", 3.0), ("c:1", 1.0)]);
        let written = toml::to_string(&Root { backends: list.clone() }).unwrap();
        assert_eq!(toml::from_str::<Root>(&written).unwrap().backends, list);
    }

    #[test]
    fn a_fault_is_told_with_its_line() {
        for (entry, told) in [
            ("{ address = \"b:1\", weight = 0 }", ":3: `0`: a weight lies between 0.001 and 1000"),
            ("{ address = \"b:1\", weight = -1 }", ":3: `-1`: a weight lies between 0.001 and 1000"),
            ("{ address = \"b:1\", weight = nan }", ":3: `NaN`: a weight lies between 0.001 and 1000"),
            ("{ address = \"b:1\", weight = \"3\" }", ":3: invalid type: string \"3\", expected f64"),
            ("{ address = \"b:1\", wieght = 3 }", ":3: unknown key `wieght`; did you mean `weight`?"),
            ("{ weight = 3 }", ":3: missing field `address`"),
            ("3", ":3: invalid type: integer `3`, expected an address, or { address"),
        ] {
            let error = read(&format!("\"a:1\",\n{entry}")).unwrap_err();
            assert!(error.contains(told), "{entry}: {error}");
        }
    }

    #[test]
    fn a_variable_of_the_environment_takes_both_forms_too() {
        let variable = |text: &str| Sources {
            environment: vec![("SIXFOLD__BACKENDS".to_owned(), text.to_owned())],
            ..Sources::default()
        };
        let root: Root = load(&variable("[\"a:1\", { address = \"b:1\", weight = 0.5 }]")).unwrap();
        assert_eq!(root.backends[1].weight, 0.5);
        let error = load::<Root>(&variable("[{ address = \"b:1\", weight = 1e9 }]")).unwrap_err().to_string();
        assert!(error.contains("SIXFOLD__BACKENDS: backends[0]") && error.contains("1000"), "{error}");
    }
}
