//! Interim responses of backends that speak HTTP/2, to clients of either HTTP.

use std::future::poll_fn;

use http::Response;
use proxy::server::Limits;
use tokio::io::AsyncWriteExt;

use crate::http2_peers::{Backend, Client, Ends, backend, read_all};
use crate::support::{Lane, read_response, soon};

fn interim(status: u16) -> Response<()> {
    Response::builder().status(status).header("link", "</a.css>; rel=preload").body(()).unwrap()
}

/// Answers the next call after these interim responses.
async fn answer(backend: &mut Backend, before: &[u16]) -> http::Request<h2::RecvStream> {
    let (request, mut respond) = backend.call().await;
    for status in before {
        respond.send_informational(interim(*status)).unwrap();
    }
    let response = Response::builder().header("content-length", 6).body(()).unwrap();
    respond.send_response(response, false).unwrap().send_data("answer".into(), true).unwrap();
    request
}

#[tokio::test]
async fn they_reach_a_client_of_http2_before_the_answer() {
    let mut backend = backend(100, Ends::Never).await;
    let running = Lane::Wire.start(Limits::default(), backend.target());
    let client = Client::connect(&running).await;
    let mut response = client.get().await;
    answer(&mut backend, &[103, 103]).await;
    for _ in 0..2 {
        let early = soon(poll_fn(|cx| response.poll_informational(cx))).await.unwrap().unwrap();
        assert_eq!(early.status(), 103);
        assert_eq!(early.headers()["link"], "</a.css>; rel=preload");
        assert_eq!(early.headers().len(), 1);
    }
    let answer = soon(response).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers().contains_key("link")), (200, false));
    assert_eq!(read_all(&mut answer.into_body()).await, "answer");
}

#[tokio::test]
async fn they_reach_a_client_of_http1_at_once_and_one_of_http10_never() {
    let mut backend = backend(100, Ends::Never).await;
    let running = Lane::Wire.start(Limits::default(), backend.target());
    let mut client = running.connect().await;
    client.write_all(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let (_request, mut respond) = backend.call().await;
    respond.send_informational(interim(103)).unwrap();
    // It comes while there is no answer yet.
    let early = soon(read_response(&mut client)).await.unwrap();
    assert_eq!(early, "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n");
    respond.send_response(Response::new(()), true).unwrap();
    let answer = soon(read_response(&mut client)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");

    let mut old = running.connect().await;
    old.write_all(b"GET /x HTTP/1.0\r\n\r\n").await.unwrap();
    answer_old(&mut backend).await;
    let answer = soon(read_response(&mut old)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

async fn answer_old(backend: &mut Backend) {
    answer(backend, &[103]).await;
}

#[tokio::test]
async fn who_waits_for_100_gets_the_backend_s_and_sends_its_body() {
    let mut backend = backend(100, Ends::Never).await;
    let running = Lane::Wire.start(Limits::default(), backend.target());
    let mut client = running.connect().await;
    let head = "PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    let (mut request, mut respond) = backend.call().await;
    assert_eq!(request.headers()["expect"], "100-continue");
    respond.send_informational(Response::builder().status(100).body(()).unwrap()).unwrap();
    assert_eq!(soon(read_response(&mut client)).await.unwrap(), "HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(b"body").await.unwrap();
    assert_eq!(read_all(request.body_mut()).await, "body");
    respond.send_response(Response::new(()), true).unwrap();
    assert!(soon(read_response(&mut client)).await.unwrap().starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test]
async fn a_flood_of_them_is_no_answer() {
    let mut backend = backend(100, Ends::Never).await;
    let running = Lane::Wire.start(Limits::default(), backend.target());
    let client = Client::connect(&running).await;
    let response = client.get().await;
    let (_request, mut respond) = backend.call().await;
    for _ in 0..100 {
        respond.send_informational(interim(103)).unwrap();
    }
    assert_eq!(soon(response).await.unwrap().status(), 502);
    let reason = soon(poll_fn(|cx| respond.poll_reset(cx))).await.unwrap();
    assert_eq!(reason, h2::Reason::CANCEL);
}
