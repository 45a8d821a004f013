//! The configuration changes while the process serves.

use std::net::SocketAddr;
use std::path::PathBuf;

use axum::Router;
use axum::routing::get;
use rustix::process::Signal;
use system_tests::{Client, Process, free_port, wait_until};
use tokio::task::JoinSet;

/// A gateway before services that tell their names, and its config file.
struct Setting {
    folder: tempfile::TempDir,
    port: u16,
    admin: u16,
    servers: JoinSet<std::io::Result<()>>,
}

impl Setting {
    fn prepare() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self { folder, port: free_port(), admin: free_port(), servers: JoinSet::new() }
    }

    async fn serve(&mut self, name: &'static str) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let router = Router::new().fallback(get(move || async move { name }));
        self.servers.spawn(async move { axum::serve(listener, router).await });
        address
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("sixfold.toml")
    }

    /// Writes a config with public routes to one service.
    fn write(&self, service: SocketAddr, paths: &[&str], extra: &str) {
        let (port, admin) = (self.port, self.admin);
        let routes = paths.iter().map(|path| {
            format!("[[api_gateway.routes]]\npath = \"{path}\"\nservice = \"mine\"\npublic = true\n")
        });
        let text = format!(
            "[process]\nadmin = \"127.0.0.1:{admin}\"\n[services]\nmine = {{ instances = [\"{service}\"] }}\n\
             [api_gateway]\nlisten = [\"127.0.0.1:{port}\"]\ndefault_routes = false\n{extra}{}",
            routes.collect::<String>()
        );
        std::fs::write(self.config(), text).expect("the file");
    }

    async fn start(&self) -> Process {
        let config = self.config();
        let arguments = ["gateway", "--config", config.to_str().expect("a path")];
        let gateway = Process::start(self.folder.path(), "gateway", &arguments);
        wait_until("the gateway has started", || async { gateway.log().contains("started in") }).await;
        gateway
    }

    fn client(&self) -> Client {
        Client::new(format!("http://127.0.0.1:{}", self.port))
    }

    async fn metrics(&self) -> String {
        let admin = Client::new(format!("http://127.0.0.1:{}", self.admin));
        String::from_utf8_lossy(&admin.get("/metrics").await.body).into_owned()
    }
}

#[tokio::test]
async fn a_signal_brings_a_new_route_and_a_broken_file_changes_nothing() {
    let mut setting = Setting::prepare();
    let service = setting.serve("one").await;
    setting.write(service, &["/old"], "");
    let mut gateway = setting.start().await;
    let client = setting.client();
    let before = [client.get("/old").await.status.as_u16(), client.get("/new").await.status.as_u16()];
    assert_eq!(before, [200, 404]);

    setting.write(service, &["/old", "/new"], "threads = 4\n");
    gateway.signal(Signal::HUP);
    wait_until("the new route answers", || async { client.get("/new").await.status == 200 }).await;
    wait_until("what cannot change is named", || async { gateway.log().contains("api_gateway.threads") })
        .await;

    setting.write(service, &["/old"], "timeuot = \"1s\"\n");
    gateway.signal(Signal::HUP);
    wait_until("the fault is told", || async { gateway.log().contains("nothing changes") }).await;
    let log = gateway.log();
    let told = log.lines().find(|line| line.contains("nothing changes")).expect("the line");
    assert!(told.contains("sixfold.toml:8: unknown key `timeuot`; did you mean `timeout`?"), "{told}");
    assert_eq!(client.get("/new").await.status, 200, "the settings before the broken file hold");
    assert!(gateway.is_running());
    let metrics = setting.metrics().await;
    for figure in [
        r#"sixfold_process_reloads_total{result="applied"} 1"#,
        r#"sixfold_process_reloads_total{result="refused"} 1"#,
        "sixfold_config_loaded_timestamp_seconds 1",
    ] {
        assert!(metrics.contains(figure), "{figure} is missing in {metrics}");
    }
}

#[tokio::test]
async fn a_changed_file_is_noticed_without_a_signal_and_the_log_level_changes_with_it() {
    let mut setting = Setting::prepare();
    let service = setting.serve("one").await;
    setting.write(service, &["/old"], "");
    let gateway = setting.start().await;
    let client = setting.client();
    client.get("/old").await;
    assert!(!gateway.log().contains("answered"), "requests are told at debug only");
    setting.write(service, &["/old", "/new"], "");
    let text = std::fs::read_to_string(setting.config()).expect("the file");
    // Replaced whole, as editors and Kubernetes do.
    let beside = setting.folder.path().join("beside");
    std::fs::write(&beside, text.replace("[process]", "[process]\nlog = \"debug\"")).expect("the file");
    std::fs::rename(&beside, setting.config()).expect("a renamed file");
    wait_until("the new route answers", || async { client.get("/new").await.status == 200 }).await;
    wait_until("requests are told", || async {
        client.get("/old").await;
        gateway.log().contains("answered")
    })
    .await;
}

#[tokio::test]
async fn an_instance_replaced_under_load_fails_no_request() {
    let mut setting = Setting::prepare();
    let (one, two) = (setting.serve("one").await, setting.serve("two").await);
    setting.write(one, &["/a"], "");
    let gateway = setting.start().await;
    let client = setting.client();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut callers = JoinSet::new();
    for _ in 0..4 {
        let (client, stopped) = (client.clone(), stopped.clone());
        callers.spawn(async move {
            let mut failures = Vec::new();
            while !*stopped.borrow() {
                match client.try_send("GET", "/a", &[], "").await {
                    Ok(reply) if reply.status == 200 => {}
                    other => failures.push(format!("{other:?}")),
                }
            }
            failures
        });
    }
    for turn in 0..4 {
        let (address, name) = if turn % 2 == 0 { (two, "two") } else { (one, "one") };
        setting.write(address, &["/a"], "");
        gateway.signal(Signal::HUP);
        wait_until("the other instance answers", || async { client.get("/a").await.body == name }).await;
    }
    stop.send_replace(true);
    while let Some(caller) = callers.join_next().await {
        assert_eq!(caller.expect("a caller ends"), Vec::<String>::new(), "{}", gateway.log());
    }
}
