//! A few read-only connections, each on a thread of its own, that answer what waits in one bounded [`mod@line`].

mod line;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::oneshot;

use self::line::{Line, Turn};
use super::connection;
use crate::engine::OpenError;
use crate::{Config, Error};

/// A question that carries the place of its answer.
type Question = Box<dyn FnOnce(&Connection) + Send>;

/// The reading threads.
#[derive(Debug)]
pub(super) struct Readers {
    waiting: Arc<Waiting>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What the threads wait for.
struct Waiting {
    state: Mutex<State>,
    news: Condvar,
}

struct State {
    line: Line<Question>,
    /// How many threads wait; none is woken for what may not begin, which under load is most of what comes.
    idle: usize,
    is_closed: bool,
}

impl Readers {
    /// Opens the connections and starts their threads: one more than walks of one collection go on at once, so that there
    /// is one for everything else.
    pub(super) fn start(file: &Path, config: &Config) -> Result<Self, OpenError> {
        let line = Line::new(config.read_queue, config.readers);
        let state = Mutex::new(State { line, idle: 0, is_closed: false });
        let waiting = Arc::new(Waiting { state, news: Condvar::new() });
        let readers = Self { waiting, threads: Mutex::default() };
        for number in 0..=config.readers {
            let connection = connection::open_reader(file)?;
            connection::set_page_cache(&connection, config.page_cache)?;
            let waiting = Arc::clone(&readers.waiting);
            let thread = std::thread::Builder::new()
                .name(format!("db-reader-{number}"))
                .spawn(move || waiting.answer(&connection))?;
            readers.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        }
        Ok(readers)
    }

    /// Asks a quick question of the latest commit: one whose answer is found by its name.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.line_up(None, question).await
    }

    /// Asks a question of the latest commit that walks past records of a collection.
    pub(super) async fn walk<T: Send + 'static>(
        &self,
        namespace: &str,
        collection: &str,
        question: impl FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.line_up(Some(format!("{namespace}/{collection}")), question).await
    }

    async fn line_up<T: Send + 'static>(
        &self,
        walks: Option<String>,
        question: impl FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        let question: Question = Box::new(move |connection| {
            // The caller may have gone meanwhile.
            if !answer.is_closed() {
                let _ = answer.send(question(connection));
            }
        });
        {
            let mut state = self.waiting.lock();
            if state.is_closed {
                return Err(Error::Unavailable { reason: "it is stopping".into() });
            }
            state.line.join(walks, question).map_err(|_| Error::Overloaded)?;
            self.waiting.wake(&state);
        }
        answered
            .await
            .unwrap_or_else(|_| Err(Error::Storage { reason: "a read ended without answer".into() }))
    }

    /// Answers what was asked and ends the threads.
    pub(super) fn stop(&self) {
        self.waiting.lock().is_closed = true;
        self.waiting.news.notify_all();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            let _ = thread.join();
        }
    }
}

impl Waiting {
    /// Answers one question after the other, until there are no more to come.
    fn answer(&self, connection: &Connection) {
        let mut state = self.lock();
        loop {
            let Some(Turn { question, walks }) = state.line.take() else {
                if state.is_closed {
                    return;
                }
                state.idle += 1;
                state = self.news.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
                continue;
            };
            // The end of a walk may have let two begin: this one, and one for another thread.
            self.wake(&state);
            drop(state);
            // A fault in one question must not cost the others their reader.
            if catch_unwind(AssertUnwindSafe(|| question(connection))).is_err() {
                tracing::error!("a read failed by a fault of the program");
            }
            state = self.lock();
            if let Some(collection) = walks {
                state.line.end(&collection);
            }
        }
    }

    /// Wakes a thread if there is one, and something for it.
    fn wake(&self, state: &State) {
        if state.idle > 0 && state.line.may_begin() {
            self.news.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn walks_of_one_collection_hold_up_neither_others_nor_what_is_quick() {
        let data = tempfile::tempdir().unwrap();
        let file = connection::database_file(data.path());
        drop(connection::open_writer(&file).unwrap());
        let readers = Arc::new(Readers::start(&file, &Config::default()).unwrap());
        let (release, held) = std::sync::mpsc::channel::<()>();
        let held = Arc::new(Mutex::new(held));
        let mut long = tokio::task::JoinSet::new();
        for _ in 0..Config::default().readers + 2 {
            let (readers, held) = (Arc::clone(&readers), Arc::clone(&held));
            let walk = move |_: &Connection| Ok(held.lock().unwrap().recv().is_err());
            long.spawn(async move { readers.walk("shop", "large", walk).await });
        }
        tokio::task::yield_now().await;
        assert_eq!(readers.ask(|_| Ok(1)).await, Ok(1));
        assert_eq!(readers.walk("shop", "small", |_| Ok(2)).await, Ok(2));
        assert!(long.try_join_next().is_none(), "all of them wait");
        drop(release);
        while let Some(walk) = long.join_next().await {
            assert_eq!(walk.unwrap(), Ok(true));
        }
        readers.stop();
    }

    #[tokio::test]
    async fn a_reader_keeps_as_many_pages_as_it_was_told() {
        let data = tempfile::tempdir().unwrap();
        let file = connection::database_file(data.path());
        drop(connection::open_writer(&file).unwrap());
        let config = Config { page_cache: 3 << 20, ..Config::default() };
        let readers = Readers::start(&file, &config).unwrap();
        let kept = |connection: &Connection| {
            Ok(connection.pragma_query_value(None, "cache_size", |row| row.get::<_, i64>(0))?)
        };
        assert_eq!(readers.ask(kept).await, Ok(-3 << 10), "KiB are told as less than nothing");
        readers.stop();
    }
}
