//! What is damaged or missing is named, and nothing is restored from it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use database::Engine;
use database::backup::Mode;
use database::backup::postgres::{Recovery, Target};

use crate::harness::{Bench, all_received, put, status};

/// What was received of a server, whole.
struct Kept {
    bench: Bench,
    recovery: Recovery,
}

impl Kept {
    /// Backs up what `write` writes.
    async fn of(write: impl AsyncFnOnce(&Bench, &Engine)) -> Self {
        let bench = Bench::new();
        let engine = bench.open(&bench.config(Mode::Async)).await;
        write(&bench, &engine).await;
        all_received(&bench, &engine).await;
        engine.close();
        let kept = Self { recovery: bench.recovery(), bench };
        assert_eq!(kept.faults().await, []);
        kept
    }

    /// What a verification names.
    async fn faults(&self) -> Vec<(String, String)> {
        self.bench.inspected(&self.recovery).await.faults
    }

    /// Why a state is not restored, of which nothing is left either.
    async fn refusal(&self, target: Target) -> String {
        let to = self.bench.data.path().join("restored");
        let refused = self.recovery.restore(target, &to, |_| (), &|_| ()).await.unwrap_err().to_string();
        assert!(!to.exists(), "nothing half restored is left: {refused}");
        refused
    }

    fn find(&self, is_it: &dyn Fn(&Path) -> bool) -> Vec<PathBuf> {
        find(self.bench.destination.path(), is_it)
    }
}

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

fn name_of(file: &Path) -> String {
    file.file_name().unwrap().to_string_lossy().into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_damage_is_named_and_stops_a_restore() {
    let kept = Kept::of(async |bench, engine| {
        for segment in 0..4 {
            for number in 0..50 {
                put(engine, segment * 100 + number, 1).await.unwrap();
            }
            bench.server.ask("SELECT pg_switch_wal()");
        }
    })
    .await;
    let segments = kept.find(&|path| path.parent().unwrap().ends_with("wal") && path.extension().is_none());
    let first = |end: &'static str| kept.find(&|path| path.ends_with(end))[0].clone();
    let in_middle = &segments[segments.len() - 3];
    let remove = |file: &Path| std::fs::remove_file(file).unwrap();
    type Damage<'a> = (&'a str, PathBuf, &'a dyn Fn(&Path));
    let damages: [Damage; 5] = [
        ("a flipped bit in a base", first("global/pg_filenode.map"), &|file| flip(file, 100)),
        ("a base's missing file", first("pg_control"), &remove),
        ("a missing segment", in_middle.clone(), &remove),
        ("a truncated segment", in_middle.clone(), &|file| {
            std::fs::File::options().write(true).open(file).unwrap().set_len(1 << 20).unwrap();
        }),
        ("a flipped bit in a segment", in_middle.clone(), &|file| flip(file, written(file))),
    ];
    for (what, file, damage) in damages {
        let whole = std::fs::read(&file).unwrap();
        damage(&file);
        let (named, wanted) = (kept.faults().await, name_of(&file));
        let is_named =
            |(place, reason): &(String, String)| place.contains(&wanted) || reason.contains(&wanted);
        assert!(named.iter().any(is_named), "{what}: {named:?} does not name {wanted}");
        let refused = kept.refusal(Target::Latest).await;
        assert!(refused.contains(&wanted), "{what}: {refused}");
        std::fs::write(&file, whole).unwrap();
    }
    assert_eq!(kept.faults().await, [], "all is whole again");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_log_that_was_received_is_missed_and_a_damaged_record_in_it_named() {
    let kept = Kept::of(async |_, engine| {
        for number in 0..60 {
            put(engine, number, 1).await.unwrap();
        }
    })
    .await;
    let is_partial = |path: &Path| path.extension().is_some_and(|extension| extension == "partial");
    let partial = kept.find(&is_partial)[0].clone();
    let name = name_of(&partial);
    let whole = std::fs::read(&partial).unwrap();
    let used = whole.iter().rposition(|byte| *byte != 0).unwrap();
    let places: Vec<usize> = (0..8).map(|part| used * part / 8).chain([8349, used - 3]).collect();
    let places = places.iter().map(|at| whole[..=*at].iter().rposition(|byte| *byte != 0).unwrap_or(*at));
    for at in places.map(Some).chain([None]) {
        match at {
            Some(at) => flip(&partial, at),
            None => std::fs::remove_file(&partial).unwrap(),
        }
        let named = kept.faults().await;
        assert!(named.iter().any(|(place, _)| *place == name), "{at:?} of {used}: {named:?}");
        let refused = kept.refusal(Target::Latest).await;
        assert!(refused.contains(&name), "{at:?}: {refused}");
        std::fs::write(&partial, &whole).unwrap();
    }
    assert_eq!(kept.faults().await, [], "all is whole again");
    // A transaction that is not there is said, and the last one that is can be restored.
    let refused = kept.refusal(Target::Transaction(99_999_999)).await;
    let last = refused.strip_prefix("there is no transaction 99999999; the last is ").expect(&refused);
    let last = Target::Transaction(last.parse().unwrap());
    assert_eq!(kept.bench.restored(last).await.len(), 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_of_which_nothing_can_be_told_is_named_and_the_others_are_verified_and_go_on() {
    let mut generations = Vec::new();
    let kept = Kept::of(async |bench, engine| {
        put(engine, 1, 1).await.unwrap();
        all_received(bench, engine).await;
        generations.extend(status(engine).generation);
    })
    .await;
    // Without its slot the reception begins anew.
    kept.bench.server.ask("SELECT pg_drop_replication_slot('sixfold')");
    let config = kept.bench.config(Mode::Async);
    let engine = kept.bench.open(&config).await;
    put(&engine, 2, 2).await.unwrap();
    all_received(&kept.bench, &engine).await;
    generations.extend(status(&engine).generation);
    engine.close();
    assert_eq!(kept.faults().await, []);
    let origins = kept.find(&|path| path.ends_with("generation.json"));
    let files = generations.iter().map(|name| format!("postgresql/{name}/generation.json"));
    let whole = std::fs::read(&origins[0]).unwrap();
    let remove = |file: &Path| std::fs::remove_file(file).unwrap();
    let in_its_place = |file: &Path| {
        remove(file);
        std::fs::create_dir(file).unwrap();
    };
    type Damage<'a> = (&'a str, &'a dyn Fn(&Path), &'a str);
    let damages: [Damage; 6] = [
        ("empty", &|file| std::fs::write(file, "").unwrap(), "it cannot be read: EOF"),
        ("truncated", &|file| std::fs::write(file, &whole[..whole.len() / 2]).unwrap(), "it cannot be read"),
        ("of another format", &|file| std::fs::write(file, "[general]\n").unwrap(), "it cannot be read"),
        ("of another sort", &|file| std::fs::write(file, "{\"name\": 1}").unwrap(), "missing field"),
        ("missing", &remove, "it is missing"),
        ("a folder", &in_its_place, "directory"),
    ];
    for (file, name) in origins.iter().zip(files) {
        for (what, damage, reason) in &damages {
            damage(file);
            let named = kept.faults().await;
            assert_eq!(named.len(), 1, "{what}: {named:?}");
            assert!(named[0].0 == name && named[0].1.contains(reason), "{what}: {named:?}");
            if file.is_dir() {
                std::fs::remove_dir(file).unwrap();
            }
            std::fs::write(file, &whole).unwrap();
        }
    }
    // The damage of one hides none of the other's.
    std::fs::write(&origins[0], "").unwrap();
    let base = kept.find(&|path| path.ends_with("global/pg_filenode.map"))[1].clone();
    flip(&base, 100);
    let named = kept.faults().await;
    assert!(named.len() == 2 && named[1].1.contains("pg_filenode.map"), "{named:?}");
    flip(&base, 100);
    let both = BTreeMap::from([("00001".to_owned(), 1), ("00002".to_owned(), 2)]);
    assert_eq!(kept.bench.restored(Target::Latest).await, both, "the later one is enough");
    // Where the newest is lost an older one is no answer, and does not go on with what comes after a gap.
    std::fs::write(&origins[0], &whole).unwrap();
    std::fs::write(&origins[1], "").unwrap();
    let refused = kept.refusal(Target::Latest).await;
    assert!(refused.contains(&generations[1]) && refused.contains("an earlier state"), "{refused}");
    let engine = kept.bench.open(&config).await;
    assert!(!generations.contains(&status(&engine).generation.unwrap()));
    engine.close();
    assert_eq!(kept.bench.restored(Target::Latest).await, both);
}
