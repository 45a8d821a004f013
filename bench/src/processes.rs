//! Starting what is measured, and reading what it used from /proc.

use std::fs::File;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Resource, Rlimit};

/// How long a started program may take to listen.
const START_WAIT: Duration = Duration::from_secs(20);

/// Where a program may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// On every core.
    Anywhere,
    /// On one core only.
    Core(usize),
}

/// The core of the load balancer while latency is measured; generator and backends share the other.
pub(crate) const PROXY_CORE: usize = 0;

/// The core of the load generator and of the backends while latency is measured.
pub(crate) const LOAD_CORE: usize = 1;

/// A program that runs until this is dropped.
pub(crate) struct Running {
    child: Child,
}

impl Running {
    /// Starts a program and waits until it listens at a port; what it writes goes to `log`.
    pub(crate) fn start(
        command: Command,
        port: u16,
        place: Place,
        log: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let mut command = at_place(command, place);
        let output = || log.map_or_else(|| Ok(Stdio::null()), |log| File::create(log).map(Stdio::from));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output()?);
        let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        let mut running = Self { child };
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = running.child.try_wait()? {
                let said = log.map(std::fs::read_to_string).transpose()?.unwrap_or_default();
                anyhow::bail!("it ended with {status}: {}", said.trim());
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

    /// Gives the memory resident now, in bytes.
    pub(crate) fn resident_bytes(&self) -> anyhow::Result<u64> {
        self.sum_of_status("VmRSS:")
    }

    /// Gives the most memory that was ever resident, in bytes.
    pub(crate) fn peak_resident_bytes(&self) -> anyhow::Result<u64> {
        self.sum_of_status("VmHWM:")
    }

    fn sum_of_status(&self, key: &str) -> anyhow::Result<u64> {
        let mut sum = 0;
        for pid in self.family()? {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
            let line = status.lines().find_map(|line| line.strip_prefix(key)).context("no such line")?;
            sum += line.trim().trim_end_matches("kB").trim().parse::<u64>()? * 1024;
        }
        Ok(sum)
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
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
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

/// Puts `taskset` before a program that shall stay on one core.
fn at_place(command: Command, place: Place) -> Command {
    let Place::Core(core) = place else { return command };
    let mut wrapped = Command::new("taskset");
    wrapped.args(["-c", &core.to_string()]).arg(command.get_program()).args(command.get_args());
    wrapped
}

/// Does something on one core: in a thread of its own, whose programs inherit the core.
pub(crate) fn on_core<T: Send>(
    core: usize,
    work: impl FnOnce() -> anyhow::Result<T> + Send,
) -> anyhow::Result<T> {
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    std::thread::scope(|scope| {
        let there = scope.spawn(move || {
            rustix::thread::sched_setaffinity(None, &set)
                .context("latency is measured with the proxy on one core and the load on another")?;
            work()
        });
        there.join().unwrap_or_else(|_| anyhow::bail!("the measurement panicked"))
    })
}

/// Gives this process and what it starts as many open files as the system lets it.
pub(crate) fn raise_file_limit() -> anyhow::Result<()> {
    let limit = |most: u64| Rlimit { current: Some(most), maximum: Some(most) };
    if rustix::process::setrlimit(Resource::Nofile, limit(65_536)).is_ok() {
        return Ok(());
    }
    let most = rustix::process::getrlimit(Resource::Nofile).maximum.unwrap_or(65_536);
    rustix::process::setrlimit(Resource::Nofile, limit(most)).context("cannot raise the limit of open files")
}

/// Gives the CPU time this process has used itself.
pub(crate) fn own_cpu() -> anyhow::Result<Duration> {
    cpu_of(std::process::id())
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

/// Finds several.
pub(crate) fn free_ports(from: u16, count: usize) -> anyhow::Result<Vec<u16>> {
    let mut ports = Vec::with_capacity(count);
    while ports.len() < count {
        ports.push(free_port(ports.last().map_or(from, |port| port + 1))?);
    }
    Ok(ports)
}

/// Writes a file and gives its path as text.
pub(crate) fn write(folder: &Path, name: &str, text: &str) -> anyhow::Result<String> {
    let path = folder.join(name);
    std::fs::write(&path, text)?;
    Ok(path.to_string_lossy().into_owned())
}
