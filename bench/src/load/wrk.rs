//! The closed-loop load generator: wrk, and what it printed.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;

use super::Run;
use crate::processes::write;

/// Runs wrk with one thread; with a script, that says what is sent.
pub(crate) fn run(url: &str, connections: usize, seconds: u64, script: Option<&str>) -> anyhow::Result<Run> {
    let mut command = Command::new("wrk");
    command.args(["-t1", &format!("-c{connections}"), &format!("-d{seconds}s"), "--latency"]);
    if let Some(script) = script {
        command.args(["-s", script]);
    }
    let output = command.arg(url).output().context("cannot start wrk")?;
    let raw = String::from_utf8_lossy(&output.stdout).into_owned();
    parse(&raw).with_context(|| format!("wrk printed {raw}{}", String::from_utf8_lossy(&output.stderr)))
}

/// Writes a script that posts bodies of `size` bytes, and gives its path.
pub(crate) fn write_upload_script(folder: &Path, size: usize) -> anyhow::Result<String> {
    let text = format!("wrk.method = \"POST\"\nwrk.body = string.rep(\"x\", {size})\n");
    write(folder, "upload.lua", &text)
}

fn parse(raw: &str) -> anyhow::Result<Run> {
    let after = |start: &str| raw.lines().find_map(|line| line.trim().strip_prefix(start)).map(str::trim);
    let rate = after("Requests/sec:").context("no rate")?.parse()?;
    let requests = raw
        .lines()
        .find_map(|line| line.trim().split_once(" requests in "))
        .context("no count")?
        .0
        .parse()?;
    let p99 = latency(after("99%").context("no 99 %")?)?;
    let refused: u64 = after("Non-2xx or 3xx responses:").map_or(Ok(0), str::parse)?;
    let failed: u64 = after("Socket errors:").map_or(0, |line| {
        line.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse::<u64>().ok()).sum()
    });
    Ok(Run { requests, rate, p99: Some(p99), errors: refused + failed, raw: raw.to_owned() })
}

/// Reads `1.23ms`, `870.00us` or `1.02s`.
fn latency(text: &str) -> anyhow::Result<Duration> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).context("no unit")?;
    let number: f64 = text[..split].parse()?;
    let scale = match &text[split..] {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        unit => anyhow::bail!("unknown unit {unit}"),
    };
    Ok(Duration::from_secs_f64(number * scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_prints_is_read() {
        let raw = "Running 4s test @ http://127.0.0.1:9/\n  Latency Distribution\n     50%  1.10ms\n     99%  870.00us\n  \
            90144 requests in 4.00s, 24.76MB read\n  Socket errors: connect 0, read 3, write 0, timeout 1\n  \
            Non-2xx or 3xx responses: 2\nRequests/sec:  22536.11\n";
        let run = parse(raw).unwrap();
        assert_eq!((run.requests, run.errors), (90144, 6));
        assert_eq!(run.p99, Some(Duration::from_micros(870)));
    }
}
