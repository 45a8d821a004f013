//! A house of real processes on free ports.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::postgres::Server;
use crate::{Client, Ports};

/// The administrator's password in every test house.
const ADMIN_PASSWORD: &str = "correct horse battery staple";

/// How long a condition may take to come true before the test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a house is laid out over processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// All roles in one process.
    Folded,
    /// A process per role instance.
    Unfolded,
}

/// A running house; what is left of it is killed when it is dropped.
pub struct House {
    /// Its ports.
    pub ports: Ports,
    folder: tempfile::TempDir,
    processes: BTreeMap<String, Child>,
    /// The engine's URL, where it is not the default.
    database_url: Option<String>,
}

impl House {
    /// Starts a house and waits until it is ready.
    pub async fn start(layout: Layout) -> Self {
        Self::start_with(layout, "").await
    }

    /// Starts a house whose config file ends in `extra`, and waits until it is ready.
    pub async fn start_with(layout: Layout, extra: &str) -> Self {
        Self::start_on(layout, extra, None).await
    }

    /// Starts a house whose data is on a PostgreSQL server and whose config file ends in `extra`, and waits until it is
    /// ready.
    pub async fn start_on_postgres(layout: Layout, extra: &str, server: &Server) -> Self {
        Self::start_on(layout, extra, Some(server.url())).await
    }

    async fn start_on(layout: Layout, extra: &str, database_url: Option<String>) -> Self {
        let ports = Ports::find();
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self::write_config(folder.path(), &ports, extra);
        let mut house = Self { ports, folder, processes: BTreeMap::new(), database_url };
        match layout {
            Layout::Folded => house.spawn("up", &["up"]),
            Layout::Unfolded => house.spawn_roles(),
        }
        house.wait_until_ready().await;
        house
    }

    /// Writes the config file of a house that keeps everything in a folder, and gives its path.
    pub fn write_config(folder: &Path, ports: &Ports, extra: &str) -> PathBuf {
        let file = folder.join("sixfold.toml");
        std::fs::write(&file, config(ports, folder, extra)).expect("the config file");
        file
    }

    fn spawn_roles(&mut self) {
        self.start_role("database");
        self.start_role("cache");
        for service in ["accounts", "catalog", "orders"] {
            self.start_role(&format!("service {service}"));
        }
        self.start_role("worker");
        for gateway in 1..=5 {
            self.start_role(&format!("gateway {gateway}"));
        }
        self.start_role("load balancer");
    }

    /// Starts one role as its own process: `database`, `cache`, `worker`, `load balancer`, `gateway 1` to
    /// `gateway 5`, `service NAME`.
    pub fn start_role(&mut self, role: &str) {
        match role.split_once(' ') {
            Some(("gateway", number)) => {
                let number: usize = number.parse().expect("gateway 1 to gateway 5");
                let listen = format!("127.0.0.1:{}", self.ports.gateways[number - 1]);
                self.spawn(role, &["gateway", "--listen", &listen, "--admin", "127.0.0.1:0"]);
            }
            Some(("service", name)) => self.spawn(role, &["service", name, "--admin", "127.0.0.1:0"]),
            Some(_) => self.spawn(role, &["load-balancer"]),
            None => self.spawn(role, &[role, "--admin", "127.0.0.1:0"]),
        }
    }

    /// Starts a folded house again on the same data and waits until it is ready.
    pub async fn start_again(&mut self, name: &str) {
        self.spawn(name, &[name]);
        self.wait_until_ready().await;
    }

    fn spawn(&mut self, name: &str, arguments: &[&str]) {
        let log = |kind: &str| {
            let path = self.folder.path().join(format!("{}.{kind}", name.replace(' ', "-")));
            File::options().create(true).append(true).open(path).expect("a log file")
        };
        let child = Command::new(binary())
            .args(arguments)
            .arg("--config")
            .arg(self.config_file())
            .env("SIXFOLD_ADMIN_PASSWORD", ADMIN_PASSWORD)
            .envs(self.database_url.as_ref().map(|url| ("SIXFOLD__DATABASE__URL", url)))
            .stdin(Stdio::null())
            .stdout(log("out"))
            .stderr(log("err"))
            .spawn()
            .expect("the binary starts");
        self.processes.insert(name.to_owned(), child);
    }

    async fn wait_until_ready(&mut self) {
        let began = Instant::now();
        while !all_answer(&self.ports).await {
            if began.elapsed() > PATIENCE {
                panic!("the house is not ready after {PATIENCE:?}\n{}", self.logs());
            }
            let ended = self.processes.iter_mut().find_map(|(name, child)| {
                child.try_wait().expect("a child's state").map(|status| format!("{name}: {status}"))
            });
            if let Some(ended) = ended {
                panic!("{ended}\n{}", self.logs());
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    /// Gives the config file.
    pub fn config_file(&self) -> PathBuf {
        self.folder.path().join("sixfold.toml")
    }

    /// Gives the data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Gives everything the processes wrote, for the message of a failing test.
    pub fn logs(&self) -> String {
        let mut text = String::new();
        for entry in std::fs::read_dir(self.folder.path()).expect("the folder").flatten() {
            if entry.path().extension().is_some_and(|extension| extension == "out" || extension == "err") {
                let log = std::fs::read(entry.path()).unwrap_or_default();
                let tail = &log[log.len().saturating_sub(4000)..];
                text.push_str(&format!(
                    "--- {}\n{}\n",
                    entry.path().display(),
                    String::from_utf8_lossy(tail)
                ));
            }
        }
        text
    }

    /// Makes a client of the load balancer.
    pub fn client(&self) -> Client {
        Client::new(format!("http://127.0.0.1:{}", self.ports.load_balancer))
    }

    /// Makes a client of the load balancer's (or the house's) admin address.
    pub fn admin(&self) -> Client {
        Client::new(format!("http://127.0.0.1:{}", self.ports.admin))
    }

    /// Logs in as the administrator and makes a client with that token.
    pub async fn administrator(&self) -> Client {
        let client = self.client();
        let login =
            client.post("/auth/login", &json!({"username": "admin", "password": ADMIN_PASSWORD})).await;
        assert_eq!(login.status, 200, "{login:?}\n{}", self.logs());
        client.with_token(login.json()["access_token"].as_str().expect("an access token"))
    }

    /// Gives a process's ID.
    pub fn pid(&self, name: &str) -> u32 {
        self.processes[name].id()
    }

    /// Sends a signal to a process.
    pub fn signal(&self, name: &str, signal: Signal) {
        let pid = i32::try_from(self.pid(name)).ok().and_then(Pid::from_raw).expect("a process ID");
        kill_process(pid, signal).expect("the process takes the signal");
    }

    /// Kills a process at once, as `kill -9` does, and reaps it.
    pub fn kill(&mut self, name: &str) {
        let mut child = self.processes.remove(name).expect("a running process");
        child.kill().expect("the process can be killed");
        child.wait().expect("the process ends");
    }

    /// Waits until a process ends by itself and gives how.
    pub async fn wait_for_end(&mut self, name: &str) -> ExitStatus {
        let mut child = self.processes.remove(name).expect("a running process");
        let began = Instant::now();
        loop {
            if let Some(status) = child.try_wait().expect("a child's state") {
                return status;
            }
            assert!(began.elapsed() < PATIENCE, "{name} does not end");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for House {
    fn drop(&mut self) {
        for child in self.processes.values_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Waits until a condition holds; it fails the test when it does not come true.
pub async fn wait_until<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let began = Instant::now();
    while !condition().await {
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Tells whether every role says that it is ready, the gateways know how to check a token, and the
/// balancer has all gateways in the rotation.
async fn all_answer(ports: &Ports) -> bool {
    let Ports { gateways, catalog, orders, accounts, database, cache, worker, .. } = ports;
    for port in gateways.iter().chain([catalog, orders, accounts, database, cache, worker]) {
        let role = Client::new(format!("http://127.0.0.1:{port}"));
        if !matches!(role.try_send("GET", "/health", &[], "").await, Ok(reply) if reply.status == 200) {
            return false;
        }
    }
    for port in gateways {
        // A gateway that has no keys yet says 503; with keys it refuses what is no token.
        let gateway = Client::new(format!("http://127.0.0.1:{port}")).with_token("none");
        for path in ["/queues/default/jobs", "/orders/orders"] {
            let reply = gateway.try_send("GET", path, &[], "").await;
            if !matches!(reply, Ok(reply) if reply.status == 401) {
                return false;
            }
        }
    }
    let admin = Client::new(format!("http://127.0.0.1:{}", ports.admin));
    match admin.try_send("GET", "/v1/backends", &[], "").await {
        Ok(reply) if reply.status == 200 => {
            let backends = reply.json()["backends"].as_array().cloned().unwrap_or_default();
            backends.len() == 5 && backends.iter().all(|backend| backend["state"] == "up")
        }
        _ => false,
    }
}

/// Finds the built binary: what `SIXFOLD_BINARY` names, or the one beside the running test.
pub fn binary() -> PathBuf {
    if let Some(named) = std::env::var_os("SIXFOLD_BINARY") {
        return PathBuf::from(named);
    }
    let test = std::env::current_exe().expect("the test's own path");
    let folder = test.ancestors().find(|folder| folder.join("sixfold").is_file());
    folder
        .map(|folder| folder.join("sixfold"))
        .expect("build the binary first: cargo build -p cli (make test does)")
}

fn config(ports: &Ports, folder: &Path, extra: &str) -> String {
    let Ports { load_balancer, gateways, catalog, orders, accounts, database, cache, resp, worker, admin } =
        ports;
    let gateways = gateways.map(|port| format!("\"127.0.0.1:{port}\"")).join(", ");
    let data = folder.join("data");
    let data = data.display();
    format!(
        r#"
[process]
data = "{data}"
grace = "10s"
admin = "127.0.0.1:{admin}"

[services]
accounts = {{ instances = ["127.0.0.1:{accounts}"], internal = true }}
catalog = {{ instances = ["127.0.0.1:{catalog}"], internal = true }}
orders = {{ instances = ["127.0.0.1:{orders}"], internal = true }}
worker = {{ instances = ["127.0.0.1:{worker}"], internal = true }}

[load_balancer]
listen = "127.0.0.1:{load_balancer}"
backends = [{gateways}]

[api_gateway]
listen = [{gateways}]

[database]
listen = "127.0.0.1:{database}"

[cache]
listen = "127.0.0.1:{cache}"
resp_listen = "127.0.0.1:{resp}"

[worker]
listen = "127.0.0.1:{worker}"

{extra}
"#
    )
}
