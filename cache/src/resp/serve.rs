//! Connections: read a batch, do it, write its answers once.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use process::Shutdown;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::command::{self, Call};
use super::parse::{Bounds, Parser};
use super::reply::Replies;
use super::{Server, Session};

/// How long accepting pauses after an error such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long a connection has to authenticate where a token is set.
const STRANGER_TIMEOUT: Duration = Duration::from_secs(10);

/// The read buffer of a connection to begin with, and what one keeps between requests, in bytes.
const READ_SIZE: usize = 4 << 10;
const KEPT_CAPACITY: usize = 64 << 10;

/// The most room made ahead of what has arrived, whatever length a client announced.
const READ_AHEAD_LIMIT: usize = 1 << 20;

/// Answers are written in the middle of a batch from this size on, so that a pipeline of large reads does
/// not gather more than the client takes.
const FLUSH_AT: usize = 256 << 10;

/// Serves connections until the shutdown is requested; batches in hand are finished within the grace.
pub(crate) async fn serve(listener: TcpListener, server: Arc<Server>, shutdown: &Shutdown) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.requested() => break,
            accepted = listener.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if connections.len() >= server.connections_limit {
            // Small enough for any socket buffer; a client that is not there to take it loses nothing.
            let _ = stream.try_write(b"-ERR max number of clients reached\r\n");
            continue;
        }
        let (server, shutdown) = (Arc::clone(&server), shutdown.clone());
        connections.spawn(async move {
            server.connections.fetch_add(1, Ordering::Relaxed);
            if let Err(error) = serve_connection(stream, &server, &shutdown).await {
                tracing::debug!(%error, "a connection ended early");
            }
            server.connections.fetch_sub(1, Ordering::Relaxed);
        });
    }
    drop(listener);
    shutdown.until_grace(async { while connections.join_next().await.is_some() {} }).await;
}

async fn serve_connection(
    mut stream: TcpStream,
    server: &Server,
    shutdown: &Shutdown,
) -> std::io::Result<()> {
    // Without it a small answer may wait for the peer's delayed acknowledgement.
    stream.set_nodelay(true)?;
    let id = server.last_id.fetch_add(1, Ordering::Relaxed) + 1;
    let mut session = Session { id, ..Session::default() };
    let mut parser = Parser::default();
    let mut replies = Replies::default();
    let mut buffer = BytesMut::with_capacity(READ_SIZE);
    let mut stranger_deadline = Some(tokio::time::Instant::now() + STRANGER_TIMEOUT);
    while !session.is_closing {
        if session.is_trusted(server) {
            stranger_deadline = None;
        }
        let idle_deadline = tokio::time::Instant::now() + server.idle_timeout;
        let deadline = stranger_deadline.unwrap_or(idle_deadline).min(idle_deadline);
        let read = tokio::select! {
            biased;
            read = stream.read_buf(&mut buffer) => read?,
            () = shutdown.requested() => return Ok(()),
            () = tokio::time::sleep_until(deadline) => return Ok(()),
        };
        if read == 0 {
            return Ok(());
        }
        let mut taken = 0;
        while !session.is_closing {
            let input = &buffer[taken..];
            let bounds = Bounds { bulk: server.largest_value, trusted: session.is_trusted(server) };
            match parser.parse(input, bounds) {
                Ok(None) => break,
                Ok(Some(length)) => {
                    let arguments = parser.arguments(input);
                    if arguments.len() > 0 {
                        let now_ms = server.clock.now_ms();
                        command::execute(Call {
                            server,
                            session: &mut session,
                            arguments,
                            now_ms,
                            replies: &mut replies,
                        });
                    }
                    taken += length;
                }
                Err(error) => {
                    replies.error(&format!("ERR {error}"));
                    session.is_closing = true;
                }
            }
            if replies.len() >= FLUSH_AT {
                write_all(&mut stream, &mut replies, server.idle_timeout).await?;
            }
        }
        buffer.advance(taken);
        write_all(&mut stream, &mut replies, server.idle_timeout).await?;
        make_room(&mut buffer, read);
    }
    stream.shutdown().await
}

/// Writes the answers gathered so far; a client that takes nothing of a part in time is let go.
async fn write_all(stream: &mut TcpStream, replies: &mut Replies, patience: Duration) -> std::io::Result<()> {
    while replies.len() > 0 {
        let part = replies.take();
        // Nearly always there is room in the socket's buffer, and no timer is needed.
        let written = match stream.try_write(&part) {
            Ok(written) => written,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        if written < part.len() {
            timeout(patience, stream.write_all(&part[written..])).await??;
        }
    }
    replies.shrink();
    Ok(())
}

/// Doubles the buffer while reads fill it, and lets a large one go once it is used up.
fn make_room(buffer: &mut BytesMut, read: usize) {
    if buffer.is_empty() && buffer.capacity() > KEPT_CAPACITY {
        *buffer = BytesMut::with_capacity(READ_SIZE);
    }
    let wanted =
        if read >= READ_SIZE { buffer.len().clamp(READ_SIZE, READ_AHEAD_LIMIT) } else { READ_SIZE / 4 };
    buffer.reserve(wanted);
}
