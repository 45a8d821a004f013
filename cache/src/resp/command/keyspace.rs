//! Keys as such: `DEL`, `UNLINK`, `EXISTS`, `SCAN`, `DBSIZE`, `FLUSHDB`.

use super::{Call, Refusal, glob};
use crate::store::{Lifetime, parse_integer};

/// How many keys a call of `SCAN` visits unless told (Redis' 10).
const SCAN_COUNT: i64 = 10;

/// The most keys a call of `SCAN` visits, so that one call does not hold up the others.
const SCAN_COUNT_LIMIT: i64 = 10_000;

pub(super) fn remove(call: &mut Call<'_>) -> Result<(), Refusal> {
    let keys = call.arguments.from(1);
    let removed = keys.filter(|key| call.server.store.remove(key, call.now_ms)).count();
    call.replies.integer(removed as i64);
    Ok(())
}

/// A key named twice counts twice, as in Redis.
pub(super) fn count_present(call: &mut Call<'_>) -> Result<(), Refusal> {
    let is_present = |key: &&[u8]| call.server.store.lifetime(key, call.now_ms) != Lifetime::Missing;
    let present = call.arguments.from(1).filter(is_present).count();
    call.replies.integer(present as i64);
    Ok(())
}

pub(super) fn count_entries(call: &mut Call<'_>) -> Result<(), Refusal> {
    call.replies.integer(call.server.store.len() as i64);
    Ok(())
}

pub(super) fn clear(call: &mut Call<'_>) -> Result<(), Refusal> {
    match call.arguments.len() {
        1 => {}
        2 if call.is(1, "async") || call.is(1, "sync") => {}
        _ => return Err(Refusal::Syntax),
    }
    call.server.store.clear();
    call.replies.simple("OK");
    Ok(())
}

pub(super) fn scan(call: &mut Call<'_>) -> Result<(), Refusal> {
    let invalid = Refusal::Other("ERR invalid cursor".into());
    let cursor =
        parse_integer(call.argument(1)).and_then(|cursor| u64::try_from(cursor).ok()).ok_or(invalid)?;
    let (mut pattern, mut count, mut is_string) = (None, SCAN_COUNT, true);
    for place in (2..call.arguments.len()).step_by(2) {
        if place + 1 >= call.arguments.len() {
            return Err(Refusal::Syntax);
        }
        if call.is(place, "match") {
            pattern = Some(call.argument(place + 1));
        } else if call.is(place, "count") {
            count = call.integer(place + 1)?;
        } else if call.is(place, "type") {
            is_string = call.is(place + 1, "string");
        } else {
            return Err(Refusal::Syntax);
        }
    }
    if count < 1 {
        return Err(Refusal::Syntax);
    }
    let mut keys = Vec::new();
    let count = usize::try_from(count.min(SCAN_COUNT_LIMIT)).unwrap_or(1);
    let next = call.server.store.scan(cursor, count, call.now_ms, |key| {
        if is_string && pattern.is_none_or(|pattern| glob::matches(pattern, key)) {
            keys.push(key.to_vec());
        }
    });
    call.replies.array(2);
    call.replies.bulk(next.to_string().as_bytes());
    call.replies.array(keys.len());
    for key in keys {
        call.replies.bulk(&key);
    }
    Ok(())
}
