//! Bases: the whole database as it was between two commits.
//!
//! A connection of its own begins a read transaction between two commits, so the commit it shows is known; the
//! backup API copies its pages into a scratch file while others write. That copy is checked by SQLite, then stored.

use std::fs::{self, DirBuilder, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::feed::{Answer, Feed, Mark};
use super::object::{self, Digest, Head};
use super::wal::Place;
use super::{check, head};
use crate::backup::destination::Destination;
use crate::backup::keys::Keys;
use crate::backup::name::Name;
use crate::backup::notes::Notes;
use crate::backup::status::Progress;
use crate::backup::{BackupError, fault, replace_private};
use crate::engine::sqlite::{Between, open_reader};

/// The folder in the data directory that bases are made in.
const SCRATCH: &str = "backup-scratch";

/// Pages copied between two looks at the progress.
const STEP_PAGES: i32 = 1024;

/// A read transaction that shows the state between two commits.
pub(super) struct Snapshot {
    pub(super) source: Connection,
    pub(super) mark: Mark,
    /// The answers that wait for what the snapshot holds, when it begins a generation.
    pub(super) answers: Vec<Answer>,
}

/// What storing a base needs.
pub(super) struct Store<'a> {
    pub(super) destination: &'a Destination,
    pub(super) keys: &'a Keys,
    pub(super) notes: &'a Notes,
    /// Tells when to stop in the middle.
    pub(super) feed: &'a Feed,
    /// The folder it is made in; emptied before and after.
    pub(super) scratch: PathBuf,
    /// Whether it begins a generation.
    pub(super) begins: bool,
}

/// A base that was stored.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) pages: u32,
    pub(super) page_bytes: u32,
    pub(super) digest: Digest,
    pub(super) bytes: u64,
}

impl Snapshot {
    /// Begins the transaction between two commits; with `begins`, the feed begins a generation there.
    pub(super) async fn begin(
        between: &Between,
        database: &Path,
        feed: &std::sync::Arc<Feed>,
        begins: bool,
    ) -> Result<Self, BackupError> {
        let source = open_reader(database).map_err(|error| fault(database, error))?;
        let (feed, file) = (std::sync::Arc::clone(feed), database.to_owned());
        let begun = between.run(move |frames| {
            // The first read fixes the snapshot.
            let read = source
                .execute_batch("BEGIN")
                .and_then(|()| source.query_row("SELECT count(*) FROM sqlite_schema", (), |_| Ok(())));
            read.map_err(|error| fault(&file, error))?;
            let marked =
                if begins { feed.begin(frames) } else { feed.mark(frames).map(|mark| (mark, Vec::new())) };
            let (mark, answers) = marked.map_err(|error| fault(&file, error))?;
            Ok(Self { source, mark, answers })
        });
        begun.await?
    }
}

/// Gives the folder bases are made in, beside a database.
pub(super) fn scratch_path(database: &Path) -> PathBuf {
    database.with_file_name(SCRATCH)
}

/// Makes that folder, empty of what a killed process left.
pub(super) fn scratch(database: &Path) -> Result<PathBuf, BackupError> {
    let folder = scratch_path(database);
    make_empty(&folder)?;
    Ok(folder)
}

/// Makes a folder that only we can read, without what was in it.
pub(super) fn make_empty(folder: &Path) -> Result<(), BackupError> {
    let made = match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => DirBuilder::new().recursive(true).mode(0o700).create(folder),
    };
    made.map_err(|error| fault(folder, error))
}

/// Copies what a snapshot shows, checks the copy and stores it as a base.
pub(super) async fn store(
    source: Connection,
    name: &Name,
    place: Place,
    store: Store<'_>,
) -> Result<Stored, BackupError> {
    make_empty(&store.scratch)?;
    let done = store_in(source, name, place, &store).await;
    let _ = fs::remove_dir_all(&store.scratch);
    store.notes.note_progress(None);
    done
}

async fn store_in(
    source: Connection,
    name: &Name,
    place: Place,
    store: &Store<'_>,
) -> Result<Stored, BackupError> {
    let (copy, packed) = (store.scratch.join("copy.db"), store.scratch.join("base"));
    copy_pages(source, &copy, store)?;
    let (pages, page_bytes) = check::structure(&copy)?;
    let own = Head {
        name: name.to_string(),
        page_bytes,
        pages,
        place,
        before: String::new(),
        after: None,
        encrypted: !store.keys.recipients.is_empty(),
        format: object::FORMAT,
        writer: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let digest = pack(&copy, &packed, &own, store.keys).map_err(|error| fault(&packed, error))?;
    let _ = fs::remove_file(&copy);
    let bytes = fs::metadata(&packed).map_err(|error| fault(&packed, error))?.len();
    if store.begins {
        // Before the base, so that a generation never is without them; one without a file is none.
        head::store_bases(store.destination, &name.generation, &[name.last].into()).await?;
        let (path, content) = (head::head_of(&name.generation), head::write_head(name.last, &digest));
        store.destination.replace(&path, content).await?;
    }
    store.notes.note_progress(Some(Progress { what: "storing the base".into(), done: 0, total: bytes }));
    store.destination.upload(&name.to_string(), &packed, &|sent| store.notes.add_progress(sent)).await?;
    crate::backup::figures::count_stored(name.kind.folder(), bytes);
    Ok(Stored { pages, page_bytes, digest, bytes })
}

fn copy_pages(source: Connection, copy: &Path, store: &Store<'_>) -> Result<(), BackupError> {
    let copied = || -> rusqlite::Result<bool> {
        let page_bytes: u32 = source.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let mut target = Connection::open(copy)?;
        {
            let backup = Backup::new(&source, &mut target)?;
            // Each step shows the same state: the transaction is open for as long as the source.
            while backup.step(STEP_PAGES)? == StepResult::More {
                let progress = backup.progress();
                let pages = |count: i32| u64::from(count.unsigned_abs()) * u64::from(page_bytes);
                let (total, left) = (pages(progress.pagecount), pages(progress.remaining));
                let what = "copying the base".into();
                store.notes.note_progress(Some(Progress { what, done: total - left, total }));
                if store.feed.is_closed() {
                    return Ok(false);
                }
            }
        }
        // A base is one file: it must not ask for a log beside it.
        target.pragma_update(None, "journal_mode", "delete")?;
        target.close().map_err(|(_, error)| error)?;
        Ok(true)
    };
    match copied().map_err(|error| fault(copy, error))? {
        true => Ok(()),
        false => Err(BackupError::Stopping),
    }
}

fn pack(copy: &Path, packed: &Path, head: &Head, keys: &Keys) -> io::Result<Digest> {
    let mut source = BufReader::with_capacity(1 << 20, File::open(copy)?);
    let target = BufWriter::with_capacity(1 << 20, replace_private(packed)?);
    let (mut target, digest) =
        object::write(target, head, keys, |body| io::copy(&mut source, &mut &mut *body).map(drop))?;
    target.flush()?;
    Ok(digest)
}

/// Fetches a base into a local file and checks its digest and name.
pub(super) async fn fetch(
    destination: &Destination,
    name: &Name,
    local: &Path,
    note: &(dyn Fn(u64) + Sync),
) -> Result<(Head, Digest), BackupError> {
    destination.download(&name.to_string(), local, note).await?;
    check_file(local, name)
}

/// Checks a whole local file as [`object::check`] does one in memory.
fn check_file(local: &Path, name: &Name) -> Result<(Head, Digest), BackupError> {
    let storage = |error| fault(local, error);
    let damaged = |fault| BackupError::damaged_file(name, &fault);
    let size = fs::metadata(local).map_err(storage)?.len();
    let content =
        size.checked_sub(object::DIGEST_BYTES as u64).ok_or_else(|| damaged(object::Fault::Foreign))?;
    let mut file = BufReader::with_capacity(1 << 20, File::open(local).map_err(storage)?);
    let digest = object::digest_of((&mut file).take(content)).map_err(storage)?;
    let mut stated = [0; object::DIGEST_BYTES];
    file.read_exact(&mut stated).map_err(storage)?;
    if object::hex(&stated) != digest {
        return Err(damaged(object::Fault::Digest));
    }
    let (head, _) = object::read_head(File::open(local).map_err(storage)?).map_err(damaged)?;
    object::check_name(&head, name).map_err(damaged)?;
    Ok((head, digest))
}

/// Unpacks a base that was fetched and checked into a database file.
pub(super) fn unpack(local: &Path, name: &Name, keys: &Keys, database: &Path) -> Result<Head, BackupError> {
    let damaged = |fault| BackupError::damaged_file(name, &fault);
    let storage = |error| fault(local, error);
    let size = fs::metadata(local).map_err(storage)?.len();
    let mut file = BufReader::with_capacity(1 << 20, File::open(local).map_err(storage)?);
    let (head, start) = object::read_head(&mut file).map_err(damaged)?;
    let body = file.take(size.saturating_sub(object::DIGEST_BYTES as u64 + start as u64));
    let mut body = object::open_body(&head, body, keys).map_err(damaged)?;
    let mut unpacked = || {
        let mut target = BufWriter::with_capacity(1 << 20, replace_private(database)?);
        let written = io::copy(&mut body, &mut target)?;
        target.flush().map(|()| written)
    };
    let written = unpacked().map_err(|error| fault(database, error))?;
    match written == u64::from(head.pages) * u64::from(head.page_bytes) {
        true => Ok(head),
        false => Err(damaged(object::Fault::Body(format!("it unpacks to {written} bytes")))),
    }
}

/// Fetches a base only to read its head.
pub(super) async fn read_head(
    destination: &Destination,
    name: &Name,
    scratch: &Path,
) -> Result<(Head, Digest), BackupError> {
    let local = scratch.join("last");
    let read = fetch(destination, name, &local, &|_| ()).await;
    let _ = fs::remove_file(&local);
    read
}
