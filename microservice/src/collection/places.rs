//! How many may follow the changes of one service's collections at a time, at one instance: all together, and each caller.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use process::problem::kinds;
use process::{Identity, Problem};
use tokio::sync::watch;

use crate::fault::RETRY_AFTER;

/// How many followers one instance has at a time.
const FOLLOWERS: usize = 256;

/// How many of them one caller may be, so that nobody takes all places: an application's worth of open windows.
const OF_ONE: usize = 32;

/// How many those may be together whom no gateway named: behind one address there may be many of them.
const NAMELESS: usize = 192;

/// What the feeds of one service share: how many there may be, and when they end.
#[derive(Debug)]
pub(crate) struct Feeds {
    taken: Mutex<Taken>,
    pub(super) ending: watch::Receiver<bool>,
}

/// The places that are taken.
#[derive(Debug, Default)]
struct Taken {
    all: usize,
    /// By whom; no entry is zero.
    by: HashMap<String, usize>,
}

/// A follower's place; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    feeds: Arc<Feeds>,
    caller: String,
}

impl Feeds {
    /// Makes room for feeds that end when `ending` says so.
    pub(crate) fn new(ending: watch::Receiver<bool>) -> Self {
        Self { taken: Mutex::default(), ending }
    }

    /// Gives a caller a place, or says that there is none: 429 for who has its share, 503 when all are taken.
    pub(super) fn take(self: &Arc<Self>, caller: Option<&Identity>) -> Result<Place, Problem> {
        let (name, most) = match caller {
            Some(caller) => (caller.subject.clone(), OF_ONE),
            None => (String::new(), NAMELESS),
        };
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.by.get(&name).copied().unwrap_or(0);
        if own >= most {
            let detail = format!("at most {most} streams of changes at a time");
            return Err(Problem::new(kinds::RATE_LIMITED).detail(detail).retry_after(RETRY_AFTER));
        }
        if taken.all >= FOLLOWERS {
            return Err(Problem::new(kinds::OVERLOADED).retry_after(RETRY_AFTER));
        }
        taken.all += 1;
        taken.by.insert(name.clone(), own + 1);
        Ok(Place { feeds: Arc::clone(self), caller: name })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.feeds.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        match taken.by.get_mut(&self.caller) {
            Some(own) if *own > 1 => *own -= 1,
            _ => {
                taken.by.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_caller_takes_all_places_and_what_is_given_back_is_free() {
        let feeds = Arc::new(Feeds::new(watch::channel(false).1));
        let named = |subject: &str| Identity {
            subject: subject.to_owned(),
            roles: Vec::new(),
            claims: Default::default(),
        };
        let take =
            |caller: Option<&Identity>| feeds.take(caller).map_err(|problem| problem.status().as_u16());
        let (ada, bob) = (named("ada"), named("bob"));
        let hers: Vec<Place> = (0..OF_ONE).map(|_| take(Some(&ada)).unwrap()).collect();
        assert_eq!(take(Some(&ada)).unwrap_err(), 429);
        let his = take(Some(&bob)).unwrap();
        let nameless: Vec<Place> = (0..NAMELESS).map(|_| take(None).unwrap()).collect();
        assert_eq!(take(None).unwrap_err(), 429);
        let rest = FOLLOWERS - OF_ONE - NAMELESS - 1;
        let others: Vec<Place> = (0..rest).map(|n| take(Some(&named(&n.to_string()))).unwrap()).collect();
        assert_eq!(take(Some(&bob)).unwrap_err(), 503);
        drop((hers, his, nameless, others));
        let taken = feeds.taken.lock().unwrap();
        assert!(taken.all == 0 && taken.by.is_empty(), "{taken:?}");
    }
}
