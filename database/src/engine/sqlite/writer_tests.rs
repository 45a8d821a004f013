//! Group commit: one caller's refusal leaves the others, and a commit that fails promises nothing to any.

use rand::SeedableRng;
use rusqlite::OptionalExtension;
use serde_json::{Map, json};
use std::sync::mpsc::{SyncSender, sync_channel};

use super::super::group::HASTE;
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
    let mut connection = open_counted(&file, &log_pages, 1 << 20).unwrap();
    schema::migrate(&mut connection).unwrap();
    let (outbox, inbox) = sync_channel(100);
    let (upkeep, _, thread) = Upkeep::start(&file, 1 << 20, None).unwrap();
    let writer = Writer {
        file,
        connection: Some(connection),
        inbox,
        held: VecDeque::new(),
        batch: 100,
        page_cache: 1 << 20,
        backoff: Backoff { base: Duration::from_secs(1), limit: Duration::from_secs(1) },
        rng: StdRng::seed_from_u64(1),
        wakes: Arc::new(wakes::Wakes::default()),
        upkeep,
        log_pages,
        writable: Writable::new(),
        last_now: Timestamp::MIN,
        next_expiry: None,
        failures: FailureLog::default(),
        shipping: None,
    };
    Bench { writer, outbox, _upkeep: thread, _data: data }
}

impl Bench {
    fn ask(&self, work: Work) -> Answered {
        let (task, answered) = task(work);
        self.outbox.send(Message::Write(task)).unwrap();
        answered
    }

    /// Counts the commits from now on.
    fn count_commits(&mut self) -> Arc<AtomicU32> {
        let commits = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&commits);
        let count = move || {
            counter.fetch_add(1, Ordering::Relaxed);
            false
        };
        self.writer.connection.as_mut().unwrap().commit_hook(Some(count)).unwrap();
        commits
    }

    /// Writes what was asked for as one batch and gives the writer back.
    fn write_one_batch(&mut self) {
        let mut batch = Batch::default();
        while let Ok(Message::Write(task)) = self.writer.inbox.try_recv() {
            batch.push(task);
        }
        self.writer.write(batch);
    }

    /// Works until it is told to stop.
    fn run(self) {
        self.writer.run();
    }

    fn exists(&self, id: &str) -> bool {
        let reader = connection::open_reader(&self.writer.file).unwrap();
        reader.query_row(records::GET, ["shop", "things", id], |_| Ok(())).optional().unwrap().is_some()
    }
}

fn task(work: Work) -> (Task, Answered) {
    let (answer, answered) = oneshot::channel();
    (Task { work, answer }, answered)
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
    assert!(!bench.exists("a") && bench.writer.writable.has_failed());
    let again = bench.ask(put("a", Precondition::Absent, 1));
    bench.write_one_batch();
    assert!(answer(again).is_ok() && bench.exists("a") && !bench.writer.writable.has_failed());
    let connection = bench.writer.connection.as_ref().unwrap();
    let kept: i64 = connection.pragma_query_value(None, "cache_size", |row| row.get(0)).unwrap();
    assert_eq!(kept, -1 << 10, "the new connection has the page cache of the first");
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
    let commits = bench.count_commits();
    let answered: Vec<Answered> =
        (0..50).map(|n| bench.ask(put(&format!("{n}"), Precondition::None, 1))).collect();
    bench.write_one_batch();
    assert!(answered.into_iter().all(|answered| answer(answered).is_ok()));
    assert_eq!(commits.load(Ordering::Relaxed), 1);
}

#[test]
fn who_asks_while_a_batch_is_written_joins_it() {
    let mut bench = bench();
    let commits = bench.count_commits();
    let refused = bench.ask(put("b", Precondition::Present, 1));
    let late = bench.ask(put("c", Precondition::None, 1));
    let (first, asked) = task(put("a", Precondition::None, 1));
    let mut batch = Batch::default();
    batch.push(first);
    bench.writer.write(batch);
    assert!(answer(asked).is_ok() && answer(late).is_ok());
    assert_eq!(answer(refused).err(), Some(Error::PreconditionFailed { operation: 1, current: None }));
    assert!(bench.exists("a") && !bench.exists("b") && bench.exists("c"));
    assert_eq!(commits.load(Ordering::Relaxed), 1);
}

#[test]
fn who_comes_back_slowly_waits_for_the_next_batch() {
    let mut bench = bench();
    let commits = bench.count_commits();
    let (mut batch, mut first) = (Batch::default(), Vec::new());
    for n in 0..2 * HASTE {
        let (task, asked) = task(put(&format!("{n}"), Precondition::None, 1));
        batch.push(task);
        first.push(asked);
    }
    let mut late = bench.ask(put("late", Precondition::None, 1));
    bench.writer.write(batch);
    assert!(first.into_iter().all(|asked| answer(asked).is_ok()));
    assert!(late.try_recv().is_err(), "one is too few for {} that are in it", 2 * HASTE);
    bench.outbox.send(Message::Stop).unwrap();
    bench.run();
    assert!(answer(late).is_ok());
    assert_eq!(commits.load(Ordering::Relaxed), 2);
}

#[test]
fn a_batch_takes_no_more_latecomers_than_it_may_hold() {
    let mut bench = bench();
    bench.writer.batch = 3;
    let commits = bench.count_commits();
    let mut answered: Vec<Answered> =
        (0..5).map(|n| bench.ask(put(&format!("{n}"), Precondition::None, 1))).collect();
    bench.writer.write(Batch::default());
    assert_eq!(commits.load(Ordering::Relaxed), 0, "nobody asked before it began");
    let Ok(Message::Write(first)) = bench.writer.inbox.try_recv() else { panic!("five asked") };
    let mut batch = Batch::default();
    batch.push(first);
    bench.writer.write(batch);
    let late = answered.split_off(3);
    let at = |answered| match answer(answered) {
        Ok(Done::Committed(committed)) => committed.at,
        _ => panic!("it is committed"),
    };
    let times: Vec<_> = answered.into_iter().map(at).collect();
    assert!(times[0] < times[1], "who joins has the time of then: {times:?}");
    assert!(late.into_iter().all(|mut late| late.try_recv().is_err()), "they wait for the next");
    assert_eq!(commits.load(Ordering::Relaxed), 1);
}

#[test]
fn what_looks_at_the_clock_waits_for_a_batch_of_its_own() {
    let mut bench = bench();
    let claim = JobCommand::Claim { queues: vec!["mail".into()], limit: 1, lease_ms: 1_000, wait_ms: 0 };
    let mut claimed = bench.ask(Work::Command(claim));
    let mut behind = bench.ask(put("b", Precondition::None, 1));
    let (first, asked) = task(put("a", Precondition::None, 1));
    let mut batch = Batch::default();
    batch.push(first);
    bench.writer.write(batch);
    assert!(answer(asked).is_ok());
    assert!(claimed.try_recv().is_err() && behind.try_recv().is_err());
    bench.outbox.send(Message::Stop).unwrap();
    bench.run();
    assert!(matches!(answer(claimed), Ok(Done::Jobs(jobs)) if jobs.len() == 1), "the job that came with a");
    assert!(answer(behind).is_ok());
}
