//! One config file, one precedence: flag, then environment, then file, then default.
//!
//! What is wrong is said with the file and line, or the environment variable, and the nearest valid key.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::ConfigError;

/// The prefix of an environment variable that sets a key: `SIXFOLD__SECTION__KEY`.
pub(super) const ENVIRONMENT_PREFIX: &str = "SIXFOLD__";

/// How alike a misspelt name and a valid one must be to be offered (Jaro–Winkler, 0 to 1).
const LIKENESS: f64 = 0.75;

/// Where settings come from, weakest last.
#[derive(Debug, Default)]
pub struct Sources {
    /// Settings from flags, as dotted keys; the strongest.
    pub flags: Vec<(String, toml::Value)>,
    /// The environment; variables without the prefix are passed over.
    pub environment: Vec<(String, String)>,
    /// The config file.
    pub file: Option<PathBuf>,
}

/// Loads a configuration by the one precedence.
pub fn load<T: DeserializeOwned>(sources: &Sources) -> Result<T, ConfigError> {
    let mut table = match &sources.file {
        None => toml::Table::new(),
        Some(path) => read_file::<T>(path)?,
    };
    for (name, text) in &sources.environment {
        let Some(key) = name.strip_prefix(ENVIRONMENT_PREFIX) else { continue };
        let keys: Vec<String> = key.split("__").map(str::to_lowercase).collect();
        apply_variable::<T>(&mut table, name, &keys, text)?;
    }
    for (key, value) in &sources.flags {
        let keys: Vec<String> = key.split('.').map(str::to_owned).collect();
        insert(&mut table, &keys, value.clone())
            .map_err(|message| ConfigError::InSetting { name: key.clone(), message })?;
        deserialize::<T>(&table).map_err(|message| ConfigError::InSetting { name: key.clone(), message })?;
    }
    deserialize(&table)
        .map_err(|message| ConfigError::InSetting { name: "configuration".to_owned(), message })
}

fn read_file<T: DeserializeOwned>(path: &Path) -> Result<toml::Table, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    let fault = |error: toml::de::Error| ConfigError::InFile {
        path: path.to_owned(),
        line: error.span().map_or(1, |span| line_of(&text, span.start)),
        message: explain(error.message()),
    };
    // Deserialised once from the text alone, because only there do errors carry their line.
    toml::from_str::<T>(&text).map_err(fault)?;
    toml::from_str::<toml::Table>(&text).map_err(fault)
}

/// Gives the line of a place in a text, from 1.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

/// Sets one key from the environment: as the TOML value it reads as, or else as plain text.
fn apply_variable<T: DeserializeOwned>(
    table: &mut toml::Table,
    name: &str,
    keys: &[String],
    text: &str,
) -> Result<(), ConfigError> {
    let fault = |message| ConfigError::InSetting { name: name.to_owned(), message };
    let as_text = toml::Value::String(text.to_owned());
    let typed =
        toml::from_str::<toml::Table>(&format!("value = {text}")).ok().and_then(|mut t| t.remove("value"));
    let mut first_fault = None;
    for value in typed.into_iter().chain([as_text]) {
        let mut candidate = table.clone();
        insert(&mut candidate, keys, value).map_err(fault)?;
        match deserialize::<T>(&candidate) {
            Ok(_) => {
                *table = candidate;
                return Ok(());
            }
            Err(message) => {
                first_fault.get_or_insert(message);
            }
        }
    }
    Err(fault(first_fault.unwrap_or_default()))
}

fn insert(table: &mut toml::Table, keys: &[String], value: toml::Value) -> Result<(), String> {
    let Some((last, parents)) = keys.split_last() else { return Err("a key is missing".to_owned()) };
    let mut place = table;
    for key in parents {
        place = place
            .entry(key.clone())
            .or_insert_with(|| toml::Value::Table(toml::Table::new()))
            .as_table_mut()
            .ok_or_else(|| format!("`{key}` is not a section"))?;
    }
    place.insert(last.clone(), value);
    Ok(())
}

fn deserialize<T: DeserializeOwned>(table: &toml::Table) -> Result<T, String> {
    serde_path_to_error::deserialize(toml::Value::Table(table.clone())).map_err(|error| {
        let path = error.path().to_string();
        let message = explain(error.inner().message());
        if path == "." { message } else { format!("{path}: {message}") }
    })
}

/// Turns serde's "unknown field `lisen`, expected one of `listen`, …" into the nearest valid key.
fn explain(message: &str) -> String {
    let message = message.trim();
    if !message.starts_with("unknown field") {
        return message.to_owned();
    }
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let Some((unknown, valid)) = quoted.split_first() else { return message.to_owned() };
    match nearest(unknown, valid.iter().copied()) {
        Some(key) => format!("unknown key `{unknown}`; did you mean `{key}`?"),
        None if valid.is_empty() => format!("unknown key `{unknown}`; no keys are valid here"),
        None => format!("unknown key `{unknown}`; valid here: {}", valid.join(", ")),
    }
}

/// Finds the name that a misspelt one is likely to mean.
pub fn nearest<'n>(misspelt: &str, valid: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let alike = valid.into_iter().map(|name| (strsim::jaro_winkler(misspelt, name), name));
    let nearest = alike.filter(|(likeness, _)| *likeness >= LIKENESS).max_by(|a, b| a.0.total_cmp(&b.0));
    nearest.map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde::Deserialize;

    use super::super::{Cluster, Config, LogFormat};
    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Root {
        process: Config,
        cluster: Cluster,
    }

    fn file(text: &str) -> (tempfile::TempDir, Sources) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sixfold.toml");
        std::fs::write(&path, text).unwrap();
        (folder, Sources { file: Some(path), ..Sources::default() })
    }

    #[test]
    fn a_flag_beats_the_environment_which_beats_the_file() {
        let (_folder, mut sources) = file("[process]\ngrace = \"1s\"\nlog = \"warn\"\ndata = \"here\"\n");
        sources.environment = vec![
            ("SIXFOLD__PROCESS__GRACE".to_owned(), "2s".to_owned()),
            ("SIXFOLD__PROCESS__LOG".to_owned(), "debug".to_owned()),
            ("HOME".to_owned(), "/root".to_owned()),
        ];
        sources.flags = vec![("process.grace".to_owned(), toml::Value::String("3s".to_owned()))];
        let root: Root = load(&sources).unwrap();
        assert_eq!(root.process.grace, Duration::from_secs(3));
        assert_eq!(root.process.log, "debug");
        assert_eq!(root.process.data, PathBuf::from("here"));
        assert_eq!(root.process.log_format, LogFormat::Auto);
    }

    #[test]
    fn an_unknown_key_names_the_file_the_line_and_the_nearest_key() {
        let (_folder, sources) = file("[process]\nlog = \"info\"\ngrase = \"1s\"\n");
        let message = load::<Root>(&sources).unwrap_err().to_string();
        assert!(message.ends_with("sixfold.toml:3: unknown key `grase`; did you mean `grace`?"), "{message}");
    }

    #[test]
    fn a_bad_value_names_its_line() {
        let (_folder, sources) = file("[process]\n\ngrace = \"soon\"\n");
        let message = load::<Root>(&sources).unwrap_err().to_string();
        assert!(message.contains("sixfold.toml:3: `soon` is not a duration"), "{message}");
    }

    #[test]
    fn a_bad_variable_is_named_and_a_secret_of_digits_stays_text() {
        let variable = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        let mut sources =
            Sources { environment: variable("SIXFOLD__CLUSTER__TOKEN", "12345"), ..Sources::default() };
        let root: Root = load(&sources).unwrap();
        assert_eq!(root.cluster.token.unwrap().expose(), "12345");
        sources.environment = variable("SIXFOLD__PROCESS__GRASE", "1s");
        let message = load::<Root>(&sources).unwrap_err().to_string();
        assert!(message.starts_with("SIXFOLD__PROCESS__GRASE:"), "{message}");
        assert!(message.contains("did you mean `grace`?"), "{message}");
    }
}
