//! A secret that no log, error or `config show` prints.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// What stands in for a secret wherever it would be printed.
const REDACTED: &str = "(secret)";

/// A secret from the environment or a file; it prints and serialises as `(secret)`.
///
/// In configuration it is the secret itself, or `file:PATH` for a file that holds it (surrounding white
/// space is dropped).
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// Gives the secret itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let secret = match text.strip_prefix("file:") {
            None => text,
            Some(path) => std::fs::read_to_string(path)
                .map_err(|error| {
                    D::Error::custom(format!("the secret's file {path} cannot be read: {error}"))
                })?
                .trim()
                .to_owned(),
        };
        if secret.is_empty() {
            return Err(D::Error::custom("an empty secret protects nothing"));
        }
        Ok(Self(secret))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_printed() {
        let secret = Secret::new("hunter2");
        assert!(!format!("{secret:?}").contains("hunter2"));
        assert!(!serde_json::to_string(&secret).unwrap().contains("hunter2"));
        assert_eq!(secret.expose(), "hunter2");
    }
}
