//! What goes over the Unix socket: short JSON documents with their length, and descriptors.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;

/// The longest document; the real ones are a tenth of it.
const LIMIT: usize = 4096;

/// How long one step of the other side may take; it only writes what it knows already.
pub(super) const STEP: Duration = Duration::from_secs(5);

/// Sends a document.
pub(super) async fn send(stream: &mut UnixStream, document: &impl Serialize) -> io::Result<()> {
    let body = serde_json::to_vec(document)?;
    let length = u16::try_from(body.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut frame = length.to_be_bytes().to_vec();
    frame.extend_from_slice(&body);
    within_step(stream.write_all(&frame)).await
}

/// Receives a document.
pub(super) async fn receive<T: DeserializeOwned>(stream: &mut UnixStream) -> io::Result<T> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).await?;
    let length = usize::from(u16::from_be_bytes(length));
    if length > LIMIT {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "what was said is too long"));
    }
    let mut body = vec![0; length];
    within_step(stream.read_exact(&mut body)).await?;
    Ok(serde_json::from_slice(&body)?)
}

/// Sends one socket: a byte, because a descriptor never travels alone on a stream, and the descriptor.
pub(super) async fn send_socket(stream: &UnixStream, socket: &TcpListener) -> io::Result<()> {
    let sending = stream.async_io(Interest::WRITABLE, || {
        let descriptors = [socket.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
        rustix::net::sendmsg(stream, &[IoSlice::new(&[0])], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    });
    within_step(sending).await
}

/// Receives one socket.
pub(super) async fn receive_socket(stream: &UnixStream) -> io::Result<TcpListener> {
    let receiving = stream.async_io(Interest::READABLE, || {
        let mut byte = [0];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut into = [IoSliceMut::new(&mut byte)];
        // Closed on exec, so that no child of ours keeps a port open.
        let received = rustix::net::recvmsg(stream, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let descriptor = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        match descriptor {
            Some(descriptor) => Ok(descriptor),
            None if received.bytes == 0 => Err(io::ErrorKind::UnexpectedEof.into()),
            None => Err(io::Error::new(io::ErrorKind::InvalidData, "a descriptor is missing")),
        }
    });
    listening(within_step(receiving).await?)
}

/// Makes sure that a descriptor is a listening TCP socket before it is used as one.
fn listening(descriptor: OwnedFd) -> io::Result<TcpListener> {
    let is_listening = rustix::net::sockopt::socket_acceptconn(&descriptor).unwrap_or(false);
    if !is_listening {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a descriptor is no listening socket"));
    }
    let socket = TcpListener::from(descriptor);
    socket.local_addr()?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Gives up on another side that takes too long.
pub(super) async fn within_step<T>(step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match tokio::time::timeout(STEP, step).await {
        Ok(done) => done,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}
