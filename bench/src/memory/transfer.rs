//! A large upload and a large download at the same time through every load balancer.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::MIB;
use crate::Args;
use crate::peers::{Peer, Setup};
use crate::report::{Report, Samples};

/// Bytes each way (issue 3, bar 5).
const SIZE: u64 = 2 << 30;

/// Bytes each way with `--quick`.
const QUICK_SIZE: u64 = 256 << 20;

/// How often resident memory is looked at; its peak (VmHWM) is read besides.
const SAMPLE_EVERY: Duration = Duration::from_millis(5);

/// Bytes written or read at a time.
const CHUNK: usize = 256 << 10;

pub(super) fn run(args: &Args, setup: &Setup<'_>, report: &mut Report) -> anyhow::Result<()> {
    let (rounds, size) = (args.rounds(3).min(3), if args.quick { QUICK_SIZE } else { SIZE });
    report.line(format!(
        "\n## {} MiB up and {} MiB down at the same time ({rounds} alternating rounds)\n\n\
         | | resident before MiB | sampled peak grows by MiB | VmHWM grows by MiB | seconds |\n|---|---|---|---|---|",
        size >> 20,
        size >> 20
    ));
    let mut figures = Peer::FOUR.map(|_| <[Samples; 4]>::default());
    for round in 1..=rounds {
        for (peer, figures) in Peer::FOUR.into_iter().zip(&mut figures) {
            let measured = one_run(peer, setup, size)?;
            for (samples, value) in figures.iter_mut().zip(measured) {
                samples.push(value);
            }
            report.keep(
                &format!("transfer, round {round}, {}", peer.name()),
                &format!("resident before, growth sampled, growth of VmHWM, seconds: {measured:?}\n"),
            );
        }
    }
    for (peer, figures) in Peer::FOUR.iter().zip(&figures) {
        let cells = figures.each_ref().map(|samples| samples.show(1));
        report.line(format!("| {} | {} |", peer.name(), cells.join(" | ")));
    }
    Ok(())
}

/// Gives MiB resident before, growth as sampled, growth of the peak the kernel keeps, and seconds.
fn one_run(peer: Peer, setup: &Setup<'_>, size: u64) -> anyhow::Result<[f64; 4]> {
    let backend = TcpListener::bind("127.0.0.1:0")?;
    let backends = [backend.local_addr()?.port()];
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (is_over, backend) = (&is_over, &backend);
        scope.spawn(move || {
            while let Ok((stream, _)) = backend.accept() {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                scope.spawn(move || serve(stream, size));
            }
        });
        let measured = (|| {
            let (running, port) = peer.start(&Setup { backends: &backends, ..*setup })?;
            download(port, "/small", 1)?; // what the first request of all costs is not the body's
            std::thread::sleep(Duration::from_millis(500));
            let (before, peak_before) = (running.resident_bytes()?, running.peak_resident_bytes()?);
            let began = Instant::now();
            let up = scope.spawn(move || upload(port, size));
            let down = scope.spawn(move || download(port, "/large", size));
            let mut peak = before;
            while !(up.is_finished() && down.is_finished()) {
                peak = peak.max(running.resident_bytes()?);
                std::thread::sleep(SAMPLE_EVERY);
            }
            let took = began.elapsed().as_secs_f64();
            for (thread, what) in [(up, "upload"), (down, "download")] {
                thread
                    .join()
                    .unwrap_or_else(|_| anyhow::bail!("panicked"))
                    .with_context(|| format!("the {what} through {} failed", peer.name()))?;
            }
            let grown = running.peak_resident_bytes()?.saturating_sub(peak_before);
            Ok([before as f64 / MIB, (peak - before) as f64 / MIB, grown as f64 / MIB, took])
        })();
        is_over.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", backends[0])); // wakes the one that accepts
        measured
    })
}

/// Answers requests of one connection until it is closed: an upload is read, `/large` is `size` bytes.
fn serve(stream: TcpStream, size: u64) {
    let mut reader = BufReader::with_capacity(CHUNK, stream);
    let chunk = vec![b'x'; CHUNK];
    let mut exchange = || -> anyhow::Result<()> {
        let (line, length) = read_head(&mut reader)?;
        if length > 0 {
            let read = std::io::copy(&mut Read::take(&mut reader, length), &mut std::io::sink())?;
            anyhow::ensure!(read == length, "the upload was cut");
        }
        let left = if line.contains(" /large ") { size } else { 1 };
        let stream = reader.get_mut();
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {left}\r\n\r\n")?;
        write_bytes(stream, &chunk, left)
    };
    while exchange().is_ok() {}
}

fn upload(port: u16, size: u64) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    write!(stream, "POST /upload HTTP/1.1\r\nhost: bench\r\ncontent-length: {size}\r\n\r\n")?;
    write_bytes(&mut stream, &vec![b'x'; CHUNK], size)?;
    let (line, _) = read_head(&mut BufReader::new(stream))?;
    anyhow::ensure!(line.starts_with("HTTP/1.1 200"), "{line}");
    Ok(())
}

fn download(port: u16, path: &str, expected: u64) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n")?;
    let mut reader = BufReader::with_capacity(CHUNK, stream);
    let (line, length) = read_head(&mut reader)?;
    anyhow::ensure!(line.starts_with("HTTP/1.1 200") && length == expected, "{line}, {length} bytes");
    let read = std::io::copy(&mut Read::take(&mut reader, length), &mut std::io::sink())?;
    anyhow::ensure!(read == length, "{read} of {length} bytes came");
    let _ = reader.get_mut().shutdown(Shutdown::Both);
    Ok(())
}

fn write_bytes(stream: &mut TcpStream, chunk: &[u8], mut left: u64) -> anyhow::Result<()> {
    while left > 0 {
        let part = chunk.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        stream.write_all(&chunk[..part])?;
        left -= part as u64;
    }
    Ok(())
}

/// Reads a head; gives its first line and its Content-Length.
fn read_head(reader: &mut impl BufRead) -> anyhow::Result<(String, u64)> {
    let (mut first, mut length, mut line) = (String::new(), 0, String::new());
    reader.read_line(&mut first)?;
    anyhow::ensure!(!first.is_empty(), "the connection was closed");
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            return Ok((first.trim().to_owned(), length));
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_up_to_its_empty_line() {
        let mut bytes = &b"POST /upload HTTP/1.1\r\nContent-Length: 7\r\n\r\nrest"[..];
        assert_eq!(read_head(&mut bytes).unwrap(), ("POST /upload HTTP/1.1".to_owned(), 7));
        assert_eq!(bytes, b"rest");
        assert!(read_head(&mut &b""[..]).is_err());
    }
}
