//! PostgreSQL's own programs: found where they are installed, of the server's major version.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What is used of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tool {
    /// Receives the log.
    ReceiveWal,
    /// Asks the server, also over a connection for replication.
    Ask,
    /// Makes a base.
    BaseBackup,
    /// Checks a base.
    VerifyBackup,
    /// Reads the log.
    WalDump,
    /// The server itself.
    Server,
    /// Starts and stops a server.
    Control,
}

impl Tool {
    const fn name(self) -> &'static str {
        match self {
            Self::ReceiveWal => "pg_receivewal",
            Self::Ask => "psql",
            Self::BaseBackup => "pg_basebackup",
            Self::VerifyBackup => "pg_verifybackup",
            Self::WalDump => "pg_waldump",
            Self::Server => "postgres",
            Self::Control => "pg_ctl",
        }
    }

    /// The package that has it, on Debian and its kin.
    fn package(self, major: u32) -> String {
        match self {
            Self::ReceiveWal | Self::Ask | Self::BaseBackup | Self::VerifyBackup => {
                format!("postgresql-client-{major}")
            }
            Self::WalDump | Self::Server | Self::Control => format!("postgresql-{major}"),
        }
    }
}

/// Where to look for them.
#[derive(Debug, Clone)]
pub(super) struct Tools {
    folders: Vec<PathBuf>,
    major: u32,
    /// Whether the settings name the folder.
    is_named: bool,
}

impl Tools {
    /// Looks in the folder the settings name; without one where packages of this version put them, then in `PATH`.
    pub(super) fn new(named: Option<&Path>, major: u32) -> Self {
        let folders = match named {
            Some(folder) => vec![folder.to_owned()],
            None => {
                let packaged = ["/usr/lib/postgresql/{}/bin", "/usr/pgsql-{}/bin"];
                let packaged =
                    packaged.iter().map(|place| PathBuf::from(place.replace("{}", &major.to_string())));
                packaged.chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())).collect()
            }
        };
        Self { folders, major, is_named: named.is_some() }
    }

    /// Finds a program of the server's major version, or says what is missing.
    pub(super) fn find(&self, tool: Tool) -> Result<PathBuf, String> {
        let (name, major) = (tool.name(), self.major);
        let mut others = Vec::new();
        for program in self.folders.iter().map(|folder| folder.join(name)).filter(|program| program.is_file())
        {
            match version(&program) {
                Some(found) if found == major => return Ok(program),
                Some(found) => others.push(format!("{} is of version {found}", program.display())),
                None => others.push(format!("{} does not tell its version", program.display())),
            }
        }
        let place = match self.is_named {
            true => format!("in database.backup.postgres.tools, {}", self.folders[0].display()),
            false => format!("in /usr/lib/postgresql/{major}/bin, /usr/pgsql-{major}/bin or PATH"),
        };
        let others = if others.is_empty() { String::new() } else { format!(" ({})", others.join("; ")) };
        Err(format!(
            "{name} of PostgreSQL {major} is not found {place}{others}: install {} or what has it on this system, or \
             name its folder in database.backup.postgres.tools",
            tool.package(major)
        ))
    }

    /// Makes a command of a program, with none of our own settings for PostgreSQL's clients, and words we can read.
    pub(super) fn command(&self, tool: Tool) -> Result<Command, String> {
        let mut command = Command::new(self.find(tool)?);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PG")) {
            command.env_remove(name);
        }
        // A folder the other user may not enter makes some of the programs complain.
        command.env("LC_ALL", "C").env("TZ", "UTC").current_dir("/");
        Ok(command)
    }
}

/// Asks a program for its major version: `pg_receivewal (PostgreSQL) 15.18 (Debian …)`.
fn version(program: &Path) -> Option<u32> {
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).output();
    let text = String::from_utf8(output.ok()?.stdout).ok()?;
    read_version(&text)
}

fn read_version(text: &str) -> Option<u32> {
    let digits = text.split_once("(PostgreSQL) ")?.1;
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_tells_its_major_version() {
        assert_eq!(read_version("pg_receivewal (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), Some(15));
        assert_eq!(read_version("postgres (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(read_version("busybox 1.36"), None);
    }

    #[test]
    fn a_missing_program_is_named_with_what_to_install() {
        let folder = tempfile::tempdir().unwrap();
        let tools = Tools::new(Some(folder.path()), 15);
        let error = tools.find(Tool::ReceiveWal).unwrap_err();
        assert!(error.contains("pg_receivewal") && error.contains("postgresql-client-15"), "{error}");
        let program = folder.path().join("pg_receivewal");
        std::fs::write(&program, "#!/bin/sh\necho 'pg_receivewal (PostgreSQL) 9.6.24'\n").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&program, mode).unwrap();
        let error = tools.find(Tool::ReceiveWal).unwrap_err();
        assert!(error.contains("is of version 9"), "{error}");
        assert_eq!(Tools::new(Some(folder.path()), 9).find(Tool::ReceiveWal), Ok(program));
    }
}
