//! The continuous backup of whichever engine is open.

use tokio::sync::watch;

use super::postgres::Receiving;
use super::{BackupError, BaseReport, DrillReport, Shipping, Standing, Status};

/// How an open database is backed up; a closed set, as the engines are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Continuous<'a> {
    /// We ship SQLite's log.
    Sqlite(&'a Shipping),
    /// PostgreSQL's tools receive its log.
    Postgres(&'a Receiving),
}

impl Continuous<'_> {
    /// Tells the standing, and when it changes.
    pub(crate) fn standing(self) -> watch::Receiver<Standing> {
        match self {
            Self::Sqlite(shipping) => shipping.standing(),
            Self::Postgres(receiving) => receiving.standing(),
        }
    }

    /// Gives the status.
    pub(crate) fn status(self) -> Status {
        match self {
            Self::Sqlite(shipping) => Status::Sqlite(shipping.status()),
            Self::Postgres(receiving) => Status::Postgres(receiving.status()),
        }
    }

    /// Has a base stored now.
    pub(crate) async fn store_base(self) -> Result<BaseReport, BackupError> {
        match self {
            Self::Sqlite(shipping) => shipping.store_base().await,
            Self::Postgres(receiving) => receiving.store_base().await,
        }
    }

    /// Has a restore tried out and compared now.
    pub(crate) async fn drill(self) -> Result<DrillReport, BackupError> {
        match self {
            Self::Sqlite(shipping) => shipping.drill().await,
            Self::Postgres(receiving) => receiving.drill().await,
        }
    }
}
