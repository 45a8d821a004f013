//! `backup status`: how far the destination is behind, as lines.

use std::process::ExitCode;

use database::backup::postgres::ReceivingStatus;
use database::backup::{DrillReport, Mode, Progress, ShippingStatus, Standing, Status};

use super::describe_drill;
use crate::{EXIT_FAILED, terminal};

/// What is said of one thing.
type Row = (&'static str, String);

/// Prints a status; the exit code tells whether the backup is well, as far as its last drill and its upkeep know too.
pub(super) fn print(status: &Status) -> ExitCode {
    let (standing, drill, undone, rows) = match status {
        Status::Sqlite(status) => (&status.standing, &status.drill, &status.undone, of_sqlite(status)),
        Status::Postgres(status) => (&status.standing, &status.drill, &status.undone, of_postgres(status)),
    };
    let has_failed = drill.as_ref().is_some_and(|drill| drill.fault.is_some()) || !undone.is_empty();
    for (what, how) in rows {
        terminal::say(format_args!("{what:<12} {how}"));
    }
    match standing {
        Standing::Shipping | Standing::Starting if !has_failed => ExitCode::SUCCESS,
        Standing::Shipping
        | Standing::Starting
        | Standing::Unreachable { .. }
        | Standing::Stalled { .. }
        | Standing::NotSynchronous { .. }
        | Standing::KeptOff { .. } => ExitCode::from(EXIT_FAILED),
    }
}

fn of_sqlite(status: &ShippingStatus) -> Vec<Row> {
    let mut rows = vec![
        ("destination", format!("{} ({})", status.destination, mode(status.mode))),
        ("state", state(&status.standing)),
        ("generation", status.generation.clone().unwrap_or_else(|| "none yet".to_owned())),
        ("commits", format!("{} made, {} shipped", status.committed, status.shipped)),
        ("lag", format!("{} commits, {:.3} s", status.lag_commits, status.lag_seconds)),
    ];
    if let Some((commit, at)) = status.base {
        rows.push(("last base", format!("commit {commit} at {at:.3}")));
    }
    end(&mut rows, status.drill.as_ref(), &status.undone, status.progress.as_ref());
    rows
}

fn of_postgres(status: &ReceivingStatus) -> Vec<Row> {
    let waits = if status.is_synchronous { "wait for it" } else { "do not wait for it" };
    let mut rows = vec![
        ("destination", format!("{} ({})", status.destination, mode(status.mode))),
        ("state", state(&status.standing)),
        ("generation", status.generation.clone().unwrap_or_else(|| "none yet".to_owned())),
        ("log", format!("flushed to {}, received to {}", status.flushed, status.received)),
        ("lag", format!("{} bytes, {:.3} s", status.lag_bytes, status.lag_seconds)),
        ("slot", slot(&status.standing, &status.slot, status.retained_bytes)),
        ("commits", waits.to_owned()),
        ("receiver", format!("started {} times", status.receiver_starts)),
    ];
    if let Some((end, at)) = status.base {
        rows.push(("last base", format!("{end} at {at:.3}")));
    }
    end(&mut rows, status.drill.as_ref(), &status.undone, status.progress.as_ref());
    rows
}

fn slot(standing: &Standing, name: &str, retained_bytes: u64) -> String {
    match standing {
        Standing::KeptOff { .. } => "none of ours while we keep off".to_owned(),
        _ => format!("{name}, keeps {} on the server", process::size::format(retained_bytes)),
    }
}

fn end(rows: &mut Vec<Row>, drill: Option<&DrillReport>, undone: &[String], progress: Option<&Progress>) {
    rows.push(("last drill", drill.map_or_else(|| "none since the start".to_owned(), describe_drill)));
    rows.extend(undone.iter().map(|undone| ("not done", undone.clone())));
    if let Some(Progress { what, done, total }) = progress {
        rows.push(("now", format!("{what}: {done} of {total} bytes")));
    }
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Async => "async",
        Mode::Sync => "sync",
    }
}

fn state(standing: &Standing) -> String {
    match standing {
        Standing::Shipping => "shipping".to_owned(),
        Standing::Starting => "starting: the base of a generation is made".to_owned(),
        Standing::Unreachable { reason } => format!("unreachable: {reason}"),
        Standing::Stalled { reason } => format!("stalled: {reason}"),
        Standing::NotSynchronous { reason } => format!("not synchronous: {reason}"),
        Standing::KeptOff { reason } => format!("kept off: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use database::backup::Position;
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn a_backup_whose_last_drill_or_upkeep_failed_is_not_well() {
        let after = |fault: Option<&str>, undone: &[&str]| {
            let drill = DrillReport {
                at: Timestamp::UNIX_EPOCH,
                position: Position::Commit(7),
                seconds: 0.1,
                fault: fault.map(ToOwned::to_owned),
            };
            let status = ShippingStatus {
                destination: "file:/backup".to_owned(),
                mode: Mode::Async,
                standing: Standing::Shipping,
                generation: None,
                committed: 7,
                shipped: 7,
                lag_commits: 0,
                lag_seconds: 0.0,
                base: None,
                drill: Some(drill),
                undone: undone.iter().map(ToString::to_string).collect(),
                progress: None,
            };
            format!("{:?}", print(&Status::Sqlite(status)))
        };
        let (well, failed) = (ExitCode::SUCCESS, ExitCode::from(EXIT_FAILED));
        assert_eq!(after(None, &[]), format!("{well:?}"));
        assert_eq!(after(Some("it differs"), &[]), format!("{failed:?}"));
        assert_eq!(after(None, &["no base was stored: it is full"]), format!("{failed:?}"));
    }

    #[test]
    fn a_slot_is_named_unless_we_keep_off() {
        assert_eq!(slot(&Standing::Shipping, "sixfold", 1 << 20), "sixfold, keeps 1MiB on the server");
        let kept_off = Standing::KeptOff { reason: "the server archives already".to_owned() };
        assert_eq!(slot(&kept_off, "sixfold", 0), "none of ours while we keep off");
    }
}
