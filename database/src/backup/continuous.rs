//! The continuous backup of whichever engine is open.

use tokio::sync::watch;

use super::orders::Orders;
use super::postgres::Receiving;
use super::{Shipping, Standing, Status};

/// How an open database is backed up; a closed set, as the engines are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Continuous<'a> {
    /// We ship SQLite's log.
    Sqlite(&'a Shipping),
    /// PostgreSQL's tools receive its log.
    Postgres(&'a Receiving),
}

impl<'a> Continuous<'a> {
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

    /// Gives where a base or a drill is ordered.
    pub(crate) fn orders(self) -> &'a Orders {
        match self {
            Self::Sqlite(shipping) => shipping.orders(),
            Self::Postgres(receiving) => receiving.orders(),
        }
    }
}
