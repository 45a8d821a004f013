use std::net::TcpListener;
use std::path::Path;

use tokio::net::UnixStream;

use super::frame::{receive, receive_socket, send, send_socket};
use super::sockets::Sockets;
use super::*;

fn bind() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

fn place(folder: &Path, role: &str) -> Place {
    Place::find(folder, role).unwrap()
}

/// Asks, and gives the successor with the addresses of its sockets.
async fn ask(place: &Place) -> Result<Option<(Successor, Vec<TcpListener>)>, TakeOverError> {
    Successor::ask(place).await
}

#[tokio::test]
async fn a_socket_passed_on_is_the_same_socket_with_what_waits_in_it() {
    let (left, right) = UnixStream::pair().unwrap();
    let original = bind();
    let address = original.local_addr().unwrap();
    let _waiting = std::net::TcpStream::connect(address).unwrap();
    send_socket(&left, &original).await.unwrap();
    let copy = receive_socket(&right).await.unwrap();
    drop(original);
    assert_eq!(copy.local_addr().unwrap(), address);
    let accepted = copy.accept();
    assert!(accepted.is_ok(), "the connection made before is accepted by the copy: {accepted:?}");
}

#[tokio::test]
async fn a_byte_without_a_descriptor_and_an_end_are_refused() {
    let (mut left, mut right) = UnixStream::pair().unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut left, b"x").await.unwrap();
    assert_eq!(receive_socket(&right).await.unwrap_err().kind(), std::io::ErrorKind::InvalidData);
    tokio::io::AsyncWriteExt::write_all(&mut left, &[0xff, 0xff]).await.unwrap();
    let error = receive::<Word>(&mut right).await.unwrap_err();
    assert_eq!(error.to_string(), "what was said is too long");
    drop(left);
    assert_eq!(receive_socket(&right).await.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn the_old_process_stops_only_once_its_successor_is_ready() {
    let folder = tempfile::tempdir().unwrap();
    let place = place(folder.path(), "load balancer");
    let (one, two) = (bind(), bind());
    let addresses = [one.local_addr().unwrap(), two.local_addr().unwrap()];
    let offer = Offer::open(place.clone()).unwrap();
    let copies = || Ok(vec![one.try_clone()?, two.try_clone()?]);

    // One that dies before it is ready.
    let failing = async {
        let (successor, handed) = ask(&place).await.unwrap().unwrap();
        assert_eq!(successor.count, 2);
        drop((successor, handed));
    };
    tokio::select! {
        () = offer.taken_with(copies) => panic!("nobody was ready"),
        () = async { failing.await; tokio::task::yield_now().await } => {}
    }
    // And one that lives.
    let taking = async {
        let (successor, handed) = ask(&place).await.unwrap().unwrap();
        let found: Vec<_> = handed.iter().map(|socket| socket.local_addr().unwrap()).collect();
        assert_eq!(found, addresses);
        successor.ready().await.unwrap();
    };
    tokio::join!(offer.taken_with(copies), taking);
}

#[tokio::test]
async fn a_second_successor_another_role_and_another_protocol_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let ours = place(folder.path(), "gateway a");
    let offer = Offer::open(ours.clone()).unwrap();
    let trying = async {
        let (first, _) = ask(&ours).await.unwrap().unwrap();
        let error = ask(&ours).await.unwrap_err().to_string();
        assert!(error.contains("another takeover is under way"), "{error}");
        drop(first);

        // Two roles whose names make one file name.
        let error = ask(&place(folder.path(), "gateway-a")).await.unwrap_err().to_string();
        assert!(error.contains("this process runs `gateway a`, not `gateway-a`"), "{error}");

        let mut stream = UnixStream::connect(ours.path()).await.unwrap();
        let role = "gateway a".to_owned();
        send(&mut stream, &Hello { protocol: 2, version: "9".to_owned(), pid: 1, role }).await.unwrap();
        let Reply::Refused { reason } = receive(&mut stream).await.unwrap() else { panic!() };
        assert!(reason.contains("version 2"), "{reason}");
    };
    tokio::select! {
        () = offer.taken_with(|| Ok(Vec::new())) => panic!("nobody was ready"),
        () = trying => {}
    }
}

#[tokio::test]
async fn what_a_killed_process_left_is_no_predecessor_and_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let place = place(folder.path(), "load balancer");
    assert!(ask(&place).await.unwrap().is_none(), "nothing is there");
    drop(Offer::open(place.clone()).unwrap());
    assert!(place.path().exists(), "a killed process removes nothing");
    assert!(ask(&place).await.unwrap().is_none(), "nobody listens there");
    let offer = Offer::open(place.clone()).unwrap();
    let taking = async { ask(&place).await.unwrap().unwrap().0.ready().await.unwrap() };
    tokio::join!(offer.taken_with(|| Ok(Vec::new())), taking);
}

#[test]
fn a_socket_is_taken_by_its_address_and_only_once() {
    let (one, two) = (bind(), bind());
    let address = one.local_addr().unwrap();
    let mut sockets = Sockets::default();
    sockets.inherit(vec![two, one.try_clone().unwrap(), one]);
    assert_eq!(sockets.count(address), 2);
    assert!(sockets.take(address).is_some() && sockets.take(address).is_some());
    assert!(sockets.take(address).is_none());
}
