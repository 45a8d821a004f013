//! The log as SQLite itself writes it, read with ordinary file calls.

use rusqlite::Connection;

use super::*;

fn database(folder: &Path) -> (PathBuf, Connection) {
    let file = folder.join("test.db");
    let connection = crate::engine::sqlite::open_writer(&file).unwrap();
    connection.execute_batch("CREATE TABLE things (id INTEGER PRIMARY KEY, body BLOB)").unwrap();
    (file, connection)
}

fn insert(connection: &Connection, size: u32) {
    connection.execute("INSERT INTO things (body) VALUES (randomblob(?1))", [size]).unwrap();
}

fn checkpoint(connection: &Connection, mode: &str) {
    connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), (), |_| Ok(())).unwrap();
}

#[test]
fn the_commits_of_a_log_applied_to_an_empty_file_are_the_database() {
    let folder = tempfile::tempdir().unwrap();
    let (file, connection) = database(folder.path());
    for number in 0..40 {
        insert(&connection, 500 * number);
    }
    let log = Log::open(&file).unwrap();
    let last = log.last_commit().unwrap();
    let (commits, end) = log.read(&Place::default(), last.frames, true).unwrap();
    assert_eq!(end, last);
    assert_eq!(log.place_at(last.frames).unwrap(), Some(last), "the last frame states the place after it");
    assert!(commits.len() >= 41, "{}", commits.len());
    let mut image = Vec::new();
    for commit in &commits {
        image.resize(commit.pages as usize * 4096, 0);
        for (page, bytes) in &commit.frames {
            let at = (*page as usize - 1) * 4096;
            image[at..at + 4096].copy_from_slice(bytes);
        }
    }
    let copy = folder.path().join("copy.db");
    std::fs::write(&copy, image).unwrap();
    let rows = |connection: &Connection| -> Vec<(i64, Vec<u8>)> {
        let mut select = connection.prepare("SELECT id, body FROM things ORDER BY id").unwrap();
        let rows = select.query_map((), |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.map(Result::unwrap).collect()
    };
    assert_eq!(rows(&Connection::open(&copy).unwrap()), rows(&connection));
}

#[test]
fn a_log_that_began_anew_is_told_from_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let (file, connection) = database(folder.path());
    insert(&connection, 10_000);
    let log = Log::open(&file).unwrap();
    let before = log.last_commit().unwrap();
    checkpoint(&connection, "RESTART");
    assert_eq!(log.last_commit().unwrap(), before, "the file is overwritten by the next write only");
    insert(&connection, 10);
    let after = log.last_commit().unwrap();
    assert_ne!(after.salts, before.salts);
    assert!(matches!(log.read(&before, after.frames, false), Err(LogError::Renewed)));
    let (commits, end) = log.read(&before, after.frames, true).unwrap();
    assert_eq!((commits.len(), end), (1, after));
}

#[test]
fn a_changed_byte_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let (file, connection) = database(folder.path());
    insert(&connection, 20_000);
    let bytes = std::fs::read(path_of(&file)).unwrap();
    let copy = folder.path().join("copy.db");
    for at in [40, 60, 3_000, bytes.len() - 1] {
        let mut broken = bytes.clone();
        broken[at] ^= 1;
        std::fs::write(path_of(&copy), broken).unwrap();
        let log = Log::open(&copy).unwrap();
        let frames = u32::try_from(bytes.len() / (4096 + FRAME_HEAD_BYTES)).unwrap();
        let read = log.read(&Place::default(), frames, true);
        assert!(matches!(read, Err(LogError::Broken { .. })), "byte {at}: {read:?}");
    }
}

#[test]
fn reading_the_log_drops_none_of_sqlites_locks() {
    // Another process must still be refused after descriptors of the log were opened and closed here.
    let folder = tempfile::tempdir().unwrap();
    let (file, connection) = database(folder.path());
    connection.execute_batch("BEGIN IMMEDIATE; INSERT INTO things (body) VALUES (x'00')").unwrap();
    for _ in 0..3 {
        drop(Log::open(&file).unwrap());
    }
    let script = "import sqlite3, sys\n\
                  c = sqlite3.connect(sys.argv[1], timeout=0)\n\
                  try:\n    c.execute('BEGIN IMMEDIATE')\n\
                  except sqlite3.OperationalError as e:\n    print(e)";
    let other = std::process::Command::new("python3").arg("-c").arg(script).arg(&file).output().unwrap();
    assert!(String::from_utf8_lossy(&other.stdout).contains("locked"), "{other:?}");
}
