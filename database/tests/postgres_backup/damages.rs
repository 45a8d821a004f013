//! What is damaged or missing is named, and nothing is restored from it.

use std::path::{Path, PathBuf};

use database::backup::Mode;
use database::backup::postgres::Target;

use crate::harness::{Bench, all_received, put};

/// Finds files below a folder by a condition of their paths.
fn find(folder: &Path, is_it: &dyn Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        match entry.path() {
            path if path.is_dir() => found.extend(find(&path, is_it)),
            path if is_it(&path) => found.push(path),
            _ => {}
        }
    }
    found.sort();
    found
}

fn flip(file: &Path, at: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[at] ^= 0x10;
    std::fs::write(file, bytes).unwrap();
}

/// Gives a place in the middle of what a segment holds: after a switch to the next one there is nothing, and between
/// records there are zeros that do not count.
fn written(segment: &Path) -> usize {
    let bytes = std::fs::read(segment).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[..used / 2].iter().rposition(|byte| *byte != 0).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_damage_is_named_and_stops_a_restore() {
    let bench = Bench::new();
    let engine = bench.open(&bench.config(Mode::Async)).await;
    for segment in 0..4 {
        for number in 0..50 {
            put(&engine, segment * 100 + number, 1).await.unwrap();
        }
        bench.server.ask("SELECT pg_switch_wal()");
    }
    all_received(&bench, &engine).await;
    engine.close();
    let recovery = bench.recovery();
    let scratch = bench.data.path().join("scratch");
    let faults = async || recovery.inspect(false, &scratch, |_| (), &|_| ()).await.unwrap().faults;
    assert_eq!(faults().await, []);

    let is_whole = |path: &Path| path.parent().unwrap().ends_with("wal") && path.extension().is_none();
    let segments = find(bench.destination.path(), &is_whole);
    let base_file =
        find(bench.destination.path(), &|path: &Path| path.ends_with("global/pg_filenode.map"))[0].clone();
    let (in_middle, name) =
        (&segments[segments.len() - 3], |path: &Path| path.file_name().unwrap().to_owned());
    type Damage<'a> = (&'a str, PathBuf, &'a dyn Fn(&Path));
    let damages: [Damage; 5] = [
        ("a flipped bit in a base", base_file, &|file| flip(file, 100)),
        (
            "a base's missing file",
            find(bench.destination.path(), &|path: &Path| path.ends_with("pg_control"))[0].clone(),
            &|file| {
                std::fs::remove_file(file).unwrap();
            },
        ),
        ("a missing segment", in_middle.clone(), &|file| std::fs::remove_file(file).unwrap()),
        ("a truncated segment", in_middle.clone(), &|file| {
            std::fs::File::options().write(true).open(file).unwrap().set_len(1 << 20).unwrap();
        }),
        ("a flipped bit in a segment", in_middle.clone(), &|file| flip(file, written(file))),
    ];
    for (what, file, damage) in damages {
        let whole = std::fs::read(&file).unwrap();
        damage(&file);
        let named = faults().await;
        let wanted = name(&file).to_string_lossy().into_owned();
        let is_named =
            |(place, reason): &(String, String)| place.contains(&wanted) || reason.contains(&wanted);
        assert!(named.iter().any(is_named), "{what}: {named:?} does not name {wanted}");
        let to = bench.data.path().join("restored");
        let restored = recovery.restore(Target::Latest, &to, |_| (), &|_| ()).await;
        assert!(restored.unwrap_err().to_string().contains(&wanted), "{what}");
        assert!(!to.exists(), "{what}: nothing half restored is left");
        std::fs::write(&file, whole).unwrap();
    }
    assert_eq!(faults().await, [], "all is whole again");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_log_that_was_received_is_missed_and_a_damaged_record_in_it_named() {
    let bench = Bench::new();
    let engine = bench.open(&bench.config(Mode::Async)).await;
    for number in 0..60 {
        put(&engine, number, 1).await.unwrap();
    }
    all_received(&bench, &engine).await;
    engine.close();
    let recovery = bench.recovery();
    let scratch = bench.data.path().join("scratch");
    let faults = async || recovery.inspect(false, &scratch, |_| (), &|_| ()).await.unwrap().faults;
    assert_eq!(faults().await, []);
    let is_partial = |path: &Path| path.extension().is_some_and(|extension| extension == "partial");
    let partial = find(bench.destination.path(), &is_partial)[0].clone();
    let name = partial.file_name().unwrap().to_string_lossy().into_owned();
    let whole = std::fs::read(&partial).unwrap();
    let used = whole.iter().rposition(|byte| *byte != 0).unwrap();
    let places: Vec<usize> = (0..8).map(|part| used * part / 8).chain([8349, used - 3]).collect();
    let places = places.iter().map(|at| whole[..=*at].iter().rposition(|byte| *byte != 0).unwrap_or(*at));
    for at in places.map(Some).chain([None]) {
        match at {
            Some(at) => flip(&partial, at),
            None => std::fs::remove_file(&partial).unwrap(),
        }
        let named = faults().await;
        assert!(named.iter().any(|(place, _)| *place == name), "{at:?} of {used}: {named:?}");
        let to = bench.data.path().join("restored");
        let restored = recovery.restore(Target::Latest, &to, |_| (), &|_| ()).await;
        assert!(restored.unwrap_err().to_string().contains(&name), "{at:?}");
        assert!(!to.exists(), "{at:?}: nothing half restored is left");
        std::fs::write(&partial, &whole).unwrap();
    }
    assert_eq!(faults().await, [], "all is whole again");
    // A transaction that is not there is said, and the last one that is can be restored.
    let to = bench.data.path().join("restored");
    let refused = recovery.restore(Target::Transaction(99_999_999), &to, |_| (), &|_| ()).await;
    let refused = refused.unwrap_err().to_string();
    let last = refused.strip_prefix("there is no transaction 99999999; the last is ").expect(&refused);
    assert!(!to.exists(), "{refused}");
    let last = Target::Transaction(last.parse().unwrap());
    assert_eq!(bench.restored(last).await.len(), 60);
}
