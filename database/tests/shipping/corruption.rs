//! Whatever is changed, cut, missing or swapped at a destination is found and named, by verify and by restore.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use database::Engine;
use database::backup::{Config, Mode, Recovery, Target};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::harness::{all_shipped, config, contents, put, shipping, transact, write};

/// A destination with two bases, some twenty segments and a head; gives its settings and what the last state holds.
async fn make(destination: &Path) -> (Config, BTreeMap<String, u64>) {
    let data = tempfile::tempdir().unwrap();
    let mut config = config(destination, Mode::Sync);
    config.backup.interval = std::time::Duration::ZERO;
    let engine = Engine::open(&config, data.path()).unwrap();
    shipping(&engine).await;
    let (mut rng, mut model, mut history) = (StdRng::seed_from_u64(1), BTreeMap::new(), Vec::new());
    write(&engine, &mut rng, &mut model, &mut history, 12).await;
    engine.store_base().await.unwrap();
    write(&engine, &mut rng, &mut model, &mut history, 12).await;
    all_shipped(&engine).await;
    engine.close();
    (config.backup, model)
}

/// The files of a destination, the largest last.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn name_of(destination: &Path, file: &Path) -> String {
    file.strip_prefix(destination).unwrap().to_string_lossy().into_owned()
}

/// Inspects and restores, and asserts that what was done to `touched` is named, and nothing restored is wrong.
async fn assert_found(config: &Config, expected: &BTreeMap<String, u64>, touched: &[String], what: &str) {
    let scratch = tempfile::tempdir().unwrap();
    let recovery = Recovery::open(config).unwrap();
    let found = recovery.inspect(false, &scratch.path().join("s"), |_| (), &|_| ()).await.unwrap();
    assert!(!found.faults.is_empty(), "{what} was not found");
    for name in touched {
        // The file itself, or its generation with the commits it held.
        let generation = name.split('/').next().unwrap();
        let is_named = found.faults.iter().any(|(file, _)| file == name || file == generation);
        assert!(is_named, "{what}: {name} is not named in {:?}", found.faults);
    }
    let data = scratch.path().join("data");
    match recovery.restore(Target::Latest, &data, false, |_| (), &|_| ()).await {
        // Only what the plan does not need may be damaged.
        Ok(_) => assert_eq!(contents(&data).await, *expected, "{what} was restored from"),
        Err(error) => {
            let text = error.to_string();
            let generation = touched[0].split('/').next().unwrap();
            assert!(
                touched.iter().any(|name| text.contains(name.as_str())) || text.contains(generation),
                "{what}: {text}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_destination_has_no_faults() {
    let destination = tempfile::tempdir().unwrap();
    let (config, _) = make(destination.path()).await;
    let scratch = tempfile::tempdir().unwrap();
    let recovery = Recovery::open(&config).unwrap();
    let found = recovery.inspect(true, &scratch.path().join("s"), |_| (), &|_| ()).await.unwrap();
    assert_eq!(found.faults, []);
    assert!(found.files >= 20, "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_flipped_bit_and_every_cut_is_found_and_named() {
    let cases: usize = std::env::var("SIXFOLD_BACKUP_DAMAGES").map_or(200, |text| text.parse().unwrap());
    let destination = tempfile::tempdir().unwrap();
    let (config, expected) = make(destination.path()).await;
    let files = files(destination.path());
    let seed = rand::random();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    for case in 0..cases {
        let file = &files[case % files.len()];
        let whole = std::fs::read(file).unwrap();
        let mut changed = whole.clone();
        let what = if case % 4 == 3 {
            changed.truncate(rng.random_range(0..whole.len()));
            format!("{} cut to {} bytes", file.display(), changed.len())
        } else {
            let bit = rng.random_range(0..whole.len() * 8);
            changed[bit / 8] ^= 1 << (bit % 8);
            format!("bit {bit} of {}", file.display())
        };
        std::fs::write(file, changed).unwrap();
        assert_found(&config, &expected, &[name_of(destination.path(), file)], &what).await;
        std::fs::write(file, whole).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_missing_file_and_every_swapped_segment_is_found_and_named() {
    let destination = tempfile::tempdir().unwrap();
    let (config, expected) = make(destination.path()).await;
    let segments: Vec<PathBuf> = files(destination.path())
        .into_iter()
        .filter(|file| file.to_string_lossy().contains("/segments/"))
        .collect();
    let aside = tempfile::tempdir().unwrap();
    for file in &segments {
        let away = aside.path().join("away");
        std::fs::rename(file, &away).unwrap();
        let name = name_of(destination.path(), file);
        assert_found(&config, &expected, &[name], &format!("{} is missing", file.display())).await;
        std::fs::rename(&away, file).unwrap();
    }
    // A base, the head, or what tells which bases there are; of the first base also `list` says it.
    let recovery = Recovery::open(&config).unwrap();
    let others = files(destination.path()).into_iter().filter(|file| !segments.contains(file));
    for file in others.filter(|file| !file.ends_with("sixfold-destination")) {
        let away = aside.path().join("away");
        std::fs::rename(&file, &away).unwrap();
        let name = name_of(destination.path(), &file);
        assert_found(&config, &expected, &[name], &format!("{} is missing", file.display())).await;
        let listed = recovery.list().await.unwrap().remove(0);
        assert!(listed.fault.is_some(), "{} is missing: {listed:?}", file.display());
        let oldest = tempfile::tempdir().unwrap();
        let target = Target::Commit(listed.commits.0);
        recovery.restore(target, oldest.path(), false, |_| (), &|_| ()).await.unwrap();
        std::fs::rename(&away, &file).unwrap();
    }
    // The end with what tells of it.
    let head = segments[0].parent().unwrap().with_file_name("head");
    let gone = [&segments[segments.len() - 2], &segments[segments.len() - 1], &head];
    for (place, file) in gone.iter().enumerate() {
        std::fs::rename(file, aside.path().join(place.to_string())).unwrap();
    }
    assert_found(&config, &expected, &[name_of(destination.path(), gone[1])], "the end with its head").await;
    assert!(recovery.list().await.unwrap()[0].fault.as_ref().unwrap().contains("no head"));
    for (place, file) in gone.iter().enumerate() {
        std::fs::rename(aside.path().join(place.to_string()), file).unwrap();
    }
    for pair in segments.windows(2) {
        let (one, two) = (std::fs::read(&pair[0]).unwrap(), std::fs::read(&pair[1]).unwrap());
        std::fs::write(&pair[0], &two).unwrap();
        std::fs::write(&pair[1], &one).unwrap();
        let names = [name_of(destination.path(), &pair[0]), name_of(destination.path(), &pair[1])];
        assert_found(&config, &expected, &names, &format!("{names:?} swapped")).await;
        std::fs::write(&pair[0], one).unwrap();
        std::fs::write(&pair[1], two).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_of_another_history_under_the_right_name_does_not_fit() {
    // Two databases, each with one segment that would be the other's next.
    let folder = tempfile::tempdir().unwrap();
    let mut made = Vec::new();
    for side in ["one", "two"] {
        let destination = folder.path().join(side);
        let config = config(&destination, Mode::Sync);
        let data = folder.path().join(format!("data-{side}"));
        let engine = Engine::open(&config, &data).unwrap();
        shipping(&engine).await;
        for number in 0..3 {
            transact(&engine, vec![put(number, if side == "one" { 1 } else { 2 }, 10)]).await.unwrap();
        }
        engine.close();
        made.push((config.backup, destination));
    }
    // A forger with the format at hand: the foreign segment, its head's name replaced, its digest made anew.
    let segments = |destination: &Path| -> Vec<PathBuf> {
        files(destination).into_iter().filter(|file| file.to_string_lossy().contains("/segments/")).collect()
    };
    let (target, source) = (&segments(&made[0].1)[1], &segments(&made[1].1)[1]);
    let (own, foreign) = (name_of(&made[0].1, target), name_of(&made[1].1, source));
    let bytes = std::fs::read(source).unwrap();
    let content = &bytes[..bytes.len() - 32];
    let at = content.windows(foreign.len()).position(|window| window == foreign.as_bytes()).unwrap();
    let mut forged = content.to_vec();
    forged[at..at + own.len()].copy_from_slice(own.as_bytes());
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &forged);
    forged.extend_from_slice(digest.as_ref());
    std::fs::write(target, forged).unwrap();
    let scratch = folder.path().join("s");
    let recovery = Recovery::open(&made[0].0).unwrap();
    let found = recovery.inspect(false, &scratch, |_| (), &|_| ()).await.unwrap();
    assert!(
        found.faults.iter().any(|(file, fault)| *file == own && fault.contains("does not follow")),
        "{found:?}"
    );
    let restored = recovery.restore(Target::Latest, &folder.path().join("r"), false, |_| (), &|_| ()).await;
    assert!(restored.unwrap_err().to_string().contains("does not follow"));
}
