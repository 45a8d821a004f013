//! How the engine starts: the file is taken and brought up, then its threads begin.
//!
//! The order matters. Nothing opens the file before the lock is held and the destination of the backup has nothing against
//! it; the log is looked at before the first write; the writer runs before what asks it.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use jiff::Timestamp;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rusqlite::Connection;
use tokio_util::sync::CancellationToken;

use super::between::Between;
use super::chores::{Chores, Means};
use super::connection::{check_library, create_private, database_file, keep_log, open_reader};
use super::declared::Declarations;
use super::owner::Owner;
use super::readers::Readers;
use super::upkeep::Upkeep;
use super::writer::{self, Writer};
use super::{Inner, Sqlite, Threads, log_again, schema};
use crate::backup::{Shipping, ShippingParts, log_path, opening};
use crate::engine::OpenError;
use crate::engine::failures::FailureLog;
use crate::engine::wakes::Wakes;
use crate::engine::writable::Writable;
use crate::job::backoff::Backoff;
use crate::{Config, figures, time};

/// A database that is open and brought up, before anything is asked of it.
struct Opened {
    owner: Owner,
    file: PathBuf,
    connection: Connection,
    /// How many pages its log has.
    log_pages: Arc<AtomicU32>,
    backup: Option<ShippingParts>,
    declarations: Arc<Declarations>,
}

impl Opened {
    /// Takes the data directory and opens its database, making it where it is missing.
    fn open(config: &Config, data: &Path) -> Result<Self, OpenError> {
        check_library()?;
        let owner = Owner::take(data)?;
        let file = database_file(data);
        opening::check(&config.backup, &file)?;
        create_private(&file)?;
        // Asking for the metadata opens nothing.
        let written = std::fs::metadata(log_path(&file)).and_then(|log| log.modified()).ok();
        log_again::write(&file)?;
        let log_pages = Arc::new(AtomicU32::new(0));
        let mut connection = writer::open_counted(&file, &log_pages, config.page_cache)?;
        // The first read opens the log.
        schema::check(&connection)?;
        let backup = ShippingParts::open(&config.backup, &file, written)?;
        if let Some(parts) = &backup {
            keep_log(&connection)?;
            log_pages.store(parts.shipping.opened_frames(), Ordering::Relaxed);
        }
        schema::migrate(&mut connection)?;
        let declarations = Arc::new(Declarations::load(&connection)?);
        if let Some(parts) = &backup {
            parts.shipping.note_opening(log_pages.load(Ordering::Relaxed), time::now());
        }
        Ok(Self { owner, file, connection, log_pages, backup, declarations })
    }

    fn shipping(&self) -> Option<Shipping> {
        self.backup.as_ref().map(|parts| parts.shipping.clone())
    }
}

impl Sqlite {
    /// Opens the database of a data directory and starts what answers.
    pub(crate) fn open(config: &Config, data: &Path) -> Result<Self, OpenError> {
        figures::declare();
        let opened = Opened::open(config, data)?;
        let (file, shipping) = (opened.file.clone(), opened.shipping());
        let declarations = Arc::clone(&opened.declarations);
        let readers = Readers::start(&file, config)?;
        let (log_upkeep, upkeep, upkeep_thread) = Upkeep::start(&file, config.checkpoint, shipping.clone())?;
        let (outbox, inbox) = sync_channel(config.queue);
        let (wakes, writable) = (Arc::new(Wakes::default()), Writable::new());
        let writable_seen = writable.watch();
        let ended = CancellationToken::new();
        let Opened { owner, connection, log_pages, backup, .. } = opened;
        let writer = Writer {
            file: file.clone(),
            connection: Some(connection),
            inbox,
            held: VecDeque::new(),
            batch: config.batch,
            page_cache: config.page_cache,
            backoff: Backoff { base: config.backoff_base, limit: config.backoff_limit },
            rng: StdRng::from_os_rng(),
            wakes: Arc::clone(&wakes),
            upkeep: log_upkeep,
            log_pages,
            writable,
            last_now: Timestamp::MIN,
            next_expiry: None,
            failures: FailureLog::default(),
            shipping: shipping.clone(),
        };
        let writer_thread = start_writer(writer, &ended)?;
        let shipping_threads =
            backup.map(|parts| parts.start(&file, Between::new(outbox.clone()))).transpose()?;
        let (chores, chores_thread) = Chores::start(Means {
            writer: outbox.clone(),
            reader: open_reader(&file)?,
            declarations: Arc::clone(&declarations),
            retention: config.retention,
            shipping: shipping.clone(),
        })?;
        let threads = Threads {
            chores: chores_thread,
            writer: writer_thread,
            shipping: shipping_threads.unwrap_or_default(),
            upkeep: upkeep_thread,
            _owner: owner,
        };
        Ok(Self(Arc::new(Inner {
            outbox,
            readers,
            wakes,
            upkeep,
            declarations,
            chores,
            threads: Mutex::new(Some(threads)),
            file,
            writable: writable_seen,
            no_waiting: CancellationToken::new(),
            shipping,
            ended,
        })))
    }
}

/// Starts the writer's thread, whose end, asked or not, cancels `ended`.
fn start_writer(writer: Writer, ended: &CancellationToken) -> std::io::Result<JoinHandle<()>> {
    let end = ended.clone().drop_guard();
    std::thread::Builder::new().name("db-writer".to_owned()).spawn(move || {
        let _end = end;
        writer.run();
    })
}
