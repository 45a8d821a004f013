//! Bodies in both directions.

use crate::backend;
use crate::front::{Setup, start};

#[tokio::test]
async fn a_chunked_upload_arrives_as_it_was_sent() {
    let (address, record) = backend::start(|mut peer, _| async move {
        peer.head().await;
        peer.read_until(b"0\r\nT: 1\r\n\r\n").await;
        peer.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nU: 2\r\n\r\n").await;
        peer.closed().await;
    })
    .await;
    let lane = start(address, Setup::default());
    let mut caller = lane.connect().await;
    caller.say(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n").await;
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    caller.say(b"0\r\nT: 1\r\nHost: evil\r\n\r\n").await;
    let answer = caller.until("0\r\nU: 2\r\n\r\n").await;
    assert!(answer.contains("\r\nTransfer-Encoding: chunked\r\n"), "{answer}");
    assert!(answer.contains("\r\n\r\n3\r\nabc\r\n"), "{answer}");
    let got = record.text();
    assert!(got.contains("\r\nTransfer-Encoding: chunked\r\n"), "{got}");
    assert!(got.ends_with("\r\n\r\n3\r\nabc\r\n0\r\nT: 1\r\n\r\n"), "{got}");
}
