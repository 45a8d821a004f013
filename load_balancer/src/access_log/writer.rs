//! From the data plane's buffers to a file, by a thread that may be slow.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::thread::JoinHandle;

use process::metrics;
use prometheus::IntCounterVec;

use super::Line;

/// Buffers that may wait for the writer; a thread sends one a second, or when it is full.
const WAITING: usize = 64;

/// The size in bytes at which a buffer is handed over before its second is up.
const FULL: usize = 64 << 10;

static DROPPED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    metrics::counter(
        "sixfold_access_log_dropped_bytes_total",
        "Bytes of access log that were lost because the writer was too slow or the file could not be written.",
        &[],
    )
});

/// The log's writer; dropping it writes what was handed over and ends its thread.
#[derive(Debug)]
pub(crate) struct AccessLog {
    sender: Option<SyncSender<Order>>,
    place: Arc<Place>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Order {
    Write(Vec<u8>),
    Reopen,
}

/// Where the log is.
#[derive(Debug)]
struct Place {
    path: Mutex<PathBuf>,
    /// It was to be opened anew, and there was no room to order that.
    was_missed: AtomicBool,
}

impl Place {
    fn new(path: &Path) -> Self {
        Self { path: Mutex::new(path.to_owned()), was_missed: AtomicBool::new(false) }
    }

    fn open(&self) -> io::Result<Destination> {
        let path = self.path.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Destination::open(&path)
    }
}

impl AccessLog {
    /// Opens the log; the error tells why it cannot be.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = Destination::open(path)?;
        let (sender, orders) = sync_channel(WAITING);
        let place = Arc::new(Place::new(path));
        let known = Arc::clone(&place);
        let thread = std::thread::Builder::new()
            .name("access log".to_owned())
            .spawn(move || write_all(file, &orders, &known))?;
        Ok(Self { sender: Some(sender), place, thread: Some(thread) })
    }

    /// Has the file opened anew, because it was moved away or another one is configured.
    ///
    /// What was handed over before is written where it was meant to go, unless so much waits that the writer has no room
    /// for the order; then it opens the file before it writes anything more.
    pub(crate) fn reopen(&self, path: &Path) {
        path.clone_into(&mut self.place.path.lock().unwrap_or_else(PoisonError::into_inner));
        let sent = self.sender.as_ref().map(|sender| sender.try_send(Order::Reopen));
        if !matches!(sent, Some(Ok(()))) {
            self.place.was_missed.store(true, SeqCst);
        }
    }

    /// Gives a thread of the data plane its buffer.
    pub(crate) fn lines(&self) -> Lines {
        Lines { buffer: RefCell::default(), sender: self.sender.clone() }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One thread's lines.
#[derive(Debug)]
pub(crate) struct Lines {
    buffer: RefCell<Vec<u8>>,
    sender: Option<SyncSender<Order>>,
}

impl Lines {
    /// Adds a line.
    pub(crate) fn add(&self, line: &Line<'_>) {
        line.write(&mut self.buffer.borrow_mut());
        if self.buffer.borrow().len() >= FULL {
            self.flush();
        }
    }

    /// Hands over what was added; what the writer has no room for is lost, and counted.
    pub(crate) fn flush(&self) {
        let lines = self.buffer.take();
        if lines.is_empty() {
            return;
        }
        let size = lines.len();
        let sent = self.sender.as_ref().map(|sender| sender.try_send(Order::Write(lines)));
        if !matches!(sent, Some(Ok(()))) {
            note_dropped(size);
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.flush();
    }
}

fn note_dropped(bytes: usize) {
    DROPPED.with_label_values::<&str>(&[]).inc_by(bytes as u64);
}

enum Destination {
    Terminal,
    /// With whether the last line lacks its end, because the disk had no room for it.
    File(File, bool),
}

impl Destination {
    fn open(path: &Path) -> io::Result<Self> {
        if path.as_os_str().is_empty() {
            return Ok(Self::Terminal);
        }
        let opened = OpenOptions::new().create(true).append(true).open(path);
        let opened = opened.map(|file| Self::File(file, false));
        opened.map_err(|error| {
            let message = format!("load_balancer.access_log.path: {}: {error}", path.display());
            io::Error::new(error.kind(), message)
        })
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Self::Terminal => io::stdout().lock().write_all(lines),
            Self::File(file, is_torn) => {
                if *is_torn {
                    write_whole(file, b"\n", is_torn)?;
                }
                write_whole(file, lines, is_torn)
            }
        }
    }
}

/// Writes bytes that end a line; notes whether an error left one unended.
fn write_whole(to: &mut impl Write, mut bytes: &[u8], is_torn: &mut bool) -> io::Result<()> {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                *is_torn = bytes[count - 1] != b'\n';
                bytes = &bytes[count..];
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn write_all(mut destination: Destination, orders: &Receiver<Order>, place: &Place) {
    let mut is_failing = false;
    for order in orders {
        let mut result = Ok(());
        if place.was_missed.swap(false, SeqCst) || matches!(order, Order::Reopen) {
            result = place.open().map(|opened| destination = opened);
        }
        if let Order::Write(lines) = order {
            result = result.and(destination.write(&lines).inspect_err(|_| note_dropped(lines.len())));
        }
        // Told when it begins, not with every buffer.
        if let (false, Err(error)) = (is_failing, &result) {
            tracing::error!(%error, "the access log cannot be written");
        }
        is_failing = result.is_err();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(path: &str) -> Line<'_> {
        Line {
            time: jiff::Timestamp::UNIX_EPOCH,
            client: [127, 0, 0, 1].into(),
            method: "GET",
            host: None,
            path,
            protocol: "HTTP/1.1",
            status: 200,
            client_gone: false,
            bytes: None,
            duration_us: 1,
            backend: None,
            backend_us: None,
            queue_us: 0,
            attempts: 1,
            hedged: false,
            error: None,
            trace_id: "",
        }
    }

    #[test]
    fn a_log_that_was_moved_away_goes_on_in_a_new_file() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
        let log = AccessLog::open(&path).unwrap();
        let lines = log.lines();
        lines.add(&line("/first"));
        lines.flush();
        // The writer opens only after it has written what came before.
        std::fs::rename(&path, &moved).unwrap();
        log.reopen(&path);
        lines.add(&line("/second"));
        drop(lines);
        drop(log);
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        assert!(read(&moved).contains("/first") && !read(&moved).contains("/second"));
        assert!(read(&path).contains("/second"));
    }

    #[test]
    fn a_log_that_is_moved_away_while_the_writer_has_no_room_goes_on_in_a_new_file() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
        let destination = Destination::open(&path).unwrap();
        let (sender, orders) = sync_channel(1);
        let place = Arc::new(Place::new(&path));
        let log = AccessLog { sender: Some(sender.clone()), place: Arc::clone(&place), thread: None };
        sender.send(Order::Write(b"first\n".to_vec())).unwrap();
        std::fs::rename(&path, &moved).unwrap();
        log.reopen(&path);
        let writer = std::thread::spawn(move || write_all(destination, &orders, &place));
        sender.send(Order::Write(b"second\n".to_vec())).unwrap();
        drop((sender, log));
        writer.join().unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().contains("second"));
    }

    /// A disk with room for so many bytes.
    struct Small(Vec<u8>, usize);

    impl Write for Small {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.1);
            self.1 -= count;
            self.0.extend_from_slice(&bytes[..count]);
            if count == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(count) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_a_full_disk_cut_off_spoils_no_other() {
        let (mut disk, mut is_torn) = (Small(Vec::new(), 6), false);
        assert!(write_whole(&mut disk, b"one\ntwo\n", &mut is_torn).is_err());
        assert!(is_torn, "{}", disk.0.escape_ascii());
        disk.1 = 1;
        assert!(write_whole(&mut disk, b"\n", &mut is_torn).is_ok() && !is_torn);
        assert!(
            write_whole(&mut disk, b"three\n", &mut is_torn).is_err() && !is_torn,
            "nothing of it is there"
        );
        disk.1 = 6;
        write_whole(&mut disk, b"four\n", &mut is_torn).unwrap();
        assert_eq!(disk.0, b"one\ntw\nfour\n");
    }

    #[test]
    fn a_log_that_cannot_be_opened_says_so() {
        assert!(AccessLog::open(Path::new("/nowhere/access.log")).is_err());
    }
}
