//! The database role: the engine behind HTTP, for as long as the process lives.

use std::path::Path;

use process::http::{Limits, serve};
use process::{Bound, ClusterToken, Health, Listening, RoleError, Shutdown, listen};
use tokio::sync::watch;

use crate::Config;
use crate::backup::{Continuous, Standing};
use crate::engine::{Engine, Writing};
use crate::routes::{self, Served};

/// The role's name.
const ROLE: &str = "database";

/// Opens the engine for [`bind_engine`]; other roles of the same process may hold it too.
pub fn open(config: &Config, data: &Path) -> Result<Engine, RoleError> {
    Engine::open(config, data).map_err(|error| RoleError::start(ROLE, error))
}

/// Opens the data directory and binds the role's listener; nothing is served yet.
pub fn bind(config: &Config, data: &Path, token: &ClusterToken) -> Result<Bound, RoleError> {
    bind_engine(open(config, data)?, config, token)
}

/// Binds the role's listener for an open engine, which the role closes when it stops; nothing is served yet.
pub fn bind_engine(engine: Engine, config: &Config, token: &ClusterToken) -> Result<Bound, RoleError> {
    let listener = listen::bind_internal(ROLE, &config.listen, token)?;
    let address = listener.local_addr().map_err(|error| RoleError::start(ROLE, error))?;
    let health = Health::new(ROLE);
    let router = routes::router(Served { engine: engine.clone(), token: token.clone() }, &health, config);
    let own_health = health.clone();
    let run = async move |shutdown: Shutdown| {
        let serving = serve(listener, router, &shutdown, Limits::default());
        let draining = async {
            shutdown.requested().await;
            own_health.set_draining();
            engine.end_waits();
        };
        let watching =
            watch_engine(engine.writable(), engine.continuous().map(Continuous::standing), &own_health);
        let served = async { tokio::join!(serving, draining) };
        let result = tokio::select! {
            _ = served => Ok(()),
            () = watching => Err(RoleError::stopped(ROLE, "its writer ended; the log says why")),
            () = engine.ended() => Err(RoleError::stopped(ROLE, "its writer ended; the log says why")),
        };
        // Closing waits for the disk, so it has a thread of its own.
        let closed = tokio::task::spawn_blocking(move || engine.close()).await;
        result.and(closed.map_err(|error| RoleError::stopped(ROLE, error)))
    };
    Ok(Bound::new(vec![Listening { protocol: "http", address }], ROLE, health, run))
}

/// Keeps the health true to whether writes go and reach the backup's destination; ends with the writer.
async fn watch_engine(
    mut writable: watch::Receiver<Writing>,
    mut standing: Option<watch::Receiver<Standing>>,
    health: &Health,
) {
    loop {
        let Writing { has_failed, is_refused } = *writable.borrow_and_update();
        let shipped = standing.as_mut().map(|standing| standing.borrow_and_update().clone());
        match shipped.as_ref().and_then(Standing::fault) {
            _ if has_failed => health.set_degraded("the last write failed"),
            Some(fault) if is_refused => health.set_degraded(fault),
            // Writes go on, and whoever goes by the status should leave it that way.
            Some(fault) => health.set_degraded_serving(fault),
            // While a generation begins, which takes as long as its base. Nothing is wrong, and reads go.
            None if is_refused => health.set_degraded_serving("writes wait for the backup to begin"),
            None => health.set_ready(),
        }
        let changed = async {
            match &mut standing {
                Some(standing) => standing.changed().await.is_ok(),
                None => std::future::pending().await,
            }
        };
        let goes_on = tokio::select! {
            changed = writable.changed() => changed.is_ok(),
            changed = changed => {
                if !changed {
                    standing = None;
                }
                true
            }
        };
        if !goes_on {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use process::health::HealthState;

    use super::*;

    #[tokio::test]
    async fn the_role_serves_unless_writes_fail_or_a_fault_of_the_backup_has_them_refused() {
        let health = Health::new(ROLE);
        let refused = Writing { is_refused: true, ..Writing::default() };
        let (writing, standing) = (watch::Sender::new(refused), watch::Sender::new(Standing::Starting));
        let watching = watch_engine(writing.subscribe(), Some(standing.subscribe()), &health);
        let watched = async {
            tokio::task::yield_now().await;
            assert_eq!((health.state(), health.is_serving()), (HealthState::Degraded, true));
            writing.send_replace(Writing::default());
            tokio::task::yield_now().await;
            assert_eq!((health.state(), health.is_serving()), (HealthState::Ready, true));
            standing.send_replace(Standing::Unreachable { reason: "away".into() });
            tokio::task::yield_now().await;
            assert_eq!((health.state(), health.is_serving()), (HealthState::Degraded, true));
            writing.send_replace(refused);
            tokio::task::yield_now().await;
            assert_eq!((health.state(), health.is_serving()), (HealthState::Degraded, false));
            writing.send_replace(Writing { has_failed: true, is_refused: true });
            tokio::task::yield_now().await;
            assert_eq!((health.state(), health.is_serving()), (HealthState::Degraded, false));
        };
        tokio::select! {
            biased;
            () = watching => panic!("the writer lives"),
            () = watched => {}
        }
    }
}
