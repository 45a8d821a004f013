//! Values: `GET`, `SET`, `MGET`, `MSET`.

use bytes::Bytes;

use super::{Call, Refusal, expiry};
use crate::store::{Condition, Deadline, Write};

pub(super) fn get(call: &mut Call<'_>) -> Result<(), Refusal> {
    match call.server.store.get(call.argument(1), call.now_ms) {
        Some(value) => call.replies.value(value),
        None => call.replies.null(),
    }
    Ok(())
}

pub(super) fn get_many(call: &mut Call<'_>) -> Result<(), Refusal> {
    let keys = call.arguments.from(1);
    call.replies.array(keys.len());
    for key in keys {
        match call.server.store.get(key, call.now_ms) {
            Some(value) => call.replies.value(value),
            None => call.replies.null(),
        }
    }
    Ok(())
}

/// Sets each key by itself: unlike in Redis another client may see some of them before the others.
pub(super) fn set_many(call: &mut Call<'_>) -> Result<(), Refusal> {
    if call.arguments.len().is_multiple_of(2) {
        return Err(Refusal::Arity("mset".into()));
    }
    for place in (1..call.arguments.len()).step_by(2) {
        let write = Write::new(Bytes::copy_from_slice(call.argument(place + 1)));
        call.server.store.set(call.argument(place), write, call.now_ms);
    }
    call.replies.simple("OK");
    Ok(())
}

pub(super) fn set(call: &mut Call<'_>) -> Result<(), Refusal> {
    let options = Options::read(call)?;
    // Copied, so that a small value does not keep the connection's whole read buffer alive.
    let write = Write::new(Bytes::copy_from_slice(call.argument(2)))
        .deadline(options.deadline)
        .condition(options.condition);
    let written = call.server.store.set(call.argument(1), write, call.now_ms);
    match written.former {
        Some(former) if options.get => call.replies.value(former),
        _ if options.get || !written.stored => call.replies.null(),
        _ => call.replies.simple("OK"),
    }
    Ok(())
}

struct Options {
    deadline: Deadline,
    condition: Condition,
    get: bool,
}

impl Options {
    /// Reads `NX`, `XX`, `GET`, `KEEPTTL`, `EX seconds` and `PX milliseconds`, in any order.
    fn read(call: &Call<'_>) -> Result<Self, Refusal> {
        let mut options = Self { deadline: Deadline::Never, condition: Condition::None, get: false };
        let mut place = 3;
        while place < call.arguments.len() {
            let has_deadline = options.deadline != Deadline::Never;
            let has_condition = options.condition != Condition::None;
            let has_value = place + 1 < call.arguments.len();
            if call.is(place, "nx") && !has_condition {
                options.condition = Condition::Absent;
            } else if call.is(place, "xx") && !has_condition {
                options.condition = Condition::Present;
            } else if call.is(place, "get") {
                options.get = true;
            } else if call.is(place, "keepttl") && !has_deadline {
                options.deadline = Deadline::Keep;
            } else if (call.is(place, "ex") || call.is(place, "px")) && !has_deadline && has_value {
                let unit_ms = if call.is(place, "ex") { 1000 } else { 1 };
                place += 1;
                let length = Some(call.integer(place)?).filter(|length| *length > 0);
                let moment = length.and_then(|length| expiry::moment(call.now_ms, length, unit_ms));
                options.deadline = Deadline::At(moment.ok_or(Refusal::ExpireTime("set"))?);
            } else {
                return Err(Refusal::Syntax);
            }
            place += 1;
        }
        Ok(options)
    }
}
