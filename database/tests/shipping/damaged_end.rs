//! What is damaged where a generation ends: it is named, another begins, and nothing good goes for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use database::backup::{Config as BackupConfig, Mode, Recovery, Target};
use database::{Config, Engine};

use crate::harness::{all_shipped, config, put, restored, shipping, status, transact, until};

/// What is done to a file.
#[derive(Debug, Clone, Copy)]
enum Damage {
    Flip,
    Cut,
    Empty,
}

impl Damage {
    fn inflict(self, file: &Path) {
        let mut bytes = fs::read(file).unwrap();
        let middle = bytes.len() / 2;
        match self {
            Self::Flip => bytes[middle] ^= 1,
            Self::Cut => bytes.truncate(middle),
            Self::Empty => bytes.clear(),
        }
        fs::write(file, bytes).unwrap();
    }
}

/// Makes a database with two generations, of which the newer ends with its base; gives the older one, its last
/// commit, and the newer one.
async fn make(config: &Config, data: &Path) -> (String, u64, String) {
    let engine = Engine::open(config, data).unwrap();
    shipping(&engine).await;
    transact(&engine, vec![put(1, 1, 10)]).await.unwrap();
    all_shipped(&engine).await;
    let older = status(&engine);
    engine.close();
    // Without a backup the log begins anew, so that nothing proves what came between; and as a process leaves it that is
    // killed, so that the next goes on with it.
    let other = Config { backup: BackupConfig::default(), ..config.clone() };
    Engine::open(&other, data).unwrap().close();
    let engine = Engine::open(&other, data).unwrap();
    transact(&engine, vec![put(2, 2, 10)]).await.unwrap();
    let parts = ["sixfold.db", "sixfold.db-wal"];
    let left = parts.map(|part| fs::read(data.join(part)).unwrap());
    engine.close();
    parts.iter().zip(left).for_each(|(part, bytes)| fs::write(data.join(part), bytes).unwrap());
    let engine = Engine::open(config, data).unwrap();
    shipping(&engine).await;
    let newer = status(&engine).generation.unwrap();
    engine.close();
    (older.generation.unwrap(), older.committed, newer)
}

fn only_file(folder: &Path) -> PathBuf {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

async fn faults(recovery: &Recovery) -> Vec<String> {
    let scratch = tempfile::tempdir().unwrap();
    let found = recovery.inspect(false, &scratch.path().join("s"), |_| (), &|_| ()).await.unwrap();
    found.faults.into_iter().map(|(file, _)| file).collect()
}

async fn refusal(recovery: &Recovery, target: Target) -> String {
    let folder = tempfile::tempdir().unwrap();
    let refused = recovery.restore(target, folder.path(), false, |_| (), &|_| ()).await;
    refused.unwrap_err().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_base_that_ends_a_generation_is_named_and_another_generation_begins() {
    for (damage, mode) in
        [(Damage::Flip, Mode::Sync), (Damage::Cut, Mode::Async), (Damage::Empty, Mode::Sync)]
    {
        let (data, destination) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let config = config(destination.path(), mode);
        let (_, kept, newer) = make(&config, data.path()).await;
        assert!(!destination.path().join(&newer).join("segments").exists(), "it ends with its base");
        let base = only_file(&destination.path().join(&newer).join("base"));
        damage.inflict(&base);
        let name = base.strip_prefix(destination.path()).unwrap().to_string_lossy().into_owned();
        let recovery = Recovery::open(&config.backup).unwrap();
        let said = refusal(&recovery, Target::Latest).await;
        assert!(said.contains(&name), "{damage:?}: {said}");
        let engine = Engine::open(&config, data.path()).unwrap();
        shipping(&engine).await;
        assert!(status(&engine).generation.unwrap() > newer, "{damage:?}");
        transact(&engine, vec![put(3, 3, 10)]).await.unwrap();
        all_shipped(&engine).await;
        engine.store_base().await.unwrap();
        engine.close();
        assert_eq!(restored(&config, Target::Latest).await.len(), 3);
        assert_eq!(restored(&config, Target::Commit(kept)).await.len(), 1, "what was good is there");
        assert_eq!(faults(&recovery).await, [name.as_str()], "{damage:?}");
        let commit = recovery.list().await.unwrap()[1].commits.0;
        let said = refusal(&recovery, Target::Commit(commit)).await;
        assert!(said.contains(&name), "{damage:?}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_goes_on_after_a_base_that_is_sealed_for_another_key() {
    let (data, destination) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut config = config(destination.path(), Mode::Sync);
    config.backup.recipients = vec!["age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj".into()];
    let (_, _, newer) = make(&config, data.path()).await;
    // What opens none of it: where it ends is told without a key.
    config.backup.recipients.clear();
    let engine = Engine::open(&config, data.path()).unwrap();
    shipping(&engine).await;
    assert_eq!(status(&engine).generation.unwrap(), newer);
    engine.close();
    let said = refusal(&Recovery::open(&config.backup).unwrap(), Target::Latest).await;
    assert!(said.contains("cannot be decrypted"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn noted_bases_that_are_damaged_begin_a_generation_at_a_start_and_with_the_next_base() {
    for (damage, is_running) in [(Damage::Flip, false), (Damage::Empty, false), (Damage::Cut, true)] {
        let (data, destination) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let config = config(destination.path(), Mode::Sync);
        let (_, _, newer) = make(&config, data.path()).await;
        let noted = destination.path().join(&newer).join("bases");
        let inflict = || damage.inflict(&noted);
        if !is_running {
            inflict();
        }
        let engine = Engine::open(&config, data.path()).unwrap();
        shipping(&engine).await;
        if is_running {
            inflict();
            transact(&engine, vec![put(3, 3, 10)]).await.unwrap();
            let said = engine.store_base().await.unwrap_err().to_string();
            assert!(said.contains(&format!("{newer}/bases")), "{said}");
        }
        until("another generation", || status(&engine).generation.is_some_and(|now| now > newer)).await;
        shipping(&engine).await;
        transact(&engine, vec![put(4, 4, 10)]).await.unwrap();
        all_shipped(&engine).await;
        engine.store_base().await.unwrap();
        engine.close();
        assert_eq!(restored(&config, Target::Latest).await.len(), if is_running { 4 } else { 3 });
        let recovery = Recovery::open(&config.backup).unwrap();
        assert_eq!(faults(&recovery).await, [format!("{newer}/bases")], "{damage:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_damaged_is_written_anew_and_its_generation_goes_on() {
    for damage in [Damage::Flip, Damage::Cut, Damage::Empty] {
        let (data, destination) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let config = config(destination.path(), Mode::Sync);
        let (_, _, newer) = make(&config, data.path()).await;
        damage.inflict(&destination.path().join(&newer).join("head"));
        let engine = Engine::open(&config, data.path()).unwrap();
        shipping(&engine).await;
        transact(&engine, vec![put(3, 3, 10)]).await.unwrap();
        all_shipped(&engine).await;
        assert_eq!(status(&engine).generation.unwrap(), newer, "{damage:?}");
        engine.close();
        assert_eq!(restored(&config, Target::Latest).await.len(), 3);
        assert_eq!(faults(&Recovery::open(&config.backup).unwrap()).await, [] as [&str; 0], "{damage:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_older_than_is_kept_goes_also_when_its_noted_bases_are_damaged() {
    let (data, destination) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut config = config(destination.path(), Mode::Sync);
    let (older, _, newer) = make(&config, data.path()).await;
    Damage::Flip.inflict(&destination.path().join(&older).join("bases"));
    config.backup.merge_every = Duration::from_millis(200);
    (config.backup.keep, config.backup.keep_commits) = (Duration::ZERO, Duration::ZERO);
    let engine = Engine::open(&config, data.path()).unwrap();
    shipping(&engine).await;
    let is_gone = || !destination.path().join(&older).join("bases").exists();
    until("the older generation goes", is_gone).await;
    assert_eq!(status(&engine).generation.unwrap(), newer);
    engine.close();
    assert_eq!(restored(&config, Target::Latest).await.len(), 2);
}
