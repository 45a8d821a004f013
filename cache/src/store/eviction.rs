//! Which entry goes when a shard is full: W-TinyLFU (Einziger, Friedman, Manes, 2017).
//!
//! A new entry enters the window. What leaves the window meets the entry that would go next from the main
//! part, and the one that was asked for more often lately stays. So one pass over many keys does not wash out
//! the keys that are read again and again, and yet a value just written can always be read back: the
//! newest entry of the window never goes.

use super::entries::{Entries, Segment};
use super::sketch::Sketch;

/// The window's share of the budget in percent. The authors found 1 % best for most traces and more for
/// recency-heavy ones; 10 % also gives a fresh entry time to be read.
const WINDOW_PERCENT: u64 = 10;

/// The protected segment's share of the budget in percent: 80 % of the main part, as in the paper.
const PROTECTED_PERCENT: u64 = 72;

/// An entry that ends within this time is kept whatever its frequency, since it frees its place by itself.
///
/// The library's tombstones live 3 s and are read less often than what they replace, but evicting one
/// would let a stale value in.
const SHORT_LIVED_MS: u64 = 5_000;

/// Notes that an entry was read or written again.
pub(super) fn note_access(entries: &mut Entries, slot: u32, budget: u64) {
    let Some(entry) = entries.get(slot) else { return };
    match entry.segment {
        Segment::Window => entries.move_to(slot, Segment::Window),
        Segment::Probation | Segment::Protected => {
            entries.move_to(slot, Segment::Protected);
            while entries.segment_bytes(Segment::Protected) > budget / 100 * PROTECTED_PERCENT {
                match entries.oldest(Segment::Protected) {
                    Some(oldest) if oldest != slot => entries.move_to(oldest, Segment::Probation),
                    _ => break,
                }
            }
        }
    }
}

/// Chooses the next entry to evict while the entries exceed the budget; `None` once they fit.
///
/// Moves entries that outgrew the window on to probation, also when nothing must go. `kept` is the entry
/// just written, which only goes when nothing else is left.
pub(super) fn choose_victim(
    entries: &mut Entries,
    sketch: &Sketch,
    budget: u64,
    kept: u32,
    now_ms: u64,
) -> Option<u32> {
    while entries.segment_bytes(Segment::Window) > budget / 100 * WINDOW_PERCENT {
        let Some(candidate) = entries.oldest(Segment::Window) else { break };
        if entries.newest(Segment::Window) == Some(candidate) {
            break;
        }
        let victim = oldest_of_main(entries, kept);
        entries.move_to(candidate, Segment::Probation);
        if entries.bytes() > budget
            && let Some(victim) = victim
        {
            let admitted = candidate == kept || admits(entries, sketch, candidate, victim, now_ms);
            return Some(if admitted { victim } else { candidate });
        }
    }
    if entries.bytes() <= budget {
        return None;
    }
    oldest_of_main(entries, kept)
        .or_else(|| entries.oldest(Segment::Window).filter(|slot| *slot != kept))
        .or(Some(kept))
}

fn oldest_of_main(entries: &Entries, kept: u32) -> Option<u32> {
    let oldest = |segment| entries.oldest(segment).filter(|slot| *slot != kept);
    oldest(Segment::Probation).or_else(|| oldest(Segment::Protected))
}

fn admits(entries: &Entries, sketch: &Sketch, candidate: u32, victim: u32, now_ms: u64) -> bool {
    let (Some(candidate), Some(victim)) = (entries.get(candidate), entries.get(victim)) else { return true };
    if candidate.is_expired(now_ms) || victim.is_expired(now_ms) {
        return !candidate.is_expired(now_ms);
    }
    let ends_soon = candidate.expires_ms - now_ms <= SHORT_LIVED_MS;
    ends_soon || sketch.estimate(candidate.hash) > sketch.estimate(victim.hash)
}
