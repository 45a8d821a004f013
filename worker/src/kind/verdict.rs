//! What a service's answer means for a delivery; pure.

use std::time::{Duration, SystemTime};

use database::job::Retry;
use http::StatusCode;

/// The longest `Retry-After` that is honoured; a longer one would park the job for good.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// Whether an answer ends the job well; otherwise when to try again.
///
/// 2xx is done. 429 and 503 are tried again when `Retry-After` says; 408 and 425 (RFC 9110 §15.5.9,
/// RFC 8470 §5.2) and other 5xx with backoff. Every other status would be the same again.
pub(crate) fn judge_status(
    status: StatusCode,
    retry_after: Option<&str>,
    now: SystemTime,
) -> Result<(), Retry> {
    match status.as_u16() {
        200..=299 => Ok(()),
        429 | 503 => {
            Err(retry_after.and_then(|value| read_retry_after(value, now)).unwrap_or(Retry::Backoff))
        }
        408 | 425 | 500..=599 => Err(Retry::Backoff),
        _ => Err(Retry::Never),
    }
}

/// Reads `Retry-After` (RFC 9110 §10.2.3): seconds, or a date.
fn read_retry_after(value: &str, now: SystemTime) -> Option<Retry> {
    let value = value.trim();
    let wait = match value.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or_default(),
    };
    Some(Retry::AfterMs(u64::try_from(wait.min(LONGEST_WAIT).as_millis()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(status: u16, retry_after: Option<&str>) -> Result<(), Retry> {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        judge_status(StatusCode::from_u16(status).unwrap(), retry_after, now)
    }

    #[test]
    fn the_status_decides_whether_to_deliver_again() {
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(judge(status, None), Ok(()), "{status}");
        }
        for status in [408, 425, 429, 500, 502, 503, 504] {
            assert_eq!(judge(status, None), Err(Retry::Backoff), "{status}");
        }
        for status in [300, 301, 307, 400, 401, 403, 404, 409, 410, 413, 422, 428] {
            assert_eq!(judge(status, None), Err(Retry::Never), "{status}");
        }
    }

    #[test]
    fn retry_after_is_honoured_within_reason() {
        assert_eq!(judge(503, Some("2")), Err(Retry::AfterMs(2_000)));
        assert_eq!(judge(429, Some("Sun, 06 Nov 1994 08:50:37 GMT")), Err(Retry::AfterMs(60_000)));
        assert_eq!(judge(429, Some("Sun, 06 Nov 1994 08:00:00 GMT")), Err(Retry::AfterMs(0)));
        assert_eq!(judge(503, Some("99999999")), Err(Retry::AfterMs(3_600_000)));
        assert_eq!(judge(503, Some("soon")), Err(Retry::Backoff));
        assert_eq!(judge(500, Some("2")), Err(Retry::Backoff), "only 429 and 503 ask for a time");
        assert_eq!(judge(400, Some("2")), Err(Retry::Never));
    }
}
