//! Counting and hashing items in order.

use aws_lc_rs::digest::{Context, SHA256};

use super::{Item, Summary};
use crate::Error;

/// The count and hash of a stream of items.
pub(crate) struct Digest {
    context: Context,
    summary: Summary,
}

impl Digest {
    /// Begins with nothing.
    pub(crate) fn new() -> Self {
        Self { context: Context::new(&SHA256), summary: Summary::default() }
    }

    /// Takes the next item: its canonical JSON, members in order.
    pub(crate) fn take(&mut self, item: &Item) -> Result<(), Error> {
        let count = match item {
            Item::Record { .. } => &mut self.summary.records,
            Item::Earlier { .. } => &mut self.summary.versions,
            Item::Change(_) => &mut self.summary.changes,
            Item::Job(_) => &mut self.summary.jobs,
            Item::Answer { .. } => &mut self.summary.answers,
        };
        *count += 1;
        let bytes = serde_json::to_vec(item).map_err(|error| Error::Storage { reason: error.to_string() })?;
        self.context.update(&bytes);
        self.context.update(b"\n");
        Ok(())
    }

    /// Gives the result, with the last sequence.
    pub(crate) fn finish(mut self, sequence: u64) -> Summary {
        self.context.update(&sequence.to_be_bytes());
        let sha256 = self.context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Summary { sequence, sha256, ..self.summary }
    }
}
