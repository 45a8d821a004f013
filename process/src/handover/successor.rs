//! The new process's side: asks for the sockets, and says when it is ready.

use std::io;
use std::net::TcpListener;

use tokio::net::UnixStream;

use super::frame::{receive, receive_socket, send, within_step};
use super::{Hello, PROTOCOL, Place, Reply, Word, offer, sockets};

/// More sockets than a process has addresses and threads; a number beyond it is nonsense.
const MOST_SOCKETS: usize = 4096;

/// Why listeners were not taken over. The old process goes on.
#[derive(Debug, thiserror::Error)]
pub enum TakeOverError {
    /// The old process said no.
    #[error("the running process does not hand over: {0}")]
    Refused(String),
    /// The exchange broke off.
    #[error("taking over from the running process failed: {0}")]
    Broken(#[from] io::Error),
}

/// A process that has taken over sockets and is not ready yet.
#[derive(Debug)]
pub struct Successor {
    stream: UnixStream,
    /// The process ID of the old process.
    pub pid: u32,
    /// The version of the old process.
    pub version: String,
    /// How many sockets it handed over.
    pub count: usize,
}

impl Successor {
    /// Asks the process at the place for its sockets, which then wait for [`crate::listen`] to bind them;
    /// `None` when none lives there, whatever it left.
    pub async fn take_over(place: &Place) -> Result<Option<Self>, TakeOverError> {
        let Some((successor, handed)) = Self::ask(place).await? else { return Ok(None) };
        sockets::inherit(handed);
        Ok(Some(successor))
    }

    pub(super) async fn ask(place: &Place) -> Result<Option<(Self, Vec<TcpListener>)>, TakeOverError> {
        let mut stream = match within_step(UnixStream::connect(place.path())).await {
            Ok(stream) => stream,
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        if stream.peer_cred()?.uid() != rustix::process::geteuid().as_raw() {
            return Err(TakeOverError::Refused("it belongs to another user".to_owned()));
        }
        let role = place.role().to_owned();
        let hello = Hello { protocol: PROTOCOL, version: offer::version(), pid: std::process::id(), role };
        send(&mut stream, &hello).await?;
        let (version, pid, count) = match within_step(receive(&mut stream)).await? {
            Reply::Sockets { version, pid, count } => (version, pid, count),
            Reply::Refused { reason } => return Err(TakeOverError::Refused(reason)),
        };
        if count > MOST_SOCKETS {
            return Err(TakeOverError::Refused(format!("it speaks of {count} sockets")));
        }
        let mut handed = Vec::with_capacity(count);
        for _ in 0..count {
            handed.push(receive_socket(&stream).await?);
        }
        Ok(Some((Self { stream, pid, version, count }, handed)))
    }

    /// Says that this process serves, and waits for the old one to say that it stops.
    pub async fn ready(mut self) -> Result<(), TakeOverError> {
        send(&mut self.stream, &Word::Ready).await?;
        match within_step(receive(&mut self.stream)).await? {
            Word::Stopping => Ok(()),
            Word::Ready => Err(io::Error::from(io::ErrorKind::InvalidData).into()),
        }
    }
}
