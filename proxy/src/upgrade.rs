//! Two connections that have left HTTP and carry bytes for each other.

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use crate::server;

/// Carries bytes both ways once both sides have changed the protocol, until one closes.
///
/// The serving thread owns the task: shutdown waits for it, and drops it when the grace is over.
pub(crate) fn bridge(client: OnUpgrade, backend: OnUpgrade) {
    server::spawn(async move {
        let (client, backend) = match tokio::try_join!(client, backend) {
            Ok((client, backend)) => (client, backend),
            Err(error) => {
                tracing::debug!(%error, "a change of protocol did not come about");
                return;
            }
        };
        let (mut client, mut backend) = (TokioIo::new(client), TokioIo::new(backend));
        if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut backend).await {
            tracing::debug!(%error, "an upgraded connection broke");
        }
    });
}
