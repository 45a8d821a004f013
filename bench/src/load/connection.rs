//! One keep-alive connection of the open loop, never waiting.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use anyhow::Context;

/// A connection and the answer that is arriving on it.
pub(super) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
    /// When the request that is being answered should have left.
    pub(super) scheduled: Option<Instant>,
}

impl Connection {
    pub(super) fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, buffer: vec![0; 4 << 10], filled: 0, scheduled: None })
    }

    pub(super) fn send(&mut self, request: &[u8], scheduled: Instant) -> anyhow::Result<()> {
        // A request is far smaller than a socket's buffer, and only one is under way.
        anyhow::ensure!(self.stream.write(request)? == request.len(), "the request was cut");
        self.scheduled = Some(scheduled);
        Ok(())
    }

    /// Reads what has arrived; gives the status once the answer is whole.
    pub(super) fn receive(&mut self) -> anyhow::Result<Option<u16>> {
        if self.filled == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        match self.stream.read(&mut self.buffer[self.filled..]) {
            Ok(0) => anyhow::bail!("the connection was closed"),
            Ok(read) => self.filled += read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let Some((status, length)) = parse(&self.buffer[..self.filled])? else { return Ok(None) };
        if self.filled < length {
            return Ok(None);
        }
        anyhow::ensure!(self.filled == length, "more than one answer");
        self.filled = 0;
        Ok(Some(status))
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Gives the status and the length of head and body, once the head is whole.
fn parse(bytes: &[u8]) -> anyhow::Result<Option<(u16, usize)>> {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(start) = head.parse(bytes)? else { return Ok(None) };
    let length = head.headers.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"));
    let length: usize = std::str::from_utf8(length.context("no Content-Length")?.value)?.trim().parse()?;
    Ok(Some((head.code.context("no status")?, start + length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_after_its_content_length() {
        let bytes = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\ngone";
        assert_eq!(parse(bytes).unwrap(), Some((503, bytes.len())));
        assert_eq!(parse(&bytes[..40]).unwrap(), None);
        assert!(parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
