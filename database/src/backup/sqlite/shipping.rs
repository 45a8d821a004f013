//! The continuous backup of one open database: its threads, and what the writer asks of it.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::SystemTime;

use jiff::Timestamp;
use tokio::sync::watch;

use super::Recovery;
use super::board::{Board, ShippingStatus};
use super::feed::{Answer, Feed, Limits, Safety};
use super::keeper::Keeper;
use super::ship::Shipper;
use crate::Error;
use crate::backup::config::{Config, Mode, OnUnreachable};
use crate::backup::destination::Destination;
use crate::backup::keys::Keys;
use crate::backup::orders::{Inbox, Orders};
use crate::backup::standing::Standing;
use crate::engine::OpenError;
use crate::engine::sqlite::Between;

/// What the writer, the upkeep thread and the role hold of the continuous backup; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Shipping {
    feed: Arc<Feed>,
    board: Arc<Board>,
    mode: Mode,
    on_unreachable: OnUnreachable,
    orders: Orders,
}

/// What is made before the database is written to, and started once the writer can be asked.
#[derive(Debug)]
pub(crate) struct ShippingParts {
    pub(crate) shipping: Shipping,
    destination: Destination,
    keys: Arc<Keys>,
    config: Config,
    orders: Inbox,
}

impl ShippingParts {
    /// Opens the log of a database that is open and was not written to yet, and when it was `written` before that; `None`
    /// without a destination.
    pub(crate) fn open(
        config: &Config,
        database: &Path,
        written: Option<SystemTime>,
    ) -> Result<Option<Self>, OpenError> {
        let settings = |error: process::ConfigError| OpenError::Config { reason: error.to_string() };
        let Some(place) = config.place().map_err(settings)? else { return Ok(None) };
        let keys = Arc::new(config.keys().map_err(settings)?);
        let destination = Destination::open(&place, config)
            .map_err(|error| OpenError::Config { reason: format!("database.backup.destination: {error}") })?;
        let feed = Feed::open(database, Limits { buffer: config.buffer, log: config.log_limit }, written)?;
        let (sender, orders) = Orders::new();
        let shipping = Shipping {
            feed: Arc::new(feed),
            board: Arc::new(Board::new(config)),
            mode: config.mode,
            on_unreachable: config.on_unreachable(),
            orders: sender,
        };
        Ok(Some(Self { shipping, destination, keys, config: config.clone(), orders }))
    }

    /// Starts the shipping and the keeping thread.
    pub(crate) fn start(self, database: &Path, between: Between) -> std::io::Result<Vec<JoinHandle<()>>> {
        let Self { shipping, destination, keys, config, orders } = self;
        let shipper = Shipper {
            feed: Arc::clone(&shipping.feed),
            board: Arc::clone(&shipping.board),
            destination: destination.clone(),
            keys: Arc::clone(&keys),
            config: config.clone(),
            between: between.clone(),
            database: database.to_owned(),
        };
        let keeper = Keeper {
            feed: shipping.feed,
            board: shipping.board,
            recovery: Recovery { destination, keys },
            config,
            between,
            database: database.to_owned(),
            orders,
        };
        let start = |name: &str, work: Pin<Box<dyn Future<Output = ()> + Send>>| {
            // A runtime of its own: what it waits for, the disk included, holds up nobody else.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            std::thread::Builder::new().name(name.to_owned()).spawn(move || runtime.block_on(work))
        };
        Ok(vec![start("db-shipping", Box::pin(shipper.run()))?, start("db-keeping", Box::pin(keeper.run()))?])
    }
}

impl Shipping {
    /// Tells whether the policy is to refuse writes at times.
    pub(crate) fn may_refuse(&self) -> bool {
        self.on_unreachable == OnUnreachable::Block
    }

    /// Says why a write is not even begun, if the policy says so.
    pub(crate) fn refusal(&self) -> Option<Error> {
        if !self.may_refuse() {
            return None;
        }
        let standing = self.board.notes.standing();
        let is_refused = match self.mode {
            Mode::Sync => standing != Standing::Shipping,
            Mode::Async => matches!(standing, Standing::Unreachable { .. }) && self.feed.is_full(),
        };
        is_refused.then(|| Error::Unavailable { reason: REFUSED.into() })
    }

    /// Takes what was just committed. The answers go out when that is safe; at once in mode `async`.
    pub(crate) fn note_commit(&self, frames: u32, at: Timestamp, answer: Answer) {
        let waits = self.mode == Mode::Sync
            && (self.on_unreachable == OnUnreachable::Block
                || self.board.notes.standing() == Standing::Shipping);
        match waits {
            true => {
                if let Some(answer) = self.feed.note_commit(frames, at, Some(answer)) {
                    answer(Safety::Safe);
                }
            }
            false => {
                self.feed.note_commit(frames, at, None);
                answer(Safety::Safe);
            }
        }
        // The destination may have been given up between the look and the entry; then nobody else answers.
        if waits && matches!(self.board.notes.standing(), Standing::Unreachable { .. }) {
            self.feed.answer_all(match self.on_unreachable {
                OnUnreachable::Continue => Safety::Safe,
                OnUnreachable::Block => Safety::Unknown,
            });
        }
    }

    /// Takes what was committed while the database was opened.
    pub(crate) fn note_opening(&self, frames: u32, at: Timestamp) {
        self.feed.note_commit(frames, at, None);
    }

    /// Gives how many frames the log had when it was opened.
    pub(crate) fn opened_frames(&self) -> u32 {
        self.feed.opened.0.frames
    }

    /// Tells whether there is room for what could as well be written later.
    pub(crate) fn has_room(&self) -> bool {
        self.board.notes.standing() == Standing::Shipping && self.feed.has_room()
    }

    /// Runs a checkpoint unless the log is needed; tells whether it ran.
    pub(crate) fn checkpoint(&self, run: impl FnOnce()) -> bool {
        self.feed.checkpoint(run)
    }

    /// Tells the standing, and when it changes.
    pub(crate) fn standing(&self) -> watch::Receiver<Standing> {
        self.board.notes.watch()
    }

    /// Gives the status.
    pub(crate) fn status(&self) -> ShippingStatus {
        self.board.status(self.feed.ordinal(), self.feed.oldest())
    }

    /// Gives where a base or a drill is ordered.
    pub(crate) fn orders(&self) -> &Orders {
        &self.orders
    }

    /// Tells the shipping thread to end once it has shipped what there is.
    pub(crate) fn close(&self) {
        self.feed.close();
    }
}

/// What callers are told whose write is not begun; the log and the health say more.
const REFUSED: &str = "the backup destination cannot be used, and the policy is to write nothing meanwhile";
