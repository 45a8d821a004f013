//! The thread ends when it is told to, whatever the writer does.

use std::sync::mpsc::sync_channel;

use super::super::{connection, schema};
use super::*;

#[test]
fn a_stop_does_not_wait_for_a_step_that_is_not_durable() {
    let data = tempfile::tempdir().unwrap();
    let file = connection::database_file(data.path());
    let mut made = connection::open_writer(&file).unwrap();
    schema::migrate(&mut made).unwrap();
    let unfinished = "INSERT INTO collections (namespace, name, scan) VALUES ('shop', 'things', 0); \
        INSERT INTO collection_indexes (collection, name, definition, form) VALUES (1, 'name', '', 'emptying');";
    made.execute_batch(unfinished).unwrap();
    let (writer, inbox) = sync_channel(1);
    let means = Means {
        writer,
        reader: connection::open_reader(&file).unwrap(),
        declarations: Arc::default(),
        retention: Retention::default(),
        shipping: None,
    };
    let (chores, thread) = Chores::start(means).unwrap();
    // As while the backup's destination does not answer.
    let asked = inbox.recv().unwrap();
    chores.stop();
    let (ended, end) = sync_channel(1);
    std::thread::spawn(move || ended.send(thread.join().is_ok()));
    assert_eq!(end.recv_timeout(Duration::from_secs(20)), Ok(true), "it waits for an answer");
    drop(asked);
}
