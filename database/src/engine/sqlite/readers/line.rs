//! Who waits for a reader, and whose turn it is: pure.
//!
//! Walking past records takes longer than anything else that is read, up to about a second. So collections take turns,
//! however much is asked of one, none holds every reader, and what is found by its name does not stand behind walks.

use std::collections::{HashMap, VecDeque};

/// How many quick questions are answered before a walk that waits has its turn.
const QUICK_RUN: u32 = 16;

/// What waits; `Q` is a question.
#[derive(Debug)]
pub(super) struct Line<Q> {
    quick: VecDeque<Q>,
    /// Since a walk had its turn.
    quick_run: u32,
    walks: HashMap<String, Walks<Q>>,
    /// Of which collections a walk waits, in the order of their turns.
    turns: VecDeque<String>,
    length: usize,
    longest: usize,
    /// The most walks of one collection at once.
    most: usize,
}

#[derive(Debug)]
struct Walks<Q> {
    waiting: VecDeque<Q>,
    under_way: usize,
}

/// Whose turn it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Turn<Q> {
    pub(super) question: Q,
    /// The collection that is walked, which [`Line::end`] is to be told.
    pub(super) walks: Option<String>,
}

impl<Q> Line<Q> {
    /// Makes a line of so many questions at most, and so many walks of one collection at once.
    pub(super) fn new(longest: usize, most: usize) -> Self {
        Self {
            quick: VecDeque::new(),
            quick_run: 0,
            walks: HashMap::new(),
            turns: VecDeque::new(),
            length: 0,
            longest,
            most,
        }
    }

    /// Lines up a question, which walks a collection or is quick; gives it back if the line is full.
    pub(super) fn join(&mut self, walks: Option<String>, question: Q) -> Result<(), Q> {
        if self.length >= self.longest {
            return Err(question);
        }
        self.length += 1;
        let Some(collection) = walks else {
            self.quick.push_back(question);
            return Ok(());
        };
        let of_collection = self
            .walks
            .entry(collection.clone())
            .or_insert_with(|| Walks { waiting: VecDeque::new(), under_way: 0 });
        if of_collection.waiting.is_empty() {
            self.turns.push_back(collection);
        }
        of_collection.waiting.push_back(question);
        Ok(())
    }

    /// Tells whether a question waits that may be answered.
    pub(super) fn may_begin(&self) -> bool {
        !self.quick.is_empty() || self.turns.iter().any(|name| self.may_walk(name))
    }

    fn may_walk(&self, collection: &str) -> bool {
        self.walks.get(collection).is_some_and(|walks| walks.under_way < self.most)
    }

    /// Takes the next question that may be answered.
    pub(super) fn take(&mut self) -> Option<Turn<Q>> {
        let is_walk_due = self.quick_run >= QUICK_RUN;
        let next = match is_walk_due {
            true => self.take_walk().or_else(|| self.take_quick()),
            false => self.take_quick().or_else(|| self.take_walk()),
        };
        self.length -= usize::from(next.is_some());
        next
    }

    fn take_quick(&mut self) -> Option<Turn<Q>> {
        let question = self.quick.pop_front()?;
        self.quick_run = self.quick_run.saturating_add(1);
        Some(Turn { question, walks: None })
    }

    fn take_walk(&mut self) -> Option<Turn<Q>> {
        let place = self.turns.iter().position(|name| self.may_walk(name))?;
        let name = self.turns.remove(place)?;
        let of_collection = self.walks.get_mut(&name)?;
        let question = of_collection.waiting.pop_front()?;
        of_collection.under_way += 1;
        if !of_collection.waiting.is_empty() {
            self.turns.push_back(name.clone());
        }
        self.quick_run = 0;
        Some(Turn { question, walks: Some(name) })
    }

    /// Notes that a walk is over.
    pub(super) fn end(&mut self, collection: &str) {
        if let Some(walks) = self.walks.get_mut(collection) {
            walks.under_way -= 1;
            if walks.under_way == 0 && walks.waiting.is_empty() {
                self.walks.remove(collection);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(waiting: &[(Option<&str>, u32)]) -> Line<u32> {
        let mut line = Line::new(100, 2);
        for (walks, question) in waiting {
            line.join(walks.map(str::to_owned), *question).unwrap();
        }
        line
    }

    fn taken(line: &mut Line<u32>) -> Vec<u32> {
        std::iter::from_fn(|| line.take()).map(|turn| turn.question).collect()
    }

    #[test]
    fn collections_take_turns_and_none_has_every_reader() {
        let mut line = line(&[
            (Some("a"), 1),
            (Some("a"), 2),
            (Some("a"), 3),
            (Some("a"), 4),
            (Some("b"), 5),
            (Some("b"), 6),
        ]);
        assert!(line.may_begin());
        assert_eq!(taken(&mut line), [1, 5, 2, 6], "two of each at once");
        assert!(!line.may_begin(), "others wait, and have to");
        line.end("a");
        assert_eq!(taken(&mut line), [3]);
        line.end("b");
        assert_eq!(taken(&mut line), [0; 0], "nothing of it waits");
        line.end("a");
        assert_eq!(taken(&mut line), [4]);
        for name in ["a", "a", "b"] {
            line.end(name);
        }
        assert!(line.walks.is_empty() && line.turns.is_empty() && line.length == 0, "{line:?}");
    }

    #[test]
    fn what_is_quick_goes_first_and_does_not_keep_walks_out() {
        let mut line = line(&[(Some("a"), 0)]);
        for question in 1..=40 {
            line.join(None, question).unwrap();
        }
        let order = taken(&mut line);
        assert_eq!(order.iter().position(|question| *question == 0), Some(16), "{order:?}");
        assert_eq!(order.len(), 41);
    }

    #[test]
    fn a_full_line_takes_no_more_of_either_kind() {
        let mut line = Line::new(2, 1);
        assert_eq!((line.join(None, 1), line.join(Some("a".into()), 2)), (Ok(()), Ok(())));
        assert_eq!((line.join(None, 3), line.join(Some("a".into()), 4)), (Err(3), Err(4)));
        line.take().unwrap();
        assert_eq!(line.join(Some("a".into()), 5), Ok(()));
    }
}
