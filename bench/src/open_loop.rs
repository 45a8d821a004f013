//! The open-loop load generator: requests leave on a fixed schedule, whether answers come or not.
//!
//! Latency counts from the scheduled time, so that a stall is charged to every request it delays
//! (no coordinated omission).

use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Sends GETs for `duration` at `rate` a second over keep-alive connections; gives the sorted latencies.
pub(crate) async fn run(
    address: &str,
    path: &str,
    connections: usize,
    rate: f64,
    duration: Duration,
) -> anyhow::Result<Vec<Duration>> {
    let interval = Duration::from_secs_f64(connections as f64 / rate);
    let begin = Instant::now() + Duration::from_millis(50);
    let mut tasks = JoinSet::new();
    for index in 0..connections {
        let offset = interval.mul_f64(index as f64 / connections as f64);
        let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n");
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        tasks.spawn(one_connection(stream, request, begin + offset, interval, begin + duration));
    }
    let mut latencies = Vec::new();
    while let Some(done) = tasks.join_next().await {
        latencies.extend(done??);
    }
    latencies.sort_unstable();
    Ok(latencies)
}

async fn one_connection(
    mut stream: TcpStream,
    request: String,
    mut scheduled: Instant,
    interval: Duration,
    end: Instant,
) -> anyhow::Result<Vec<Duration>> {
    let mut latencies = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    while scheduled < end {
        tokio::time::sleep_until(scheduled.into()).await;
        stream.write_all(request.as_bytes()).await?;
        read_answer(&mut stream, &mut buffer).await?;
        latencies.push(scheduled.elapsed());
        scheduled += interval;
    }
    Ok(latencies)
}

/// Reads one answer with a Content-Length; any other, or another status than 200, is an error.
async fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) -> anyhow::Result<()> {
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).await?;
        anyhow::ensure!(read > 0, "the connection was closed or the answer is too large");
        filled += read;
        let Some(head) = buffer[..filled].windows(4).position(|window| window == b"\r\n\r\n") else {
            continue;
        };
        let text = std::str::from_utf8(&buffer[..head])?.to_ascii_lowercase();
        anyhow::ensure!(text.starts_with("http/1.1 200"), "{text}");
        let length =
            text.lines().find_map(|line| line.strip_prefix("content-length:")).context("no length")?;
        if filled >= head + 4 + length.trim().parse::<usize>()? {
            return Ok(());
        }
    }
}

/// Gives a quantile of sorted latencies.
pub(crate) fn quantile(sorted: &[Duration], quantile: f64) -> Duration {
    let index = ((sorted.len() as f64 * quantile).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(index).copied().unwrap_or_default()
}
