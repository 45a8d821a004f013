//! Loading the configuration again: on SIGHUP, and when its file or one it refers to changes.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use process::reload::{Cause, Reloader, Stamps, note_refused};
use process::{ConfigError, telemetry};
use tokio::signal::unix::Signal;

use crate::args::Flags;
use crate::outline::Outline;
use crate::role::Role;
use crate::settings::Settings;

/// How often files are looked at; a look is one `stat` a file.
const LOOK: Duration = Duration::from_secs(2);

/// How long a file must have stayed the same before it is read: editors write in several steps.
const SETTLED: Duration = Duration::from_millis(100);

/// The keys of the process itself that are read once.
const FIXED: [&str; 5] =
    ["process.data", "process.log_format", "process.admin", "process.handover", "cluster"];

/// Where the settings came from, and come from again.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) file: Option<PathBuf>,
    pub(crate) flags: Flags,
}

impl Source {
    /// Loads the settings, by the same precedence each time.
    pub(crate) fn load(&self) -> Result<Settings, ConfigError> {
        Settings::load(self.file.clone(), self.flags.clone())
    }
}

/// Follows the configuration for as long as the process serves.
pub(crate) async fn follow(
    source: &Source,
    reloader: &Arc<Reloader<Settings>>,
    roles: &[Role],
    hangup: &mut Signal,
) -> Infallible {
    let started = reloader.current();
    let mut seen = look(source, reloader).await;
    let mut outline = Outline::of(source.file.as_deref()).read_by(roles);
    loop {
        let cause = tokio::select! {
            _ = hangup.recv() => Cause::Asked,
            () = change(source, reloader, &mut seen) => Cause::FileChanged,
        };
        // Looked at before they are read, so that what is written meanwhile is seen the next time.
        let now = look(source, reloader).await;
        let (loading, reload) = (source.clone(), Arc::clone(reloader));
        let before = std::mem::replace(&mut seen, now);
        let loaded =
            tokio::task::spawn_blocking(move || load(&loading, &reload, cause, &before, outline)).await;
        match loaded {
            Ok(Ok(read)) => {
                outline = read.read_by(roles);
                tracing::info!("the configuration was loaded again");
                warn_of_fixed(&started, &reloader.current(), roles);
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "the configuration was not loaded again; nothing changes")
            }
            Err(error) => tracing::error!(%error, "loading the configuration broke off; nothing changes"),
        }
    }
}

/// Loads the settings and replaces the present ones; gives what the file had.
fn load(
    source: &Source,
    reloader: &Reloader<Settings>,
    cause: Cause,
    seen: &Stamps,
    outline: Outline,
) -> Result<Outline, ConfigError> {
    let (settings, read) = read(source, outline).inspect_err(|_| note_refused())?;
    let process = settings.process.clone();
    reloader.replace(settings, cause, seen)?;
    telemetry::change_filter(&process).map(|()| read)
}

fn read(source: &Source, before: Outline) -> Result<(Settings, Outline), ConfigError> {
    // On both sides of the reading: the file may be in the midst of being written.
    let look = || Outline::of(source.file.as_deref());
    let earlier = look();
    // A file that cannot be read has no outline, and its fault is told better than by that.
    let settings = source.load()?;
    earlier.check_since(before)?;
    let now = look();
    now.check_since(before)?;
    telemetry::check(&settings.process).map(|()| (settings, now))
}

/// Waits until a file has changed and has stayed the same for a moment.
async fn change(source: &Source, reloader: &Arc<Reloader<Settings>>, seen: &mut Stamps) {
    loop {
        tokio::time::sleep(LOOK).await;
        let mut now = look(source, reloader).await;
        if !now.differ_from(seen) {
            *seen = now;
            continue;
        }
        loop {
            tokio::time::sleep(SETTLED).await;
            let again = look(source, reloader).await;
            if !again.differ_from(&now) {
                return;
            }
            now = again;
        }
    }
}

async fn look(source: &Source, reloader: &Arc<Reloader<Settings>>) -> Stamps {
    let (reloader, file) = (Arc::clone(reloader), source.file.clone());
    tokio::task::spawn_blocking(move || reloader.look_at_files(file)).await.unwrap_or_default()
}

/// Names in one warning what changed in the file and holds only once the process is started again.
fn warn_of_fixed(started: &Settings, now: &Settings, roles: &[Role]) {
    let keys = fixed_changes(started, now, roles);
    if !keys.is_empty() {
        let keys = keys.join(", ");
        tracing::warn!(keys, "these have changed and take effect when the process is started again");
    }
}

fn fixed_changes(started: &Settings, now: &Settings, roles: &[Role]) -> Vec<String> {
    let (Ok(old), Ok(new)) = (toml::Value::try_from(started), toml::Value::try_from(now)) else {
        return Vec::new();
    };
    let mut changed = BTreeSet::new();
    find_changes("", Some(&old), Some(&new), &mut changed);
    if started.cluster.token != now.cluster.token {
        changed.insert("cluster.token".to_owned());
    }
    let fixed: Vec<&str> =
        FIXED.into_iter().chain(roles.iter().flat_map(Role::fixed_keys).copied()).collect();
    let is_fixed = |key: &String| {
        fixed
            .iter()
            .any(|fixed| key.strip_prefix(fixed).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
    };
    changed.into_iter().filter(is_fixed).collect()
}

/// Finds the dotted keys whose values differ.
fn find_changes(
    key: &str,
    old: Option<&toml::Value>,
    new: Option<&toml::Value>,
    changed: &mut BTreeSet<String>,
) {
    let nothing = toml::Table::new();
    let table = |value: Option<&toml::Value>| value.and_then(toml::Value::as_table).cloned();
    match (table(old), table(new)) {
        (None, None) if old == new => {}
        (None, None) => {
            changed.insert(key.to_owned());
        }
        (old, new) => {
            let (old, new) = (old.unwrap_or_else(|| nothing.clone()), new.unwrap_or(nothing));
            for name in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                find_changes(&key, old.get(name), new.get(name), changed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_emptied_or_cut_short_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sixfold.toml");
        let source = Source { file: Some(file.clone()), flags: Flags::default() };
        let whole =
            "[process]\nlog = \"warn\"\n[load_balancer]\nbackends = [\"127.0.0.1:9001\"]\nretries = 1\n";
        std::fs::write(&file, whole).unwrap();
        let (settings, outline) = read(&source, Outline::default()).unwrap();
        assert_eq!(settings.load_balancer.backends.len(), 1);
        for (text, what) in [
            ("", "the file"),
            ("# [load_balancer]\n", "the file"),
            ("[process]\nlog = \"warn\"\n", "load_balancer"),
            ("[process]\nlog = \"warn\"\n[load_balancer]\n", "load_balancer.backends"),
            ("[process]\nlog = \"warn\n[load_balancer]\n", "sixfold.toml:2: "),
        ] {
            std::fs::write(&file, text).unwrap();
            let error = read(&source, outline).unwrap_err().to_string();
            assert!(error.contains(what), "{text:?} {error}");
        }
        std::fs::write(&file, "[load_balancer]\nbackends = []\n").unwrap();
        let (settings, _) = read(&source, outline).unwrap();
        assert!(settings.load_balancer.backends.is_empty(), "that is what was meant");
    }

    #[test]
    fn only_what_this_process_reads_once_is_warned_of() {
        let started = Settings::default();
        let mut now = Settings::default();
        now.load_balancer.retries = 7;
        now.load_balancer.threads = 3;
        now.process.admin = Some("127.0.0.1:1".to_owned());
        now.process.log = "debug".to_owned();
        now.database.readers = 9;
        now.cluster.token = Some(process::Secret::new("other"));
        let keys = |roles: &[Role]| fixed_changes(&started, &now, roles);
        assert_eq!(keys(&[Role::LoadBalancer]), ["cluster.token", "process.admin"]);
        assert!(keys(&[Role::Database]).contains(&"database.readers".to_owned()));
        assert_eq!(fixed_changes(&started, &started, &[Role::LoadBalancer, Role::Database]), [""; 0]);
    }
}
