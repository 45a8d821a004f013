//! Replacing a running process without losing a connection: both sides, as far as the process goes.

use std::time::Duration;

use anyhow::Context;
use process::Health;
use process::config::Config;
use process::handover::{self, Offer, Place, Successor};
use process::health::HealthState;

use crate::role::Role;

/// How long a successor waits for its roles to be ready; the old process waits twice as long.
const READY_WAIT: Duration = Duration::from_secs(30);

/// How often readiness is looked at.
const READY_LOOK: Duration = Duration::from_millis(10);

/// Finds where this process hands over; `None` when it is not to, or runs what cannot be handed over.
pub(crate) fn find_place(config: &Config, roles: &[Role]) -> anyhow::Result<Option<Place>> {
    let Some(folder) = &config.handover else { return Ok(None) };
    if let Some(role) = roles.iter().find(|role| !role.can_hand_over()) {
        tracing::info!(%role, "this process is not handed over when it is started again, because of this role");
        return Ok(None);
    }
    let names: Vec<String> = roles.iter().map(ToString::to_string).collect();
    let place = Place::find(folder, &names.join(", "))?;
    handover::keep_for_successor();
    Ok(Some(place))
}

/// Takes over the listeners of the process that runs at the place, if one does.
pub(crate) async fn take_over(place: Option<&Place>) -> anyhow::Result<Option<Successor>> {
    let Some(place) = place else { return Ok(None) };
    let successor = Successor::take_over(place).await?;
    if let Some(Successor { pid, version, count, .. }) = &successor {
        tracing::info!(pid, version, sockets = count, "took over the listeners of a running process");
    }
    Ok(successor)
}

/// Closes the sockets no role has bound; their connections are the old process's to finish.
pub(crate) fn tell_unused() {
    for address in handover::drop_unused() {
        tracing::info!(%address, "handed over, but no longer configured; it closes with the old process");
    }
}

/// Waits until every role is ready, and has the old process stop.
pub(crate) async fn finish(predecessor: Successor, roles: &[Health]) -> anyhow::Result<()> {
    wait_until_ready(roles).await?;
    let pid = predecessor.pid;
    predecessor.ready().await.context("the old process goes on, and this one stops")?;
    tracing::info!(pid, "the old process stops; this one serves");
    Ok(())
}

/// Waits until every role is ready. One that only misses what lies outside of it may go on: the old process
/// misses it too.
async fn wait_until_ready(roles: &[Health]) -> anyhow::Result<()> {
    let all_ready = async {
        while !roles.iter().all(Health::is_serving) {
            tokio::time::sleep(READY_LOOK).await;
        }
    };
    if tokio::time::timeout(READY_WAIT, all_ready).await.is_ok() {
        return Ok(());
    }
    match roles.iter().map(Health::report).find(|report| report.state == HealthState::Starting) {
        Some(report) => anyhow::bail!(
            "{} was not ready within {READY_WAIT:?}; the old process goes on, and this one stops",
            report.role
        ),
        None => Ok(()),
    }
}

/// Offers the listeners until a successor has them and is ready; without a place, for ever.
pub(crate) async fn offer(place: Option<Place>) {
    let Some(place) = place else { return std::future::pending().await };
    let path = place.path().display().to_string();
    match Offer::open(place) {
        Ok(offer) => offer.taken().await,
        Err(error) => {
            tracing::error!(path, %error, "listeners cannot be handed over to a successor");
            std::future::pending().await
        }
    }
}
