//! Writes that the policy refuses while the backup cannot hold them: the figure and the health say so, and reads go.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use database::backup::{Mode, OnUnreachable};
use database::{Config, Engine, Error, Query};
use http::Request;
use process::{ClusterToken, HttpClient, Shutdown};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::failures::{break_destination, mend_destination};
use crate::harness::{all_shipped, config, put, shipping, transact, until};
use crate::things::values_of;

/// How long something may take to come true.
const PATIENCE: Duration = Duration::from_secs(10);

/// Tells what the figure shows.
fn shows_writable() -> bool {
    let figures = String::from_utf8(process::metrics::render()).unwrap();
    figures.lines().any(|line| line == "sixfold_database_writable 1")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_figure_and_the_health_say_that_mode_sync_refuses_writes_also_while_nobody_writes() {
    let folder = tempfile::tempdir().unwrap();
    let destination = folder.path().join("destination");
    let config = Config { listen: "127.0.0.1:0".into(), ..config(&destination, Mode::Sync) };
    let engine = Engine::open(&config, &folder.path().join("data")).unwrap();
    shipping(&engine).await;
    let bound = database::bind_engine(engine.clone(), &config, &ClusterToken::default()).unwrap();
    let url = format!("http://{}/readyz", bound.address().unwrap());
    let shutdown = Shutdown::new(PATIENCE);
    let mut running = JoinSet::new();
    running.spawn(bound.run(shutdown.clone()));
    let client = HttpClient::new(&ClusterToken::default(), PATIENCE);
    let told = async |status: u16, state: &str| {
        let began = Instant::now();
        loop {
            let answer = client.send(&url, Request::get(&url), Bytes::new(), PATIENCE).await.unwrap();
            let report: Value = serde_json::from_slice(&answer.body).unwrap();
            if answer.status == status && report["state"] == state {
                break;
            }
            assert!(began.elapsed() < PATIENCE, "it is not {status} {state}: {report}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let list = Query::List { collection: "things".into(), after: None, limit: 10 };
    transact(&engine, vec![put(1, 1, 10)]).await.unwrap();
    assert!(shows_writable());
    told(200, "ready").await;

    break_destination(&destination);
    until("the figure", || !shows_writable()).await;
    told(503, "degraded").await;
    let refused = transact(&engine, vec![put(2, 2, 10)]).await;
    assert!(matches!(refused, Err(Error::Unavailable { .. })), "{refused:?}");
    assert_eq!(engine.query("shop", &list).await.unwrap().records.len(), 1, "reads go");

    mend_destination(&destination);
    until("the figure", shows_writable).await;
    told(200, "ready").await;
    transact(&engine, vec![put(3, 3, 10)]).await.unwrap();
    shutdown.request();
    running.join_next().await.unwrap().unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn in_mode_async_the_figure_says_that_writes_are_refused_once_the_buffer_is_full() {
    for policy in [OnUnreachable::Block, OnUnreachable::Continue] {
        let folder = tempfile::tempdir().unwrap();
        let (data, destination) = (folder.path().join("data"), folder.path().join("destination"));
        let mut config = config(&destination, Mode::Async);
        config.backup.on_unreachable = Some(policy);
        config.backup.buffer = 1 << 20;
        let engine = Engine::open(&config, &data).unwrap();
        shipping(&engine).await;
        break_destination(&destination);
        let refused = fill(&engine).await;
        assert_eq!(refused, policy == OnUnreachable::Block);
        assert_eq!(shows_writable(), !refused);
        mend_destination(&destination);
        shipping(&engine).await;
        all_shipped(&engine).await;
        // Nobody writes: it is found out all the same.
        until("the figure", shows_writable).await;
        transact(&engine, vec![put(999, 1, 10)]).await.unwrap();
        engine.close();
        assert!(
            values_of(Engine::open(&Config::default(), Path::new(&data)).unwrap())
                .await
                .contains_key("00999")
        );
    }
}

/// Writes more than the buffer holds; tells whether that was refused in the end.
async fn fill(engine: &Engine) -> bool {
    for number in 0..400 {
        match transact(engine, vec![put(number, 1, 30_000)]).await {
            Ok(()) => {}
            Err(Error::Unavailable { .. }) => return true,
            Err(error) => panic!("{error:?}"),
        }
    }
    false
}
