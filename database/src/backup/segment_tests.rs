//! A segment reads back as written, and nothing that was changed reads back at all.

use jiff::Timestamp;
use proptest::prelude::*;

use super::super::name::{Generation, Kind};
use super::*;

fn name(first: u64, last: u64) -> Name {
    Name { generation: Generation::new(Timestamp::UNIX_EPOCH, 1), kind: Kind::Segment, first, last, at: 7 }
}

fn link() -> Link {
    Link { page_bytes: 512, place: Place::default(), before: "00".into(), after: None }
}

fn commits() -> Vec<Timed> {
    let page = |fill: u8| Bytes::from(vec![fill; 512]);
    let one = Commit { pages: 3, frames: vec![(1, page(1)), (3, page(2))] };
    let two = Commit { pages: 2, frames: vec![(2, page(9))] };
    vec![Timed { at: 5, commit: one }, Timed { at: 7, commit: two }]
}

#[test]
fn a_segment_reads_back_as_written_plain_and_encrypted() {
    let identity = age::x25519::Identity::generate();
    let sealing = Keys { recipients: vec![identity.to_public()], identities: vec![identity] };
    for keys in [Keys::default(), sealing] {
        let (bytes, digest) = encode(&name(4, 5), &link(), &commits(), &keys).unwrap();
        let segment = decode(&bytes, &name(4, 5), &keys).unwrap();
        assert_eq!((segment.commits.clone(), segment.after()), (commits(), &digest));
        let strangers = decode(&bytes, &name(4, 5), &Keys::default());
        assert_eq!(strangers.is_err(), segment.head.encrypted, "only who has the identity reads it");
        assert!(!bytes.windows(64).any(|window| window == [9; 64]), "{keys:?}");
    }
}

#[test]
fn every_flipped_bit_and_every_cut_is_noticed() {
    let (bytes, _) = encode(&name(4, 5), &link(), &commits(), &Keys::default()).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(decode(&changed, &name(4, 5), &Keys::default()).is_err(), "bit {bit}");
    }
    for length in 0..bytes.len() {
        assert!(decode(&bytes[..length], &name(4, 5), &Keys::default()).is_err(), "cut to {length}");
    }
    let misnamed = decode(&bytes, &name(6, 7), &Keys::default());
    assert!(matches!(misnamed, Err(Fault::Misnamed { .. })), "{misnamed:?}");
}

proptest! {
    #[test]
    fn any_commits_read_back(sizes in proptest::collection::vec((any::<i64>(), 0u32..50, 0usize..6), 1..8)) {
        let commits: Vec<Timed> = sizes.iter().map(|(at, pages, count)| {
            let frames = (0..*count).map(|n| (n as u32 + 1, Bytes::from(vec![n as u8; 512]))).collect();
            Timed { at: *at, commit: Commit { pages: *pages, frames } }
        }).collect();
        let name = name(1, commits.len() as u64);
        let (bytes, _) = encode(&name, &link(), &commits, &Keys::default()).unwrap();
        prop_assert_eq!(decode(&bytes, &name, &Keys::default()).unwrap().commits, commits);
    }
}
