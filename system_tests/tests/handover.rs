//! A new process takes the listeners of a running one, and no client notices.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use rustix::process::Signal;
use system_tests::{Callers, Client, Process, free_port, wait_until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// How many callers of each kind load the balancer at once.
const CALLERS: usize = 4;

/// A backend, and the config of a balancer before it that hands over.
struct Setting {
    folder: tempfile::TempDir,
    port: u16,
    admin: u16,
    backend: std::net::SocketAddr,
    /// What `/slow` waits for.
    release: Arc<Notify>,
    _server: JoinSet<std::io::Result<()>>,
}

impl Setting {
    async fn prepare() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let backend = listener.local_addr().expect("its address");
        let release = Arc::new(Notify::new());
        let wait = Arc::clone(&release);
        let slow = async move || {
            wait.notified().await;
            "slow"
        };
        let count = async |body: String| format!("{} bytes", body.len());
        let router = Router::new()
            .route("/hello", get(|| async { "hello" }))
            .route("/slow", get(slow))
            .route("/upload", post(count));
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await });
        let folder = tempfile::tempdir().expect("a folder");
        let setting =
            Self { folder, port: free_port(), admin: free_port(), backend, release, _server: server };
        setting.write(setting.port, 2, "");
        setting
    }

    /// Writes the config file.
    fn write(&self, port: u16, threads: usize, extra: &str) {
        let folder = self.folder.path().join("handover");
        let (admin, backend) = (self.admin, self.backend);
        let text = format!(
            "[process]\ngrace = \"4s\"\nadmin = \"127.0.0.1:{admin}\"\nhandover = \"{}\"\n\
             [load_balancer]\nlisten = \"127.0.0.1:{port}\"\nthreads = {threads}\nbackends = [\"{backend}\"]\n{extra}",
            folder.display()
        );
        std::fs::write(self.config(), text).expect("the file");
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("sixfold.toml")
    }

    fn start(&self, name: &str) -> Process {
        let config = self.config();
        let config: &Path = &config;
        Process::start(
            self.folder.path(),
            name,
            &["load-balancer", "--config", config.to_str().expect("a path")],
        )
    }

    fn client(&self) -> Client {
        Client::new(format!("http://127.0.0.1:{}", self.port))
    }

    async fn wait_until_serving(&self, process: &Process) {
        wait_until(&format!("the balancer has started: {}", process.log()), || async {
            process.log().contains("started in") && answers(&self.client()).await
        })
        .await;
    }
}

async fn answers(client: &Client) -> bool {
    matches!(client.try_send("GET", "/hello", &[], "").await, Ok(reply) if reply.body == "hello")
}

/// Callers that never rest: some over connections they keep, some over a new one each time.
fn load(setting: &Setting) -> Callers {
    let kept: Vec<Client> = (0..CALLERS).map(|_| setting.client()).collect();
    let fresh = format!("http://127.0.0.1:{}", setting.port);
    Callers::start(2 * CALLERS, move |caller| {
        let client = kept.get(caller).cloned().unwrap_or_else(|| Client::new(fresh.clone()));
        async move {
            match client.try_send("GET", "/hello", &[], "").await {
                Ok(reply) if reply.status == 200 && reply.body == "hello" => Ok(()),
                other => Err(format!("{other:?}")),
            }
        }
    })
}

#[tokio::test]
async fn three_upgrades_in_a_row_under_load_fail_no_request() {
    let setting = Setting::prepare().await;
    let mut current = setting.start("balancer-0");
    setting.wait_until_serving(&current).await;
    let load = load(&setting);
    load.answer(500).await;
    // The last of them with fewer threads than sockets, and one with more.
    for (number, threads) in [(1, 2), (2, 3), (3, 1)] {
        setting.write(setting.port, threads, "");
        let next = setting.start(&format!("balancer-{number}"));
        let status = current.end().await;
        assert!(status.success(), "{status}\n{}\n{}", current.log(), next.log());
        assert!(current.log().contains("the successor is ready"), "{}", current.log());
        assert!(next.log().contains("took over the listeners"), "{}", next.log());
        assert!(!next.log().contains("no more threads"), "{}", next.log());
        load.answer(500).await;
        current = next;
    }
    assert_eq!(load.finish().await, Vec::<String>::new());
    let admin = Client::new(format!("http://127.0.0.1:{}", setting.admin));
    let backends = admin.get("/v1/backends").await.json();
    assert_eq!(
        backends["backends"][0]["address"],
        setting.backend.to_string(),
        "the admin address moved too"
    );
    current.signal(Signal::TERM);
    assert!(current.end().await.success());
    assert!(!answers(&setting.client()).await, "nobody keeps the port open");
}

#[tokio::test]
async fn an_upload_a_stream_of_http_2_and_an_idle_connection_outlive_a_handover() {
    let setting = Setting::prepare().await;
    let mut old = setting.start("old");
    setting.wait_until_serving(&old).await;
    let slow = format!("http://127.0.0.1:{}/slow", setting.port);
    let stream = tokio::task::spawn_blocking(move || {
        let arguments = ["-s", "-m", "20", "--http2-prior-knowledge", "-w", " %{http_code}", &slow];
        Command::new("curl").args(arguments).output().expect("curl")
    });
    let mut upload = TcpStream::connect(("127.0.0.1", setting.port)).await.expect("a connection");
    upload
        .write_all(b"POST /upload HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nfirst")
        .await
        .expect("half of it");
    let mut idle = TcpStream::connect(("127.0.0.1", setting.port)).await.expect("a connection");
    ask(&mut idle, b"GET /hello HTTP/1.1\r\nHost: h\r\n\r\n", "hello").await;
    let admin = Client::new(format!("http://127.0.0.1:{}", setting.admin));
    wait_until("all three are under way", || async {
        // An upload that streams is in flight, and the stream waits.
        admin.get("/v1/backends").await.json()["backends"][0]["in_flight"] == 2
    })
    .await;

    let new = setting.start("new");
    wait_until("the old process is told to stop", || async { old.log().contains("this process stops") })
        .await;
    assert!(answers(&setting.client()).await);
    let told = ask(&mut upload, b"other", "10 bytes").await;
    assert!(told.contains("Connection: close"), "{told}");
    let told = ask(&mut idle, b"GET /hello HTTP/1.1\r\nHost: h\r\n\r\n", "hello").await;
    assert!(told.contains("Connection: close"), "it learns that the process goes by an answer: {told}");
    setting.release.notify_one();
    let streamed = stream.await.expect("the task");
    assert_eq!(String::from_utf8_lossy(&streamed.stdout), "slow 200");
    assert!(old.end().await.success(), "{}", old.log());
    assert!(new.log().contains("took over the listeners"), "{}", new.log());
}

/// Sends bytes and reads an answer to the end of its body.
async fn ask(stream: &mut TcpStream, bytes: &[u8], body: &str) -> String {
    stream.write_all(bytes).await.expect("sent");
    let mut answer = Vec::new();
    while !answer.ends_with(body.as_bytes()) {
        let read = stream.read_buf(&mut answer).await.expect("an answer");
        assert!(read > 0, "it ended: {}", String::from_utf8_lossy(&answer));
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_successor_that_cannot_start_leaves_the_old_process_serving() {
    let setting = Setting::prepare().await;
    let mut current = setting.start("balancer");
    setting.wait_until_serving(&current).await;
    let load = load(&setting);
    load.answer(200).await;

    setting.write(setting.port, 2, "nonsense = 1\n");
    let mut invalid = setting.start("invalid");
    assert_eq!(invalid.end().await.code(), Some(2), "{}", invalid.log());

    // It gets the listeners, and then finds the other address taken.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    setting.write(taken.local_addr().expect("its address").port(), 2, "");
    let mut late = setting.start("late");
    assert_eq!(late.end().await.code(), Some(2), "{}", late.log());
    assert!(late.log().contains("took over the listeners"), "{}", late.log());
    wait_until("the old process knows", || async { current.log().contains("a takeover failed") }).await;

    load.answer(200).await;
    assert_eq!(load.finish().await, Vec::<String>::new());
    assert!(current.is_running(), "{}", current.log());

    // And it can still be replaced.
    setting.write(setting.port, 2, "");
    let mut next = setting.start("next");
    assert!(current.end().await.success(), "{}", current.log());
    assert!(next.is_running() && answers(&setting.client()).await, "{}", next.log());
}

#[tokio::test]
async fn a_process_that_stops_without_a_successor_closes_its_port_while_it_drains() {
    let setting = Setting::prepare().await;
    let mut process = setting.start("balancer");
    setting.wait_until_serving(&process).await;
    let client = setting.client();
    let mut slow = JoinSet::new();
    slow.spawn(async move { client.get("/slow").await });
    let admin = Client::new(format!("http://127.0.0.1:{}", setting.admin));
    wait_until("the request is in flight", || async {
        admin.get("/v1/backends").await.json()["backends"][0]["in_flight"] == 1
    })
    .await;
    process.signal(Signal::TERM);
    let connect = || tokio::net::TcpStream::connect(("127.0.0.1", setting.port));
    wait_until("connections are refused", || async { connect().await.is_err() }).await;
    assert!(process.is_running(), "it drains: {}", process.log());
    setting.release.notify_one();
    assert_eq!(slow.join_next().await.expect("an answer").expect("an end").body, "slow");
    assert!(process.end().await.success(), "{}", process.log());
}

#[tokio::test]
async fn a_killed_process_leaves_nothing_in_the_way_of_the_next() {
    let setting = Setting::prepare().await;
    let mut killed = setting.start("killed");
    setting.wait_until_serving(&killed).await;
    killed.signal(Signal::KILL);
    killed.end().await;
    let next = setting.start("next");
    setting.wait_until_serving(&next).await;
    assert!(!next.log().contains("took over"), "{}", next.log());
    let mut third = setting.start("third");
    setting.wait_until_serving(&third).await;
    assert!(third.log().contains("took over"), "{}", third.log());
    assert!(third.is_running());
}
