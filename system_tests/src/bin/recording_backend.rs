//! A light backend that writes the ID of every request into a file before it answers.
//!
//! `recording_backend ADDRESS LEDGER`. A request for `/id/N` is a line `METHOD N`, written when its head is
//! read: from then on the backend may have acted on it. What is written outlives a SIGKILL. On SIGTERM it
//! finishes what it is at, as a well-behaved server does.

use std::fs::File;
use std::io::{self, Write};
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};

/// What a request takes, so that some are in flight whenever something happens to the process.
const WORK: Duration = Duration::from_millis(2);

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(ledger)) = (arguments.next(), arguments.next()) else {
        return Err(io::Error::other("recording_backend ADDRESS LEDGER"));
    };
    let ledger = Rc::new(File::options().create(true).append(true).open(ledger)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, serve(address, ledger))
}

async fn serve(address: String, ledger: Rc<File>) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    let mut stopped = signal(SignalKind::terminate())?;
    let (stop, stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (connection, _) = accepted?;
                connections.spawn_local(answer(connection, Rc::clone(&ledger), stopping.clone()));
            }
            _ = stopped.recv() => break,
        }
    }
    drop(listener);
    let _ = stop.send(true);
    while connections.join_next().await.is_some() {}
    Ok(())
}

/// Answers the requests of a connection until either side is done.
async fn answer(
    mut connection: TcpStream,
    ledger: Rc<File>,
    mut stopping: watch::Receiver<bool>,
) -> Option<()> {
    connection.set_nodelay(true).ok()?;
    let mut bytes = Vec::with_capacity(4096);
    loop {
        let head = loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            tokio::select! {
                biased;
                read = connection.read_buf(&mut bytes) => if read.ok()? == 0 { return None },
                _ = stopping.wait_for(|stopping| *stopping), if bytes.is_empty() => return None,
            }
        };
        let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
        let mut line = text.split(' ');
        let (method, target) = (line.next()?, line.next()?);
        if let Some(id) = target.strip_prefix("/id/") {
            (&*ledger).write_all(format!("{method} {id}\n").as_bytes()).ok()?;
            tokio::time::sleep(WORK).await;
        }
        let length = text.lines().filter_map(|line| line.split_once(':')).find_map(|(name, value)| {
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        let whole = head + length.unwrap_or(0);
        while bytes.len() < whole {
            if connection.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
            }
        }
        bytes.drain(..whole);
        let is_last = *stopping.borrow();
        let close = if is_last { "Connection: close\r\n" } else { "" };
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{close}\r\nok");
        connection.write_all(answer.as_bytes()).await.ok()?;
        if is_last {
            return None;
        }
    }
}
