//! What a probe asks, and which answers are good.

use std::ops::RangeInclusive;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Version, header};
use http_body_util::Empty;
use proxy::connect::{Protocol, Target};

use super::Config;

/// What a probe asks, made once of its configuration.
#[derive(Debug, Clone)]
pub(super) struct Question {
    path: String,
    host: Option<HeaderValue>,
    fields: HeaderMap,
    statuses: RangeInclusive<u16>,
}

/// Which key makes no question, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) key: &'static str,
    pub(super) message: String,
}

impl Question {
    /// Makes it of a configuration, or says what is not valid in that.
    pub(super) fn new(config: &Config) -> Result<Self, Fault> {
        let fault = |key, message| Fault { key, message };
        let mut fields = HeaderMap::new();
        for field in &config.fields {
            let (name, value) = parse_field(field)
                .ok_or_else(|| fault("fields", format!("`{field}` is not a field, as in \"Name: value\"")))?;
            fields.append(name, value);
        }
        let host = match config.host.as_str() {
            "" => None,
            host => {
                let value = HeaderValue::from_str(host);
                Some(value.map_err(|_| fault("host", "it cannot be the value of a field".to_owned()))?)
            }
        };
        let statuses = parse_statuses(&config.statuses).ok_or_else(|| {
            let text = &config.statuses;
            fault("statuses", format!("`{text}` is neither a status nor a range of them, as in \"200-399\""))
        })?;
        Ok(Self { path: config.path.clone(), host, fields, statuses })
    }

    /// Tells whether a connection is all that is asked for.
    pub(super) fn is_empty(&self) -> bool {
        self.path.is_empty()
    }

    pub(super) fn is_good(&self, status: u16) -> bool {
        self.statuses.contains(&status)
    }

    /// Writes the request for a backend.
    pub(super) fn request(&self, target: &Target) -> http::Result<Request<Empty<Bytes>>> {
        let host = match &self.host {
            Some(host) => host.clone(),
            None => HeaderValue::from_str(&target.address.to_string())?,
        };
        let mut request = Request::get(&self.path).body(Empty::new())?;
        if target.protocol == Protocol::Http2 {
            let scheme = if target.tls.is_some() { "https" } else { "http" };
            let authority = host.to_str().unwrap_or_default();
            *request.uri_mut() = format!("{scheme}://{authority}{}", self.path).parse()?;
            *request.version_mut() = Version::HTTP_2;
        } else {
            request.headers_mut().insert(header::HOST, host);
            request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static("sixfold-probe"));
        request.headers_mut().extend(self.fields.clone());
        Ok(request)
    }
}

fn parse_field(text: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = text.split_once(':')?;
    let value = HeaderValue::from_str(value.trim_matches([' ', '\t'])).ok()?;
    Some((HeaderName::from_bytes(name.as_bytes()).ok()?, value))
}

/// Reads `200` or `200-299`.
pub(super) fn parse_statuses(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u16, u16) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first >= 100 && first <= last && last <= 999).then_some(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_one_or_a_range() {
        assert_eq!(parse_statuses("200"), Some(200..=200));
        assert_eq!(parse_statuses("100-499"), Some(100..=499));
        for text in ["", "99", "300-200", "a-b", "200-1000"] {
            assert_eq!(parse_statuses(text), None, "{text}");
        }
    }

    #[test]
    fn a_probe_asks_for_what_it_was_told_to() {
        let config = Config {
            host: "shop.example".to_owned(),
            fields: vec!["X-Probe:  yes".to_owned()],
            ..Config::default()
        };
        let target = Target::plain(([127, 0, 0, 1], 80).into());
        let request = Question::new(&config).unwrap().request(&target).unwrap();
        assert_eq!(request.uri(), "/health");
        assert_eq!(request.headers()["host"], "shop.example");
        assert_eq!(request.headers()["x-probe"], "yes");
        let config = Config { fields: vec!["no colon".to_owned()], ..Config::default() };
        assert_eq!(Question::new(&config).unwrap_err().key, "fields");
    }
}
