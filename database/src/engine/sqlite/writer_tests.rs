//! Group commit: one caller's refusal leaves the others, and a commit that fails promises nothing to any.

use rand::SeedableRng;
use rusqlite::OptionalExtension;
use serde_json::{Map, json};
use std::sync::mpsc::{SyncSender, sync_channel};

use super::super::{records, schema};
use super::*;
use crate::engine::wakes;
use crate::{NewJob, Operation, Precondition};

type Answered = oneshot::Receiver<Result<Done, Error>>;

/// A writer that does not run yet, so that a test decides what is in its first batch.
struct Bench {
    writer: Writer,
    outbox: SyncSender<Message>,
    _upkeep: std::thread::JoinHandle<()>,
    _data: tempfile::TempDir,
}

fn bench() -> Bench {
    let data = tempfile::tempdir().unwrap();
    let file = connection::database_file(data.path());
    let log_pages = Arc::new(AtomicU32::new(0));
    let mut connection = open_counted(&file, &log_pages).unwrap();
    schema::migrate(&mut connection).unwrap();
    let (outbox, inbox) = sync_channel(100);
    let (upkeep, _, thread) = Upkeep::start(&file, 1 << 20, None).unwrap();
    let writer = Writer {
        file,
        connection: Some(connection),
        inbox,
        batch: 100,
        backoff: Backoff { base: Duration::from_secs(1), limit: Duration::from_secs(1) },
        rng: StdRng::seed_from_u64(1),
        wakes: Arc::new(wakes::Wakes::default()),
        upkeep,
        log_pages,
        writable: watch::Sender::new(true),
        last_now: Timestamp::MIN,
        next_expiry: None,
        failures: FailureLog::default(),
        shipping: None,
    };
    Bench { writer, outbox, _upkeep: thread, _data: data }
}

impl Bench {
    fn ask(&self, work: Work) -> Answered {
        let (answer, answered) = oneshot::channel();
        self.outbox.send(Message::Write(Task { work, answer })).unwrap();
        answered
    }

    /// Writes what was asked for as one batch and gives the writer back.
    fn write_one_batch(&mut self) {
        let mut tasks = Vec::new();
        while let Ok(Message::Write(task)) = self.writer.inbox.try_recv() {
            tasks.push(task);
        }
        self.writer.write(tasks);
    }

    fn exists(&self, id: &str) -> bool {
        let reader = connection::open_reader(&self.writer.file).unwrap();
        reader.query_row(records::GET, ["shop", "things", id], |_| Ok(())).optional().unwrap().is_some()
    }
}

fn put(id: &str, precondition: Precondition, size: usize) -> Work {
    let data = Map::from_iter([("filler".to_owned(), json!("x".repeat(size)))]);
    let put = Operation::Put { collection: "things".into(), id: id.into(), data, precondition };
    let enqueue = Operation::Enqueue { job: NewJob::new("mail", "send", json!({})) };
    Work::Transact(Transaction { namespace: "shop".into(), operations: vec![enqueue, put] })
}

fn answer(mut answered: Answered) -> Result<Done, Error> {
    answered.try_recv().expect("it is answered once the batch is written")
}

#[test]
fn a_refused_caller_leaves_the_others_of_its_batch() {
    let mut bench = bench();
    let first = bench.ask(put("a", Precondition::None, 1));
    let refused = bench.ask(put("b", Precondition::Present, 1));
    let last = bench.ask(put("c", Precondition::None, 1));
    bench.write_one_batch();
    assert!(answer(first).is_ok() && answer(last).is_ok());
    let refused = answer(refused).err();
    assert_eq!(refused, Some(Error::PreconditionFailed { operation: 1, current: None }));
    assert!(bench.exists("a") && !bench.exists("b") && bench.exists("c"));
    let reader = connection::open_reader(&bench.writer.file).unwrap();
    let jobs: i64 = reader.query_row("SELECT count(*) FROM jobs", (), |row| row.get(0)).unwrap();
    assert_eq!(jobs, 2, "the refused caller's job went with its record");
}

#[test]
fn a_failed_commit_fails_every_caller_and_the_writer_recovers() {
    let mut bench = bench();
    let connection = bench.writer.connection.as_mut().unwrap();
    connection.commit_hook(Some(|| true)).unwrap(); // makes COMMIT fail, as a failing disk would
    let first = bench.ask(put("a", Precondition::None, 1));
    let refused = bench.ask(put("b", Precondition::Present, 1));
    bench.write_one_batch();
    for answered in [first, refused] {
        let error = answer(answered).err();
        assert!(matches!(error, Some(Error::Unavailable { .. })), "nothing was done: {error:?}");
    }
    assert!(!bench.exists("a") && !*bench.writer.writable.borrow());
    let again = bench.ask(put("a", Precondition::Absent, 1));
    bench.write_one_batch();
    assert!(answer(again).is_ok() && bench.exists("a") && *bench.writer.writable.borrow());
}

#[test]
fn a_full_disk_acknowledges_nothing_that_is_not_there() {
    let mut bench = bench();
    let connection = bench.writer.connection.as_ref().unwrap();
    let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    let _: i64 =
        connection.pragma_update_and_check(None, "max_page_count", pages + 4, |row| row.get(0)).unwrap();
    let small = bench.ask(put("small", Precondition::None, 1));
    let large = bench.ask(put("large", Precondition::None, 500_000));
    bench.write_one_batch();
    assert_eq!(answer(small).is_ok(), bench.exists("small"));
    let error = answer(large).err();
    assert!(matches!(error, Some(Error::Unavailable { .. })), "nothing was done: {error:?}");
    assert!(!bench.exists("large"));
    let after = bench.ask(put("after", Precondition::None, 1));
    bench.write_one_batch();
    assert_eq!(answer(after).is_ok(), bench.exists("after"));
}

#[test]
fn a_write_whose_own_statement_fails_was_not_done_and_leaves_the_others() {
    let mut bench = bench();
    let connection = bench.writer.connection.as_ref().unwrap();
    let trigger = "CREATE TRIGGER broken BEFORE INSERT ON records WHEN new.id = 'b' \
                   BEGIN SELECT raise(ABORT, 'no'); END";
    connection.execute_batch(trigger).unwrap();
    let first = bench.ask(put("a", Precondition::None, 1));
    let broken = bench.ask(put("b", Precondition::None, 1));
    bench.write_one_batch();
    assert!(answer(first).is_ok() && bench.exists("a") && !bench.exists("b"));
    let error = answer(broken).err();
    assert!(matches!(error, Some(Error::Unavailable { .. })), "{error:?}");
}

#[test]
fn a_batch_is_one_commit() {
    let mut bench = bench();
    let commits = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&commits);
    let count = move || {
        counter.fetch_add(1, Ordering::Relaxed);
        false
    };
    bench.writer.connection.as_mut().unwrap().commit_hook(Some(count)).unwrap();
    let answered: Vec<Answered> =
        (0..50).map(|n| bench.ask(put(&format!("{n}"), Precondition::None, 1))).collect();
    bench.write_one_batch();
    assert!(answered.into_iter().all(|answered| answer(answered).is_ok()));
    assert_eq!(commits.load(Ordering::Relaxed), 1);
}
