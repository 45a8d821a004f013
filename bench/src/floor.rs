//! The least that a proxy can do, to see what of a peer's cost is the system's: raw sockets and one epoll, each head
//! parsed by httparse, nothing changed, chosen, counted or guarded against.
//!
//! Every client has a connection to the backend to itself. Requests have no body, responses a `Content-Length`, and
//! both fit into one buffer.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

use anyhow::Context;
use httparse::{EMPTY_HEADER, Request, Response, Status};

use crate::poll::Poller;

/// What the listener is known by; a client has twice its place, its backend one more.
const LISTENER: u64 = u64::MAX;

/// Bytes of the longest message.
const LONGEST: usize = 16 << 10;

/// Fields of the longest head.
const FIELDS: usize = 32;

/// A socket and what was read from it of a message that is not whole.
struct End {
    socket: TcpStream,
    bytes: Vec<u8>,
    filled: usize,
}

/// Passes requests from clients of a port to a backend until it is killed.
pub(crate) fn run(port: u16, backend: u16) -> anyhow::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    let mut poller = Poller::new()?;
    poller.watch(&listener, LISTENER)?;
    let mut pairs: Vec<Option<[End; 2]>> = Vec::new();
    let mut ready = Vec::new();
    loop {
        poller.wait(None, &mut ready)?;
        for number in ready.drain(..) {
            if number == LISTENER {
                let (client, _) = listener.accept()?;
                let pair = [End::new(client)?, End::new(TcpStream::connect(("127.0.0.1", backend))?)?];
                for (end, side) in pair.iter().zip(0..) {
                    poller.watch(&end.socket, 2 * pairs.len() as u64 + side)?;
                }
                pairs.push(Some(pair));
                continue;
            }
            let place = (number / 2) as usize;
            let Some(pair) = &mut pairs[place] else { continue };
            let is_open = pass(pair, number % 2 == 1)?;
            if !is_open {
                pairs[place] = None;
            }
        }
    }
}

/// Reads from one end, and passes on what is whole; false if it was closed.
fn pass([client, backend]: &mut [End; 2], is_response: bool) -> anyhow::Result<bool> {
    let (from, to) = if is_response { (backend, client) } else { (client, backend) };
    match from.socket.read(&mut from.bytes[from.filled..]) {
        Ok(0) => return Ok(false),
        Ok(count) => from.filled += count,
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
        Err(_) => return Ok(false),
    }
    let message = &from.bytes[..from.filled];
    let length = if is_response { response_length(message)? } else { request_length(message)? };
    if length.is_some_and(|length| length <= from.filled) {
        to.socket.write_all(message)?;
        from.filled = 0;
    }
    Ok(true)
}

/// Gives the length of a request, if its head is whole.
fn request_length(message: &[u8]) -> anyhow::Result<Option<usize>> {
    let mut fields = [EMPTY_HEADER; FIELDS];
    Ok(match Request::new(&mut fields).parse(message)? {
        Status::Complete(length) => Some(length),
        Status::Partial => None,
    })
}

/// Gives the length of a response, if its head is whole.
fn response_length(message: &[u8]) -> anyhow::Result<Option<usize>> {
    let mut fields = [EMPTY_HEADER; FIELDS];
    let mut response = Response::new(&mut fields);
    let Status::Complete(head) = response.parse(message)? else { return Ok(None) };
    let length = response.headers.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"));
    let length = length.context("a response without a Content-Length")?.value;
    Ok(Some(head + std::str::from_utf8(length)?.parse::<usize>()?))
}

impl End {
    fn new(socket: TcpStream) -> anyhow::Result<Self> {
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, bytes: vec![0; LONGEST], filled: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_as_long_as_its_head_says() {
        assert_eq!(request_length(b"GET / HTTP/1.1\r\nHost: x\r\n").unwrap(), None);
        assert_eq!(request_length(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap(), Some(27));
        let response = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab";
        assert_eq!(response_length(response).unwrap(), Some(response.len() + 1));
        assert!(response_length(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
