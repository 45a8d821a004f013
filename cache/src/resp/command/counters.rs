//! Counters: `INCR`, `INCRBY`, `DECR`, `DECRBY`.

use super::{Call, Refusal};

pub(super) fn increment(call: &mut Call<'_>) -> Result<(), Refusal> {
    add(call, 1)
}

pub(super) fn increment_by(call: &mut Call<'_>) -> Result<(), Refusal> {
    let delta = call.integer(2)?;
    add(call, delta)
}

pub(super) fn decrement(call: &mut Call<'_>) -> Result<(), Refusal> {
    add(call, -1)
}

pub(super) fn decrement_by(call: &mut Call<'_>) -> Result<(), Refusal> {
    let delta = call.integer(2)?.checked_neg();
    add(call, delta.ok_or(Refusal::Other("ERR decrement would overflow".into()))?)
}

fn add(call: &mut Call<'_>, delta: i64) -> Result<(), Refusal> {
    let sum = call.server.store.add(call.argument(1), delta, call.now_ms)?;
    call.replies.integer(sum);
    Ok(())
}
