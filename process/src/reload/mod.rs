//! Settings that may change while the process runs.
//!
//! A process holds one [`Reloader`] of all its settings. Each role takes the part it uses as a [`Reload`]:
//! [`Reload::current`] is what holds now, [`Reload::changed`] waits for the next. A role may name files
//! its part refers to ([`Reload::watch_files`]), whose change counts as a change of the part, and a check
//! ([`Reload::check_with`]) that new settings must pass: one refusal and no part of the process changes.

mod files;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use prometheus::{IntCounterVec, IntGaugeVec};
use tokio::sync::watch;

pub use files::Stamps;

use crate::{ConfigError, metrics};

/// Reloads, by `result`: `applied` or `refused`.
static RELOADS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Times the configuration was loaded again, by result.";
    metrics::counter("sixfold_process_reloads_total", help, &["result"])
});

/// When the settings that hold were loaded.
static LOADED: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let help = "When the configuration that holds was loaded, in seconds since 1970.";
    metrics::gauge("sixfold_config_loaded_timestamp_seconds", help, &[])
});

/// A role's part of the settings, which may change; clones see the same changes, each for itself.
pub struct Reload<T> {
    receiver: watch::Receiver<Arc<T>>,
    attached: Arc<Attached<T>>,
}

/// What the role attached to its part.
struct Attached<T> {
    files: Mutex<Vec<PathBuf>>,
    check: Mutex<Option<Check<T>>>,
}

type Check<T> = Box<dyn Fn(&T) -> Result<(), ConfigError> + Send>;

impl<T> Reload<T> {
    /// Makes settings that never change, as tests and embedders have them.
    pub fn fixed(value: T) -> Self {
        Self::new(value).1
    }

    fn new(value: T) -> (watch::Sender<Arc<T>>, Self) {
        let (sender, receiver) = watch::channel(Arc::new(value));
        let attached = Arc::new(Attached { files: Mutex::default(), check: Mutex::new(None) });
        (sender, Self { receiver, attached })
    }

    /// Gives what holds now.
    pub fn current(&self) -> Arc<T> {
        Arc::clone(&self.receiver.borrow())
    }

    /// Waits until there is something this clone has not been given by `changed` before, and gives the
    /// newest; safe to drop and call again. Settings that never change again are waited for forever.
    pub async fn changed(&mut self) -> Arc<T> {
        if self.receiver.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        Arc::clone(&self.receiver.borrow_and_update())
    }

    /// Names the files this part refers to, instead of those named before; when one changes, the part
    /// counts as changed even if its text is the same.
    pub fn watch_files(&self, files: impl IntoIterator<Item = PathBuf>) {
        *lock(&self.attached.files) = files.into_iter().collect();
    }

    /// Sets what new settings of this part must pass before any part of the process changes.
    pub fn check_with(&self, check: impl Fn(&T) -> Result<(), ConfigError> + Send + 'static) {
        *lock(&self.attached.check) = Some(Box::new(check));
    }
}

impl<T> Clone for Reload<T> {
    fn clone(&self) -> Self {
        Self { receiver: self.receiver.clone(), attached: Arc::clone(&self.attached) }
    }
}

impl<T: fmt::Debug> fmt::Debug for Reload<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reload").field(&self.receiver.borrow()).finish()
    }
}

/// Why settings are loaded again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Someone asked for it: every part is told, since what it refers to may have changed too.
    Asked,
    /// A file changed: parts that are the same, with files that are the same, are left alone.
    FileChanged,
}

/// All settings of a process, and the parts its roles took.
pub struct Reloader<S> {
    settings: Mutex<Arc<S>>,
    parts: Mutex<Vec<Box<dyn Part<S>>>>,
}

/// One part, whatever its type.
trait Part<S>: Send {
    /// Names its files.
    fn files(&self) -> Vec<PathBuf>;
    /// Asks the role whether it could use the new settings.
    fn check(&self, settings: &S) -> Result<(), ConfigError>;
    /// Hands the new settings to the role.
    fn publish(&self, settings: &S, is_forced: bool);
}

struct Taken<S, T> {
    read: Box<dyn Fn(&S) -> T + Send>,
    sender: watch::Sender<Arc<T>>,
    attached: Arc<Attached<T>>,
}

impl<S, T: PartialEq + Send + Sync> Part<S> for Taken<S, T> {
    fn files(&self) -> Vec<PathBuf> {
        lock(&self.attached.files).clone()
    }

    fn check(&self, settings: &S) -> Result<(), ConfigError> {
        match &*lock(&self.attached.check) {
            Some(check) => check(&(self.read)(settings)),
            None => Ok(()),
        }
    }

    fn publish(&self, settings: &S, is_forced: bool) {
        let new = Arc::new((self.read)(settings));
        self.sender.send_if_modified(|held| {
            let is_new = is_forced || *held != new;
            if is_new {
                *held = new;
            }
            is_new
        });
    }
}

impl<S: Send + Sync + 'static> Reloader<S> {
    /// Holds the settings a process starts with.
    pub fn new(settings: S) -> Self {
        note_loaded();
        Self { settings: Mutex::new(Arc::new(settings)), parts: Mutex::default() }
    }

    /// Gives the settings that hold.
    pub fn current(&self) -> Arc<S> {
        Arc::clone(&lock(&self.settings))
    }

    /// Takes a part of the settings for a role.
    pub fn part<T: PartialEq + Send + Sync + 'static>(
        &self,
        read: impl Fn(&S) -> T + Send + 'static,
    ) -> Reload<T> {
        let (sender, reload) = Reload::new(read(&self.current()));
        let attached = Arc::clone(&reload.attached);
        lock(&self.parts).push(Box::new(Taken { read: Box::new(read), sender, attached }));
        reload
    }

    /// Tells how the files look that the parts refer to, and others with them, for [`Reloader::replace`]
    /// to compare with.
    pub fn look_at_files(&self, others: impl IntoIterator<Item = PathBuf>) -> Stamps {
        let files: Vec<PathBuf> = lock(&self.parts).iter().flat_map(|part| part.files()).collect();
        Stamps::of(files.into_iter().chain(others))
    }

    /// Replaces the settings, or refuses and changes nothing. `seen` is how the files looked when the
    /// parts were last told.
    pub fn replace(&self, settings: S, cause: Cause, seen: &Stamps) -> Result<(), ConfigError> {
        let parts = lock(&self.parts);
        let checked = parts.iter().try_for_each(|part| part.check(&settings));
        if let Err(error) = checked {
            note_refused();
            return Err(error);
        }
        for part in parts.iter() {
            let is_forced = cause == Cause::Asked || !seen.hold_for(&part.files());
            part.publish(&settings, is_forced);
        }
        *lock(&self.settings) = Arc::new(settings);
        RELOADS.with_label_values(&["applied"]).inc();
        note_loaded();
        Ok(())
    }
}

impl<S: fmt::Debug> fmt::Debug for Reloader<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloader").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Counts a reload that was refused before there were settings to replace the present ones with.
pub fn note_refused() {
    RELOADS.with_label_values(&["refused"]).inc();
}

fn note_loaded() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    LOADED.with_label_values::<&str>(&[]).set(seconds);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Settings {
        left: u32,
        right: u32,
    }

    fn has_changed<T>(reload: &mut Reload<T>) -> bool {
        let changed = reload.receiver.has_changed().unwrap();
        reload.receiver.mark_unchanged();
        changed
    }

    #[tokio::test]
    async fn only_the_part_that_changed_is_told_unless_someone_asked() {
        let reloader = Reloader::new(Settings { left: 1, right: 1 });
        let mut left = reloader.part(|settings| settings.left);
        let mut right = reloader.part(|settings| settings.right);
        let seen = reloader.look_at_files([]);
        reloader.replace(Settings { left: 2, right: 1 }, Cause::FileChanged, &seen).unwrap();
        assert_eq!((*left.changed().await, *right.current()), (2, 1));
        assert!(!has_changed(&mut right));
        reloader.replace(Settings { left: 2, right: 1 }, Cause::Asked, &seen).unwrap();
        assert!(has_changed(&mut left) && has_changed(&mut right));
    }

    #[test]
    fn settings_one_role_refuses_change_no_other_role() {
        let reloader = Reloader::new(Settings { left: 1, right: 1 });
        let left = reloader.part(|settings| settings.left);
        let right = reloader.part(|settings| settings.right);
        right.check_with(|new| match new {
            9 => Err(ConfigError::inconsistent("right", "not nine")),
            _ => Ok(()),
        });
        let new = Settings { left: 2, right: 9 };
        let error = reloader.replace(new, Cause::FileChanged, &reloader.look_at_files([])).unwrap_err();
        assert_eq!(error.to_string(), "right: not nine");
        assert_eq!((*left.current(), reloader.current().left), (1, 1));
    }

    #[test]
    fn a_file_of_a_part_that_changed_tells_that_part_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("certificate.pem");
        std::fs::write(&file, "old").unwrap();
        let reloader = Reloader::new(Settings { left: 1, right: 1 });
        let mut left = reloader.part(|settings| settings.left);
        let mut right = reloader.part(|settings| settings.right);
        left.watch_files([file.clone()]);
        let seen = reloader.look_at_files([]);
        std::fs::write(&file, "newer").unwrap();
        assert_ne!(reloader.look_at_files([]), seen);
        reloader.replace(Settings { left: 1, right: 1 }, Cause::FileChanged, &seen).unwrap();
        assert!(has_changed(&mut left) && !has_changed(&mut right));
    }
}
