//! A load balancer (or a gateway) alone, as a process of its own, before backends that the test made.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

use crate::{Client, binary, free_port};

/// How long a condition may take to come true before the test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running role; it is killed when it is dropped.
pub struct Alone {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its admin address.
    pub admin: SocketAddr,
    folder: tempfile::TempDir,
    arguments: Vec<String>,
    process: Child,
}

impl Alone {
    /// Starts `sixfold load-balancer` before backends. `keys` continue the section `[load_balancer]` and may
    /// open further sections.
    pub fn balancer(backends: &[SocketAddr], keys: &str) -> Self {
        let address = local(free_port());
        Self::start(&["load-balancer"], address, &balancer_config(address, backends, keys))
    }

    /// Starts `sixfold gateway` with one public route to a service at `instance`.
    pub fn gateway(instance: SocketAddr, more: &str) -> Self {
        Self::gateway_at(local(free_port()), instance, more)
    }

    /// Starts `sixfold gateway` at an address.
    pub fn gateway_at(address: SocketAddr, instance: SocketAddr, more: &str) -> Self {
        let text = format!(
            "[api_gateway]\nlisten = [\"{address}\"]\ndefault_routes = false\nheader_timeout = \"2s\"\n\
             [api_gateway.rate]\nper_second = 1000000\nburst = 1000000\n\
             [[api_gateway.routes]]\npath = \"/{{*rest}}\"\nservice = \"tested\"\npublic = true\n\
             [services.tested]\ninstances = [\"{instance}\"]\n{more}"
        );
        Self::start(&["gateway"], address, &text)
    }

    fn start(arguments: &[&str], address: SocketAddr, config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("sixfold.toml"), config).expect("the config file");
        let admin = local(free_port());
        let mut arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let file = folder.path().join("sixfold.toml").display().to_string();
        arguments.extend(["--admin".to_owned(), admin.to_string(), "--config".to_owned(), file]);
        let process = spawn(&arguments, &folder);
        let mut alone = Self { address, admin, folder, arguments, process };
        alone.wait_until_it_listens();
        alone
    }

    /// Starts a second process with the same arguments, as a binary handover does, and gives the first one.
    pub fn start_successor(&mut self) -> Child {
        let successor = spawn(&self.arguments, &self.folder);
        std::mem::replace(&mut self.process, successor)
    }

    /// Starts the process again after it ended.
    pub fn start_again(&mut self) {
        self.process = spawn(&self.arguments, &self.folder);
        self.wait_until_it_listens();
    }

    fn wait_until_it_listens(&mut self) {
        let began = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            if let Some(status) = self.process.try_wait().expect("its state") {
                panic!("{status}\n{}", self.log());
            }
            assert!(began.elapsed() < PATIENCE, "it does not listen\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Gives the config file.
    pub fn config_file(&self) -> PathBuf {
        self.folder.path().join("sixfold.toml")
    }

    /// Gives the end of what it logged.
    pub fn log(&self) -> String {
        let log = std::fs::read(self.folder.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(6000)..]).into_owned()
    }

    /// Makes a client of it.
    pub fn client(&self) -> Client {
        Client::new(format!("http://{}", self.address))
    }

    /// Makes a client of its admin address.
    pub fn admin(&self) -> Client {
        Client::new(format!("http://{}", self.admin))
    }

    /// Gives how many backends `/v1/backends` tells of, or nothing when it does not answer.
    pub fn count_backends(&self) -> Option<usize> {
        let mut admin = crate::raw::Raw::connect(self.admin);
        admin.send(b"GET /v1/backends HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let crate::raw::Next::Answer(answer) = admin.next("GET") else { return None };
        let document: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
        document["backends"].as_array().map(Vec::len)
    }

    /// Gives the state of every backend, as `/v1/backends` tells it.
    pub async fn states(&self) -> Vec<String> {
        match self.admin().try_send("GET", "/v1/backends", &[], "").await {
            Ok(reply) => {
                let backends = reply.json()["backends"].as_array().cloned().unwrap_or_default();
                backends.iter().map(|backend| backend["state"].as_str().unwrap_or("?").to_owned()).collect()
            }
            Err(_) => Vec::new(),
        }
    }

    /// Gives its process ID.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        send_signal(&self.process, signal);
    }

    /// Lets it open only so many more files than it has open now.
    pub fn limit_files(&self, more: u64) {
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw).expect("a process ID");
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.process.id())).expect("its files").count();
        let most = Some(open as u64 + more);
        let limit = Rlimit { current: most, maximum: most };
        prlimit(Some(pid), Resource::Nofile, limit).expect("the limit is set");
    }

    /// Kills it at once and reaps it.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Tells whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.process.try_wait().expect("its state").is_none()
    }

    /// Asks it to stop and waits until it did.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        wait_for_end(&mut self.process)
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Waits until a process ended.
pub fn wait_for_end(process: &mut Child) -> ExitStatus {
    let began = Instant::now();
    loop {
        if let Some(status) = process.try_wait().expect("its state") {
            return status;
        }
        assert!(began.elapsed() < PATIENCE, "process {} does not end", process.id());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Sends a process a signal.
pub fn send_signal(process: &Child, signal: Signal) {
    let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw).expect("a process ID");
    kill_process(pid, signal).expect("the process takes the signal");
}

/// Writes the config of a balancer.
pub fn balancer_config(address: SocketAddr, backends: &[SocketAddr], keys: &str) -> String {
    let backends: Vec<String> = backends.iter().map(|backend| format!("\"{backend}\"")).collect();
    format!("[load_balancer]\nlisten = \"{address}\"\nbackends = [{}]\n{keys}", backends.join(", "))
}

/// Gives an address on this machine.
pub fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn spawn(arguments: &[String], folder: &tempfile::TempDir) -> Child {
    let log = || File::options().create(true).append(true).open(folder.path().join("log")).expect("a log");
    let mut command = Command::new(binary());
    command.args(arguments).stdin(Stdio::null()).stdout(log()).stderr(log()).current_dir(folder.path());
    command.spawn().expect("the binary starts")
}
