//! The writer: transactions at a fixed rate, whatever becomes of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use system_tests::Client;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// How many transactions are under way at most; one that is due beyond is not sent.
const UNDER_WAY: usize = 512;

/// What a product holds beside its name: enough that one that is not read fills what the kernel buffers.
const FILLER_BYTES: usize = 500;

/// How often the schedule is looked at.
const TICK: Duration = Duration::from_millis(1);

/// What became of the writes.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Written {
    pub(crate) acknowledged: usize,
    pub(crate) refused: usize,
    pub(crate) unsent: usize,
}

/// A load under way.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    task: JoinSet<Written>,
}

impl Load {
    /// Begins to write new products, `rate` a second, `batch` in one transaction.
    pub(crate) fn start(database: &Client, rate: u64, batch: u64) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let mut task = JoinSet::new();
        task.spawn(run(database.clone(), rate, batch, Arc::clone(&stop)));
        Self { stop, task }
    }

    /// Stops, and waits for what is under way.
    pub(crate) async fn stop(mut self) -> Written {
        self.stop.store(true, Ordering::Relaxed);
        self.task.join_next().await.expect("a load").expect("the load ends")
    }
}

async fn run(database: Client, rate: u64, batch: u64, stop: Arc<AtomicBool>) -> Written {
    let batch = batch as usize;
    let places = Arc::new(Semaphore::new(UNDER_WAY));
    let counts = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let (mut sent, mut unsent, mut tasks) = (0, 0, JoinSet::new());
    let run: u64 = rand::random();
    let began = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let due = (began.elapsed().as_secs_f64() * rate as f64) as usize / batch;
        for number in sent..due {
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                unsent += batch;
                continue;
            };
            let (database, counts) = (database.clone(), Arc::clone(&counts));
            tasks.spawn(async move {
                let _place = place;
                let operations: Vec<Value> = (0..batch)
                    .map(|item| {
                        let id = format!("{run:016x}-{number}-{item}");
                        let name = format!("product {number}");
                        let data = json!({"name": name, "price": number, "filler": "x".repeat(FILLER_BYTES)});
                        json!({"op": "put", "collection": "products", "id": id, "data": data})
                    })
                    .collect();
                let body = json!({"namespace": "catalog", "operations": operations}).to_string();
                let fields = [("content-type", "application/json")];
                let reply = database.try_send("POST", "/v1/transact", &fields, body).await;
                let is_done = reply.is_ok_and(|reply| reply.status == 200);
                counts[usize::from(!is_done)].fetch_add(batch, Ordering::Relaxed);
            });
        }
        sent = due;
        while tasks.try_join_next().is_some() {}
        tokio::time::sleep(TICK).await;
    }
    while tasks.join_next().await.is_some() {}
    let [acknowledged, refused] = [0, 1].map(|which| counts[which].load(Ordering::Relaxed));
    Written { acknowledged, refused, unsent }
}
