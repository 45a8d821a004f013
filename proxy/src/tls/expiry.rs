//! When a certificate expires, which rustls checks for peers only and does not tell.

use std::time::{Duration, SystemTime};

/// The tags of the DER that is passed on the way (X.690 §8).
const SEQUENCE: u8 = 0x30;
const EXPLICIT_VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Reads `notAfter` of a certificate (RFC 5280 §4.1): the second time of the fifth part of its first part, or
/// the fourth if the version is left out.
pub(super) fn not_after(certificate: &[u8]) -> Option<SystemTime> {
    let (_, certificate, _) = element(certificate)?;
    let (_, mut signed, _) = element(certificate)?;
    if signed.first() == Some(&EXPLICIT_VERSION) {
        signed = element(signed)?.2;
    }
    for _serial_algorithm_issuer in 0..3 {
        signed = element(signed)?.2;
    }
    let (tag, validity, _) = element(signed)?;
    let not_before_passed = element(validity)?.2;
    let (kind, time, _) = element(not_before_passed)?;
    if tag == SEQUENCE { parse_time(kind, std::str::from_utf8(time).ok()?) } else { None }
}

/// Splits off an element: its tag, its content, and what follows.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// Reads `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`.
fn parse_time(kind: u8, text: &str) -> Option<SystemTime> {
    let text = text.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match kind {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: u64 = year.parse().ok()?;
            // RFC 5280 §4.1.2.5.1.
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    let two = |at: usize| -> Option<u64> { rest.get(at..at + 2)?.parse().ok() };
    let days = days_since_1970(year, two(0)?, two(2)?)?;
    let seconds = days * 86_400 + two(4)? * 3600 + two(6)? * 60 + two(8)?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// Counts days in years that begin in March, so that a leap day is the last of one.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let (year, month) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    // Days from the first of March of the year 0 to 1970.
    days.checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        assert_eq!(days_since_1970(1970, 1, 1), Some(0));
        assert_eq!(days_since_1970(2000, 2, 29), Some(11_016));
        assert_eq!(days_since_1970(2026, 11, 23), Some(20_780));
    }

    #[test]
    fn the_end_of_a_certificate_is_found() {
        let key = rcgen::KeyPair::generate().unwrap();
        for (year, unix) in [(2031_i32, 1_924_992_000), (2075, 3_313_526_400)] {
            let mut params = rcgen::CertificateParams::new(vec!["a".to_owned()]).unwrap();
            params.not_after = rcgen::date_time_ymd(year, 1, 1);
            let certificate = params.self_signed(&key).unwrap();
            let end = not_after(certificate.der()).unwrap();
            assert_eq!(end, SystemTime::UNIX_EPOCH + Duration::from_secs(unix), "{year}");
        }
        assert_eq!(not_after(b"\x30\x03\x30\x01\x02"), None);
    }
}
