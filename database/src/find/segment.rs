//! Cutting a walk into stretches of its index, each a fixed beginning and bounds on the next column.
//!
//! Going on after a place in an index of several columns means: the same in all columns and a later name;
//! then the same in all columns but the last, and there something later; and so on to the first that is free. Each
//! is one stretch that an engine finds without looking at a row that does not belong to it, nulls included, which
//! comparing the columns as a row would lose.

use serde_json::Value;

use super::declaration::Kind;
use super::plan::{Range, Walk, is_of};
use crate::Error;

/// One stretch of an index.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Segment {
    /// What the first columns are, null included.
    pub(crate) equals: Vec<Value>,
    /// Whether the next column is not null; always so with a bound.
    pub(crate) not_null: bool,
    /// What the next column, or the name, is at least.
    pub(crate) lower: Option<Bound>,
    /// What it is at most.
    pub(crate) upper: Option<Bound>,
}

/// One end of a stretch.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bound {
    pub(crate) value: Value,
    /// Whether the value belongs to it.
    pub(crate) inclusive: bool,
}

/// Gives the stretches of a walk in the order they are walked, from a place on if there is one.
pub(crate) fn segments(walk: &Walk, after: Option<&[Value]>) -> Result<Vec<Segment>, Error> {
    let Some(after) = after else {
        return Ok(vec![stretch(walk, walk.equals.clone(), None, walk.range.as_ref())]);
    };
    check(walk, after)?;
    let fixed = walk.equals.len();
    let mut segments = Vec::new();
    for column in (fixed..=walk.columns.len()).rev() {
        let mut equals = walk.equals.clone();
        equals.extend_from_slice(&after[..column - fixed]);
        let range = if column == fixed { walk.range.as_ref() } else { None };
        let descending = walk.columns.get(column).is_some_and(|column| column.descending) != walk.backward;
        let from = &after[column - fixed];
        match (from.is_null(), descending) {
            // Null comes before everything.
            (true, false) => {
                let all = Range::default();
                segments.push(stretch(walk, equals, None, Some(range.unwrap_or(&all))));
            }
            (true, true) => {}
            (false, descending) => {
                segments.push(stretch(walk, equals.clone(), Some((from, descending)), range));
                // Names and times are never null.
                let may_be_null = walk.columns.get(column).is_some_and(|column| !column.field.is_of_record());
                if descending && range.is_none() && may_be_null {
                    equals.push(Value::Null);
                    segments.push(Segment { equals, ..Segment::default() });
                }
            }
        }
    }
    Ok(segments)
}

/// Makes one stretch: beyond a value, and within a range.
fn stretch(
    walk: &Walk,
    equals: Vec<Value>,
    beyond: Option<(&Value, bool)>,
    range: Option<&Range>,
) -> Segment {
    let inclusive = |value: &Option<Value>| value.clone().map(|value| Bound { value, inclusive: true });
    let mut segment = Segment {
        // A name is never null, so nothing needs to be said of it.
        not_null: equals.len() < walk.columns.len() && (range.is_some() || beyond.is_some()),
        equals,
        lower: range.and_then(|range| inclusive(&range.lower)),
        upper: range.and_then(|range| inclusive(&range.upper)),
    };
    if let Some((value, descending)) = beyond {
        // The place lies within the range, so its side of the range is no further bound.
        let bound = Some(Bound { value: value.clone(), inclusive: false });
        *(if descending { &mut segment.upper } else { &mut segment.lower }) = bound;
    }
    segment
}

fn check(walk: &Walk, after: &[Value]) -> Result<(), Error> {
    let free = &walk.columns[walk.equals.len()..];
    let kinds = free.iter().map(|column| (column.kind, true)).chain([(Kind::Text, false)]);
    let fits = after.len() == free.len() + 1
        && after
            .iter()
            .zip(kinds)
            .all(|(value, (kind, nullable))| is_of(value, kind) || (nullable && value.is_null()));
    match fits {
        true => Ok(()),
        false => Err(Error::Invalid { reason: "the position is not one of this question".to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::find::declaration::Column;
    use crate::find::field::Field;

    fn walk(columns: &[&str], equals: Vec<Value>, range: Option<Range>, backward: bool) -> Walk {
        let column = |name: &&str| Column {
            field: Field::new(name.trim_start_matches('-')).unwrap(),
            kind: Kind::Number,
            descending: name.starts_with('-'),
        };
        let columns = columns.iter().map(column).collect();
        Walk { index: Some(0), name: String::new(), is_unique: false, columns, equals, range, backward }
    }

    /// Writes stretches as one would read them.
    fn spell(walk: &Walk, after: Option<&[Value]>) -> Vec<String> {
        let spelled = segments(walk, after).unwrap().into_iter().map(|segment| {
            let names = walk.columns.iter().map(|column| column.field.as_str()).chain(["id"]);
            let names: Vec<&str> = names.collect();
            let mut parts: Vec<String> =
                segment.equals.iter().zip(&names).map(|(value, name)| format!("{name}={value}")).collect();
            let name = names[segment.equals.len()];
            if segment.not_null && segment.lower.is_none() && segment.upper.is_none() {
                parts.push(format!("{name}!=null"));
            }
            for (bound, sign) in [(segment.lower, '>'), (segment.upper, '<')] {
                let equal = |bound: &Bound| if bound.inclusive { "=" } else { "" };
                parts.extend(bound.map(|bound| format!("{name}{sign}{}{}", equal(&bound), bound.value)));
            }
            parts.join(" ")
        });
        spelled.collect()
    }

    #[test]
    fn a_walk_goes_on_column_by_column_and_null_comes_first() {
        let both = walk(&["a", "b"], vec![], None, false);
        assert_eq!(spell(&both, None), [""]);
        let after = [json!(1), json!(2), json!("x")];
        assert_eq!(spell(&both, Some(&after)), ["a=1 b=2 id>\"x\"", "a=1 b>2", "a>1"]);
        let after = [json!(null), json!(null), json!("x")];
        assert_eq!(spell(&both, Some(&after)), ["a=null b=null id>\"x\"", "a=null b!=null", "a!=null"]);
    }

    #[test]
    fn backward_null_comes_last() {
        let both = walk(&["a", "-b"], vec![], None, true);
        let after = [json!(1), json!(2), json!("x")];
        let expected = ["a=1 b=2 id<\"x\"", "a=1 b>2", "a<1", "a=null"];
        assert_eq!(spell(&both, Some(&after)), expected);
        let after = [json!(null), json!(null), json!("x")];
        assert_eq!(spell(&both, Some(&after)), ["a=null b=null id<\"x\"", "a=null b!=null"]);
    }

    #[test]
    fn what_the_filter_fixes_stays_and_its_range_holds_for_the_first_free_column() {
        let range = || Some(Range { lower: Some(json!(3)), upper: Some(json!(9)) });
        let one = walk(&["a", "b"], vec![json!(7)], range(), false);
        assert_eq!(spell(&one, None), ["a=7 b>=3 b<=9"]);
        let after = [json!(4), json!("x")];
        assert_eq!(spell(&one, Some(&after)), ["a=7 b=4 id>\"x\"", "a=7 b>4 b<=9"]);
        let back = Walk { backward: true, ..one };
        assert_eq!(spell(&back, Some(&after)), ["a=7 b=4 id<\"x\"", "a=7 b>=3 b<4"]);
    }

    #[test]
    fn a_position_of_another_question_is_refused() {
        let one = walk(&["a"], vec![], None, false);
        for after in
            [&[json!("x")][..], &[json!("1"), json!("x")], &[json!(1), json!(null)], &[json!(1), json!(2)]]
        {
            assert!(segments(&one, Some(after)).is_err(), "{after:?}");
        }
    }
}
