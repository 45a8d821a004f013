//! What a client's connection costs that has done one request and waits.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context;
use socket2::{Domain, Socket, Type};

use crate::Args;
use crate::peers::{Peer, Setup, start_backend};
use crate::processes::Place;
use crate::report::{Report, Samples};

/// How many connections wait (issue 3, bar 5).
const CONNECTIONS: usize = 10_000;

/// How many with `--quick`.
const QUICK_CONNECTIONS: usize = 1_000;

/// Connections from one address: they come from many of 127.0.0.0/8, as clients do.
const FROM_ONE_ADDRESS: usize = 50;

pub(super) fn run(args: &Args, setup: &Setup<'_>, report: &mut Report) -> anyhow::Result<()> {
    let rounds = args.rounds(3).min(3);
    let count = if args.quick { QUICK_CONNECTIONS } else { CONNECTIONS };
    let (_backend, backend) = start_backend(setup.folder, 150, Place::Anywhere)?;
    let backends = [backend];
    let setup = Setup { backends: &backends, ..*setup };
    report.line(format!(
        "\n## {count} idle keep-alive connections, each after one request ({rounds} alternating rounds)\n\n\
         | | resident before MiB | bytes a connection |\n|---|---|---|"
    ));
    let mut figures = Peer::FOUR.map(|_| (Samples::default(), Samples::default()));
    for round in 1..=rounds {
        for (peer, figures) in Peer::FOUR.into_iter().zip(&mut figures) {
            let (before, after) = one_run(peer, &setup, count)?;
            figures.0.push(before as f64 / super::MIB);
            figures.1.push(after.saturating_sub(before) as f64 / count as f64);
            report.keep(
                &format!("connections, round {round}, {}", peer.name()),
                &format!("{before} bytes before, {after} with {count} connections\n"),
            );
        }
    }
    for (peer, (before, each)) in Peer::FOUR.iter().zip(&figures) {
        report.line(format!("| {} | {} | {} |", peer.name(), before.show(1), each.show(0)));
    }
    Ok(())
}

/// Gives resident bytes before and with the connections.
fn one_run(peer: Peer, setup: &Setup<'_>, count: usize) -> anyhow::Result<(u64, u64)> {
    let (running, port) = peer.start(setup)?;
    let proxy = SocketAddr::from(([127, 0, 0, 1], port));
    for _ in 0..100 {
        exchange(&mut connect(proxy, 0)?)?; // what the first requests cost is not the connections'
    }
    std::thread::sleep(Duration::from_secs(1));
    let before = running.resident_bytes()?;
    let mut connections = Vec::with_capacity(count);
    for index in 0..count {
        let mut stream = connect(proxy, index)?;
        exchange(&mut stream).with_context(|| format!("{}, connection {index} of {count}", peer.name()))?;
        connections.push(stream);
    }
    std::thread::sleep(Duration::from_secs(1));
    let after = running.resident_bytes()?;
    // All must still be there, or too little was measured.
    for (index, stream) in connections.iter_mut().enumerate() {
        exchange(stream).with_context(|| format!("{} closed connection {index}", peer.name()))?;
    }
    Ok((before, after))
}

fn connect(proxy: SocketAddr, index: usize) -> anyhow::Result<TcpStream> {
    let group = index / FROM_ONE_ADDRESS;
    let address = Ipv4Addr::new(127, 0, 1 + (group / 200) as u8, 1 + (group % 200) as u8);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((address, 0)).into())?;
    socket.connect(&proxy.into())?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    Ok(stream)
}

fn exchange(stream: &mut TcpStream) -> anyhow::Result<()> {
    stream.write_all(b"GET / HTTP/1.1\r\nhost: bench\r\n\r\n")?;
    let mut buffer = [0; 1024];
    let mut filled = 0;
    // The answer ends with the backend's 150 bytes of x.
    while !buffer[..filled].ends_with(b"xxxxxxxxxx") {
        let read = stream.read(&mut buffer[filled..])?;
        anyhow::ensure!(read > 0, "the connection was closed or the answer is too long");
        filled += read;
    }
    anyhow::ensure!(buffer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&buffer[..filled]));
    Ok(())
}
