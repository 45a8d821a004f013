//! The closed loop over HTTP/2: h2load, and what it printed.

use std::process::Command;

use anyhow::Context;

use super::Run;

/// Runs h2load with one thread; over `http://` it speaks HTTP/2 with prior knowledge.
pub(crate) fn run(url: &str, connections: usize, streams: usize, seconds: u64) -> anyhow::Result<Run> {
    let mut command = Command::new("h2load");
    command.args(["-t1", &format!("-c{connections}"), &format!("-m{streams}"), &format!("-D{seconds}")]);
    let output = command.arg(url).output().context("cannot start h2load")?;
    let raw = String::from_utf8_lossy(&output.stdout).into_owned();
    parse(&raw).with_context(|| format!("h2load printed {raw}{}", String::from_utf8_lossy(&output.stderr)))
}

fn parse(raw: &str) -> anyhow::Result<Run> {
    let after = |start: &str| raw.lines().find_map(|line| line.strip_prefix(start)).map(str::trim);
    // finished in 2.00s, 51234.50 req/s, 10.21MB/s
    let finished = after("finished in ").context("it did not finish")?;
    let rate =
        finished.split(", ").find_map(|part| part.strip_suffix(" req/s")).context("no rate")?.parse()?;
    // requests: 9 total, 9 started, 9 done, 7 succeeded, 2 failed, 2 errored, 0 timeout
    let requests = after("requests: ").context("no counts")?;
    let count = |what: &str| -> anyhow::Result<u64> {
        let number = requests.split(", ").find_map(|part| part.strip_suffix(what));
        Ok(number.with_context(|| format!("no count of{what}"))?.parse()?)
    };
    let errors = count(" failed")?;
    Ok(Run { requests: count(" succeeded")?, rate, p99: None, errors, raw: raw.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_h2load_prints_is_read() {
        let raw = "starting benchmark...\nApplication protocol: h2c\nProcess Request Failure:2\n\n\
            finished in 1.01s, 4000.00 req/s, 265.88KB/s\n\
            requests: 4006 total, 4028 started, 4006 done, 4000 succeeded, 6 failed, 6 errored, 0 timeout\n\
            status codes: 4000 2xx, 0 3xx, 0 4xx, 0 5xx\n";
        let run = parse(raw).unwrap();
        assert_eq!((run.requests, run.errors), (4000, 6));
        assert!((run.rate - 4000.0).abs() < 1e-9);
    }
}
