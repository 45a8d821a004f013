//! Who belongs to a cluster, as it is given and as threads see it.

use std::sync::Arc;

use process::Weighted;
use serde::{Deserialize, Serialize};

use crate::Backend;
use crate::selection::Maglev;

/// One backend as a source of members gives it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Its address as `host:port`; what it is known by.
    pub name: String,
    /// Its share of requests beside the others' weights; 0 gets none.
    pub weight: f64,
    /// Whether it is to get no new requests.
    pub drain: bool,
    /// It stands by while a backend of a lesser rank is well; the most wanted have 0.
    #[serde(default)]
    pub rank: u16,
}

impl Member {
    /// Makes a member with weight 1.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), weight: 1.0, drain: false, rank: 0 }
    }

    /// Gives it another weight.
    pub fn with_weight(self, weight: f64) -> Self {
        Self { weight, ..self }
    }

    /// Gives its weight; one that is no number must not reach a choice.
    pub(crate) fn sound_weight(&self) -> f64 {
        if self.weight.is_finite() { self.weight.max(0.0) } else { 0.0 }
    }
}

impl From<&String> for Member {
    fn from(name: &String) -> Self {
        Self::new(name)
    }
}

impl From<&Weighted> for Member {
    fn from(Weighted { address, weight }: &Weighted) -> Self {
        Self::new(address).with_weight(*weight)
    }
}

/// The members at one time. A thread keeps the one it saw until [`Cluster::generation`] differs.
///
/// [`Cluster::generation`]: crate::Cluster::generation
#[derive(Debug)]
pub struct Members {
    /// Grows with every change.
    pub generation: u64,
    /// The backends in the order they were given; those that drain are among them.
    pub backends: Box<[Arc<Backend>]>,
    /// The table of a policy that hashes.
    pub table: Option<Maglev>,
}

impl Members {
    /// Finds a backend's place by its name.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.backends.iter().position(|backend| backend.name() == name)
    }
}
