//! The backup of one PostgreSQL server: its two threads, and what the engine asks of it.

use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use process::Secret;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::board::{Board, ReceivingStatus};
use super::calls::Calls;
use super::keeper::Keeper;
use super::login::Login;
use super::receive::Receiver;
use super::recovery::layout;
use crate::Error;
use crate::backup::config::{Config, Mode, OnUnreachable};
use crate::backup::orders::Orders;
use crate::backup::standing::Standing;
use crate::engine::OpenError;
use crate::engine::postgres::session::Server;

/// What callers are told whose write is not begun; the log and the health say more.
const REFUSED: &str =
    "the backup does not hold what it promises, and the policy is to write nothing meanwhile";

/// What the engine and the role hold of the backup; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Receiving {
    board: Arc<Board>,
    mode: Mode,
    on_unreachable: OnUnreachable,
    orders: Orders,
    stop: CancellationToken,
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Receiving {
    /// Starts the backup of the server a URL names; `None` without a destination. It goes on whether or not the server
    /// can be reached.
    pub(crate) fn start(config: &Config, url: &Secret, data: &Path) -> Result<Option<Self>, OpenError> {
        if config.destination.is_none() {
            return Ok(None);
        }
        let settings = |reason: String| OpenError::Config { reason };
        let layout = layout(config).map_err(|error| settings(error.to_string()))?;
        let login = Login::of(url.expose()).map_err(settings)?;
        let (sender, orders) = Orders::new();
        let receiving = Self {
            board: Arc::new(Board::new(config)),
            mode: config.mode,
            on_unreachable: config.on_unreachable(),
            orders: sender,
            stop: CancellationToken::new(),
            threads: Arc::default(),
        };
        let start = |name: &str, work: Box<dyn FnOnce(Server) -> Work + Send>| {
            // A thread and a runtime of its own: what it waits for, the disk included, holds up nobody else, and the
            // programs it starts end with it.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let server = Server::new(url.expose(), runtime.handle().clone())?;
            let thread = std::thread::Builder::new().name(name.to_owned());
            let thread = thread.spawn(move || {
                runtime.block_on(work(server));
                // A call that hangs at the destination is left behind.
                runtime.shutdown_background();
            })?;
            receiving.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
            Ok::<_, OpenError>(())
        };
        let (board, stop) = (Arc::clone(&receiving.board), receiving.stop.clone());
        let (own_config, own_layout, own_login) = (config.clone(), layout.clone(), login.clone());
        let data = std::path::absolute(data)?;
        let own_data = data.clone();
        let receive = move |server| -> Work {
            let (config, layout, login, data) = (own_config, own_layout, own_login, own_data);
            let calls = Calls::new(config.timeout);
            Box::pin(Receiver { server, login, config, layout, calls, data, board, stop }.run())
        };
        start("db-receiving", Box::new(receive))?;
        let (board, stop, config) = (Arc::clone(&receiving.board), receiving.stop.clone(), config.clone());
        let scratch = data.join("backup-scratch").join("drill");
        let keep = move |server| -> Work {
            Box::pin(Keeper { server, login, config, layout, board, scratch, orders, stop }.run())
        };
        start("db-keeping", Box::new(keep))?;
        Ok(Some(receiving))
    }

    /// Says why a write is not even begun, if the policy says so.
    pub(crate) fn refusal(&self) -> Option<Error> {
        if self.on_unreachable == OnUnreachable::Continue {
            return None;
        }
        let is_refused = match (self.mode, self.board.notes.standing()) {
            (_, Standing::Shipping) => false,
            (Mode::Sync, _) => true,
            (Mode::Async, standing) => {
                matches!(standing, Standing::Unreachable { .. } | Standing::Stalled { .. })
            }
        };
        is_refused.then(|| Error::Unavailable { reason: REFUSED.into() })
    }

    /// Tells the standing, and when it changes.
    pub(crate) fn standing(&self) -> watch::Receiver<Standing> {
        self.board.notes.watch()
    }

    /// Gives the status.
    pub(crate) fn status(&self) -> ReceivingStatus {
        self.board.status()
    }

    /// Gives where a base or a drill is ordered.
    pub(crate) fn orders(&self) -> &Orders {
        &self.orders
    }

    /// Stops the programs and waits for the threads; blocks, and may be called again.
    pub(crate) fn close(&self) {
        self.stop.cancel();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            let _ = thread.join();
        }
    }
}

/// What a thread runs.
type Work = Pin<Box<dyn Future<Output = ()>>>;
