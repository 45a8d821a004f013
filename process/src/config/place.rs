//! Where a setting comes from that was found not to be valid only after all of them were read.

use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::ConfigError;
use super::load::{ENVIRONMENT_PREFIX, Sources, line_of};

impl ConfigError {
    /// Names the place of a setting that is not valid: its variable, or its file and line, where it has one.
    ///
    /// A flag is named by its key already, and a setting that is missing has no place.
    pub fn placed(self, sources: &Sources) -> Self {
        let Self::Inconsistent { key, message } = self else { return self };
        // `certificates[0].key` is within what `certificates` holds.
        let (setting, within) = key.split_once('[').unwrap_or((&key, ""));
        let index = within.split_once(']').and_then(|(index, _)| index.parse().ok());
        if sources.flags.iter().any(|(flag, _)| flag == setting) {
            return Self::Inconsistent { key, message };
        }
        let variable = format!("{ENVIRONMENT_PREFIX}{}", setting.to_uppercase().replace('.', "__"));
        if sources.environment.iter().any(|(name, _)| *name == variable) {
            return Self::InSetting { name: variable, message };
        }
        match sources.file.as_deref().and_then(|file| Some((file, line_in(file, setting, index)?))) {
            Some((path, line)) => {
                Self::InFile { path: path.to_owned(), line, message: format!("{key}: {message}") }
            }
            None => Self::Inconsistent { key, message },
        }
    }
}

/// Gives the line at which a file sets a key, or one of the things it lists; the file was read before, so what is wrong
/// with it now is not told.
fn line_in(file: &Path, setting: &str, index: Option<usize>) -> Option<usize> {
    let text = std::fs::read_to_string(file).ok()?;
    let parsed = DeTable::parse(&text).ok()?;
    let mut table = parsed.get_ref();
    let mut line = None;
    let mut parts = setting.split('.').peekable();
    while let Some(part) = parts.next() {
        let (key, value) = table.iter().find(|(key, _)| key.get_ref() == part)?;
        line = Some(line_of(&text, key.span().start));
        match value.get_ref() {
            DeValue::Table(below) => table = below,
            DeValue::Array(list) if parts.peek().is_none() => {
                let listed = index.and_then(|index| list.get(index));
                line = listed.map(|listed| line_of(&text, listed.span().start)).or(line);
            }
            _ if parts.peek().is_some() => return None,
            _ => {}
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(key: &str, sources: &Sources) -> String {
        ConfigError::inconsistent(key, "it is wrong").placed(sources).to_string()
    }

    #[test]
    fn a_setting_is_named_by_where_it_was_set() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sixfold.toml");
        let text =
            "[a]\nb = 1\n\n[a.c]\nd = [{ e = 1 },\n{ e = 2 }]\n[f]\n\"g\" = { h = 2 }\n[[i]]\n[[i]]\nj = 1\n";
        std::fs::write(&file, text).unwrap();
        let mut sources = Sources { file: Some(file.clone()), ..Sources::default() };
        let at = |line: usize, key: &str| format!("{}:{line}: {key}: it is wrong", file.display());
        assert_eq!(placed("a.b", &sources), at(2, "a.b"));
        assert_eq!(placed("a.c.d[0].e", &sources), at(5, "a.c.d[0].e"));
        assert_eq!(placed("a.c.d[1].e", &sources), at(6, "a.c.d[1].e"));
        assert_eq!(placed("f.g.h", &sources), at(8, "f.g.h"));
        assert_eq!(placed("i[1]", &sources), at(10, "i[1]"));
        assert_eq!(placed("a.c", &sources), at(4, "a.c"), "a section, by its head");
        assert_eq!(placed("a.x", &sources), "a.x: it is wrong", "a default has no line");
        assert_eq!(placed("a.b.x", &sources), "a.b.x: it is wrong");
        sources.environment = vec![("SIXFOLD__A__B".to_owned(), "3".to_owned())];
        assert_eq!(placed("a.b", &sources), "SIXFOLD__A__B: it is wrong");
        sources.flags = vec![("a.b".to_owned(), toml::Value::Integer(4))];
        assert_eq!(placed("a.b", &sources), "a.b: it is wrong");
        assert_eq!(placed("a.b", &Sources::default()), "a.b: it is wrong");
    }
}
