//! Times to live: `EXPIRE`, `PEXPIRE`, `TTL`, `PTTL`.

use super::{Call, Refusal};
use crate::store::Lifetime;

/// The moment a time to live ends on the store's clock; one too far away is none.
pub(super) fn moment(now_ms: u64, length: i64, unit_ms: i64) -> Option<u64> {
    let end_ms = i64::try_from(now_ms).ok()?.checked_add(length.checked_mul(unit_ms)?)?;
    Some(u64::try_from(end_ms).unwrap_or(0))
}

pub(super) fn expire_seconds(call: &mut Call<'_>) -> Result<(), Refusal> {
    expire(call, 1000, "expire")
}

pub(super) fn expire_millis(call: &mut Call<'_>) -> Result<(), Refusal> {
    expire(call, 1, "pexpire")
}

fn expire(call: &mut Call<'_>, unit_ms: i64, command: &'static str) -> Result<(), Refusal> {
    if call.arguments.len() > 3 {
        let option = String::from_utf8_lossy(call.argument(3));
        return Err(Refusal::Other(format!("ERR Unsupported option {option}").into()));
    }
    let length = call.integer(2)?;
    let moment = moment(call.now_ms, length, unit_ms).ok_or(Refusal::ExpireTime(command))?;
    let was_there = call.server.store.expire(call.argument(1), moment, call.now_ms);
    call.replies.integer(i64::from(was_there));
    Ok(())
}

pub(super) fn seconds_left(call: &mut Call<'_>) -> Result<(), Refusal> {
    // Rounded as Redis rounds.
    let left = millis(call);
    call.replies.integer(if left < 0 { left } else { (left + 500) / 1000 });
    Ok(())
}

pub(super) fn millis_left(call: &mut Call<'_>) -> Result<(), Refusal> {
    let left = millis(call);
    call.replies.integer(left);
    Ok(())
}

/// −2 for a missing key and −1 for one that does not expire, as Redis answers.
fn millis(call: &Call<'_>) -> i64 {
    match call.server.store.lifetime(call.argument(1), call.now_ms) {
        Lifetime::Missing => -2,
        Lifetime::Endless => -1,
        Lifetime::Ends { in_ms } => i64::try_from(in_ms).unwrap_or(i64::MAX),
    }
}
