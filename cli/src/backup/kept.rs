//! What lies at the backup's destination, by engine: listed, verified, restored, tried out.

use std::path::Path;

use database::Url;
use database::backup::postgres::{self, Lsn};
use database::backup::{self, BackupError, DrillReport, Following, Inspection, RestoredState, Target};
use jiff::Timestamp;

use super::explain_force;
use crate::progress::Bar;
use crate::settings::Settings;
use crate::{table, terminal};

/// What is kept of the configured database; a closed set, as the engines are.
pub(super) enum Kept {
    /// Our own bases and segments.
    Sqlite(backup::Recovery),
    /// What PostgreSQL's tools wrote.
    Postgres(postgres::Recovery),
}

impl Kept {
    /// Opens the configured destination.
    pub(super) fn open(settings: &Settings) -> Result<Self, BackupError> {
        let config = &settings.database.backup;
        match &settings.database.url {
            Url::Sqlite | Url::SqliteIn(_) => backup::Recovery::open(config).map(Self::Sqlite),
            Url::Postgres(url) => postgres::Recovery::open(config, url).map(Self::Postgres),
        }
    }

    /// Renders a table of what is there.
    pub(super) async fn list(&self) -> Result<String, BackupError> {
        match self {
            Self::Sqlite(recovery) => list_generations(recovery).await,
            Self::Postgres(recovery) => list_bases(recovery),
        }
    }

    /// Reads everything and names what is damaged or missing.
    pub(super) async fn inspect(&self, deep: bool, scratch: &Path) -> Result<Inspection, BackupError> {
        let bar = Bar::new("reading");
        let (begin, note) = (|total| bar.begin(total), |read| bar.add(read));
        match self {
            Self::Sqlite(recovery) => recovery.inspect(deep, scratch, begin, &note).await,
            Self::Postgres(recovery) => recovery.inspect(deep, scratch, begin, &note).await,
        }
    }

    /// Restores the latest state in a scratch folder and has it checked.
    pub(super) async fn drill(&self, scratch: &Path) -> Result<DrillReport, BackupError> {
        let bar = Bar::new("restoring");
        let (begin, note) = (|total| bar.begin(total), |read| bar.add(read));
        match self {
            Self::Sqlite(recovery) => recovery.drill(scratch, begin, &note).await,
            Self::Postgres(recovery) => recovery.drill(scratch, begin, &note).await,
        }
    }

    /// Restores a moment and says what was made; SQLite's files go to `folder` unless `to` names another.
    pub(super) async fn restore(
        &self,
        at: &str,
        to: Option<&Path>,
        folder: &Path,
        force: bool,
    ) -> anyhow::Result<()> {
        match self {
            Self::Sqlite(recovery) => {
                let target = read_commit(at)?;
                restore_sqlite(recovery, target, to.unwrap_or(folder), force).await
            }
            Self::Postgres(recovery) => {
                let target = read_place(at)?;
                let to = to.ok_or_else(|| anyhow::anyhow!("name the server's new data folder with --to"))?;
                anyhow::ensure!(!force, "--force is for SQLite: a server's data folder is never replaced");
                restore_postgres(recovery, target, to).await
            }
        }
    }
}

async fn list_generations(recovery: &backup::Recovery) -> Result<String, BackupError> {
    let generations = recovery.list().await?;
    let rows = generations.iter().map(|generation| {
        let ((first, last), (began, ended)) = (generation.commits, generation.times);
        let [bases, segments, merged] = generation.files;
        vec![
            generation.generation.clone(),
            format!("{first} to {last}"),
            format!("{began:.3}"),
            format!("{ended:.3}"),
            format!("{bases} + {segments} + {merged}"),
            process::size::format(generation.size_bytes),
            state(generation.fault.as_deref()),
        ]
    });
    let heading = ["GENERATION", "COMMITS", "FROM", "TO", "BASES+SEGMENTS+MERGED", "SIZE", "STATE"];
    Ok(table::render(&heading, &rows.collect::<Vec<_>>()))
}

fn list_bases(recovery: &postgres::Recovery) -> Result<String, BackupError> {
    let bases = recovery.list()?;
    let rows = bases.iter().map(|base| {
        vec![
            base.generation.clone(),
            base.timeline.to_string(),
            base.end.0.to_string(),
            format!("{:.3}", base.end.1),
            base.last_segment.clone(),
            process::size::format(base.size_bytes),
            state(base.fault.as_deref()),
        ]
    });
    let heading = ["GENERATION", "TIMELINE", "FROM", "SINCE", "TO SEGMENT", "BASE", "STATE"];
    let mut listed = table::render(&heading, &rows.collect::<Vec<_>>());
    for (file, reason) in recovery.unusable()? {
        listed.push_str(&format!("{file}: {reason}\n"));
    }
    Ok(listed)
}

fn state(fault: Option<&str>) -> String {
    fault.unwrap_or("whole").to_owned()
}

async fn restore_sqlite(
    recovery: &backup::Recovery,
    target: backup::Target,
    to: &Path,
    force: bool,
) -> anyhow::Result<()> {
    let bar = Bar::new("restoring");
    let restored = recovery.restore(target, to, force, |total| bar.begin(total), &|read| bar.add(read)).await;
    drop(bar);
    let RestoredState { reached, following, report } = restored.map_err(explain_force)?;
    terminal::say(format_args!(
        "restored commit {}, made at {}, into {}: {} records, {} jobs, {}",
        reached.commit,
        time_of(reached.at),
        report.file.display(),
        report.records,
        report.jobs,
        process::size::format(report.size_bytes)
    ));
    if let Target::Time(asked) = target {
        terminal::say(describe_following(asked, reached.commit, following));
    }
    Ok(())
}

/// Says whether what was restored is the state at a time, and what of it may be missing if not.
fn describe_following(asked: i64, commit: u64, following: Following) -> String {
    let asked = time_of(asked);
    let next = |commit: u64, at: i64| {
        format!("the next state that can be restored is commit {commit}, of {} (--at {commit})", time_of(at))
    };
    match following {
        Following::Nothing => format!("that is the last commit of the backup; {asked} is later"),
        Following::Commit { commit, at } => {
            format!("that is the state at {asked}: the next commit, {commit}, was made at {}", time_of(at))
        }
        Following::Merged { first, last, at } => format!(
            "WARNING: this may be an EARLIER state than that at {asked}: commits {first} to {last} were merged, and \
             those of them made by then are NOT in it; {}",
            next(last, at)
        ),
        Following::Generation { commit: begins, at } => format!(
            "WARNING: this may be an EARLIER state than that at {asked}: the backup has nothing between commit {commit} \
             and {}, and what was committed in between is NOT in it; {}",
            time_of(at),
            next(begins, at)
        ),
    }
}

fn time_of(microseconds: i64) -> Timestamp {
    Timestamp::from_microsecond(microseconds).unwrap_or_default()
}

async fn restore_postgres(
    recovery: &postgres::Recovery,
    target: postgres::Target,
    to: &Path,
) -> anyhow::Result<()> {
    let bar = Bar::new("restoring");
    let restored = recovery.restore(target, to, |total| bar.begin(total), &|read| bar.add(read)).await;
    drop(bar);
    let restored = restored?;
    let (end, ended) = restored.base;
    let covered = restored.covered.map(|at| format!(", with all that was committed until {at:.3},"));
    terminal::say(format_args!(
        "made {} from the base of {ended:.3} ({end}); once started, PostgreSQL recovers {target}{} from {} segments",
        restored.folder.display(),
        covered.unwrap_or_default(),
        restored.segments
    ));
    for note in &restored.notes {
        terminal::say(format_args!("note: {note}"));
    }
    terminal::say("nothing was started. As the user who owns that folder, which must not be root:");
    terminal::say(format_args!("  {}", restored.command));
    Ok(())
}

/// Reads `latest`, a commit's number, or a time as in RFC 3339.
fn read_commit(text: &str) -> anyhow::Result<backup::Target> {
    if text == "latest" {
        return Ok(backup::Target::Latest);
    }
    if let Ok(number) = text.parse() {
        return Ok(backup::Target::Commit(number));
    }
    Ok(backup::Target::Time(read_time(text, "a commit's number")?.as_microsecond()))
}

/// Reads `latest`, a place in PostgreSQL's log, a transaction's number, or a time as in RFC 3339.
fn read_place(text: &str) -> anyhow::Result<postgres::Target> {
    if text == "latest" {
        return Ok(postgres::Target::Latest);
    }
    if let Ok(lsn) = text.parse::<Lsn>() {
        return Ok(postgres::Target::Lsn(lsn));
    }
    if let Ok(number) = text.parse() {
        return Ok(postgres::Target::Transaction(number));
    }
    let others = "a transaction's number, a place such as 16/B374D848";
    Ok(postgres::Target::Time(read_time(text, others)?))
}

fn read_time(text: &str, others: &str) -> anyhow::Result<Timestamp> {
    text.parse().map_err(|_| {
        anyhow::anyhow!("`{text}` is not `latest`, {others} or a time such as 2026-01-31T12:00:00Z")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_of_sqlite_is_the_latest_a_commit_or_a_time() {
        use backup::Target;
        assert_eq!(read_commit("latest").unwrap(), Target::Latest);
        assert_eq!(read_commit("42").unwrap(), Target::Commit(42));
        assert_eq!(read_commit("1970-01-01T00:00:01.5Z").unwrap(), Target::Time(1_500_000));
        assert_eq!(read_commit("1970-01-01T01:00:01+01:00").unwrap(), Target::Time(1_000_000));
        assert!(read_commit("yesterday").unwrap_err().to_string().contains("yesterday"));
    }

    #[test]
    fn an_earlier_state_than_was_asked_for_is_said_loudly_with_both_bounds() {
        let second = 1_000_000;
        let (last, at) = (19, 9 * second);
        let merged = describe_following(5 * second, 11, Following::Merged { first: 12, last, at });
        let gap = describe_following(5 * second, 11, Following::Generation { commit: 19, at });
        for (line, what) in [(merged, "commits 12 to 19 were merged"), (gap, "between commit 11")] {
            assert!(line.starts_with("WARNING: this may be an EARLIER state"), "{line}");
            assert!(line.contains(what) && line.contains("--at 19"), "{line}");
            assert!(line.contains("1970-01-01T00:00:05Z") && line.contains("1970-01-01T00:00:09Z"), "{line}");
        }
        let exact = describe_following(5 * second, 11, Following::Commit { commit: 12, at });
        assert!(exact.starts_with("that is the state at 1970-01-01T00:00:05Z"), "{exact}");
    }

    #[test]
    fn a_moment_of_postgresql_is_the_latest_a_place_a_transaction_or_a_time() {
        use postgres::Target;
        assert_eq!(read_place("latest").unwrap(), Target::Latest);
        assert_eq!(read_place("0/3000028").unwrap(), Target::Lsn(Lsn(0x300_0028)));
        assert_eq!(read_place("738").unwrap(), Target::Transaction(738));
        let time = Timestamp::from_second(1).unwrap();
        assert_eq!(read_place("1970-01-01T00:00:01Z").unwrap(), Target::Time(time));
        assert!(read_place("yesterday").unwrap_err().to_string().contains("a place such as"));
    }
}
