//! The names of what lies at a destination. A name tells all that planning needs, so that a listing is enough.
//!
//! Of SQLite's: `GENERATION/base/NUMBER-TIME`, `GENERATION/segments/FIRST-LAST-TIME`, `GENERATION/merged/FIRST-LAST-TIME`,
//! and beside them what `sqlite::head` writes; numbers of commits and times (microseconds since 1970) have 16 digits, so
//! that names sort. Of PostgreSQL's generations [`Generation`] is the folder's name.

use std::fmt;
use std::str::FromStr;

use jiff::{Span, Timestamp};

/// One uninterrupted chain of segments over a base: its name begins with the time it began.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Generation(String);

impl Generation {
    /// Names a generation that begins now; `tail` tells it from one of another process.
    pub(crate) fn new(now: Timestamp, tail: u32) -> Self {
        Self(format!("{}-{tail:08x}", now.strftime("%Y%m%dT%H%M%S%6fZ")))
    }

    /// Names a generation that begins now, after another: also when the clock was set back since that began, for the
    /// order of names is the order of generations.
    pub(crate) fn after(before: Option<&str>, now: Timestamp, tail: u32) -> Self {
        let began =
            before.and_then(began).and_then(|began| began.checked_add(Span::new().microseconds(1)).ok());
        Self::new(began.map_or(now, |began| began.max(now)), tail)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Gives when a generation of this name began; `None` if it is no generation's name.
pub(super) fn began(name: &str) -> Option<Timestamp> {
    let (time, tail) = name.split_once('-')?;
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let (date, time) = time.strip_suffix('Z')?.split_once('T')?;
    let is_one = date.len() == 8 && time.len() == 12 && digits(date) && digits(time);
    if !is_one || tail.len() != 8 || !tail.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    format!("{date}T{}.{}Z", &time[..6], &time[6..]).parse().ok()
}

/// What a file at the destination is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// A whole database as it was after commit `last`; `first` is the same.
    Base,
    /// Commits `first` to `last`, each as it was.
    Segment,
    /// The pages that commits `first` to `last` left, in one step.
    Merged,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Base, Self::Segment, Self::Merged];

    /// Names the kind, as in a file's head and path.
    pub(crate) const fn folder(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Segment => "segments",
            Self::Merged => "merged",
        }
    }
}

/// One file at the destination.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Name {
    pub(crate) generation: Generation,
    pub(crate) kind: Kind,
    /// The first commit in it.
    pub(crate) first: u64,
    /// The last commit in it.
    pub(crate) last: u64,
    /// When the last was made, in microseconds since 1970.
    pub(crate) at: i64,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { generation, kind, first, last, at } = self;
        match kind {
            Kind::Base => write!(f, "{generation}/base/{last:016}-{at:016}"),
            _ => write!(f, "{generation}/{}/{first:016}-{last:016}-{at:016}", kind.folder()),
        }
    }
}

impl FromStr for Name {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('/');
        let (Some(generation), Some(folder), Some(rest), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(());
        };
        let kind = Kind::ALL.into_iter().find(|kind| kind.folder() == folder).ok_or(())?;
        let mut numbers = rest.split('-').map(|digits| digits.parse::<u64>().map_err(|_| ()));
        let first = numbers.next().ok_or(())??;
        let last = if kind == Kind::Base { first } else { numbers.next().ok_or(())?? };
        let at = i64::try_from(numbers.next().ok_or(())??).map_err(|_| ())?;
        let generation = Generation(generation.to_owned());
        let name = Self { generation, kind, first, last, at };
        // Exactly as it is written, so that a file with another name is never taken for one of ours.
        (name.to_string() == text && first <= last).then_some(name).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_comes_after_the_one_before_it_whatever_the_clock_says() {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let ahead = Generation::new(now + Span::new().hours(1), u32::MAX);
        let next = Generation::after(Some(&ahead.to_string()), now, 0);
        assert!(next > ahead, "{next} {ahead}");
        assert_eq!(Generation::after(Some("of nobody"), now, 0), Generation::new(now, 0));
        let earlier = Generation::new(now - Span::new().hours(1), 7).to_string();
        assert_eq!(Generation::after(Some(&earlier), now, 0), Generation::new(now, 0));
    }

    #[test]
    fn a_name_reads_back_as_written_and_another_is_none() {
        let generation = Generation::new(Timestamp::from_microsecond(1_700_000_000_123_456).unwrap(), 7);
        assert_eq!(generation.to_string(), "20231114T221320123456Z-00000007");
        let began_at = began(&generation.to_string()).unwrap();
        assert_eq!(began_at, Timestamp::from_microsecond(1_700_000_000_123_456).unwrap());
        for other in ["", "x-00000007", "20231114T221320123456Z", "20231514T221320123456Z-00000007"] {
            assert_eq!(began(other), None, "{other}");
        }
        for kind in Kind::ALL {
            let first = if kind == Kind::Base { 9 } else { 3 };
            let name = Name { generation: generation.clone(), kind, first, last: 9, at: 55 };
            assert_eq!(name.to_string().parse(), Ok(name));
        }
        for other in ["", "a/b/c", "a/segments/1-2-3", "a/segments/x", "a/base/0000000000000001", "head"] {
            assert_eq!(other.parse::<Name>(), Err(()), "{other}");
        }
    }
}
