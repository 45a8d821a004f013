//! A progress bar on standard error, where that is a terminal.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use database::{Error, Remote};

/// How often the bar is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// Its width.
const CELLS: u64 = 30;

/// A bar; what is drawn disappears with it.
#[derive(Debug)]
pub(crate) struct Bar {
    what: &'static str,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    done: u64,
    total: u64,
    drawn: Option<Instant>,
}

impl Bar {
    pub(crate) fn new(what: &'static str) -> Self {
        Self { what, state: Mutex::new(State { done: 0, total: 0, drawn: None }) }
    }

    /// Tells how many bytes there are.
    pub(crate) fn begin(&self, total: u64) {
        self.change(|state| state.total = total);
    }

    /// Tells that some were done.
    pub(crate) fn add(&self, bytes: u64) {
        self.change(|state| state.done += bytes);
    }

    /// Draws how far the database role is while it works.
    pub(crate) async fn watch<T>(
        role: &Remote,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let bar = Self::new("working");
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = tokio::time::sleep(DRAW_EVERY * 2) => {}
            }
            if let Ok(Some(status)) = role.backup_status().await
                && let Some(progress) = status.progress()
            {
                bar.change(|state| (state.done, state.total) = (progress.done, progress.total));
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        change(&mut state);
        let is_due = state.drawn.is_none_or(|drawn| drawn.elapsed() >= DRAW_EVERY);
        if is_due && std::io::stderr().is_terminal() {
            state.drawn = Some(Instant::now());
            let _ = write!(std::io::stderr(), "\r{}", render(self.what, state.done, state.total));
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if self.state.lock().is_ok_and(|state| state.drawn.is_some()) {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

fn render(what: &str, done: u64, total: u64) -> String {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let filled = (done.min(total) * CELLS).checked_div(total).unwrap_or(0);
    let bar: String = (0..CELLS).map(|cell| if cell < filled { '#' } else { '.' }).collect();
    format!("{what} [{bar}] {:.1} of {:.1} MiB", mib(done), mib(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_fills_and_one_without_an_end_stays_empty() {
        assert_eq!(render("reading", 0, 0), "reading [..............................] 0.0 of 0.0 MiB");
        assert_eq!(
            render("reading", 1 << 20, 2 << 20),
            "reading [###############...............] 1.0 of 2.0 MiB"
        );
        assert!(render("reading", 5, 2).contains("[##############################]"));
    }
}
