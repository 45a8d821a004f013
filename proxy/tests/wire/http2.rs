//! HTTP/2 from the client: what becomes of a stream's request, its body, and the response.

use std::future::poll_fn;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Method, Request};
use proxy::wire::Ending;
use tokio::net::TcpStream;

use crate::backend;
use crate::front::{Lane, Setup, start};

/// Opens a connection.
async fn connect(lane: &Lane) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(lane.address).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    #[allow(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
    drop(tokio::task::spawn(async move { drop(connection.await) }));
    sender
}

/// Begins a request; its body is still to be sent.
async fn begin(
    sender: &mut SendRequest<Bytes>,
    method: Method,
    fields: &[(&'static str, &'static str)],
    is_all: bool,
) -> (ResponseFuture, SendStream<Bytes>) {
    let mut ready = sender.clone().ready().await.unwrap();
    let mut request = Request::builder().method(method).uri("http://h/path?q");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    ready.send_request(request.body(()).unwrap(), is_all).unwrap()
}

/// Reads a body to its end.
async fn collect(body: &mut RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        all.extend_from_slice(&data);
    }
    Ok(all)
}

#[tokio::test]
async fn a_request_becomes_one_of_http_1_and_its_response_one_of_http_2() {
    let (address, record) = backend::start(|mut peer, _| async move {
        while peer.head().await {
            peer.say(
                "HTTP/1.1 404 Not Found\r\nConnection: x-hop\r\nX-Hop: 1\r\nX-Secret: 2\r\nX-Kept: 3\r\nContent-Length: 2\r\n\r\nno",
            )
            .await;
        }
    })
    .await;
    let lane = start(address, Setup::default());
    let mut sender = connect(&lane).await;
    let fields = [("cookie", "a=1"), ("te", "trailers"), ("cookie", "b=2"), ("x-forwarded-for", "9.9.9.9")];
    let (response, _) = begin(&mut sender, Method::GET, &fields, true).await;
    let (head, mut body) = response.await.unwrap().into_parts();
    assert_eq!(head.status, 404);
    let names = ["x-kept", "content-length", "x-added", "x-request-id"];
    let mut given: Vec<&str> = head.headers.keys().map(|name| name.as_str()).collect();
    given.sort_by_key(|name| names.iter().position(|known| known == name));
    assert_eq!(given, names, "no more, and no fewer");
    assert_eq!(collect(&mut body).await.unwrap(), b"no");
    let text = record.text();
    assert!(text.starts_with("GET /path?q HTTP/1.1\r\nhost: h\r\n"), "{text}");
    assert!(text.contains("cookie: a=1; b=2\r\n") && text.contains("Via: 2 sixfold\r\n"), "{text}");
    assert!(text.contains("Connection: te\r\nTE: trailers\r\n") && !text.contains("9.9.9.9"), "{text}");
}

#[tokio::test]
async fn bodies_without_a_length_keep_their_trailers_both_ways() {
    let (address, record) = backend::start(|mut peer, _| async move {
        while peer.read_until(b"x-sum: 1\r\n\r\n").await {
            peer.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").await;
            peer.say("0\r\nX-Check: 2\r\nContent-Length: 9\r\n\r\n").await;
        }
    })
    .await;
    let lane = start(address, Setup::default());
    let mut sender = connect(&lane).await;
    let (response, mut upload) = begin(&mut sender, Method::POST, &[], false).await;
    upload.send_data(Bytes::from_static(b"one"), false).unwrap();
    upload.send_data(Bytes::from_static(b"two"), false).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "1".parse().unwrap());
    trailers.insert("host", "evil".parse().unwrap());
    upload.send_trailers(trailers).unwrap();
    let mut body = response.await.unwrap().into_body();
    assert_eq!(collect(&mut body).await.unwrap(), b"abc");
    let trailers = body.trailers().await.unwrap().unwrap();
    assert_eq!(trailers.len(), 1, "a length cannot be said afterwards: {trailers:?}");
    assert_eq!(trailers["x-check"], "2");
    let text = record.text();
    assert!(text.contains("Transfer-Encoding: chunked\r\n"), "{text}");
    assert!(text.contains("one") && text.contains("two") && !text.contains("evil"), "{text}");
    assert_eq!(record.connections(), 1);
}

#[tokio::test]
async fn interim_responses_pass_and_an_upload_that_waits_for_one_goes_on() {
    let (address, _) = backend::start(|mut peer, _| async move {
        peer.head().await;
        peer.say("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n").await;
        let upload = String::from_utf8(peer.bytes(4).await).unwrap();
        peer.say(&format!("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n{upload}")).await;
        peer.closed().await;
    })
    .await;
    let lane = start(address, Setup::default());
    let mut sender = connect(&lane).await;
    let fields = [("expect", "100-continue"), ("content-length", "4")];
    let (mut response, mut upload) = begin(&mut sender, Method::PUT, &fields, false).await;
    let early = poll_fn(|cx| response.poll_informational(cx)).await.unwrap().unwrap();
    assert_eq!((early.status().as_u16(), &early.headers()["link"]), (103, &"</a.css>".parse().unwrap()));
    let go_on = poll_fn(|cx| response.poll_informational(cx)).await.unwrap().unwrap();
    assert_eq!(go_on.status(), 100);
    upload.send_data(Bytes::from_static(b"body"), true).unwrap();
    let mut body = response.await.unwrap().into_body();
    assert_eq!(collect(&mut body).await.unwrap(), b"body");
}

#[tokio::test]
async fn long_bodies_move_both_ways_through_small_windows() {
    const LENGTH: usize = 3 << 20;
    let (address, _) = backend::start(|mut peer, _| async move {
        peer.head().await;
        let upload = String::from_utf8(peer.bytes(LENGTH).await).unwrap();
        peer.say("HTTP/1.1 200 OK\r\n\r\n").await;
        peer.say(&upload).await;
        peer.shut().await;
    })
    .await;
    let lane = start(address, Setup::default());
    let mut sender = connect(&lane).await;
    let (response, mut upload) =
        begin(&mut sender, Method::POST, &[("content-length", "3145728")], false).await;
    let pattern: Vec<u8> = (0..LENGTH).map(|at| b'a' + u8::try_from(at % 23).unwrap()).collect();
    let mut left = Bytes::from(pattern.clone());
    while !left.is_empty() {
        upload.reserve_capacity(left.len());
        let room = poll_fn(|cx| upload.poll_capacity(cx)).await.unwrap().unwrap();
        let part = left.split_to(room.min(left.len()));
        upload.send_data(part, left.is_empty()).unwrap();
    }
    let mut body = response.await.unwrap().into_body();
    assert!(collect(&mut body).await.unwrap() == pattern, "the same comes back");
    lane.seen.until(|seen| *seen.endings.lock().unwrap() == [Ending::Whole]).await;
}

#[tokio::test]
async fn a_stream_the_client_gives_up_breaks_its_exchange_off_and_no_other() {
    let (address, record) = backend::start(|mut peer, _| async move {
        while peer.head().await {
            if peer.said("x-never: 1") {
                peer.closed().await;
                return;
            }
            peer.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        }
    })
    .await;
    let lane = start(address, Setup::default());
    let mut sender = connect(&lane).await;
    let (_response, mut given_up) = begin(&mut sender, Method::GET, &[("x-never", "1")], true).await;
    lane.seen.until(|seen| seen.in_flight.load(Relaxed) == 1 && record.text().contains("x-never")).await;
    given_up.send_reset(Reason::CANCEL);
    lane.seen.until(|seen| seen.in_flight.load(Relaxed) == 0).await;
    let (response, _) = begin(&mut sender, Method::GET, &[], true).await;
    assert_eq!(collect(response.await.unwrap().body_mut()).await.unwrap(), b"ok");
}

#[tokio::test]
async fn a_response_that_breaks_off_resets_its_stream() {
    let (address, _) = backend::start(|mut peer, _| async move {
        peer.head().await;
        peer.say("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").await;
    })
    .await;
    let lane = start(address, Setup::default());
    let mut sender = connect(&lane).await;
    let (response, _) = begin(&mut sender, Method::GET, &[], true).await;
    // The reset may overtake the head.
    let error = match response.await {
        Ok(mut response) => collect(response.body_mut()).await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
    lane.seen.until(|seen| seen.broken.load(Relaxed) == 1).await;
}

#[tokio::test]
async fn a_backend_that_is_gone_is_answered_for_with_a_problem() {
    let (address, _) = backend::start(|_, _| async {}).await;
    let lane = start(address, Setup::default());
    let mut sender = connect(&lane).await;
    for method in [Method::GET, Method::HEAD] {
        let (response, _) = begin(&mut sender, method.clone(), &[], true).await;
        let (head, mut body) = response.await.unwrap().into_parts();
        assert_eq!(head.status, 502);
        assert!(head.headers.contains_key("x-request-id") && head.headers.contains_key("x-added"));
        let text = String::from_utf8(collect(&mut body).await.unwrap()).unwrap();
        assert_eq!(text.is_empty(), method == Method::HEAD, "{text}");
    }
}
