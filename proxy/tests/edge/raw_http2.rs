//! HTTP/2 by hand: frames that no client library would send.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::soon;

pub(crate) const DATA: u8 = 0x0;
pub(crate) const HEADERS: u8 = 0x1;
pub(crate) const RST_STREAM: u8 = 0x3;
pub(crate) const SETTINGS: u8 = 0x4;
pub(crate) const PING: u8 = 0x6;
pub(crate) const GOAWAY: u8 = 0x7;
pub(crate) const CONTINUATION: u8 = 0x9;
pub(crate) const END_STREAM: u8 = 0x1;
pub(crate) const END_HEADERS: u8 = 0x4;

#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// Encodes fields as they are (RFC 7541 §6.2.2), whatever they hold.
pub(crate) fn fields(pairs: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in pairs {
        block.push(0);
        for text in [name, value] {
            assert!(text.len() < 127, "longer ones need more than one byte of length");
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text);
        }
    }
    block
}

pub(crate) fn get_fields() -> Vec<u8> {
    fields(&[(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")])
}

/// Connects and exchanges settings.
pub(crate) async fn connect(address: std::net::SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    begin(&mut stream, &[]).await;
    stream
}

/// Sends the preface with settings.
pub(crate) async fn begin(stream: &mut (impl AsyncWrite + Unpin), settings: &[u8]) {
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, settings)).await.unwrap();
}

/// Reads the next frame; `None` when the connection has ended.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Frame> {
    let read = async {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.ok()?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await.ok()?;
        let number = u32::from_be_bytes(head[5..9].try_into().unwrap());
        Some(Frame { kind: head[3], stream: number, payload })
    };
    soon(read).await
}

/// Reads until a frame of this kind for this stream; `None` when the connection ends before.
pub(crate) async fn read_until(stream: &mut (impl AsyncRead + Unpin), kind: u8, of: u32) -> Option<Frame> {
    while let Some(frame) = read(stream).await {
        if frame.kind == kind && frame.stream == of {
            return Some(frame);
        }
    }
    None
}

/// Reads until the connection has ended; gives the code of the last `GOAWAY`, if there was one.
pub(crate) async fn read_to_end(stream: &mut (impl AsyncRead + Unpin)) -> Option<u32> {
    let mut code = None;
    while let Some(frame) = read(stream).await {
        if frame.kind == GOAWAY {
            code = Some(u32::from_be_bytes(frame.payload[4..8].try_into().unwrap()));
        }
    }
    code
}
