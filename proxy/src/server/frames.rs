//! What a client's HTTP/2 frames cost, counted before they are acted on.
//!
//! h2 bounds what it keeps: streams, header lists, `CONTINUATION` frames, resets of streams nobody has accepted
//! yet. What it answers at once it does not count: `PING`, `SETTINGS`, empty `DATA`, and resets of accepted
//! streams (CVE-2019-9512, -9515, -9518, CVE-2023-44487), each of which costs this side more than the client.
//! This counts them by their nine-byte heads (RFC 9113 §4.1) as the bytes pass by.

/// The length of a connection's preface (RFC 9113 §3.4).
const PREFACE_LENGTH: usize = 24;

const HEAD_LENGTH: usize = 9;

/// Frame types (RFC 9113 §6).
const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const WINDOW_UPDATE: u8 = 0x8;
const CONTINUATION: u8 = 0x9;

/// The flag of `DATA` that ends a stream, and of `HEADERS` and `CONTINUATION` that ends a header block.
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// Resets of streams: 200 at once and 50 a second, and one for every answer that was given whole. The attack
/// sends tens of thousands a second; a client that gives up all it asked for 100 times over is not served by it.
const RESETS: Rate = Rate { burst: 200, each_second: 50 };

/// `PING`, `SETTINGS`, `PRIORITY`, empty `DATA`, unknown frames: Node.js and Envoy allow 1,000 at once too.
const CONTROL: Rate = Rate { burst: 1000, each_second: 100 };

/// `WINDOW_UPDATE`: beside these one for every KiB written, since a client sends them for what it has read.
const UPDATES: Rate = Rate { burst: 10_000, each_second: 1000 };

/// What a client is granted of a kind of frame.
#[derive(Debug, Clone, Copy)]
struct Rate {
    burst: u32,
    each_second: u32,
}

/// Says that a client sends more of something than any use of HTTP/2 explains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a flood of HTTP/2 {0} frames")]
pub(super) struct Flood(&'static str);

/// Reads along with a connection.
#[derive(Debug)]
pub(super) struct FrameWatch {
    /// Bytes still to come of what is passed over: the preface, then each frame's payload.
    skip: usize,
    head: [u8; HEAD_LENGTH],
    head_length: usize,
    /// Whether a header block, or the preface, has begun and not ended.
    is_in_headers: bool,
    ends_headers: bool,
    resets: Bucket,
    control: Bucket,
    updates: Bucket,
}

impl FrameWatch {
    pub(super) fn new(now_ms: u64) -> Self {
        Self {
            skip: PREFACE_LENGTH,
            head: [0; HEAD_LENGTH],
            head_length: 0,
            // The preface is waited for like a header block.
            is_in_headers: true,
            ends_headers: true,
            resets: Bucket::full(RESETS, now_ms),
            control: Bucket::full(CONTROL, now_ms),
            updates: Bucket::full(UPDATES, now_ms),
        }
    }

    /// Takes in the next bytes from the client.
    pub(super) fn observe(&mut self, mut bytes: &[u8], now_ms: u64) -> Result<(), Flood> {
        loop {
            let passed = self.skip.min(bytes.len());
            (self.skip, bytes) = (self.skip - passed, &bytes[passed..]);
            if self.skip > 0 {
                return Ok(());
            }
            if self.ends_headers {
                (self.is_in_headers, self.ends_headers) = (false, false);
            }
            if bytes.is_empty() {
                return Ok(());
            }
            let taken = (HEAD_LENGTH - self.head_length).min(bytes.len());
            self.head[self.head_length..self.head_length + taken].copy_from_slice(&bytes[..taken]);
            (self.head_length, bytes) = (self.head_length + taken, &bytes[taken..]);
            if self.head_length == HEAD_LENGTH {
                self.head_length = 0;
                self.note_frame(now_ms)?;
            }
        }
    }

    fn note_frame(&mut self, now_ms: u64) -> Result<(), Flood> {
        let [a, b, c, kind, flags, ..] = self.head;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        self.skip = length;
        match kind {
            HEADERS | CONTINUATION => {
                self.is_in_headers = true;
                self.ends_headers = flags & END_HEADERS != 0;
                Ok(())
            }
            DATA if length > 0 || flags & END_STREAM != 0 => Ok(()),
            RST_STREAM => self.resets.take(now_ms, Flood("RST_STREAM")),
            WINDOW_UPDATE => self.updates.take(now_ms, Flood("WINDOW_UPDATE")),
            _ => self.control.take(now_ms, Flood("control")),
        }
    }

    /// Notes bytes written to the client.
    pub(super) fn note_written(&mut self, count: usize) {
        self.updates.give(u32::try_from(count / 1024 + 1).unwrap_or(u32::MAX));
    }

    /// Notes answers the client has had whole.
    pub(super) fn note_answers(&mut self, count: u32) {
        self.resets.give(count);
    }

    /// Tells whether a header block has begun and not ended.
    pub(super) fn is_in_headers(&self) -> bool {
        self.is_in_headers
    }
}

/// Tokens that come back with time.
#[derive(Debug)]
struct Bucket {
    rate: Rate,
    left: u32,
    since_ms: u64,
}

impl Bucket {
    fn full(rate: Rate, now_ms: u64) -> Self {
        Self { rate, left: rate.burst, since_ms: now_ms }
    }

    fn take(&mut self, now_ms: u64, flood: Flood) -> Result<(), Flood> {
        let seconds = now_ms.saturating_sub(self.since_ms) / 1000;
        if seconds > 0 {
            self.since_ms += seconds * 1000;
            self.give(u32::try_from(seconds).unwrap_or(u32::MAX).saturating_mul(self.rate.each_second));
        }
        self.left = self.left.checked_sub(1).ok_or(flood)?;
        Ok(())
    }

    fn give(&mut self, tokens: u32) {
        self.left = self.left.saturating_add(tokens).min(self.rate.burst);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PING: u8 = 0x6;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let mut frame = vec![0, 0, u8::try_from(payload).unwrap(), kind, flags, 0, 0, 0, 1];
        frame.resize(HEAD_LENGTH + payload, 0xff);
        frame
    }

    fn begun() -> FrameWatch {
        let mut watch = FrameWatch::new(0);
        watch.observe(&[b'P'; PREFACE_LENGTH], 0).unwrap();
        watch
    }

    #[test]
    fn pings_come_back_with_time_and_a_flood_of_them_is_told() {
        let mut watch = begun();
        for _ in 0..CONTROL.burst {
            watch.observe(&frame(PING, 0, 8), 0).unwrap();
        }
        assert_eq!(watch.observe(&frame(PING, 0, 8), 999), Err(Flood("control")));
        assert_eq!(watch.observe(&frame(PING, 0, 8), 1000), Ok(()));
    }

    #[test]
    fn who_takes_answers_may_reset_streams_too() {
        let mut watch = begun();
        for _ in 0..10 * RESETS.burst {
            watch.observe(&frame(RST_STREAM, 0, 4), 0).unwrap();
            watch.note_answers(1);
        }
        let mut attack = begun();
        let fell = (0..).find(|_| attack.observe(&frame(RST_STREAM, 0, 4), 0).is_err());
        assert_eq!(fell, Some(RESETS.burst));
    }

    #[test]
    fn data_is_free_unless_it_is_empty() {
        let mut watch = begun();
        for _ in 0..2 * CONTROL.burst {
            watch.observe(&frame(DATA, 0, 1), 0).unwrap();
            watch.observe(&frame(DATA, END_STREAM, 0), 0).unwrap();
        }
        let fell = (0..).find(|_| watch.observe(&frame(DATA, 0, 0), 0).is_err());
        assert_eq!(fell, Some(CONTROL.burst));
    }

    #[test]
    fn a_preface_lasts_until_its_last_byte() {
        let mut watch = FrameWatch::new(0);
        watch.observe(&[b'P'; PREFACE_LENGTH - 1], 0).unwrap();
        assert!(watch.is_in_headers());
        watch.observe(b"P", 0).unwrap();
        assert!(!watch.is_in_headers());
    }

    #[test]
    fn a_header_block_lasts_until_its_last_byte() {
        let mut watch = begun();
        watch.observe(&frame(HEADERS, 0, 5), 0).unwrap();
        assert!(watch.is_in_headers());
        let last = frame(CONTINUATION, END_HEADERS, 5);
        watch.observe(&last[..last.len() - 1], 0).unwrap();
        assert!(watch.is_in_headers());
        watch.observe(&last[last.len() - 1..], 0).unwrap();
        assert!(!watch.is_in_headers());
    }

    proptest! {
        #[test]
        fn it_does_not_matter_where_reads_end(
            kinds in prop::collection::vec((0_u8..12, any::<u8>(), 0_usize..20), 0..50),
            cut in 1_usize..40,
        ) {
            let bytes: Vec<u8> = kinds.iter().flat_map(|&(kind, flags, size)| frame(kind, flags, size)).collect();
            let (mut whole, mut pieces) = (begun(), begun());
            let told = whole.observe(&bytes, 0);
            let told_piecewise = bytes.chunks(cut).try_for_each(|piece| pieces.observe(piece, 0));
            prop_assert_eq!(told, told_piecewise);
            prop_assert_eq!(whole.is_in_headers(), pieces.is_in_headers());
            prop_assert_eq!(whole.control.left, pieces.control.left);
        }
    }
}
