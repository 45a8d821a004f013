//! The old process's side: offers its sockets until a successor is ready.

use std::io;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};

use super::frame::{receive, send, send_socket, within_step};
use super::{Hello, PROTOCOL, Place, Reply, Word, sockets};

/// How long a successor may take from its sockets to its readiness; it waits for its own roles half as long.
const STARTING: Duration = Duration::from_secs(60);

/// The Unix socket at which this process hands over.
#[derive(Debug)]
pub struct Offer {
    place: Place,
    listener: UnixListener,
}

impl Offer {
    /// Opens the place; what a killed process or a predecessor left there is replaced in one step.
    pub fn open(place: Place) -> io::Result<Self> {
        let beside = place.path().with_extension(format!("{}.new", std::process::id()));
        let _ = std::fs::remove_file(&beside);
        let listener = UnixListener::bind(&beside)?;
        std::fs::set_permissions(&beside, PermissionsExt::from_mode(0o600))?;
        std::fs::rename(&beside, place.path())?;
        Ok(Self { place, listener })
    }

    /// Waits until a successor has taken the sockets and is ready; then this process must stop.
    ///
    /// Safe to drop: a successor that is not ready yet finds its connection closed and gives up.
    pub async fn taken(&self) {
        self.taken_with(sockets::copies).await;
    }

    pub(super) async fn taken_with(&self, copies: impl Fn() -> io::Result<Vec<TcpListener>>) {
        loop {
            let stream = self.next_caller().await;
            let takeover = self.hand_over(stream, &copies);
            tokio::pin!(takeover);
            let ended = loop {
                tokio::select! {
                    // First, so that one that has just ended is not in the way of the next.
                    biased;
                    ended = &mut takeover => break ended,
                    other = self.next_caller() => refuse(other, "another takeover is under way").await,
                }
            };
            match ended {
                Ok(pid) => {
                    tracing::info!(pid, "the successor is ready; this process stops");
                    return;
                }
                Err(reason) => tracing::warn!(%reason, "a takeover failed; this process goes on"),
            }
        }
    }

    async fn next_caller(&self) -> UnixStream {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => return stream,
                Err(error) => {
                    tracing::warn!(%error, "a successor was not accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    /// Takes one successor through the protocol and gives its process ID.
    async fn hand_over(
        &self,
        mut stream: UnixStream,
        copies: impl Fn() -> io::Result<Vec<TcpListener>>,
    ) -> io::Result<u32> {
        // The mode of the file says so too; this holds whoever changed it.
        let user = stream.peer_cred()?.uid();
        if user != rustix::process::geteuid().as_raw() {
            return Err(io::Error::other(format!("user {user} is not ours")));
        }
        let hello: Hello = within_step(receive(&mut stream)).await?;
        if let Some(reason) = self.find_fault(&hello) {
            send(&mut stream, &Reply::Refused { reason: reason.clone() }).await?;
            return Err(io::Error::other(reason));
        }
        tracing::info!(pid = hello.pid, version = hello.version, "a successor takes over the listeners");
        let copies = copies()?;
        let reply = Reply::Sockets { version: version(), pid: std::process::id(), count: copies.len() };
        send(&mut stream, &reply).await?;
        for socket in &copies {
            send_socket(&stream, socket).await?;
        }
        let said: Word = match tokio::time::timeout(STARTING, receive(&mut stream)).await {
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(io::Error::other("the successor ended before it was ready"));
            }
            Ok(said) => said?,
            Err(_) => return Err(io::Error::other("the successor was not ready in time")),
        };
        if said != Word::Ready {
            return Err(io::Error::other("the successor did not say that it is ready"));
        }
        send(&mut stream, &Word::Stopping).await?;
        Ok(hello.pid)
    }

    fn find_fault(&self, hello: &Hello) -> Option<String> {
        if hello.protocol != PROTOCOL {
            let theirs = hello.protocol;
            return Some(format!("it speaks version {theirs} of the handover, this process {PROTOCOL}"));
        }
        let ours = self.place.role();
        (hello.role != ours).then(|| format!("this process runs `{ours}`, not `{}`", hello.role))
    }
}

async fn refuse(mut stream: UnixStream, reason: &str) {
    // Closing before it was heard would reset the connection, and the answer with it.
    let _ = within_step(receive::<Hello>(&mut stream)).await;
    let _ = send(&mut stream, &Reply::Refused { reason: reason.to_owned() }).await;
}

pub(super) fn version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}
