//! A body line by line as it comes, in bounded memory: what is a line, and which lines are too long, depends on
//! the bytes alone and not on the pieces they come in.

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use process::Problem;
use process::problem::kinds;

use crate::body;

/// One line, without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// As it was sent.
    Whole(Bytes),
    /// Longer than the limit; what it held was passed over.
    TooLong,
}

/// The lines of a body that are still to come.
pub(super) struct Lines<S> {
    body: S,
    /// The longest line, in bytes.
    limit: usize,
    /// What was received of lines that were not asked for; at most one line and what came in one piece with it.
    unread: BytesMut,
}

impl<S, E> Lines<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
{
    /// Begins with a body.
    pub(super) fn new(body: S, limit: u64) -> Self {
        Self { body, limit: usize::try_from(limit).unwrap_or(usize::MAX), unread: BytesMut::new() }
    }

    /// Reads the next line; `None` after the last, which needs no end.
    pub(super) async fn next(&mut self) -> Result<Option<Line>, Problem> {
        let (mut searched, mut is_too_long) = (0, false);
        loop {
            if let Some(end) = self.unread[searched..].iter().position(|byte| *byte == b'\n') {
                let mut line = self.unread.split_to(searched + end + 1);
                line.truncate(searched + end);
                return Ok(Some(self.judge(line, is_too_long)));
            }
            if is_too_long || self.unread.len() > self.limit {
                is_too_long = true;
                self.unread.clear();
            }
            searched = self.unread.len();
            match tokio::time::timeout(body::BODY_TIMEOUT, self.body.next()).await {
                Err(_) => return Err(Problem::new(kinds::REQUEST_TIMEOUT)),
                Ok(Some(Ok(bytes))) => self.unread.extend_from_slice(&bytes),
                Ok(Some(Err(_))) => {
                    return Err(Problem::new(kinds::MALFORMED_REQUEST).detail("the body ended early"));
                }
                Ok(None) if self.unread.is_empty() && !is_too_long => return Ok(None),
                Ok(None) => {
                    let line = self.unread.split();
                    return Ok(Some(self.judge(line, is_too_long)));
                }
            }
        }
    }

    fn judge(&self, line: BytesMut, is_too_long: bool) -> Line {
        match is_too_long || line.len() > self.limit {
            true => Line::TooLong,
            false => Line::Whole(line.freeze()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads all lines of a body that comes in these pieces.
    fn read(pieces: Vec<Vec<u8>>, limit: u64) -> Vec<Line> {
        let longest = pieces.iter().map(Vec::len).max().unwrap_or(0);
        let pieces = pieces.into_iter().map(|piece| Ok::<_, std::convert::Infallible>(Bytes::from(piece)));
        let mut lines = Lines::new(futures_util::stream::iter(pieces), limit);
        let mut all = Vec::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            while let Some(line) = lines.next().await.unwrap() {
                all.push(line);
                assert!(
                    lines.unread.len() <= longest + 5,
                    "a line and what came in one piece with it, and no more"
                );
            }
        });
        all
    }

    proptest! {
        #[test]
        fn lines_are_the_same_in_whatever_pieces_they_come(
            body in "([a-c]{0,12}\n){0,6}[a-c]{0,12}",
            cuts in prop::collection::vec(0..64_usize, 0..8),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(body.len())).collect();
            cuts.extend([0, body.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|two| body.as_bytes()[two[0]..two[1]].to_vec()).collect();
            let mut expected: Vec<&str> = body.split('\n').collect();
            // After the last end there is no line.
            if expected.last() == Some(&"") {
                expected.pop();
            }
            let expected: Vec<Line> = expected.into_iter().map(|line| match line.len() > 5 {
                true => Line::TooLong,
                false => Line::Whole(Bytes::from(line.to_owned())),
            }).collect();
            prop_assert_eq!(read(pieces, 5), expected);
        }
    }
}
