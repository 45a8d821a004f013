//! Work that is to happen between two commits: the writer does it, since only it knows when that is.

use std::sync::mpsc::SyncSender;

use tokio::sync::oneshot;

use super::writer::Message;
use crate::backup::BackupError;

/// Something to do between two commits; it is told how many frames the log has.
pub(super) type Errand = Box<dyn FnOnce(u32) + Send>;

/// The way to the writer.
#[derive(Debug, Clone)]
pub(crate) struct Between {
    outbox: SyncSender<Message>,
}

impl Between {
    pub(super) fn new(outbox: SyncSender<Message>) -> Self {
        Self { outbox }
    }

    /// Has something done and gives its result.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(u32) -> T + Send + 'static,
    ) -> Result<T, BackupError> {
        let (answer, answered) = oneshot::channel();
        let errand: Errand = Box::new(move |frames| {
            let _ = answer.send(work(frames));
        });
        // Blocks for as long as the writer's channel is full, which only threads of the backup do.
        self.outbox.send(Message::Errand(errand)).map_err(|_| BackupError::Stopping)?;
        answered.await.map_err(|_| BackupError::Stopping)
    }
}
