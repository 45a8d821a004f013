//! Conditional requests (RFC 9110 §13): entity tags of record versions, `If-Match` and `If-None-Match`.

use http::header::{IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue};

/// The conditions of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Conditions {
    if_match: Option<Tags>,
    if_none_match: Option<Tags>,
}

/// What a condition lists.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Tags {
    /// `*`: any present record.
    Any,
    /// These tags.
    Listed(Vec<Tag>),
}

/// One entity tag; `version` is `None` when no record of ours can have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tag {
    weak: bool,
    version: Option<u64>,
}

/// What a read answers under its conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadAnswer {
    /// The record.
    Whole,
    /// 304: the client has it.
    NotModified,
    /// 412.
    Failed,
}

/// Writes the entity tag of a version; strong, since a version never has two representations.
pub(crate) fn entity_tag(version: u64) -> HeaderValue {
    HeaderValue::try_from(format!("\"{version}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

impl Conditions {
    /// Reads the conditions of a request; `None` when one is malformed.
    pub(crate) fn read(fields: &HeaderMap) -> Option<Self> {
        Some(Self {
            if_match: read_tags(fields, &IF_MATCH)?,
            if_none_match: read_tags(fields, &IF_NONE_MATCH)?,
        })
    }

    /// Tells whether the client said which version it means to change.
    pub(crate) fn names_a_version(&self) -> bool {
        self.if_match.is_some()
    }

    /// Tells whether the record must not exist yet (`If-None-Match: *`).
    pub(crate) fn wants_absence(&self) -> bool {
        self.if_none_match == Some(Tags::Any)
    }

    /// Decides a read of a record at a version, in the order of §13.2.2.
    pub(crate) fn decide_read(&self, version: u64) -> ReadAnswer {
        if self.if_match.as_ref().is_some_and(|tags| !tags.match_strongly(version)) {
            return ReadAnswer::Failed;
        }
        match self.if_none_match.as_ref().is_some_and(|tags| tags.match_weakly(version)) {
            true => ReadAnswer::NotModified,
            false => ReadAnswer::Whole,
        }
    }

    /// Tells whether a present record at a version may be written.
    pub(crate) fn allow_write(&self, version: u64) -> bool {
        self.decide_read(version) == ReadAnswer::Whole
    }
}

impl Tags {
    /// Strong comparison (§8.8.3.2), which `If-Match` asks for.
    fn match_strongly(&self, version: u64) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(tags) => tags.iter().any(|tag| !tag.weak && tag.version == Some(version)),
        }
    }

    /// Weak comparison, which `If-None-Match` asks for.
    fn match_weakly(&self, version: u64) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(tags) => tags.iter().any(|tag| tag.version == Some(version)),
        }
    }
}

/// The outer `None` is a malformed field, the inner one an absent field.
fn read_tags(fields: &HeaderMap, name: &HeaderName) -> Option<Option<Tags>> {
    if !fields.contains_key(name) {
        return Some(None);
    }
    let mut tags = Vec::new();
    let mut any = false;
    for value in fields.get_all(name) {
        match value.as_bytes().trim_ascii() {
            b"*" => any = true,
            list => parse_list(list, &mut tags)?,
        }
    }
    match (any, tags.is_empty()) {
        (true, true) => Some(Some(Tags::Any)),
        (false, false) => Some(Some(Tags::Listed(tags))),
        _ => None,
    }
}

/// Parses `"1", W/"2"`; empty list elements are passed over (§5.6.1.2), and what stands within quotes need be no text
/// (§8.8.3).
fn parse_list(list: &[u8], tags: &mut Vec<Tag>) -> Option<()> {
    let mut rest = list;
    loop {
        while let [b' ' | b'\t' | b',', after @ ..] = rest {
            rest = after;
        }
        if rest.is_empty() {
            return Some(());
        }
        let (weak, quoted) = match rest.strip_prefix(b"W/") {
            Some(quoted) => (true, quoted),
            None => (false, rest),
        };
        let opaque_and_rest = quoted.strip_prefix(b"\"")?;
        let end = opaque_and_rest.iter().position(|byte| *byte == b'"')?;
        let (opaque, after) = (&opaque_and_rest[..end], &opaque_and_rest[end + 1..]);
        tags.push(Tag { weak, version: parse_version(opaque) });
        rest = after.trim_ascii_start();
        if !rest.is_empty() && !rest.starts_with(b",") {
            return None;
        }
    }
}

/// Reads a version as [`entity_tag`] writes it: `07` and `+7` are other tags than `7`.
fn parse_version(opaque: &[u8]) -> Option<u64> {
    let opaque = std::str::from_utf8(opaque).ok()?;
    let version: u64 = opaque.parse().ok()?;
    (version.to_string() == opaque).then_some(version)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn conditions(if_match: Option<&str>, if_none_match: Option<&str>) -> Option<Conditions> {
        let mut fields = HeaderMap::new();
        if_match.map(|value| fields.insert(IF_MATCH, value.parse().unwrap()));
        if_none_match.map(|value| fields.insert(IF_NONE_MATCH, value.parse().unwrap()));
        Conditions::read(&fields)
    }

    #[test]
    fn a_weak_tag_saves_a_transfer_and_allows_no_write() {
        let read = conditions(None, Some("W/\"7\"")).unwrap();
        assert_eq!(read.decide_read(7), ReadAnswer::NotModified);
        let write = conditions(Some("W/\"7\""), None).unwrap();
        assert!(!write.allow_write(7));
    }

    #[test]
    fn if_match_is_decided_before_if_none_match() {
        let both = conditions(Some("\"1\""), Some("\"2\"")).unwrap();
        assert_eq!(both.decide_read(2), ReadAnswer::Failed);
        assert_eq!(both.decide_read(1), ReadAnswer::Whole);
    }

    #[test]
    fn a_star_matches_every_version_and_asks_for_absence() {
        let star = conditions(Some("*"), None).unwrap();
        assert!(star.allow_write(3) && star.names_a_version() && !star.wants_absence());
        let absent = conditions(None, Some("*")).unwrap();
        assert!(!absent.allow_write(3) && absent.wants_absence());
    }

    #[test]
    fn a_malformed_condition_is_not_passed_over() {
        for text in ["7", "\"7", "", ",", "\"1\" \"2\"", "*, \"1\"", "w/\"1\""] {
            assert_eq!(conditions(Some(text), None), None, "{text}");
        }
    }

    #[test]
    fn a_tag_need_be_no_text() {
        let read = |tags: &[u8]| {
            let tags = HeaderValue::from_bytes(tags).unwrap();
            Conditions::read(&HeaderMap::from_iter([(IF_NONE_MATCH, tags)]))
        };
        let of_others = read(b"\"\xe9\"").unwrap();
        assert_eq!(of_others.decide_read(7), ReadAnswer::Whole);
        let among_ours = read(b"W/\"\xff\xfe\", \"7\"").unwrap();
        assert_eq!(among_ours.decide_read(7), ReadAnswer::NotModified);
        for malformed in [&b"\xe9"[..], b"\"\xe9", b"\"7\"\xe9"] {
            assert_eq!(read(malformed), None);
        }
    }

    #[test]
    fn a_tag_that_is_not_ours_matches_nothing() {
        for text in ["\"\"", "\"abc\"", "\"07\"", "\"+7\"", "\"7,8\"", "\"99999999999999999999\""] {
            assert!(!conditions(Some(text), None).unwrap().allow_write(7), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_list_matches_just_its_versions(versions in proptest::collection::vec(0u64..20, 1..5), asked in 0u64..20) {
            let list: Vec<String> = versions.iter().map(|version| format!("\"{version}\"")).collect();
            let text = list.join(" , ");
            let listed = versions.contains(&asked);
            prop_assert_eq!(conditions(Some(&text), None).unwrap().allow_write(asked), listed);
            let answer = conditions(None, Some(&text)).unwrap().decide_read(asked);
            prop_assert_eq!(answer == ReadAnswer::NotModified, listed);
        }

        #[test]
        fn the_tag_a_record_is_sent_with_matches_it(version in any::<u64>()) {
            let tag = entity_tag(version);
            prop_assert!(conditions(Some(tag.to_str().unwrap()), None).unwrap().allow_write(version));
        }
    }
}
