//! What the thread that keeps a destination in order is asked to do now, whichever engine it keeps for.

use tokio::sync::{mpsc, oneshot};

use super::{BackupError, BaseReport, DrillReport};

/// How many orders may wait; more are refused.
const WAITING: usize = 2;

/// What it can be asked to do now.
#[derive(Debug)]
pub(crate) enum Order {
    /// Store a base.
    Base(oneshot::Sender<Result<BaseReport, BackupError>>),
    /// Try a restore out.
    Drill(oneshot::Sender<Result<DrillReport, BackupError>>),
}

/// Where orders are given; clones give them to the same thread.
#[derive(Debug, Clone)]
pub(crate) struct Orders(mpsc::Sender<Order>);

impl Orders {
    /// Makes a place to give orders, and the one where they are taken.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Order>) {
        let (sender, orders) = mpsc::channel(WAITING);
        (Self(sender), orders)
    }

    /// Has a base stored now.
    pub(crate) async fn store_base(&self) -> Result<BaseReport, BackupError> {
        self.give(Order::Base).await
    }

    /// Has a restore tried out and compared now.
    pub(crate) async fn drill(&self) -> Result<DrillReport, BackupError> {
        self.give(Order::Drill).await
    }

    async fn give<T>(
        &self,
        order: fn(oneshot::Sender<Result<T, BackupError>>) -> Order,
    ) -> Result<T, BackupError> {
        let (answer, answered) = oneshot::channel();
        self.0.try_send(order(answer)).map_err(|_| BackupError::Busy)?;
        answered.await.unwrap_or(Err(BackupError::Stopping))
    }
}
