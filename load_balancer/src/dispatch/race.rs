//! Attempts of one request that run at the same time.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

use super::alarm::Alarm;
use super::place::Outcome;

/// Waits for an attempt; `None` if the alarm rings first.
pub(super) async fn before<O>(mut attempt: Pin<&mut impl Future<Output = O>>, alarm: Alarm) -> Option<O> {
    let mut alarm = pin!(alarm);
    poll_fn(|cx| match attempt.as_mut().poll(cx) {
        Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
        Poll::Pending => alarm.as_mut().poll(cx).map(|()| None),
    })
    .await
}

type Boxed<'r, R> = Pin<Box<dyn Future<Output = Outcome<R>> + 'r>>;

/// The attempts under way: the first, where it was begun, and those begun since. Dropping it gives them up.
pub(super) struct Race<'r, P, R> {
    first: Option<(usize, Pin<&'r mut P>)>,
    others: Vec<(usize, Boxed<'r, R>)>,
}

impl<'r, P, R> Race<'r, P, R> {
    /// Makes a race whose only attempt has ended.
    pub(super) fn over(_ended: Pin<&'r mut P>) -> Self {
        Self { first: None, others: Vec::new() }
    }

    /// Makes a race of one attempt.
    pub(super) fn with(index: usize, first: Pin<&'r mut P>) -> Self {
        Self { first: Some((index, first)), others: Vec::new() }
    }

    pub(super) fn push(&mut self, index: usize, attempt: Boxed<'r, R>) {
        self.others.push((index, attempt));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none() && self.others.is_empty()
    }

    /// Gives the backends that are at it.
    pub(super) fn places(&self) -> impl Iterator<Item = usize> {
        let first = self.first.iter().map(|(index, _)| *index);
        first.chain(self.others.iter().map(|(index, _)| *index))
    }
}

impl<P: Future<Output = Outcome<R>>, R> Race<'_, P, R> {
    /// Tells whether the first attempt is still under way.
    pub(super) fn has_first(&self) -> bool {
        self.first.is_some()
    }

    /// Waits for an attempt to end, which then leaves the race; `None` if the alarm rings first.
    pub(super) async fn next(&mut self, alarm: Alarm) -> Option<Outcome<R>> {
        let mut alarm = pin!(alarm);
        poll_fn(|cx| {
            if let Some((_, first)) = &mut self.first
                && let Poll::Ready(outcome) = first.as_mut().poll(cx)
            {
                self.first = None;
                return Poll::Ready(Some(outcome));
            }
            for at in 0..self.others.len() {
                if let Poll::Ready(outcome) = self.others[at].1.as_mut().poll(cx) {
                    drop(self.others.swap_remove(at));
                    return Poll::Ready(Some(outcome));
                }
            }
            alarm.as_mut().poll(cx).map(|()| None)
        })
        .await
    }
}
