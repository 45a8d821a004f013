//! One route: where it leads, and what it asks of a request.

use std::time::Duration;

use process::Problem;
use process::problem::kinds;

use crate::rate::Rate;
use crate::refusal::Refusal;

/// A route ready for use.
#[derive(Debug)]
pub(crate) struct Route {
    /// Tells its rate apart from the others'; 0 is the rate of the whole gateway.
    pub(crate) number: u32,
    /// The place of its service in [`crate::routes::RouteTable::services`].
    pub(crate) service: usize,
    pub(crate) is_public: bool,
    pub(crate) roles: Vec<String>,
    pub(crate) timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) total_timeout: Option<Duration>,
    pub(crate) body_limit: u64,
    pub(crate) rate: Option<Rate>,
    pub(crate) validates: bool,
    pub(crate) strip_prefix: Option<String>,
}

impl Route {
    /// Refuses a body over the limit.
    pub(crate) fn refuse_size(&self) -> Refusal {
        let limit = process::size::format(self.body_limit);
        Problem::new(kinds::BODY_TOO_LARGE).detail(format!("at most {limit} are taken here")).into()
    }

    /// Tells whether anything that another route lets through is stopped by this one.
    pub(crate) fn asks_more_than(&self, other: &Self) -> bool {
        let is_open = other.roles.is_empty() || other.roles.iter().any(|role| !self.roles.contains(role));
        let of_users = !self.is_public && (other.is_public || (!self.roles.is_empty() && is_open));
        let of_rate = self.rate.is_some() && self.number != other.number;
        of_users || of_rate || self.body_limit < other.body_limit || (self.validates && !other.validates)
    }
}
