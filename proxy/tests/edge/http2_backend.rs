//! Connections to backends of HTTP/2: shared, refused and ended.

use h2::Reason;
use http::Response;
use proxy::Target;
use proxy::connect::Protocol;
use proxy::server::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::http2_peers::{Client, Ends, backend, read_all};
use crate::raw_http2;
use crate::support::{Lane, Running, read_response, soon};

#[tokio::test]
async fn a_full_connection_gets_another_beside_it() {
    let mut backend = backend(2, Ends::Never).await;
    let running = Lane::Wire.start(Limits::default(), backend.target());
    let client = Client::connect(&running).await;
    let first = client.get().await;
    let mut calls = vec![backend.call().await];
    // By now the backend's limit is known.
    let mut responses = vec![first];
    for _ in 0..4 {
        responses.push(client.get().await);
        calls.push(backend.call().await);
    }
    assert_eq!(backend.connections(), 3);
    for (_, respond) in &mut calls {
        respond.send_response(Response::new(()), true).unwrap();
    }
    for response in responses {
        assert_eq!(soon(response).await.unwrap().status(), 200);
    }
    let again = client.get().await;
    backend.call().await.1.send_response(Response::new(()), true).unwrap();
    assert_eq!(soon(again).await.unwrap().status(), 200);
    assert_eq!(backend.connections(), 3, "those open are used again");
}

#[tokio::test]
async fn many_who_come_at_once_wait_for_one_connection() {
    let mut backend = backend(100, Ends::Never).await;
    let running = Lane::Wire.start(Limits::default(), backend.target());
    let client = Client::connect(&running).await;
    let mut responses = Vec::new();
    for _ in 0..50 {
        responses.push(client.get().await);
    }
    for _ in 0..50 {
        backend.call().await.1.send_response(Response::new(()), true).unwrap();
    }
    for response in responses {
        assert_eq!(soon(response).await.unwrap().status(), 200);
    }
    assert_eq!(backend.connections(), 1);
}

#[tokio::test]
async fn a_connection_that_is_ended_finishes_what_it_has_and_takes_no_more() {
    let mut backend = backend(100, Ends::AfterOne).await;
    let running = Lane::Wire.start(Limits::default(), backend.target());
    let client = Client::connect(&running).await;
    for _ in 0..5 {
        let response = client.get().await;
        backend.call().await.1.send_response(Response::new(()), true).unwrap();
        assert_eq!(soon(response).await.unwrap().status(), 200);
    }
}

/// Sends a request with a body over HTTP/1, so that it is in hand; gives the connection.
async fn put_one(running: &Running) -> TcpStream {
    let mut client = running.connect().await;
    client.write_all(b"PUT /twice HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\none").await.unwrap();
    client
}

#[tokio::test]
async fn a_refused_request_may_be_sent_again_and_one_that_was_begun_may_not() {
    let mut backend = backend(100, Ends::Never).await;
    let running = Lane::Wire.start(Limits::default(), backend.target());
    let mut client = put_one(&running).await;
    let (_request, mut respond) = backend.call().await;
    respond.send_reset(Reason::REFUSED_STREAM);
    let (mut request, mut respond) = backend.call().await;
    assert_eq!((request.method().as_str(), request.uri().path()), ("PUT", "/twice"));
    assert_eq!(read_all(request.body_mut()).await, "one");
    respond.send_response(Response::new(()), true).unwrap();
    assert!(soon(read_response(&mut client)).await.unwrap().starts_with("HTTP/1.1 200 "));

    let mut client = put_one(&running).await;
    let (_request, mut respond) = backend.call().await;
    respond.send_reset(Reason::INTERNAL_ERROR);
    assert!(soon(read_response(&mut client)).await.unwrap().starts_with("HTTP/1.1 502 "));
    assert!(backend.calls.try_recv().is_err(), "it may have been acted on");
}

#[tokio::test]
async fn a_refused_request_whose_body_was_read_is_not_sent_again_without_it() {
    let mut backend = backend(100, Ends::Never).await;
    let running = Lane::Wire.start(Limits::default(), backend.target());
    let client = Client::connect(&running).await;
    let (response, mut upload) = client.post("/twice").await;
    upload.send_data("one".into(), false).unwrap();
    let (mut request, mut respond) = backend.call().await;
    soon(request.body_mut().data()).await.unwrap().unwrap();
    respond.send_reset(Reason::REFUSED_STREAM);
    assert_eq!(soon(response).await.unwrap().status(), 502);
    assert!(backend.calls.try_recv().is_err());
}

#[tokio::test]
async fn a_request_above_the_last_stream_of_a_goaway_may_be_sent_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = Target { protocol: Protocol::Http2, ..Target::plain(listener.local_addr().unwrap()) };
    let running = Lane::Wire.start(Limits::default(), target);
    let backend = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.read_exact(&mut [0; 24]).await.unwrap();
        assert!(raw_http2::read_until(&mut socket, raw_http2::HEADERS, 1).await.is_some());
        let mut end = raw_http2::frame(raw_http2::SETTINGS, 0, 0, &[]);
        end.extend(raw_http2::frame(raw_http2::GOAWAY, 0, 0, &[0; 8]));
        socket.write_all(&end).await.unwrap();
        let (second, _) = listener.accept().await.unwrap();
        raw_http2::read_to_end(&mut socket).await;
        let mut connection = h2::server::handshake(second).await.unwrap();
        let (request, mut respond) = connection.accept().await.unwrap().unwrap();
        assert_eq!(request.method(), "PUT");
        respond.send_response(Response::new(()), true).unwrap();
        while connection.accept().await.is_some() {}
    };
    let ask = async {
        let mut client = put_one(&running).await;
        assert!(soon(read_response(&mut client)).await.unwrap().starts_with("HTTP/1.1 200 "));
    };
    tokio::select! {
        () = ask => {}
        () = backend => panic!("the second connection is kept"),
    }
}

#[tokio::test]
async fn a_refused_connect_is_told_to_all_who_wait_for_it() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let target = Target { protocol: Protocol::Http2, ..Target::plain(address) };
    let running = Lane::Wire.start(Limits::default(), target);
    let client = Client::connect(&running).await;
    let responses = [client.get().await, client.get().await, client.get().await];
    for response in responses {
        assert_eq!(soon(response).await.unwrap().status(), 502);
    }
}
