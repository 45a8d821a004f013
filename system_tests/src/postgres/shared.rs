//! One server for all tests of a run, though each may be a process of its own.
//!
//! Whoever comes first starts `shared_postgres.sh`, which runs the server and stops it once nobody has held
//! the lock on `users` for a while. `control` is locked by who starts or stops.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use rand::Rng;

use super::{programs, wait_for};
use crate::free_port;

/// A schema of one test on the shared server, which does not flush; it goes with the server.
#[derive(Debug)]
pub struct Scratch {
    schema: String,
    port: u16,
}

impl Scratch {
    /// Chooses a schema that is not there yet.
    pub fn create() -> Self {
        Self { schema: format!("test_{:016x}", rand::rng().random::<u64>()), port: server() }
    }

    /// Gives its URL.
    pub fn url(&self) -> String {
        let Self { schema, port } = self;
        format!("postgres://sixfold@127.0.0.1:{port}/postgres?options=-csearch_path%3D{schema}")
    }
}

/// Gives the port of the shared server, which goes on for as long as this process lives.
fn server() -> u16 {
    static JOINED: OnceLock<(u16, File)> = OnceLock::new();
    JOINED.get_or_init(join).0
}

fn join() -> (u16, File) {
    let user = rustix::process::getuid().as_raw();
    let folder = std::env::temp_dir().join(format!("sixfold-test-postgres-{user}"));
    fs::create_dir_all(&folder).expect("a folder for the shared server");
    let control = File::create(folder.join("control")).expect("a lock file");
    control.lock().expect("the lock on starting");
    let port = running(&folder).unwrap_or_else(|| start(&folder));
    let users = File::options().create(true).append(true).open(folder.join("users")).expect("a lock file");
    users.lock_shared().expect("the lock of users");
    (port, users)
}

/// Gives the port of the server if it runs.
fn running(folder: &Path) -> Option<u16> {
    let port: u16 = fs::read_to_string(folder.join("port")).ok()?.trim().parse().ok()?;
    std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
    Some(port)
}

fn start(folder: &Path) -> u16 {
    let (server, port) = (folder.join("server"), free_port());
    let _ = fs::remove_file(folder.join("port"));
    let _ = fs::remove_dir_all(&server);
    fs::create_dir(&server).expect("the server's folder");
    programs::give_away(&server);
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("shared_postgres.sh");
    let bin = programs::program("initdb").parent().map(Path::to_owned).expect("its folder");
    let log = File::create(folder.join("log")).expect("a log file");
    let mut command = Command::new("setsid");
    command.arg("bash").arg(script).arg(folder).arg(port.to_string()).arg(bin);
    command.args(programs::user_prefix());
    command.current_dir("/").stdin(Stdio::null());
    command.stdout(log.try_clone().expect("the log file")).stderr(log);
    // It ends by itself, long after this process.
    let mut script = command.spawn().expect("the shared server's script starts");
    wait_for("the shared PostgreSQL server answers", || {
        let ended = script.try_wait().expect("its state");
        let log = || fs::read_to_string(folder.join("log")).unwrap_or_default();
        assert!(ended.is_none(), "the shared server does not start: {}", log());
        running(folder).is_some()
    });
    port
}
