//! Starting what is measured, and reading what it used from /proc.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;

/// How long a started program may take to listen.
const START_WAIT: Duration = Duration::from_secs(20);

/// A program that runs until this is dropped.
pub(crate) struct Running {
    child: Child,
}

impl Running {
    /// Starts a program and waits until it listens at a port.
    pub(crate) fn start(command: &mut Command, port: u16) -> anyhow::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        let mut running = Self { child };
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = running.child.try_wait()? {
                anyhow::bail!("{command:?} ended: {status}");
            }
            anyhow::ensure!(began.elapsed() < START_WAIT, "{command:?} does not listen at {port}");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(running)
    }

    /// Gives the CPU time its threads and children have used.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        let mut total = Duration::ZERO;
        for pid in self.family()? {
            total += cpu_of(pid)?;
        }
        Ok(total)
    }

    /// Gives the memory resident in bytes.
    pub(crate) fn resident_bytes(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS line")?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib * 1024)
    }

    /// The process and its children: nginx works in one.
    fn family(&self) -> anyhow::Result<Vec<u32>> {
        let pid = self.child.id();
        let children =
            std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let children = children.split_whitespace().map(str::parse).collect::<Result<Vec<u32>, _>>()?;
        Ok([pid].into_iter().chain(children).collect())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // nginx's worker outlives a killed master, so ask first.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let began = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if began.elapsed() > Duration::from_secs(5) {
                let _ = self.child.kill();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Sums the run time of a process's threads; /proc/PID/task/TID/schedstat counts in nanoseconds.
fn cpu_of(pid: u32) -> anyhow::Result<Duration> {
    let mut nanos = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let Ok(text) = std::fs::read_to_string(task?.path().join("schedstat")) else { continue };
        nanos += text.split_whitespace().next().unwrap_or("0").parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanos))
}

/// Finds a port that is free now, below the kernel's range for outgoing connections.
pub(crate) fn free_port(from: u16) -> anyhow::Result<u16> {
    (from..32_000)
        .find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .context("no free port")
}

/// Writes a file and gives its path as text.
pub(crate) fn write(folder: &Path, name: &str, text: &str) -> anyhow::Result<String> {
    let path = folder.join(name);
    std::fs::write(&path, text)?;
    Ok(path.to_string_lossy().into_owned())
}
