//! What `sixfold up` costs while nobody asks, and the house the benchmarks measure.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context;
use process::HttpClient;
use serde_json::{Value, json};

use crate::Args;
use crate::processes::{Place, Running, free_port, free_ports, write};
use crate::report::{Report, Samples};

/// The administrator's password in the measured house.
const PASSWORD: &str = "a password for benchmarks";

/// How long idle CPU is watched in one round.
const IDLE_WATCH: Duration = Duration::from_secs(10);

/// All six tiers in one process, on free ports and with an empty data folder.
pub(crate) struct House {
    pub(crate) running: Running,
    pub(crate) entry: u16,
    pub(crate) admin: u16,
    _folder: tempfile::TempDir,
}

impl House {
    /// Starts it; the rate limit is raised above what one client can send, but stays switched on.
    pub(crate) fn start(binary: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let ports = free_ports(22_000, 13)?;
        let at = |index: usize| format!("\"127.0.0.1:{}\"", ports[index]);
        let gateways = (2..7).map(at).collect::<Vec<_>>().join(", ");
        let resp = free_port(ports[12] + 1)?;
        let service = |index| format!("{{ instances = [{}], internal = true }}", at(index));
        let text = format!(
            "[process]\ndata = \"{data}\"\nadmin = {admin}\nlog = \"warn\"\n\
             [services]\naccounts = {accounts}\ncatalog = {catalog}\norders = {orders}\nworker = {worker}\n\
             [load_balancer]\nlisten = {entry}\nbackends = [{gateways}]\n\
             [api_gateway]\nlisten = [{gateways}]\nrate = {{ per_second = 1000000, burst = 1000000 }}\n\
             [database]\nlisten = {database}\n[cache]\nlisten = {cache}\nresp_listen = \"127.0.0.1:{resp}\"\n\
             [worker]\nlisten = {worker_at}\n",
            data = folder.path().join("data").display(),
            admin = at(0),
            entry = at(1),
            accounts = service(7),
            catalog = service(8),
            orders = service(9),
            worker = service(10),
            worker_at = at(10),
            database = at(11),
            cache = at(12),
        );
        let config = write(folder.path(), "sixfold.toml", &text)?;
        let mut command = Command::new(binary);
        command.args(["up", "--config", &config]).env("SIXFOLD_ADMIN_PASSWORD", PASSWORD);
        let running = Running::start(command, ports[1], Place::Anywhere, None)?;
        Ok(Self { running, entry: ports[1], admin: ports[0], _folder: folder })
    }

    /// Creates one product as the administrator and gives its path.
    pub(crate) async fn create_product(&self) -> anyhow::Result<String> {
        wait_until_ready(self.admin).await?;
        let client = HttpClient::with_credential(None, Duration::from_secs(10));
        let base = format!("http://127.0.0.1:{}", self.entry);
        let url = format!("{base}/auth/login");
        let login = client
            .send_json(http::Method::POST, &url, &json!({"username": "admin", "password": PASSWORD}))
            .await?;
        let login: Value = login.json(&url)?;
        let token = login["access_token"].as_str().with_context(|| format!("no token: {login}"))?;
        let url = format!("{base}/catalog/products");
        let request = http::Request::builder()
            .method("POST")
            .uri(&url)
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json");
        let body = json!({"name": "lamp", "price": 12.5}).to_string().into();
        let created = client.send(&url, request, body, Duration::from_secs(10)).await?;
        anyhow::ensure!(created.status == 201, "{created:?}");
        Ok(created.fields.get("location").context("no Location")?.to_str()?.to_owned())
    }
}

/// Waits until every role of a process says at its admin port that it is ready.
pub(crate) async fn wait_until_ready(admin: u16) -> anyhow::Result<()> {
    let client = HttpClient::with_credential(None, Duration::from_secs(1));
    let url = format!("http://127.0.0.1:{admin}/readyz");
    let began = Instant::now();
    loop {
        if matches!(client.get(&url).await, Ok(answer) if answer.status == 200) {
            return Ok(());
        }
        anyhow::ensure!(began.elapsed() < Duration::from_secs(20), "the house is not ready");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Measures start, resident memory and CPU of a house nobody asks anything.
pub(crate) async fn run(args: &Args) -> anyhow::Result<()> {
    let mut report = Report::new("Idle: start, memory and CPU of `sixfold up` with five gateways");
    let (mut start, mut memory, mut cpu) = (Samples::default(), Samples::default(), Samples::default());
    for round in 1..=args.rounds(3).min(3) {
        let began = Instant::now();
        let house = House::start(&args.binary)?;
        wait_until_ready(house.admin).await?;
        start.push(began.elapsed().as_secs_f64() * 1e3);
        tokio::time::sleep(Duration::from_secs(2)).await;
        let before = house.running.cpu()?;
        tokio::time::sleep(IDLE_WATCH).await;
        let used = house.running.cpu()? - before;
        cpu.push(used.as_secs_f64() / IDLE_WATCH.as_secs_f64() * 100.0);
        let resident = house.running.resident_bytes()?;
        memory.push(resident as f64 / f64::from(1 << 20));
        report.keep(
            &format!("round {round}"),
            &format!("CPU {used:?} in {IDLE_WATCH:?}, resident {resident} bytes\n"),
        );
    }
    report.line(format!("ready after {} ms (first start, with its key and administrator)", start.show(0)));
    report.line(format!("resident {} MiB", memory.show(1)));
    report.line(format!("CPU {} % of one core", cpu.show(2)));
    report.write(&args.results, "idle.md")
}
