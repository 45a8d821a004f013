//! A connection that is replaced when it breaks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::anew;
use super::fault::Fault;
use super::session::{Server, Session};

/// How long after a failed attempt the next caller is told of it instead of trying again.
const PAUSE: Duration = Duration::from_millis(100);

/// The place of one connection.
#[derive(Debug)]
pub(super) struct Link {
    server: Server,
    statements: &'static [&'static str],
    /// Whether it writes, and so first makes sure that the database goes on.
    writes: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    session: Option<Arc<Session>>,
    failed: Option<(Instant, Arc<Fault>)>,
}

impl Link {
    /// Makes a link that connects with its first use; the statements are prepared with the connection.
    pub(super) fn new(server: Server, statements: &'static [&'static str]) -> Self {
        Self { server, statements, writes: false, state: Mutex::default() }
    }

    /// Makes one that writes: on a restored server the database goes on before anything else is done ([`anew`]).
    pub(super) fn writing(server: Server, statements: &'static [&'static str]) -> Self {
        Self { writes: true, ..Self::new(server, statements) }
    }

    /// Gives the connection, a new one if there is none that works.
    pub(super) async fn session(&self) -> Result<Arc<Session>, Arc<Fault>> {
        let mut state = self.state.lock().await;
        if let Some(session) = &state.session
            && !session.is_closed()
        {
            return Ok(Arc::clone(session));
        }
        if let Some((at, fault)) = &state.failed
            && at.elapsed() < PAUSE
        {
            return Err(Arc::clone(fault));
        }
        state.session = None;
        let connecting = async {
            let session = self.server.connect(self.statements, None).await?;
            if self.writes {
                anew::go_on(&session).await?;
            }
            Ok::<_, Fault>(session)
        };
        match connecting.await {
            Ok(session) => {
                let session = Arc::new(session);
                *state = State { session: Some(Arc::clone(&session)), failed: None };
                Ok(session)
            }
            Err(fault) => {
                let fault = Arc::new(fault);
                state.failed = Some((Instant::now(), Arc::clone(&fault)));
                Err(fault)
            }
        }
    }

    /// Has a connection that failed or hangs replaced by the next caller.
    pub(super) async fn discard(&self, session: &Arc<Session>) {
        let mut state = self.state.lock().await;
        if state.session.as_ref().is_some_and(|current| Arc::ptr_eq(current, session)) {
            state.session = None;
        }
    }
}
