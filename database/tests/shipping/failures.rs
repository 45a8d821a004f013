//! Destinations that fail and come back.

use std::path::Path;
use std::time::Duration;

use database::backup::{self, Mode, OnUnreachable, Recovery, Standing, Target};
use database::{Engine, Error};

use crate::harness::{all_shipped, config, put, restored, shipping, status, transact, until};

/// A destination that fails from now on: a file where its folder was.
pub(crate) fn break_destination(destination: &Path) {
    std::fs::rename(destination, destination.with_extension("away")).unwrap();
    std::fs::write(destination, "").unwrap();
}

pub(crate) fn mend_destination(destination: &Path) {
    std::fs::remove_file(destination).unwrap();
    std::fs::rename(destination.with_extension("away"), destination).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_fails_is_said_and_everything_arrives_once_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let (data, destination) = (folder.path().join("data"), folder.path().join("destination"));
    let mut config = config(&destination, Mode::Async);
    // Memory holds little, so that the log has to.
    config.backup.buffer = 1 << 20;
    config.checkpoint = 64 << 10;
    config.backup.timeout = Duration::from_secs(1);
    let engine = Engine::open(&config, &data).unwrap();
    shipping(&engine).await;
    transact(&engine, vec![put(0, 0, 10)]).await.unwrap();
    all_shipped(&engine).await;
    break_destination(&destination);
    for number in 1..120 {
        transact(&engine, vec![put(number, u64::from(number), 30_000)]).await.unwrap();
    }
    let unreachable =
        |status: backup::ShippingStatus| matches!(status.standing, Standing::Unreachable { .. });
    until("the alarm", || unreachable(status(&engine))).await;
    assert!(status(&engine).lag_commits >= 119);
    let refused = engine.store_base().await.unwrap_err().to_string();
    assert!(refused.contains("were to be shipped first") && refused.contains("destination"), "{refused}");
    mend_destination(&destination);
    all_shipped(&engine).await;
    assert_eq!(status(&engine).standing, Standing::Shipping);
    engine.close();
    assert_eq!(restored(&config, Target::Latest).await.len(), 120);
    assert_eq!(Recovery::open(&config.backup).unwrap().list().await.unwrap().len(), 1, "one generation");
}

/// A share that is not mounted any more: another, empty folder is where it was.
fn unmount(destination: &Path) {
    std::fs::rename(destination, destination.with_extension("away")).unwrap();
    std::fs::create_dir(destination).unwrap();
}

fn mount_again(destination: &Path) {
    std::fs::remove_dir(destination).unwrap();
    std::fs::rename(destination.with_extension("away"), destination).unwrap();
}

fn is_unreachable(engine: &Engine) -> bool {
    matches!(status(engine).standing, Standing::Unreachable { .. })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_that_is_not_mounted_any_more_takes_nothing_and_is_found_again_once_it_is() {
    for mode in [Mode::Sync, Mode::Async] {
        let folder = tempfile::tempdir().unwrap();
        let (data, share) = (folder.path().join("data"), folder.path().join("share"));
        std::fs::create_dir(&share).unwrap();
        // The folder that is mounted, and one below it.
        for destination in [share.clone(), share.join("backups")] {
            let config = config(&destination, mode);
            let engine = Engine::open(&config, &data).unwrap();
            shipping(&engine).await;
            transact(&engine, vec![put(0, 0, 10)]).await.unwrap();
            all_shipped(&engine).await;
            unmount(&share);
            let refused = transact(&engine, vec![put(1, 1, 10)]).await;
            match mode {
                Mode::Sync => {
                    let is_refused =
                        matches!(refused, Err(Error::Unknown { .. } | Error::Unavailable { .. }));
                    assert!(is_refused, "{refused:?}");
                    until("the alarm", || is_unreachable(&engine)).await;
                }
                Mode::Async => {
                    assert_eq!(refused, Ok(()));
                    until("the alarm", || is_unreachable(&engine)).await;
                    assert_eq!(status(&engine).lag_commits, 1);
                    assert!(status(&engine).lag_seconds > 0.0);
                }
            }
            assert_eq!(std::fs::read_dir(&share).unwrap().count(), 0, "nothing is made in its place");
            mount_again(&share);
            shipping(&engine).await;
            all_shipped(&engine).await;
            transact(&engine, vec![put(2, 2, 10)]).await.unwrap();
            all_shipped(&engine).await;
            engine.close();
            let found = restored(&config, Target::Latest).await;
            assert!(found.contains_key("00000") && found.contains_key("00002"));
            assert!(mode == Mode::Sync || found.contains_key("00001"));
            let recovery = Recovery::open(&config.backup).unwrap();
            assert_eq!(recovery.list().await.unwrap().len(), 1, "the generation goes on");
            std::fs::remove_dir_all(&data).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_that_goes_away_while_nobody_writes_is_noticed_and_one_that_was_used_is_missed_at_the_start()
{
    let folder = tempfile::tempdir().unwrap();
    let (data, share) = (folder.path().join("data"), folder.path().join("share"));
    let config = config(&share, Mode::Sync);
    let engine = Engine::open(&config, &data).unwrap();
    shipping(&engine).await;
    transact(&engine, vec![put(0, 0, 10)]).await.unwrap();
    unmount(&share);
    until("the alarm", || is_unreachable(&engine)).await;
    engine.close();
    let engine = Engine::open(&config, &data).unwrap();
    until("the alarm", || is_unreachable(&engine)).await;
    let Standing::Unreachable { reason } = status(&engine).standing else { panic!("it came back") };
    assert!(reason.contains("mount what belongs there"), "{reason}");
    assert_eq!(std::fs::read_dir(&share).unwrap().count(), 0, "no generation begins in its place");
    let refused = transact(&engine, vec![put(1, 1, 10)]).await;
    assert!(matches!(refused, Err(Error::Unavailable { .. })), "{refused:?}");
    mount_again(&share);
    shipping(&engine).await;
    transact(&engine, vec![put(2, 2, 10)]).await.unwrap();
    engine.close();
    assert_eq!(restored(&config, Target::Latest).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_without_a_backup_is_an_error_of_verify_and_list() {
    let folder = tempfile::tempdir().unwrap();
    let scratch = folder.path().join("scratch");
    for (destination, words) in
        [(folder.path().join("none"), "it is not there"), (folder.path().to_owned(), "holds no backup")]
    {
        let recovery = Recovery::open(&config(&destination, Mode::Async).backup).unwrap();
        let failed = recovery.inspect(false, &scratch, |_| (), &|_| ()).await.unwrap_err().to_string();
        assert!(failed.contains(words), "{failed}");
        assert!(!destination.ends_with("none") || recovery.list().await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_the_log_may_hold_begins_a_generation() {
    let folder = tempfile::tempdir().unwrap();
    let (data, destination) = (folder.path().join("data"), folder.path().join("destination"));
    let mut config = config(&destination, Mode::Async);
    (config.backup.buffer, config.backup.log_limit) = (1 << 20, 2 << 20);
    let engine = Engine::open(&config, &data).unwrap();
    shipping(&engine).await;
    break_destination(&destination);
    for number in 0..200 {
        transact(&engine, vec![put(number, u64::from(number), 30_000)]).await.unwrap();
    }
    mend_destination(&destination);
    until("another generation", || status(&engine).lag_commits == 0).await;
    transact(&engine, vec![put(200, 200, 10)]).await.unwrap();
    all_shipped(&engine).await;
    engine.close();
    assert_eq!(restored(&config, Target::Latest).await.len(), 201);
    assert_eq!(Recovery::open(&config.backup).unwrap().list().await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_mode_sync_nothing_is_acknowledged_while_the_destination_fails_unless_the_policy_says_so() {
    for policy in [OnUnreachable::Block, OnUnreachable::Continue] {
        let folder = tempfile::tempdir().unwrap();
        let (data, destination) = (folder.path().join("data"), folder.path().join("destination"));
        let mut config = config(&destination, Mode::Sync);
        config.backup.on_unreachable = Some(policy);
        let engine = Engine::open(&config, &data).unwrap();
        shipping(&engine).await;
        break_destination(&destination);
        let first = transact(&engine, vec![put(1, 1, 10)]).await;
        let second = transact(&engine, vec![put(2, 2, 10)]).await;
        match policy {
            OnUnreachable::Block => {
                assert!(matches!(first, Err(Error::Unknown { .. })), "it was written here: {first:?}");
                assert!(matches!(second, Err(Error::Unavailable { .. })), "it was not begun: {second:?}");
            }
            OnUnreachable::Continue => assert_eq!((first, second), (Ok(()), Ok(()))),
        }
        mend_destination(&destination);
        shipping(&engine).await;
        until("writes", || status(&engine).lag_commits == 0).await;
        transact(&engine, vec![put(3, 3, 10)]).await.unwrap();
        assert!(restored(&config, Target::Latest).await.contains_key("00003"));
        engine.close();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_destination_loses_nothing_that_was_acknowledged_and_recovers_with_its_space() {
    // A file system of its own that is really full; only root can make one.
    let folder = tempfile::tempdir().unwrap();
    let (data, destination) = (folder.path().join("data"), folder.path().join("destination"));
    std::fs::create_dir(&destination).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
        .arg(&destination)
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        println!("skipped: a file system cannot be mounted here");
        return;
    }
    let _mounted = Mounted(&destination);
    let config = config(&destination, Mode::Sync);
    let engine = Engine::open(&config, &data).unwrap();
    shipping(&engine).await;
    let ballast = destination.join("ballast");
    std::fs::write(&ballast, vec![1; 1 << 20]).unwrap();
    let mut acknowledged = Vec::new();
    let mut is_full = false;
    for number in 0..400 {
        // Random, so that compression does not save the space.
        let value = rand::random_range(0..1_000_000);
        match transact(&engine, vec![crate::harness::put_random(number, value)]).await {
            Ok(()) => acknowledged.push(number),
            Err(Error::Unknown { .. } | Error::Unavailable { .. }) => {
                is_full = true;
                break;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    assert!(is_full, "{} writes fit", acknowledged.len());
    let Standing::Unreachable { reason } = status(&engine).standing else { panic!("no alarm") };
    assert!(reason.contains("No space left"), "{reason}");
    std::fs::remove_file(&ballast).unwrap();
    shipping(&engine).await;
    until("what waited", || status(&engine).lag_commits == 0).await;
    transact(&engine, vec![put(9999, 1, 10)]).await.unwrap();
    engine.close();
    let found = restored(&config, Target::Latest).await;
    assert!(acknowledged.iter().all(|number| found.contains_key(&format!("{number:05}"))));
    assert!(found.contains_key("09999"));
}

/// A mounted file system, unmounted in the end.
struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(self.0).status();
    }
}
