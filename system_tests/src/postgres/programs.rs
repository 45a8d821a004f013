//! PostgreSQL's own programs, run by a user it accepts: it refuses root.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Users a server may run as when the tests are root's.
const USERS: [&str; 2] = ["postgres", "nobody"];

/// Runs one of PostgreSQL's programs and fails the test when it fails.
pub(super) fn run(command: &[&str]) {
    run_or(command, String::new);
}

/// Runs one of PostgreSQL's programs; when it fails, so does the test, which tells what `more` gives.
pub(super) fn run_or(command: &[&str], more: impl Fn() -> String) {
    let output = prepare(command).output().expect("PostgreSQL's programs run");
    // A server that goes on in the background keeps its standard output, so it writes into a log.
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}{}", more());
}

/// Runs one of PostgreSQL's programs and gives what it says; a failure fails the test.
pub(super) fn output(command: &[&str]) -> String {
    let output = prepare(command).output().expect("PostgreSQL's programs run");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Runs one of PostgreSQL's programs whatever comes of it.
pub(super) fn try_run(command: &[&str]) {
    let _ = prepare(command).stdout(Stdio::null()).stderr(Stdio::null()).status();
}

fn prepare(command: &[&str]) -> Command {
    let mut words = user_prefix();
    words.push(program(command[0]).to_string_lossy().into_owned());
    words.extend(command[1..].iter().map(ToString::to_string));
    let mut prepared = Command::new(&words[0]);
    // A folder that the other user may not enter makes some of the programs complain.
    prepared.args(&words[1..]).current_dir("/").stdin(Stdio::null()).env("LC_ALL", "C");
    prepared
}

/// Gives a file or folder to the user the server runs as.
pub(super) fn give_away(path: &Path) {
    if let Some(user) = other_user() {
        let status = Command::new("chown").arg(user).arg(path).status().expect("chown runs");
        assert!(status.success(), "{} is given to {user}", path.display());
    }
}

/// Gives a folder with all that is in it to that user.
pub(super) fn give_all_away(path: &Path) {
    if let Some(user) = other_user() {
        let status = Command::new("chown").args(["-R", user]).arg(path).status().expect("chown runs");
        assert!(status.success(), "{} is given to {user}", path.display());
    }
}

/// Gives what comes before a command so that it runs as the server's user.
pub(super) fn user_prefix() -> Vec<String> {
    match other_user() {
        None => Vec::new(),
        Some(user) => ["setpriv", "--reuid", user, "--regid", &group_of(user), "--clear-groups"]
            .map(ToOwned::to_owned)
            .to_vec(),
    }
}

fn other_user() -> Option<&'static str> {
    if !rustix::process::getuid().is_root() {
        return None;
    }
    let exists = |user: &&str| {
        let status = Command::new("id").arg(user).stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    Some(USERS.into_iter().find(exists).expect("a user postgres or nobody"))
}

fn group_of(user: &str) -> String {
    let output = Command::new("id").args(["-g", user]).output().expect("id runs");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Finds a program: Debian puts the server's apart from `PATH`.
pub(super) fn program(name: &str) -> PathBuf {
    let mut folders: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|versions| versions.flatten().map(|version| version.path().join("bin")).collect())
        .unwrap_or_default();
    folders.sort();
    folders.reverse();
    folders.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let found = folders.into_iter().map(|folder| folder.join(name)).find(|program| program.is_file());
    found.unwrap_or_else(|| panic!("{name} is not installed: system_tests/install.sh installs it"))
}
