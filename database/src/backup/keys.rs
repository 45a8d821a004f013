//! For whom backups are encrypted, and how they are opened again: age, with X25519 recipients.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use age::x25519::{Identity, Recipient};

/// The recipients new files are encrypted for, and the identities old ones are opened with; both may be none.
#[derive(Default)]
pub(crate) struct Keys {
    pub(crate) recipients: Vec<Recipient>,
    pub(crate) identities: Vec<Identity>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys {{ {} recipients, {} identities }}", self.recipients.len(), self.identities.len())
    }
}

impl Keys {
    /// Reads recipients (`age1…`) and the file with identities (`AGE-SECRET-KEY-1…`, one a line).
    /// The error names the setting.
    pub(crate) fn read(
        recipients: &[String],
        identity: Option<&Path>,
    ) -> Result<Self, (&'static str, String)> {
        let recipients = recipients.iter().map(|text| {
            Recipient::from_str(text)
                .map_err(|error| ("recipients", format!("`{text}` is no age recipient: {error}")))
        });
        let recipients = recipients.collect::<Result<_, _>>()?;
        let mut identities = Vec::new();
        if let Some(file) = identity {
            let refused = |reason: &str| ("identity", format!("{}: {reason}", file.display()));
            let text = std::fs::read_to_string(file).map_err(|error| refused(&error.to_string()))?;
            for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
            {
                // The line is a secret: it is not repeated.
                let identity = Identity::from_str(line).map_err(|_| refused("a line is no age identity"))?;
                identities.push(identity);
            }
        }
        Ok(Self { recipients, identities })
    }

    /// Tells whether what this writes can be read back with what it has.
    pub(crate) fn can_read_own(&self) -> bool {
        self.recipients.is_empty() || !self.identities.is_empty()
    }
}
