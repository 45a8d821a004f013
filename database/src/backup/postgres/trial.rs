//! A private server on a restored data folder: it listens on a Unix socket in a folder of its own, takes nothing of the
//! restored configuration that could reach outside, and is thrown away.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use process::Secret;
use rustix::process::Signal;

use super::files;
use super::login::Login;
use super::program::Program;
use super::tools::{Tool, Tools};
use crate::backup::{BackupError, fault};

/// How long recovery may take, and how often it is looked whether it has ended.
const PATIENCE: Duration = Duration::from_secs(3600);
const LOOK: Duration = Duration::from_millis(100);

/// Users a server may run as when we are root, which it refuses.
const USERS: [&str; 2] = ["postgres", "nobody"];

/// What holds whatever the restored settings say: nobody is reached, nothing is archived, and nobody is waited for.
const SETTINGS: [&str; 24] = [
    "listen_addresses=",
    "port=5432",
    "unix_socket_permissions=0700",
    "unix_socket_group=",
    "ssl=off",
    "archive_mode=off",
    "archive_cleanup_command=",
    "recovery_end_command=",
    "synchronous_standby_names=",
    "primary_conninfo=",
    "shared_preload_libraries=",
    "hot_standby=off",
    "autovacuum=off",
    "logging_collector=off",
    "log_destination=stderr",
    "lc_messages=C",
    "external_pid_file=",
    "huge_pages=off",
    "shared_buffers=128MB",
    "max_connections=20",
    "max_prepared_transactions=100",
    // What it does is not kept.
    "fsync=off",
    "full_page_writes=off",
    "restart_after_crash=off",
];

/// The server; it is stopped when this is dropped.
#[derive(Debug)]
pub(super) struct Trial {
    program: Option<Program>,
    folder: PathBuf,
    url: Secret,
}

/// Where a trial may work, and as whom.
#[derive(Debug, Clone)]
pub(super) struct Ground {
    /// A folder of its own.
    pub(super) scratch: PathBuf,
    /// The user the server runs as, when we are root.
    pub(super) user: Option<(u32, u32)>,
}

impl Ground {
    /// Chooses where to work: in `scratch`, unless we are root and the other user may not enter it.
    pub(super) fn choose(scratch: &Path) -> Result<Self, BackupError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self { scratch: scratch.to_owned(), user: None });
        }
        let passwords = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let user = USERS.iter().find_map(|name| find_user(&passwords, name)).ok_or_else(|| {
            BackupError::Settings(
                "a PostgreSQL server refuses to run as root, and there is no user postgres".into(),
            )
        })?;
        let mut above = scratch.ancestors().skip(1);
        let is_open = above.all(|folder| match std::fs::metadata(folder) {
            Ok(found) => std::os::unix::fs::PermissionsExt::mode(&found.permissions()) & 0o001 != 0,
            Err(_) => folder.as_os_str().is_empty(),
        });
        let scratch = if is_open { scratch.to_owned() } else { own_folder() };
        Ok(Self { scratch, user: Some(user) })
    }
}

/// Names a folder of our own for what must be short or open to others.
fn own_folder() -> PathBuf {
    std::env::temp_dir().join(format!("sixfold-trial-{:016x}", rand::random::<u64>()))
}

fn find_user(passwords: &str, name: &str) -> Option<(u32, u32)> {
    let line = passwords.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

impl Trial {
    /// Starts a server on a data folder and waits until it has recovered and takes writes.
    pub(super) async fn start(
        tools: &Tools,
        data: &Path,
        ground: &Ground,
        login: &Login,
        schema: &str,
    ) -> Result<Self, BackupError> {
        let settings = |reason: String| BackupError::Settings(reason);
        // The path of a socket may have some hundred bytes only.
        let folder = own_folder();
        files::make_private(&folder)?;
        let url = Secret::new(format!(
            "postgres://{}@/{}?host={}&options=-csearch_path%3D{schema}",
            quoted(&login.user),
            quoted(&login.database),
            quoted(&folder.to_string_lossy())
        ));
        let mut trial = Self { program: None, folder, url };
        let (hba, config) = (trial.folder.join("hba.conf"), trial.folder.join("server.conf"));
        for (file, text) in [(&hba, "local all all trust\n"), (&config, "")] {
            std::fs::write(file, text).map_err(|error| fault(file, error))?;
        }
        if let Some(user) = ground.user {
            files::give_away(&trial.folder, user)?;
        }
        let mut command = tools.command(Tool::Server).map_err(settings)?;
        command.arg("-D").arg(data);
        let own = [("config_file", &config), ("hba_file", &hba), ("ident_file", &config)];
        for (name, file) in own.into_iter().chain([("unix_socket_directories", &trial.folder)]) {
            let mut setting = OsString::from(format!("{name}="));
            setting.push(file);
            command.arg("-c").arg(setting);
        }
        command.args(SETTINGS.iter().flat_map(|setting| ["-c", setting]));
        let say = |_, line: &str| tracing::debug!(line, "the server of a trial");
        let started = Program::start(command, ground.user, Signal::QUIT, say);
        let mut program = started.map_err(|error| fault(data, error))?;
        let recovering = async {
            loop {
                tokio::select! {
                    ended = program.end() => return Err(ended.reason()),
                    () = tokio::time::sleep(LOOK) => {}
                }
                if crate::engine::postgres::transfer::is_open(&trial.url).await {
                    return Ok(());
                }
            }
        };
        let recovered = tokio::time::timeout(PATIENCE, recovering).await;
        trial.program = Some(program);
        match recovered {
            Ok(Ok(())) => Ok(trial),
            Ok(Err(reason)) => {
                Err(BackupError::Log { reason: format!("the restored server does not start: {reason}") })
            }
            Err(_) => Err(BackupError::Log { reason: format!("recovery did not end in {PATIENCE:?}") }),
        }
    }

    /// Gives how to connect to it.
    pub(super) fn url(&self) -> &Secret {
        &self.url
    }

    /// Stops it and waits for its end.
    pub(super) async fn stop(mut self) {
        if let Some(program) = self.program.take() {
            program.stop().await;
        }
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        self.program = None;
        let _ = files::remove(&self.folder);
    }
}

/// Quotes a text for a URL.
fn quoted(text: &str) -> String {
    text.bytes().fold(String::new(), |mut quoted, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => quoted.push(char::from(byte)),
            _ => quoted.push_str(&format!("%{byte:02X}")),
        }
        quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_and_names_quoted() {
        let passwords = "root:x:0:0::/root:/bin/sh\npostgres:x:101:104::/var/lib/postgresql:/bin/bash\n";
        assert_eq!(find_user(passwords, "postgres"), Some((101, 104)));
        assert_eq!(find_user(passwords, "nobody"), None);
        assert_eq!(quoted("a b/é"), "a%20b%2F%C3%A9");
    }
}
