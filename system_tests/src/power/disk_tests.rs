use rand::SeedableRng;

use super::*;

/// One record as `disk.c` writes it.
fn record(kind: u8, inode: u64, number: u64, data: &str) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(inode.to_ne_bytes());
    bytes.extend(number.to_ne_bytes());
    bytes.extend(u32::try_from(data.len()).unwrap().to_ne_bytes());
    bytes.extend(data.as_bytes());
    bytes
}

/// Follows records to their end and takes the power away often; gives each content that a file then had.
fn outcomes(records: &[(u8, u64, u64, &str)], name: &str) -> std::collections::BTreeSet<Option<String>> {
    let bytes: Vec<u8> =
        records.iter().flat_map(|(kind, inode, number, data)| record(*kind, *inode, *number, data)).collect();
    let recording = Recording::parse(bytes);
    let outcome = |seed| {
        let mut disk = Disk::new(Path::new("/r"), StdRng::seed_from_u64(seed));
        disk.follow(&recording, recording.len());
        let folder = tempfile::tempdir().unwrap();
        disk.lose_power(folder.path());
        std::fs::read_to_string(folder.path().join(name)).ok()
    };
    (0..200).map(outcome).collect()
}

fn set(texts: &[&str]) -> std::collections::BTreeSet<Option<String>> {
    texts.iter().map(|text| Some((*text).to_owned())).collect()
}

/// A flushed file in a flushed folder: the positions are those of the beginnings of fsyncs.
const FLUSHED: [(u8, u64, u64, &str); 5] =
    [(b'O', 1, 0, "/r/f"), (b'W', 1, 0, "old"), (b'E', 1, 1000, ""), (b'O', 2, 2, "/r"), (b'E', 2, 1000, "")];

#[test]
fn what_was_flushed_stays_and_what_was_not_may_be_lost() {
    assert_eq!(outcomes(&FLUSHED, "f"), set(&["old"]));
    let written = [&FLUSHED[..], &[(b'W', 1, 0, "new")]].concat();
    assert_eq!(outcomes(&written, "f"), set(&["old", "new"]));
    let flushed = [&written[..], &[(b'E', 1, 1000, "")]].concat();
    assert_eq!(outcomes(&flushed, "f"), set(&["new"]));
}

#[test]
fn an_fsync_flushes_what_was_written_before_it_began() {
    let late = [&FLUSHED[..], &[(b'W', 1, 0, "new"), (b'E', 1, 10, "")]].concat();
    assert_eq!(outcomes(&late, "f"), set(&["old", "new"]));
}

#[test]
fn a_name_is_durable_once_its_folder_was_flushed() {
    let found = outcomes(&FLUSHED[..3], "f");
    assert!(found.contains(&None) && found.contains(&Some("old".to_owned())), "{found:?}");
    let renamed = [&FLUSHED[..], &[(b'R', 0, 0, "/r/f\0/r/g")]].concat();
    let found = outcomes(&renamed, "g");
    assert!(found.contains(&None) && found.contains(&Some("old".to_owned())), "{found:?}");
}

#[test]
fn what_a_failed_fsync_lost_no_later_one_brings_back() {
    let failed = [&FLUSHED[..], &[(b'W', 1, 0, "new"), (b'F', 1, 1000, ""), (b'E', 1, 1000, "")]].concat();
    assert_eq!(outcomes(&failed, "f"), set(&["old", "new"]));
    let again = [&failed[..], &[(b'W', 1, 0, "new"), (b'E', 1, 1000, "")]].concat();
    assert_eq!(outcomes(&again, "f"), set(&["new"]));
}

#[test]
fn a_long_write_may_be_torn_between_sectors() {
    let long = "n".repeat(1024);
    let torn = [&FLUSHED[..], &[(b'W', 1, 0, long.as_str())]].concat();
    let found = outcomes(&torn, "f");
    let half = format!("old{}{}", "\0".repeat(509), "n".repeat(512));
    assert!(found.contains(&Some(half)), "the second sector alone");
    assert!(found.contains(&Some("n".repeat(512))), "the first sector alone");
}
