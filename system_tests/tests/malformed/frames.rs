//! A client of HTTP/2 that sends any field it is told, because it knows none of the rules.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// What frames may be as long as without agreement (RFC 9113 §4.2).
const FRAME_LIMIT: usize = 16 << 10;

/// How a stream ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// With an answer of this status.
    Answered(u16),
    /// By `RST_STREAM` with this code.
    Reset(u32),
    /// With the whole connection: `GOAWAY` with this code, or closed.
    GoneAway(Option<u32>),
    /// Not at all.
    Silence,
}

/// A connection of a client.
pub(crate) struct Frames {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl Frames {
    /// Connects with prior knowledge.
    pub(crate) fn connect(to: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(to).expect("the server accepts");
        stream.set_nodelay(true).expect("a socket option");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a socket option");
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").expect("the preface");
        let mut frames = Self { stream, bytes: Vec::new() };
        frames.send(SETTINGS, 0, 0, &[]);
        frames
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).expect("a short frame");
        let mut frame = length.to_be_bytes()[1..].to_vec();
        frame.extend_from_slice(&[kind, flags]);
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        // A connection that is closed already is no fault: what is read tells.
        let _ = self.stream.write_all(&frame);
    }

    /// Sends a block of fields, as literals that no table keeps.
    pub(crate) fn send_fields(&mut self, stream: u32, fields: &[(&[u8], &[u8])], ends: bool) {
        let mut block = Vec::new();
        for (name, value) in fields {
            block.push(0x10);
            push_text(&mut block, name);
            push_text(&mut block, value);
        }
        let flags = if ends { END_STREAM } else { 0 };
        let parts: Vec<&[u8]> = block.chunks(FRAME_LIMIT).collect();
        let last = parts.len().saturating_sub(1);
        for (index, part) in parts.into_iter().enumerate() {
            let (kind, flags) = if index == 0 { (HEADERS, flags) } else { (CONTINUATION, 0) };
            self.send(kind, if index == last { flags | END_HEADERS } else { flags }, stream, part);
        }
    }

    /// Sends a part of a body.
    pub(crate) fn send_data(&mut self, stream: u32, data: &[u8], ends: bool) {
        self.send(DATA, if ends { END_STREAM } else { 0 }, stream, data);
    }

    /// Reads until a stream ended.
    pub(crate) fn end_of(&mut self, stream: u32) -> End {
        let mut status = None;
        loop {
            let Some((kind, flags, id, payload)) = self.read_frame() else {
                return if self.bytes == b"silence" { End::Silence } else { End::GoneAway(None) };
            };
            let code = |at: usize| {
                payload.get(at..at + 4).map(|code| u32::from_be_bytes(code.try_into().expect("four")))
            };
            match kind {
                SETTINGS if flags & ACK == 0 => self.send(SETTINGS, ACK, 0, &[]),
                GOAWAY if code(4) != Some(0) => return End::GoneAway(code(4)),
                RST_STREAM if id == stream && status.is_none() => {
                    return End::Reset(code(0).unwrap_or_default());
                }
                HEADERS if id == stream && status.is_none() => status = Some(status_of(&payload)),
                _ => {}
            }
            if let Some(status) = status
                && (flags & END_STREAM != 0 || kind == RST_STREAM)
                && id == stream
            {
                return End::Answered(status);
            }
        }
    }

    fn read_frame(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let head = self.read(9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let payload = self.read(length)?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some((head[3], head[4], stream & 0x7fff_ffff, payload))
    }

    fn read(&mut self, length: usize) -> Option<Vec<u8>> {
        let mut block = [0; 16 << 10];
        while self.bytes.len() < length {
            match self.stream.read(&mut block) {
                Ok(0) => return None,
                Ok(length) => self.bytes.extend_from_slice(&block[..length]),
                Err(error) => {
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) {
                        self.bytes = b"silence".to_vec();
                    }
                    return None;
                }
            }
        }
        Some(self.bytes.drain(..length).collect())
    }
}

/// Writes a text of HPACK without Huffman coding (RFC 7541 §5.2).
fn push_text(block: &mut Vec<u8>, text: &[u8]) {
    if text.len() < 127 {
        block.push(text.len() as u8);
    } else {
        block.push(127);
        let mut rest = text.len() - 127;
        while rest >= 128 {
            block.push((rest % 128 + 128) as u8);
            rest /= 128;
        }
        block.push(rest as u8);
    }
    block.extend_from_slice(text);
}

/// Reads the status, the first field of a block that is the first of its connection.
fn status_of(block: &[u8]) -> u16 {
    // Changes of the table's size may come before it.
    let mut block = block;
    while block.first().is_some_and(|byte| byte & 0xe0 == 0x20) {
        let length = if block[0] & 0x1f == 0x1f {
            block[1..].iter().position(|byte| *byte < 128).expect("an end") + 2
        } else {
            1
        };
        block = &block[length..];
    }
    let known = [(0x88, 200), (0x89, 204), (0x8a, 206), (0x8b, 304), (0x8c, 400), (0x8d, 404), (0x8e, 500)];
    if let Some((_, status)) = known.iter().find(|(byte, _)| *byte == block[0]) {
        return *status;
    }
    let length = usize::from(block[1] & 0x7f);
    let text = &block[2..2 + length];
    if block[1] & 0x80 == 0 {
        return String::from_utf8_lossy(text).parse().expect("a status");
    }
    // Huffman: 0, 1 and 2 have five bits, the other digits six (RFC 7541 appendix B).
    let bits: Vec<u32> =
        text.iter().flat_map(|byte| (0..8).rev().map(move |bit| u32::from(byte >> bit) & 1)).collect();
    let (mut at, mut status) = (0, 0);
    for _ in 0..3 {
        let number = |length: usize| bits[at..at + length].iter().fold(0, |number, bit| number * 2 + bit);
        let (digit, length) = if number(5) < 3 { (number(5), 5) } else { (number(6) - 0x19 + 3, 6) };
        status = status * 10 + digit;
        at += length;
    }
    u16::try_from(status).expect("a status")
}
