//! Whether the log at a destination is without a gap: decided from names and lengths.

use super::inventory::{Generation, Segment};
use super::lsn::SegmentName;

/// A stretch of the log in which nothing is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stretch {
    /// Its segments in order; of two timelines' at a switch both.
    pub(super) segments: Vec<SegmentName>,
    /// What is wrong after it, if there is more.
    pub(super) fault: Option<Fault>,
}

/// Why a stretch ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// The file.
    pub(super) file: String,
    /// What is wrong with it.
    pub(super) reason: &'static str,
}

/// Follows the log from a segment on, over switches to later timelines, up to segment `until` or to its end.
pub(super) fn follow(generation: &Generation, timeline: u32, from: u64, until: Option<u64>) -> Stretch {
    let bytes = generation.origin.segment_bytes;
    let mut stretch = Stretch { segments: Vec::new(), fault: None };
    let (mut timeline, mut next) = (timeline, from);
    let last = |timeline: u32| {
        let of = generation.segments.iter().filter(|segment| segment.name.timeline == timeline);
        of.map(|segment| segment.name.number).max()
    };
    loop {
        if until.is_some_and(|until| next > until) {
            return stretch;
        }
        let missing = SegmentName { timeline, number: next, is_partial: false };
        let fail = |reason| Some(Fault { file: missing.write(bytes), reason });
        match find(&generation.segments, timeline, next) {
            Some(found) if found.size_bytes != bytes => {
                stretch.fault = fail("it has not the length of a segment");
                return stretch;
            }
            Some(found) => {
                stretch.segments.push(found.name);
                next += 1;
                let has_more = last(timeline).is_some_and(|last| last >= next);
                if found.name.is_partial && has_more {
                    stretch.fault = fail("it was not received to its end, and the one after it is there");
                    return stretch;
                }
                if !has_more {
                    // A later timeline begins within the segment in which this one was left, or right after it.
                    match successor(&generation.segments, timeline, next) {
                        Some((later, first)) => (timeline, next) = (later, first),
                        None => return stretch,
                    }
                }
            }
            None => {
                stretch.fault = fail("it is missing");
                return stretch;
            }
        }
    }
}

/// Gives the file of a segment; a finished one rather than one that was being received.
fn find(segments: &[Segment], timeline: u32, number: u64) -> Option<&Segment> {
    let is_it = |segment: &&Segment| segment.name.timeline == timeline && segment.name.number == number;
    segments.iter().filter(is_it).min_by_key(|segment| segment.name.is_partial)
}

fn successor(segments: &[Segment], timeline: u32, end: u64) -> Option<(u32, u64)> {
    let later = segments.iter().map(|segment| segment.name).filter(|name| name.timeline > timeline);
    let next = later.clone().map(|name| name.timeline).min()?;
    let first = later.filter(|name| name.timeline == next).map(|name| name.number).min()?;
    // Farther on something is missing, which the next look says.
    Some((next, first.min(end)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::inventory::Origin;
    use super::*;

    pub(in super::super) const BYTES: u64 = 16 << 20;

    pub(in super::super) fn segment(timeline: u32, number: u64) -> Segment {
        Segment { name: SegmentName { timeline, number, is_partial: false }, size_bytes: BYTES }
    }

    pub(in super::super) fn partial(timeline: u32, number: u64) -> Segment {
        Segment { name: SegmentName { timeline, number, is_partial: true }, size_bytes: BYTES }
    }

    pub(in super::super) fn generation(segments: Vec<Segment>) -> Generation {
        let origin = Origin { system: "1".into(), major: 15, segment_bytes: BYTES };
        Generation {
            name: "g".into(),
            origin,
            bases: Vec::new(),
            segments,
            received: None,
            faults: Vec::new(),
        }
    }

    #[test]
    fn a_log_without_a_gap_is_followed_to_what_is_being_received() {
        let whole = generation(vec![segment(1, 3), segment(1, 4), partial(1, 5)]);
        let stretch = follow(&whole, 1, 3, None);
        assert_eq!((stretch.segments.len(), stretch.fault), (3, None));
        assert_eq!(follow(&whole, 1, 3, Some(4)).segments.len(), 2);
    }

    #[test]
    fn what_is_missing_or_has_another_length_is_named() {
        let gap = generation(vec![segment(1, 3), segment(1, 5)]);
        let fault = follow(&gap, 1, 3, None).fault.unwrap();
        assert_eq!((fault.file.as_str(), fault.reason), ("000000010000000000000004", "it is missing"));
        assert_eq!(follow(&gap, 1, 3, Some(3)).fault, None, "what comes later does not matter");
        let none = follow(&gap, 1, 2, None).fault.unwrap();
        assert_eq!(none.file, "000000010000000000000002");
        let short = Segment { size_bytes: 5, ..segment(1, 4) };
        let fault = follow(&generation(vec![segment(1, 3), short]), 1, 3, None).fault.unwrap();
        assert!(fault.reason.contains("length"), "{fault:?}");
        let unfinished = generation(vec![segment(1, 3), partial(1, 4), segment(1, 5)]);
        assert!(follow(&unfinished, 1, 3, None).fault.unwrap().reason.contains("received"));
    }

    #[test]
    fn a_switch_to_a_later_timeline_is_followed() {
        let switched = generation(vec![segment(1, 3), partial(1, 4), segment(2, 4), partial(2, 5)]);
        let stretch = follow(&switched, 1, 3, None);
        assert_eq!((stretch.segments.len(), stretch.fault), (4, None));
        let gap = generation(vec![segment(1, 3), segment(2, 5)]);
        let fault = follow(&gap, 1, 3, None).fault.unwrap();
        assert_eq!(fault.file, "000000020000000000000004");
    }
}
