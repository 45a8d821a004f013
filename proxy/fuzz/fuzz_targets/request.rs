//! Whatever a client sends is refused, or reaches the backend as one request that cannot be read in two ways.
//!
#![no_main]

mod check;

use check::check;
use libfuzzer_sys::fuzz_target;
use proxy::wire::rehearsal::{Rehearsed, rehearse};

fuzz_target!(|input: &[u8]| {
    // The first byte says in what pieces the rest comes.
    let Some((size, bytes)) = input.split_first() else { return };
    let size = usize::from(*size);
    let pieces: Vec<&[u8]> =
        if size == 0 { vec![bytes] } else { bytes.chunks(size).collect() };
    let rehearsed = rehearse(&pieces);
    for one in &rehearsed {
        match one {
            Rehearsed::Refused(status) => assert!((400..=505).contains(status)),
            Rehearsed::Forwarded { bytes, body, is_whole: true } => check(bytes, body),
            // The connection to the backend is dropped then.
            Rehearsed::Forwarded { .. } => {}
        }
    }
    // How it came makes no difference to what is forwarded whole.
    let whole = rehearse(&[bytes]);
    for (split, whole) in rehearsed.iter().zip(&whole) {
        if let (Rehearsed::Forwarded { body: one, is_whole: true, .. }, Rehearsed::Forwarded { body: other, .. }) =
            (split, whole)
        {
            assert_eq!(one, other);
        }
    }
});
