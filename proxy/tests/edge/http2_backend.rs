//! Connections to backends of HTTP/2: shared, refused and ended.

use std::time::Duration;

use h2::Reason;
use http::Response;
use proxy::connect::Protocol;
use proxy::server::Limits;
use proxy::{Target, Timeouts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::http2_peers::{Client, Ends, backend, read_all, trailers};
use crate::raw_http2;
use crate::support::{Lane, Running, read_response, soon, start_all};

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
async fn a_refused_request_whose_small_body_was_read_is_sent_again_with_it() {
    let mut backend = backend(100, Ends::Never).await;
    let running = Lane::Wire.start(Limits::default(), backend.target());
    let client = Client::connect(&running).await;
    // With its end read, with trailers, and before its end.
    for (ends, has_trailers) in [(true, false), (true, true), (false, false)] {
        let (response, mut upload) = client.post("/twice").await;
        upload.send_data("one".into(), false).unwrap();
        upload.send_data("two".into(), ends && !has_trailers).unwrap();
        if has_trailers {
            upload.send_trailers(trailers("7")).unwrap();
        }
        let (mut request, mut respond) = backend.call().await;
        let mut read = 0;
        while read < 6 {
            read += soon(request.body_mut().data()).await.unwrap().unwrap().len();
        }
        if ends {
            assert!(soon(request.body_mut().data()).await.is_none(), "all of it was sent");
        }
        respond.send_reset(Reason::REFUSED_STREAM);
        let (mut request, mut respond) = backend.call().await;
        if !ends {
            upload.send_data("three".into(), true).unwrap();
        }
        assert_eq!(read_all(request.body_mut()).await, if ends { "onetwo" } else { "onetwothree" });
        let told = soon(request.body_mut().trailers()).await.unwrap();
        assert_eq!(told, has_trailers.then(|| trailers("7")));
        respond.send_response(Response::new(()), true).unwrap();
        assert_eq!(soon(response).await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn a_refused_request_whose_long_body_was_read_is_not_sent_again_without_it() {
    let mut backend = backend(100, Ends::Never).await;
    let running = Lane::Wire.start(Limits::default(), backend.target());
    let client = Client::connect(&running).await;
    let (response, mut upload) = client.post("/twice").await;
    upload.send_data(vec![b'x'; 64 << 10].into(), false).unwrap();
    upload.send_data("one".into(), false).unwrap();
    let (mut request, mut respond) = backend.call().await;
    let mut read = 0;
    while read <= 64 << 10 {
        let data = soon(request.body_mut().data()).await.unwrap().unwrap();
        request.body_mut().flow_control().release_capacity(data.len()).unwrap();
        read += data.len();
    }
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

#[tokio::test]
async fn what_a_backend_allows_is_waited_for_before_it_is_sent_more_than_one() {
    let mut backend = backend(4, Ends::Never).await;
    let running = Lane::Wire.start(Limits::default(), backend.target());
    let client = Client::connect(&running).await;
    let mut responses = Vec::new();
    for _ in 0..40 {
        let (response, mut upload) = client.post("/Echo/Unary").await;
        upload.send_data("small".into(), true).unwrap();
        responses.push(response);
    }
    let mut calls = Vec::new();
    for _ in 0..40 {
        calls.push(backend.call().await);
    }
    assert_eq!(backend.connections(), 10, "none was refused");
    for (_, respond) in &mut calls {
        respond.send_response(Response::new(()), true).unwrap();
    }
    for response in responses {
        assert_eq!(soon(response).await.unwrap().status(), 200);
    }
}

/// Reads a connection's preface and its first request.
async fn begun(listener: &TcpListener) -> TcpStream {
    let (mut socket, _) = soon(listener.accept()).await.unwrap();
    soon(socket.read_exact(&mut [0; 24])).await.unwrap();
    assert!(raw_http2::read_until(&mut socket, raw_http2::HEADERS, 1).await.is_some());
    socket
}

#[tokio::test]
async fn a_backend_that_does_not_say_what_it_allows_is_not_waited_for_for_ever() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = Target { protocol: Protocol::Http2, ..Target::plain(listener.local_addr().unwrap()) };
    let timeouts = Timeouts { connect: Duration::from_millis(50), ..Timeouts::default() };
    let running = start_all(Limits::default().into(), target, timeouts, Lane::Wire);
    let client = Client::connect(&running).await;
    let first = client.get().await;
    let mut socket = begun(&listener).await;
    assert_eq!(soon(client.get().await).await.unwrap().status(), 502);
    // Who opened it was sent, and has its answer when that comes: `:status: 200` (RFC 7541, appendix A).
    let mut answer = raw_http2::frame(raw_http2::SETTINGS, 0, 0, &[]);
    answer.extend(raw_http2::frame(
        raw_http2::HEADERS,
        raw_http2::END_STREAM | raw_http2::END_HEADERS,
        1,
        &[0x88],
    ));
    socket.write_all(&answer).await.unwrap();
    assert_eq!(soon(first).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_backend_that_allows_no_streams_has_one_connection_and_only_while_that_is_used() {
    const NONE: [u8; 6] = [0, 3, 0, 0, 0, 0];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = Target { protocol: Protocol::Http2, ..Target::plain(listener.local_addr().unwrap()) };
    let running = Lane::Wire.start(Limits::default(), target);
    let client = Client::connect(&running).await;
    for _ in 0..3 {
        let first = client.get().await;
        let mut socket = begun(&listener).await;
        socket.write_all(&raw_http2::frame(raw_http2::SETTINGS, 0, 0, &NONE)).await.unwrap();
        // The answer to the settings, so that they are known.
        assert!(raw_http2::read_until(&mut socket, raw_http2::SETTINGS, 0).await.is_some());
        let others = [client.get().await, client.get().await];
        for other in others {
            assert_eq!(soon(other).await.unwrap().status(), 502, "refused while the first is still asked");
        }
        let refused = raw_http2::frame(raw_http2::RST_STREAM, 0, 1, &7_u32.to_be_bytes());
        socket.write_all(&refused).await.unwrap();
        assert_eq!(soon(first).await.unwrap().status(), 502);
        raw_http2::read_to_end(&mut socket).await;
    }
    let another = tokio::time::timeout(Duration::from_millis(20), listener.accept()).await;
    assert!(another.is_err(), "no more than those were opened");
}
