//! A backend that follows a script and records every byte.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// What a backend got, connection by connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Record(Arc<Mutex<Vec<Vec<u8>>>>);

impl Record {
    /// Gives how many connections were accepted.
    pub(crate) fn connections(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// Gives all that came, over all connections.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap().concat()).into_owned()
    }
}

/// A backend's end of one connection.
pub(crate) struct Peer {
    read: OwnedReadHalf,
    write: OwnedWriteHalf,
    number: usize,
    record: Record,
    unread: Vec<u8>,
}

impl Peer {
    /// Reads until the bytes end so; false when the other end has closed before.
    pub(crate) async fn read_until(&mut self, end: &[u8]) -> bool {
        loop {
            if let Some(at) = self.unread.windows(end.len()).position(|window| window == end) {
                self.unread.drain(..at + end.len());
                return true;
            }
            let mut piece = [0; 4096];
            let count = self.read.read(&mut piece).await.unwrap_or(0);
            if count == 0 {
                return false;
            }
            self.record.0.lock().unwrap()[self.number].extend_from_slice(&piece[..count]);
            self.unread.extend_from_slice(&piece[..count]);
        }
    }

    /// Reads a request's head.
    pub(crate) async fn head(&mut self) -> bool {
        self.read_until(b"\r\n\r\n").await
    }

    /// Reads so many bytes.
    pub(crate) async fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.unread.len() < count {
            let mut piece = vec![0; 65536];
            let read = self.read.read(&mut piece).await.unwrap_or(0);
            assert!(read > 0, "closed after {} bytes of {count}", self.unread.len());
            self.unread.extend_from_slice(&piece[..read]);
        }
        self.unread.drain(..count).collect()
    }

    /// Writes; a connection that is gone takes it silently.
    pub(crate) async fn say(&mut self, text: &str) {
        let _ = self.write.write_all(text.as_bytes()).await;
    }

    /// Tells whether a text has come on this connection.
    pub(crate) fn said(&self, text: &str) -> bool {
        String::from_utf8_lossy(&self.record.0.lock().unwrap()[self.number]).contains(text)
    }

    /// Waits until the other end closes.
    pub(crate) async fn closed(&mut self) {
        while self.read_until(b"\0never\0").await {}
    }

    /// Ends what this end says.
    pub(crate) async fn shut(&mut self) {
        let _ = self.write.shutdown().await;
    }
}

/// Starts a backend; the script runs for each connection, which closes when it ends.
pub(crate) async fn start<F>(script: impl Fn(Peer, usize) -> F + Send + 'static) -> (SocketAddr, Record)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let record = Record::default();
    let accepted = record.clone();
    let serve = async move {
        let mut open = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let peer = peer(stream, &accepted);
            let number = peer.number;
            open.spawn(script(peer, number));
        }
    };
    #[allow(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
    drop(tokio::task::spawn(serve));
    (address, record)
}

fn peer(stream: TcpStream, record: &Record) -> Peer {
    let number = {
        let mut connections = record.0.lock().unwrap();
        connections.push(Vec::new());
        connections.len() - 1
    };
    let (read, write) = stream.into_split();
    Peer { read, write, number, record: record.clone(), unread: Vec::new() }
}

/// Answers every request without a body with `ok`.
pub(crate) async fn answer_all(mut peer: Peer, _: usize) {
    while peer.head().await {
        peer.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    }
}
