//! One of PostgreSQL's programs as a child of ours: what it says is read line by line, and it does not outlive us.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::oneshot;

/// How long a program may take to end after it was asked to.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many of its last lines are kept.
const KEPT_LINES: usize = 20;

/// The longest line that is kept whole.
const LINE_LIMIT: usize = 4096;

/// Has the kernel end a child whose parent was killed: it would go on and hold the slot, or write where the next one does.
const GUARD: &str = "/usr/bin/setpriv";

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Output,
    Errors,
}

/// A program under way; it is killed when this is dropped.
#[derive(Debug)]
pub(super) struct Program {
    child: Arc<Mutex<Child>>,
    ended: oneshot::Receiver<Ended>,
    stop: Signal,
}

/// How a program ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// `None` when that could not be learned.
    pub(super) status: Option<ExitStatus>,
    /// The last lines it wrote to its standard error.
    pub(super) said: Vec<String>,
}

impl Ended {
    pub(super) fn is_success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    /// Says why it failed, in its own words. The first error is the cause, and those after it follow from it; a server,
    /// which has the word FATAL only, says that also to clients who come too early, and ends with the cause.
    pub(super) fn reason(&self) -> String {
        let first = self.said.iter().position(|line| line.contains("error:"));
        let told = first.or_else(|| self.said.iter().rposition(|line| line.contains("FATAL")));
        let how = match self.status {
            Some(status) => status.to_string(),
            None => "it cannot be waited for".to_owned(),
        };
        let is_killed = self.status.is_some_and(|status| status.signal().is_some());
        match (told, self.said.last()) {
            (Some(told), _) => {
                let mut reason = self.said[told].clone();
                if let Some(detail) = self.said.get(told + 1).and_then(|line| read_detail(line)) {
                    reason.push_str(&format!(" ({detail})"));
                }
                if is_killed { format!("{reason}; {how}") } else { reason }
            }
            (None, Some(last)) => format!("{how}; it said last: {last}"),
            (None, None) => how,
        }
    }
}

impl Program {
    /// Starts a program, as another user if one is given; `stop` is the signal that has it end. It ends with the
    /// *thread* that calls this.
    pub(super) fn start(
        command: Command,
        user: Option<(u32, u32)>,
        stop: Signal,
        note: impl FnMut(Stream, &str) + Send + 'static,
    ) -> io::Result<Self> {
        let mut command = guarded(command);
        // A group of its own, so that a signal of the terminal reaches it through us only, in our order.
        command.process_group(0);
        if let Some((user, group)) = user {
            command.uid(user).gid(group);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let note = Arc::new(Mutex::new(note));
        let said = Arc::new(Mutex::new(VecDeque::new()));
        let mut readers = Vec::new();
        if let Some(output) = child.stdout.take() {
            let note = Arc::clone(&note);
            readers.push(read(output, move |line| lock(&note)(Stream::Output, line))?);
        }
        if let Some(errors) = child.stderr.take() {
            let said = Arc::clone(&said);
            readers.push(read(errors, move |line| {
                lock(&note)(Stream::Errors, line);
                let mut said = lock(&said);
                said.push_back(line.to_owned());
                if said.len() > KEPT_LINES {
                    said.pop_front();
                }
            })?);
        }
        let child = Arc::new(Mutex::new(child));
        let (tell, ended) = oneshot::channel();
        let waited = Arc::clone(&child);
        std::thread::Builder::new().name("db-program".to_owned()).spawn(move || {
            for reader in readers {
                let _ = reader.join();
            }
            let status = wait(&waited);
            let said = lock(&said).drain(..).collect();
            let _ = tell.send(Ended { status, said });
        })?;
        Ok(Self { child, ended, stop })
    }

    /// Waits until it ends by itself.
    pub(super) async fn end(&mut self) -> Ended {
        let nothing = || Ended { status: None, said: Vec::new() };
        (&mut self.ended).await.unwrap_or_else(|_| nothing())
    }

    /// Has it end, and kills it if it does not.
    pub(super) async fn stop(mut self) -> Ended {
        self.signal(self.stop);
        if let Ok(ended) = tokio::time::timeout(PATIENCE, &mut self.ended).await {
            return ended.unwrap_or(Ended { status: None, said: Vec::new() });
        }
        let _ = lock(&self.child).kill();
        // One that waits for a disk does not even die; nobody waits for it then.
        let ended = tokio::time::timeout(PATIENCE, self.end()).await;
        ended.unwrap_or(Ended { status: None, said: Vec::new() })
    }

    fn signal(&self, signal: Signal) {
        // Held, so that the process is not reaped and its number given to another meanwhile.
        let mut child = lock(&self.child);
        if let Ok(None) = child.try_wait()
            && let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw)
        {
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // A server has children of its own, which it ends when it is asked and not when it is killed.
        self.signal(if self.stop == Signal::QUIT { Signal::QUIT } else { Signal::KILL });
    }
}

/// Reads what explains the line before: of a server's, as it is handed on, or of the program's own.
fn read_detail(line: &str) -> Option<&str> {
    let (_, detail) = line.split_once("DETAIL:").or_else(|| line.split_once(" detail:"))?;
    Some(detail.trim())
}

/// Has the child end with the thread that starts it, where the system can do that.
fn guarded(command: Command) -> Command {
    if !Path::new(GUARD).exists() {
        return command;
    }
    let signal = "--pdeathsig=KILL";
    let mut guard = Command::new(GUARD);
    guard.arg(signal).arg("--").arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => guard.env(name, value),
            None => guard.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        guard.current_dir(folder);
    }
    guard
}

/// Reads lines in a thread of its own; a progress display ends its own with a carriage return.
fn read(
    source: impl Read + Send + 'static,
    mut note: impl FnMut(&str) + Send + 'static,
) -> io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name("db-program".to_owned()).spawn(move || {
        let mut source = BufReader::new(source);
        let mut line = Vec::new();
        loop {
            let (taken, is_end) = match source.fill_buf() {
                Ok([]) | Err(_) => break,
                Ok(bytes) => {
                    let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
                    let part = &bytes[..end.unwrap_or(bytes.len())];
                    let room = LINE_LIMIT.saturating_sub(line.len());
                    line.extend_from_slice(&part[..part.len().min(room)]);
                    (part.len() + usize::from(end.is_some()), end.is_some())
                }
            };
            source.consume(taken);
            if is_end && !line.is_empty() {
                note(String::from_utf8_lossy(&line).trim_end());
                line.clear();
            }
        }
        if !line.is_empty() {
            note(String::from_utf8_lossy(&line).trim_end());
        }
    })
}

/// Waits for a process whose pipes are closed; others may signal it meanwhile.
fn wait(child: &Mutex<Child>) -> Option<ExitStatus> {
    loop {
        match lock(child).try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) => {}
            Err(_) => return None,
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn what_a_program_says_is_read_and_its_end_is_told() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&lines);
        let note = move |stream, line: &str| lock(&noted).push((stream, line.to_owned()));
        let script = "printf '1/2\\r2/2\\n'; echo 'x: error: broken' >&2; echo 'x: hint: no' >&2; exit 3";
        let mut program = Program::start(shell(script), None, Signal::TERM, note).unwrap();
        let ended = program.end().await;
        assert!(!ended.is_success());
        assert_eq!(ended.reason(), "x: error: broken");
        let output: Vec<_> =
            lock(&lines).iter().filter(|(stream, _)| *stream == Stream::Output).cloned().collect();
        assert_eq!(output.iter().map(|(_, line)| line.as_str()).collect::<Vec<_>>(), ["1/2", "2/2"]);
    }

    #[tokio::test]
    async fn why_a_program_ended_is_its_first_error_with_its_detail_or_the_signal() {
        let reason = async |script: &str| {
            let mut program = Program::start(shell(script), None, Signal::TERM, |_, _| ()).unwrap();
            program.end().await.reason()
        };
        let disconnected = "echo 'x: starting log streaming at 0/B000000 (timeline 2)' >&2
            echo 'x: error: ERROR:  requested 0/B000000 is not in this server'\\''s history' >&2
            echo 'DETAIL:  It forked at 0/A000000.' >&2; echo 'x: error: disconnected' >&2; exit 1";
        assert_eq!(
            reason(disconnected).await,
            "x: error: ERROR:  requested 0/B000000 is not in this server's history (It forked at 0/A000000.)"
        );
        let own = "echo 'x: error: no' >&2; echo 'x: detail: Of its own.' >&2; exit 1";
        assert_eq!(reason(own).await, "x: error: no (Of its own.)");
        let killed = "echo 'x: waiting for checkpoint' >&2; kill -9 $$";
        assert_eq!(reason(killed).await, "signal: 9 (SIGKILL); it said last: x: waiting for checkpoint");
        assert_eq!(reason("kill -9 $$").await, "signal: 9 (SIGKILL)");
        assert_eq!(reason("echo 'x: well' >&2; exit 3").await, "exit status: 3; it said last: x: well");
        // A server: whoever came while it recovered was refused.
        let server = "echo 'FATAL:  the database system is starting up' >&2
            echo 'FATAL:  recovery ended before configured recovery target was reached' >&2; echo 'LOG:  down' >&2; exit 1";
        assert_eq!(
            reason(server).await,
            "FATAL:  recovery ended before configured recovery target was reached"
        );
    }

    #[tokio::test]
    async fn a_program_that_runs_on_is_stopped() {
        let program = Program::start(shell("exec sleep 600"), None, Signal::TERM, |_, _| ()).unwrap();
        assert!(!program.stop().await.is_success());
    }
}
