//! A page of an answer, filled until it has as many items, or as many bytes, as it may have.

use std::ops::ControlFlow;

use crate::limits::ANSWER_BYTES;

/// A page that is being filled. The first item fits always, however large it is, so that every page goes on.
#[derive(Debug)]
pub(in crate::engine) struct Filling<T> {
    items: Vec<T>,
    most: usize,
    bytes: usize,
    has_more: bool,
}

impl<T> Filling<T> {
    /// Begins a page of at most so many items.
    pub(in crate::engine) fn new(most: u32) -> Self {
        Self { items: Vec::new(), most: most as usize, bytes: 0, has_more: false }
    }

    /// Takes the next item of this size in bytes; one that does not fit tells that there is more, and that is the end.
    pub(in crate::engine) fn take(&mut self, item: T, size: usize) -> ControlFlow<()> {
        self.bytes += size;
        if self.items.len() == self.most || (self.bytes > ANSWER_BYTES && !self.items.is_empty()) {
            self.has_more = true;
            return ControlFlow::Break(());
        }
        self.items.push(item);
        ControlFlow::Continue(())
    }

    /// Gives the items, and whether there are more.
    pub(in crate::engine) fn finish(self) -> (Vec<T>, bool) {
        (self.items, self.has_more)
    }

    /// Gives the items, and where the next page starts: after the last one, by its name.
    pub(in crate::engine) fn finish_with(self, name: impl Fn(&T) -> &String) -> (Vec<T>, Option<String>) {
        let next = self.items.last().filter(|_| self.has_more).map(|last| name(last).clone());
        (self.items, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(most: u32, sizes: &[usize]) -> (Vec<String>, Option<String>) {
        let mut filling = Filling::new(most);
        for (number, size) in sizes.iter().enumerate() {
            if filling.take(number.to_string(), *size).is_break() {
                break;
            }
        }
        let (items, next) = filling.finish_with(|item| item);
        (items, next)
    }

    #[test]
    fn a_page_ends_with_its_items_or_its_bytes_and_one_item_always_fits() {
        assert_eq!(filled(2, &[1, 1]), (vec!["0".into(), "1".into()], None));
        assert_eq!(filled(2, &[1, 1, 1]), (vec!["0".into(), "1".into()], Some("1".into())));
        let large = ANSWER_BYTES + 1;
        assert_eq!(filled(5, &[large]), (vec!["0".into()], None));
        assert_eq!(filled(5, &[large, 1]), (vec!["0".into()], Some("0".into())));
        assert_eq!(filled(5, &[1, ANSWER_BYTES, 1]), (vec!["0".into()], Some("0".into())));
        assert_eq!(filled(5, &[1, ANSWER_BYTES - 1]).1, None);
    }
}
