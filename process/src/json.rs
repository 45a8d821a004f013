//! Reading a body as JSON, and saying what keeps it from being read, and where.
//!
//! Gateways and services read bodies by this, so that a client need not know who did.

use serde::Deserialize as _;
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

use crate::problem::{Fault, Problem, kinds};

/// How deep JSON is read at all (`serde_json`'s own limit).
pub const DEEPEST: usize = 127;

/// Parses a body. `deepest` is how many levels a body that can be taken has at most, for the words of the refusal.
pub fn parse(bytes: &[u8], deepest: usize) -> Result<Value, Problem> {
    serde_json::from_slice(bytes).map_err(|error| refuse(bytes, &error, deepest))
}

/// Writes where something is as a JSON Pointer (RFC 6901).
pub fn pointer_of(path: &Path) -> String {
    path.iter().map(pointer_part).collect()
}

fn pointer_part(segment: &Segment) -> String {
    match segment {
        Segment::Seq { index } => format!("/{index}"),
        Segment::Map { key } => format!("/{}", escape(key)),
        Segment::Enum { .. } | Segment::Unknown => String::new(),
    }
}

/// Escapes one reference token of a JSON Pointer (RFC 6901 §3).
pub fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Says why a body cannot be read. Two reasons are of JSON that is as it should be, and are told by their words alone.
fn refuse(bytes: &[u8], error: &serde_json::Error, deepest: usize) -> Problem {
    let (text, place) = (error.to_string(), format!("line {} column {}", error.line(), error.column()));
    let problem = Problem::new(kinds::MALFORMED_REQUEST);
    if text.starts_with("recursion limit exceeded") {
        return problem.detail(format!("the body is nested deeper than {deepest} levels: {place}"));
    }
    if !text.starts_with("number out of range") {
        return problem.detail(format!("the body is not JSON: {place}"));
    }
    let faults =
        find_number(bytes).map(|pointer| Fault { pointer, detail: "the number is out of range".to_owned() });
    problem.detail(format!("a number is out of range: {place}")).errors(faults.into_iter().collect())
}

/// Finds the number that ended the reading of a body. The body is read again, which only a refusal costs.
fn find_number(bytes: &[u8]) -> Option<String> {
    let mut track = serde_path_to_error::Track::new();
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let tracked = serde_path_to_error::Deserializer::new(&mut reader, &mut track);
    Value::deserialize(tracked).err().map(|_| pointer_of(&track.path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(body: &str) -> Value {
        let problem = parse(body.as_bytes(), 100).unwrap_err();
        assert_eq!(problem.status(), 400);
        serde_json::from_slice(problem.to_response().body()).unwrap()
    }

    #[test]
    fn a_number_that_is_out_of_range_is_told_with_its_place() {
        for (body, pointer) in [
            ("1e400", ""),
            ("[1e400]", "/0"),
            (r#"{"a": {"b/c~d": [1, {}, {"": -1e400}]}, "e": 1e400}"#, "/a/b~1c~0d/2/"),
            (r#"{"a": 1, "n": 1e400}"#, "/n"),
        ] {
            let refused = refusal(body);
            assert_eq!(refused["errors"][0]["pointer"], pointer, "{refused}");
            assert_eq!(refused["errors"][0]["detail"], "the number is out of range");
            assert!(
                refused["detail"].as_str().unwrap().starts_with("a number is out of range: line 1 column ")
            );
        }
    }

    #[test]
    fn what_is_json_and_cannot_be_read_is_said_as_what_it_is() {
        let deep = refusal(&format!("{}{}", "[".repeat(DEEPEST + 1), "]".repeat(DEEPEST + 1)));
        assert_eq!(deep["detail"], "the body is nested deeper than 100 levels: line 1 column 128");
        assert_eq!(refusal("[1e400]")["detail"], "a number is out of range: line 1 column 6");
        let broken = refusal("[1");
        assert_eq!(
            (&broken["detail"], broken.get("errors")),
            (&Value::from("the body is not JSON: line 1 column 2"), None)
        );
        assert!(parse(format!("{}{}", "[".repeat(DEEPEST), "]".repeat(DEEPEST)).as_bytes(), 100).is_ok());
    }
}
