//! Writing to the terminal, which may be gone: a closed pipe or a full disk must not end a process that serves.

use std::fmt::Display;
use std::io::Write;

/// Writes a line to standard output, if it takes one.
pub(crate) fn say(line: impl Display) {
    let _ = try_say(&line);
}

/// Writes a line that is written only once in a life: to standard output, or else to standard error.
pub(crate) fn say_once(line: impl Display) {
    if try_say(&line).is_err() {
        complain(line);
    }
}

/// Writes a line to standard error, if it takes one.
pub(crate) fn complain(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn try_say(line: &impl Display) -> std::io::Result<()> {
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}
