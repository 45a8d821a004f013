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
