//! Requests just as they are written, and what is answered to them.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::house::House;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) media_type: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Checks that it is a problem of the client's.
    pub(crate) fn is_refusal(&self, what: &str) {
        assert!((400..500).contains(&self.status), "{what}: {self:?}");
        self.is_well_said(what);
    }

    /// Checks that it is no fault of the server's, and a problem document if it is a refusal.
    pub(crate) fn is_well_said(&self, what: &str) {
        assert!((200..500).contains(&self.status), "{what}: {self:?}");
        if self.status >= 400 && !self.body.is_empty() {
            assert_eq!(self.media_type, "application/problem+json", "{what}: {self:?}");
            let document: Value = serde_json::from_slice(&self.body).unwrap();
            assert_eq!(document["status"], self.status, "{what}");
            assert!(document["type"].as_str().unwrap().starts_with("urn:sixfold:problem:"), "{what}");
        }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Sends a request just as it is written.
pub(crate) async fn send(house: &House, method: &str, target: &str, fields: &str, body: &[u8]) -> Answer {
    send_bytes(house, method, target.as_bytes(), fields.as_bytes(), body).await
}

pub(crate) async fn send_bytes(
    house: &House,
    method: &str,
    target: &[u8],
    fields: &[u8],
    body: &[u8],
) -> Answer {
    let length = format!("content-length: {}\r\n\r\n", body.len());
    let head = [
        method.as_bytes(),
        b" ",
        target,
        b" HTTP/1.1\r\nhost: a\r\nconnection: close\r\n",
        fields,
        length.as_bytes(),
    ];
    let mut stream = TcpStream::connect(house.address("library")).await.unwrap();
    stream.write_all(&[&head.concat(), body].concat()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an answer").unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let field = |name: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix(name));
        line.map_or(String::new(), |value| value.trim_start_matches(':').trim().to_owned())
    };
    let body = match field("transfer-encoding").as_str() {
        "chunked" => unchunk(&answer[end + 4..]),
        _ => answer[end + 4..].to_vec(),
    };
    Answer { status: head[9..12].parse().unwrap(), media_type: field("content-type"), body }
}

fn unchunk(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n").expect("a chunk's size");
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 2 + size + 2..];
    }
}
