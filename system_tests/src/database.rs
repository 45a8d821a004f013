//! The database role alone, in a folder of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use rusqlite::Connection;
use tempfile::TempDir;

use crate::{Client, Process, binary, free_port, wait_until};

/// A database role that is started, killed and started again.
#[derive(Debug)]
pub struct Database {
    folder: TempDir,
    port: u16,
    client: Client,
    admin: Client,
}

impl Database {
    /// Makes the folder and the config file; `settings` stand in `[database]` and may begin sections. In them,
    /// `{machine}` is the folder of all that lies on the machine's disk.
    pub fn new(settings: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (listen, admin) = (free_port(), free_port());
        let machine = folder.path().join("machine");
        std::fs::create_dir(&machine).expect("a folder");
        let machine = machine.display();
        let text = format!(
            "[process]\ndata = \"{machine}/data\"\nadmin = \"127.0.0.1:{admin}\"\n\
             [database]\nlisten = \"127.0.0.1:{listen}\"\n{}",
            settings.replace("{machine}", &machine.to_string())
        );
        std::fs::write(folder.path().join("sixfold.toml"), text).expect("the config file");
        let at = |port| Client::new(format!("http://127.0.0.1:{port}"));
        Self { port: listen, client: at(listen), admin: at(admin), folder }
    }

    /// Gives the folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Gives the folder of all that lies on the machine's disk.
    pub fn machine(&self) -> PathBuf {
        self.folder().join("machine")
    }

    /// Gives the data folder.
    pub fn data(&self) -> PathBuf {
        self.machine().join("data")
    }

    /// Gives the role's port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Gives a client of the role.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Gives a client of the admin address.
    pub fn admin(&self) -> &Client {
        &self.admin
    }

    /// Starts the role, with variables in its environment; its log is appended to `database.log`.
    pub fn spawn(&self, variables: &[(&'static str, String)]) -> Process {
        let config = self.config();
        Process::start_with(self.folder(), "database", &["database", "--config", &config], variables)
    }

    /// Starts the role and waits until it is ready, or ships if it has a backup.
    pub async fn start(&self) -> Process {
        let process = self.spawn(&[]);
        self.wait_until_ready().await;
        process
    }

    /// Waits until the role is ready, and ships if it has a backup.
    pub async fn wait_until_ready(&self) {
        wait_until("the database is ready", || self.is_ready()).await;
    }

    /// Tells whether the role is ready, and ships if it has a backup.
    pub async fn is_ready(&self) -> bool {
        let health = self.client.try_send("GET", "/health", &[], "").await;
        let backup = self.client.try_send("GET", "/v1/backup", &[], "").await;
        let ships = backup.is_ok_and(|reply| {
            let status = reply.json();
            status.is_null() || status["standing"]["state"] == "shipping"
        });
        health.is_ok_and(|reply| reply.status == 200) && ships
    }

    /// Runs the binary with this configuration and gives what it says; it must succeed.
    pub fn run(&self, arguments: &[&str]) -> String {
        self.try_run(arguments).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
    }

    /// Runs the binary with this configuration and gives what it says, or what it says of its failure.
    pub fn try_run(&self, arguments: &[&str]) -> Result<String, String> {
        self.try_run_with(arguments, &[])
    }

    /// Runs the binary so, with variables in its environment.
    pub fn try_run_with(
        &self,
        arguments: &[&str],
        variables: &[(&'static str, String)],
    ) -> Result<String, String> {
        let mut command = Command::new(binary());
        command.args(arguments).args(["--config", &self.config()]);
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        let done = command.output().expect("the binary starts");
        match done.status.success() {
            true => Ok(String::from_utf8_lossy(&done.stdout).into_owned()),
            false => Err(format!(
                "{}{}",
                String::from_utf8_lossy(&done.stdout),
                String::from_utf8_lossy(&done.stderr)
            )),
        }
    }

    fn config(&self) -> String {
        self.folder().join("sixfold.toml").display().to_string()
    }
}

/// Has SQLite check the database in a data folder that nobody has open: its structure and its foreign keys.
pub fn check_structure(data: &Path) -> Result<(), String> {
    let fault = |error: rusqlite::Error| error.to_string();
    let connection = Connection::open(data.join("sixfold.db")).map_err(fault)?;
    let found: String =
        connection.query_row("PRAGMA integrity_check", (), |row| row.get(0)).map_err(fault)?;
    let mut keys = connection.prepare("PRAGMA foreign_key_check").map_err(fault)?;
    let dangles = keys.query(()).and_then(|mut rows| Ok(rows.next()?.is_some())).map_err(fault)?;
    match (found.as_str(), dangles) {
        ("ok", false) => Ok(()),
        ("ok", true) => Err("a foreign key refers to nothing".to_owned()),
        _ => Err(found),
    }
}
