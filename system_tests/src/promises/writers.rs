//! Callers that write at the same time, each one transaction after the other.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use process::CallError;
use serde_json::json;
use tokio::task::JoinSet;

use super::{Ledger, Told};
use crate::Client;

/// The pause after a transaction that was not acknowledged; the database is away or failing.
const PAUSE: Duration = Duration::from_millis(10);

/// What besides the text of its name a record holds, so that transactions span pages.
const FILLER_BYTES: usize = 300;

/// Callers under way.
pub struct Writers {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Writers {
    /// Starts callers with these numbers; their transactions are named `PREFIX` + caller + `-` + number. `witness` is
    /// asked for a mark right after each answer.
    pub fn start(
        client: &Client,
        ledger: &Arc<Ledger>,
        callers: Range<usize>,
        prefix: &str,
        witness: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Self {
        let (stop, witness) = (Arc::<AtomicBool>::default(), Arc::new(witness));
        let mut tasks = JoinSet::new();
        for caller in callers {
            let (client, ledger, prefix) = (client.clone(), Arc::clone(ledger), prefix.to_owned());
            let (stop, witness) = (Arc::clone(&stop), Arc::clone(&witness));
            tasks.spawn(async move {
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let name = format!("{prefix}{caller}-{number:06}");
                    let told = write(&client, &prefix, caller, &name).await;
                    let mark = witness();
                    tokio::task::block_in_place(|| ledger.note(&name, told, mark));
                    if told != Told::Done {
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            });
        }
        Self { stop, tasks }
    }

    /// Lets every caller finish what it has and waits for them.
    pub async fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("a caller ends");
        }
    }
}

/// Puts two records and a counter and enqueues a job, in one transaction.
async fn write(client: &Client, prefix: &str, caller: usize, name: &str) -> Told {
    let data = json!({"name": name, "filler": "x".repeat(FILLER_BYTES)});
    let put = |collection, id: &str| json!({"op": "put", "collection": collection, "id": id, "data": data});
    let job = json!({"queue": format!("{prefix}jobs"), "kind": "send", "payload": {"name": name}});
    let operations = [
        put("one", name),
        put("two", name),
        put("counters", &format!("{prefix}{caller}")),
        json!({"op": "enqueue", "job": job}),
    ];
    let body = json!({"namespace": "shop", "operations": operations}).to_string();
    match client.try_send("POST", "/v1/transact", &[("content-type", "application/json")], body).await {
        Ok(reply) if reply.status == 200 => Told::Done,
        Ok(reply) if reply.status == 503 => Told::NotDone,
        Ok(reply) => {
            assert_eq!(reply.json()["error"], "unknown", "{reply:?}");
            Told::Unknown
        }
        Err(error) if error.is_safe_to_repeat() => Told::NotDone,
        // Whatever befalls a database, a caller is not left without an answer.
        Err(error @ CallError::Timeout { .. }) => panic!("{name}: {error}"),
        Err(_) => Told::Unknown,
    }
}
