//! Gathering a page, or counting, from the records an engine walks past; the same for every engine.

use std::ops::ControlFlow;

use serde_json::Value;

use super::effort::Effort;
use super::{COUNTED_LIMIT, Count, ESTIMATED_LIMIT, EXAMINED_LIMIT, Find, Position, Total, project};
use crate::limits::ANSWER_BYTES;
use crate::{Page, Record};

/// A page in the making.
pub(crate) struct Gather<'a> {
    find: &'a Find,
    index: &'a str,
    page: Page,
    effort: Effort,
    bytes: usize,
    /// Where the record before the present one stands.
    last: Option<Vec<Value>>,
}

impl<'a> Gather<'a> {
    /// Begins a page of a question whose walk goes along an index of this name.
    pub(crate) fn new(find: &'a Find, index: &'a str) -> Self {
        let effort = Effort::of(EXAMINED_LIMIT, find.filter.as_ref());
        Self { find, index, page: Page::default(), effort, bytes: 0, last: None }
    }

    /// Takes the next record of the walk, with its size as text and its place; breaks when the page is over.
    pub(crate) fn take(
        &mut self,
        mut record: Record,
        size: usize,
        place: impl FnOnce() -> Vec<Value>,
    ) -> ControlFlow<()> {
        self.bytes += size;
        let is_full = self.page.records.len() == self.find.limit as usize;
        let is_large = self.bytes > ANSWER_BYTES && !self.page.records.is_empty();
        if is_full || is_large || !self.effort.spend(size) {
            let values = self.last.take();
            self.page.position = values.map(|values| Position { index: self.index.to_owned(), values });
            return ControlFlow::Break(());
        }
        self.last = Some(place());
        if self.find.filter.as_ref().is_none_or(|filter| filter.matches(&record)) {
            if let Some(fields) = &self.find.fields {
                record.data = project(&record.data, fields);
            }
            self.page.records.push(record);
        } else {
            // What is not answered weighs nothing.
            self.bytes -= size;
        }
        ControlFlow::Continue(())
    }

    /// Gives the page.
    pub(crate) fn finish(self) -> Page {
        self.page
    }
}

/// A count in the making.
pub(crate) struct Counting<'a> {
    find: &'a Find,
    effort: Effort,
    counted: u64,
    is_over: bool,
}

impl<'a> Counting<'a> {
    /// Begins to count, when the question asks for it.
    pub(crate) fn new(find: &'a Find) -> Option<Self> {
        let most = match find.count {
            Count::None => return None,
            // There is no sample to go on with, and a page tells as much by where it ends.
            Count::Estimated if find.lower_bound => EXAMINED_LIMIT,
            Count::Estimated => ESTIMATED_LIMIT,
            Count::Exact => COUNTED_LIMIT,
        };
        Some(Self { find, effort: Effort::of(most, find.filter.as_ref()), counted: 0, is_over: true })
    }

    /// Takes the next record of the walk from its beginning, with its size as text; breaks when enough was counted.
    pub(crate) fn take(&mut self, record: &Record, size: usize) -> ControlFlow<()> {
        if !self.effort.spend(size) {
            self.is_over = false;
            return ControlFlow::Break(());
        }
        let matches = self.find.filter.as_ref().is_none_or(|filter| filter.matches(record));
        self.counted += u64::from(matches);
        ControlFlow::Continue(())
    }

    /// Gives the count, or, when there are more records than were looked at and an estimate is to be made, what was counted so far.
    pub(crate) fn finish(self) -> Result<Total, u64> {
        match self.is_over {
            true => Ok(Total::exactly(self.counted)),
            false if self.find.lower_bound => Ok(Total::at_least(self.counted)),
            false => Err(self.counted),
        }
    }
}
