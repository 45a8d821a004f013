//! A commit that was sent and not answered, before a crash.

use std::path::Path;
use std::time::Duration;

use serde_json::Map;
use system_tests::postgres::Server;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::{Committed, Config, Engine, Error, Operation, Precondition, Transaction};

/// How long something may take to come true.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often the crash is tried: what the server has flushed by itself keeps the transaction's name from being given
/// again.
const TRIES: usize = 5;

/// The name of the one transaction under way that has one.
const UNDER_WAY: &str = "SELECT coalesce(max(backend_xid::text), '') FROM pg_stat_activity";

/// Takes a name and commits.
const NEXT: &str = "SELECT pg_current_xact_id()";

/// What a [`Relay`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// It passes everything on.
    Pass,
    /// It keeps the next `COMMIT` to itself.
    Hold,
    /// It has one; whatever else comes waits too.
    Held,
}

/// Stands between us and a server.
struct Relay {
    port: u16,
    mode: watch::Sender<Mode>,
    _accepting: JoinSet<()>,
}

impl Relay {
    async fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mode = watch::Sender::new(Mode::Pass);
        let state = mode.clone();
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let state = state.clone();
                connections.spawn(async move {
                    until(&state, |mode| mode != Mode::Held).await;
                    let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else { return };
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    tokio::select! {
                        () = ask(from_client, to_server, &state) => {}
                        () = answer(from_server, to_client, &state) => {}
                    }
                });
            }
        });
        Self { port, mode, _accepting: accepting }
    }
}

async fn until(mode: &watch::Sender<Mode>, wanted: impl Fn(Mode) -> bool) {
    mode.subscribe().wait_for(|mode| wanted(*mode)).await.unwrap();
}

async fn ask(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mode: &watch::Sender<Mode>) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        let is_commit = bytes[..count].windows(7).any(|seven| seven == b"COMMIT\0");
        if is_commit && hold(mode) {
            until(mode, |mode| mode == Mode::Pass).await;
            return;
        }
        if to.write_all(&bytes[..count]).await.is_err() {
            break;
        }
    }
    until(mode, |mode| mode != Mode::Held).await;
}

/// Tells whether a `COMMIT` is to be held; of several just one.
fn hold(mode: &watch::Sender<Mode>) -> bool {
    mode.send_if_modified(|mode| {
        let is_wanted = *mode == Mode::Hold;
        if is_wanted {
            *mode = Mode::Held;
        }
        is_wanted
    })
}

async fn answer(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mode: &watch::Sender<Mode>) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        if to.write_all(&bytes[..count]).await.is_err() {
            break;
        }
    }
    // That the server has gone is not told before it is there again.
    until(mode, |mode| mode != Mode::Held).await;
}

async fn put(engine: &Engine, id: &str) -> Result<Committed, Error> {
    let (collection, id, data) = ("things".into(), id.to_owned(), Map::new());
    let operations = vec![Operation::Put { collection, id, data, precondition: Precondition::None }];
    engine.transact(Transaction { namespace: "shop".into(), operations }).await
}

/// Holds a put before its commit, crashes the server and has others take its name; gives what it was answered, or
/// nothing if its name was not given again.
async fn crash_amid(
    server: &Server,
    relay: &Relay,
    engine: &Engine,
    id: &str,
) -> Option<Result<Committed, Error>> {
    relay.mode.send_replace(Mode::Hold);
    let crashing = async {
        until(&relay.mode, |mode| mode == Mode::Held).await;
        let name = server.ask(UNDER_WAY);
        server.crash();
        server.start_again();
        let taken = server.ask(NEXT);
        relay.mode.send_replace(Mode::Pass);
        (name, taken)
    };
    let both = async { tokio::join!(put(engine, id), crashing) };
    let (answer, (name, taken)) = tokio::time::timeout(PATIENCE, both).await.unwrap();
    assert!(!name.is_empty(), "the transaction had a name");
    (name == taken).then_some(answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_s_name_that_another_has_after_a_crash_proves_no_commit() {
    let server = Server::start_in_memory();
    let relay = Relay::start(server.port()).await;
    let config = Config { url: server.url_at(relay.port).parse().unwrap(), ..Config::default() };
    let engine = Engine::open(&config, Path::new("none")).unwrap();
    put(&engine, "before").await.unwrap();
    let mut tries = 0..TRIES;
    let answer = loop {
        let number = tries.next().expect("a name that is given again");
        if let Some(answer) = crash_amid(&server, &relay, &engine, &format!("a-{number}")).await {
            break answer;
        }
    };
    assert!(matches!(answer, Err(Error::Unknown { .. })), "{answer:?}");
    engine.close();
}
