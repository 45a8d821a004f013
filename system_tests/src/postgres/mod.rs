//! Real PostgreSQL servers for tests: [`Server`] is one of a test's own, to be stopped and killed; [`Scratch`]
//! is a schema of a test's own on a server that all tests of a run share.

mod programs;
mod shared;

use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub use self::shared::Scratch;
use crate::free_port;

/// How long a server may take to start, a recovery included.
const PATIENCE: Duration = Duration::from_secs(60);

/// How much must be free in memory to keep backups there.
const ROOM: u64 = 4 << 30;

/// The password of the test server's user, with characters a URL must quote.
const PASSWORD: &str = "p@ss word";

/// A server of one test; it flushes like a real one, and is stopped when it is dropped.
#[derive(Debug)]
pub struct Server {
    folder: TempDir,
    port: u16,
}

impl Server {
    /// Makes a cluster and starts a server on it.
    pub fn start() -> Self {
        Self::start_anew(tempfile::tempdir().expect("a temporary folder"))
    }

    /// The same, in memory if there is room: for tests that copy all of it.
    pub fn start_in_memory() -> Self {
        Self::start_anew(folder_in_memory())
    }

    fn start_anew(folder: TempDir) -> Self {
        Self::start_in(folder, |data| {
            let password = data.with_file_name("password");
            std::fs::write(&password, PASSWORD).expect("the password's file");
            programs::give_away(&password);
            programs::run(&[
                "initdb",
                "--pgdata",
                path(data),
                "--username=sixfold",
                "--pwfile",
                path(&password),
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--no-sync",
            ]);
        })
    }

    /// Starts a server on a data folder that was restored: `make` makes it. The server may read `log`, from where it
    /// recovers.
    pub fn start_restored(log: &Path, make: impl FnOnce(&Path)) -> Self {
        Self::start_in(folder_in_memory(), |data| {
            make(data);
            programs::give_all_away(data);
            programs::give_all_away(log);
        })
    }

    /// Starts a standby that follows this server, in memory if there is room; it is read and can take over.
    pub fn start_standby(&self) -> Self {
        Self::start_in(folder_in_memory(), |data| {
            programs::run(&[
                "pg_basebackup",
                "--dbname",
                &self.url(),
                "--pgdata",
                path(data),
                "--wal-method=stream",
                "--checkpoint=fast",
                "--write-recovery-conf",
                "--no-sync",
            ]);
        })
    }

    /// Has a standby take over: it takes writes from now on.
    pub fn promote(&self) {
        self.control("promote", &[]);
    }

    fn start_in(folder: TempDir, make: impl FnOnce(&Path)) -> Self {
        programs::give_away(folder.path());
        make(&folder.path().join("data"));
        let server = Self { folder, port: free_port() };
        server.start_again();
        server
    }

    /// Runs a statement as the superuser and gives what it answers.
    pub fn ask(&self, sql: &str) -> String {
        programs::output(&[
            "psql",
            "--no-psqlrc",
            "--quiet",
            "--tuples-only",
            "--no-align",
            "--dbname",
            &self.url(),
            "-c",
            sql,
        ])
    }

    /// Ends it as the loss of its machine would: all its processes are killed and its data folder is gone.
    pub fn lose(&self) {
        let data = self.folder.path().join("data");
        let pid = std::fs::read_to_string(data.join("postmaster.pid")).expect("its process");
        let postmaster: i32 = pid.lines().next().and_then(|line| line.parse().ok()).expect("a number");
        let children = std::fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children"));
        let children = children.expect("its children");
        let all = [postmaster]
            .into_iter()
            .chain(children.split_whitespace().filter_map(|child| child.parse().ok()));
        for pid in all.filter_map(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        wait_for("the server is gone", || {
            !Path::new(&format!("/proc/{postmaster}/stat")).exists() || is_zombie(postmaster)
        });
        std::fs::remove_dir_all(data).expect("its data folder goes");
        // A process nobody has reaped yet still counts as the owner of its socket.
        let socket = format!(".s.PGSQL.{}", self.port);
        for file in [format!("{socket}.lock"), socket] {
            let _ = std::fs::remove_file(self.folder.path().join(file));
        }
    }

    /// Starts it again, at the same port, on a data folder that was restored; see [`Server::start_restored`].
    pub fn start_again_restored(&self, log: &Path, make: impl FnOnce(&Path)) {
        let data = self.folder.path().join("data");
        make(&data);
        programs::give_all_away(&data);
        programs::give_all_away(log);
        self.start_again();
    }

    /// Has it speak TLS and refuse whoever does not; gives the file of the certificate to trust.
    pub fn require_tls(&self) -> std::path::PathBuf {
        let certified =
            rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("a certificate");
        let (data, trusted) = (self.folder.path().join("data"), self.folder.path().join("server.crt"));
        let key = self.folder.path().join("server.key");
        std::fs::write(&trusted, certified.cert.pem()).expect("the certificate's file");
        std::fs::write(&key, certified.signing_key.serialize_pem()).expect("the key's file");
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&key, private).expect("a private key");
        programs::give_away(&trusted);
        programs::give_away(&key);
        let settings = format!(
            "ssl = on\nssl_cert_file = '{}'\nssl_key_file = '{}'\n",
            trusted.display(),
            key.display()
        );
        std::fs::write(data.join("postgresql.auto.conf"), settings).expect("the settings");
        std::fs::write(data.join("pg_hba.conf"), "hostssl all all 127.0.0.1/32 scram-sha-256\n")
            .expect("who may");
        self.crash();
        self.start_again();
        trusted
    }

    /// Gives the URL of a database on it.
    pub fn url(&self) -> String {
        self.url_at(self.port)
    }

    /// The same by way of another port: of what stands before the server.
    pub fn url_at(&self, port: u16) -> String {
        format!("postgres://sixfold:p%40ss%20word@127.0.0.1:{port}/postgres")
    }

    /// Gives the port it listens at.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Stops it as a crash would: nothing is flushed, connections break.
    pub fn crash(&self) {
        self.control("stop", &["-m", "immediate"]);
    }

    /// Starts it again after a stop, and waits until it has recovered.
    pub fn start_again(&self) {
        let options = format!(
            "-c listen_addresses=127.0.0.1 -c port={} -c unix_socket_directories={} -c max_connections=50 \
             -c shared_buffers=32MB",
            self.port,
            self.folder.path().display()
        );
        let log = self.folder.path().join("log");
        let data = self.folder.path().join("data");
        let mut command = vec!["pg_ctl", "start", "--wait", "--silent", "--pgdata", path(&data)];
        command.extend(["-o", &options, "-l", path(&log)]);
        programs::run_or(&command, || self.log());
    }

    /// Gives what the server wrote to its log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn control(&self, verb: &str, more: &[&str]) {
        let data = self.folder.path().join("data");
        let mut command = vec!["pg_ctl", verb, "--wait", "--silent", "--pgdata", path(&data)];
        command.extend_from_slice(more);
        programs::run(&command);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let data = self.folder.path().join("data");
        programs::try_run(&["pg_ctl", "stop", "-m", "immediate", "--silent", "--pgdata", path(&data)]);
    }
}

/// Tells whether a process has ended and only its entry is left.
fn is_zombie(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, state)| state.starts_with('Z'))
}

/// Makes a folder in memory, where there is room for a backup or two, or else where others are: what tests of backups
/// flush is thrown away with them.
pub fn folder_in_memory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let room = rustix::fs::statvfs(memory).map_or(0, |found| found.f_bavail * found.f_frsize);
    let folder = if room >= ROOM { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    folder.expect("a temporary folder")
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// Waits for a condition of the file system.
fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
