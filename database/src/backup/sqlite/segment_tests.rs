//! A segment reads back as written, and nothing that was changed reads back at all.

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::backup::name::{Generation, Kind};

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

/// `commits()` as the first format had it.
const FIRST_FORMAT: &str = "\
    53495846424b3031000000e27b226e616d65223a223139373030313031543030303030303030303030305a2d303030303030\
    30312f7365676d656e74732f303030303030303030303030303030342d303030303030303030303030303030352d30303030\
    303030303030303030303037222c22706167655f6279746573223a3531322c227061676573223a322c22706c616365223a7b\
    2273616c7473223a5b302c305d2c226672616d6573223a302c2273756d73223a5b302c305d7d2c226265666f7265223a2230\
    30222c22656e63727970746564223a66616c73652c22777269746572223a22302e312e30227d04224d186040823900000012\
    000100df050000000300000002000000010100ffee5f00000003020100ffed02170424000714045f00000002090100ffe760\
    090909090909000000002a8cc89641dc75e234b4fdd91a4a21a39e66cdf9026fb1d693a03dc0810d9b52\
";

#[test]
fn a_segment_of_the_first_format_is_read_and_one_of_a_later_format_is_refused_by_name() {
    let digit = |at: usize| u8::from_str_radix(&FIRST_FORMAT[at..at + 2], 16).unwrap();
    let bytes: Vec<u8> = (0..FIRST_FORMAT.len()).step_by(2).map(digit).collect();
    let segment = decode(&bytes, &name(4, 5), &Keys::default()).unwrap();
    assert_eq!((segment.head.format, segment.commits), (1, commits()));
    let (bytes, _) = encode(&name(4, 5), &link(), &commits(), &Keys::default()).unwrap();
    let mut later = bytes[..bytes.len() - object::DIGEST_BYTES].to_vec();
    later[7] = b'3';
    later.extend(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &later).as_ref());
    let refused = decode(&later, &name(4, 5), &Keys::default()).unwrap_err().to_string();
    assert!(refused.contains("its format is 3"), "{refused}");
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
    fn any_commits_read_back(
        sizes in proptest::collection::vec((any::<i64>(), 0u32..50, proptest::collection::vec((1u32..5, any::<u8>()), 0..6)), 1..8)
    ) {
        let commits: Vec<Timed> = sizes.iter().map(|(at, pages, written)| {
            let frames = written.iter().map(|(page, fill)| (*page, Bytes::from(vec![*fill; 512]))).collect();
            Timed { at: *at, commit: Commit { pages: *pages, frames } }
        }).collect();
        let name = name(1, commits.len() as u64);
        let (bytes, _) = encode(&name, &link(), &commits, &Keys::default()).unwrap();
        prop_assert_eq!(decode(&bytes, &name, &Keys::default()).unwrap().commits, commits);
    }
}
