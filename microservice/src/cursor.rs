//! The cursor of a listing: where the next page starts, as a text clients pass back and do not read.
//!
//! It holds a place in an index, and a tag that binds it to the question it came from: a cursor of another
//! collection, filter or order would skip or repeat records, and is refused. All instances tag with
//! one key, which the database keeps ([`Keys`]), so a cursor outlives the instance that wrote it.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use database::find::{Filter, Order, Position};
use database::{Database, Error, Operation, Outcome, Precondition, Query, Transaction};
use process::Problem;
use process::problem::kinds;
use rand::RngCore as _;
use serde_json::{Map, Value};
use tokio::sync::OnceCell;

/// The first byte of every cursor, so that a later form can be told apart.
const FORM: u8 = 2;

/// How much of the HMAC a cursor carries; enough against guessing (RFC 2104 §5).
const TAG: usize = 16;

/// The collection of a namespace that holds its keys; no declared collection begins with `_`.
const KEYS: &str = "_keys";

/// The name of the key of cursors.
const KEY: &str = "cursors";

/// The key of a service's cursors, made by whichever instance first needs it.
#[derive(Debug)]
pub(crate) struct Keys {
    namespace: String,
    database: Database,
    key: OnceCell<hmac::Key>,
}

impl Keys {
    /// Keeps the key of a namespace.
    pub(crate) fn new(namespace: &str, database: Database) -> Self {
        Self { namespace: namespace.to_owned(), database, key: OnceCell::new() }
    }

    /// Gives the key.
    pub(crate) async fn key(&self) -> Result<&hmac::Key, Error> {
        self.key.get_or_try_init(|| self.load_or_make()).await
    }

    async fn load_or_make(&self) -> Result<hmac::Key, Error> {
        if let Some(key) = self.load().await? {
            return Ok(key);
        }
        let mut secret = [0; 32];
        rand::rng().fill_bytes(&mut secret);
        let data = Map::from_iter([("key".to_owned(), Value::from(BASE64_URL_SAFE_NO_PAD.encode(secret)))]);
        let put = Operation::Put {
            collection: KEYS.to_owned(),
            id: KEY.to_owned(),
            data,
            precondition: Precondition::Absent,
        };
        let made = Transaction { namespace: self.namespace.clone(), operations: vec![put] };
        match self.database.transact(&made).await {
            Ok(committed) if matches!(committed.outcomes.as_slice(), [Outcome::Written { .. }]) => {
                Ok(hmac::Key::new(hmac::HMAC_SHA256, &secret))
            }
            // Another instance was faster.
            Ok(_) | Err(Error::PreconditionFailed { .. }) => {
                let missing = || Error::Storage { reason: "the key of cursors is gone".to_owned() };
                self.load().await?.ok_or_else(missing)
            }
            Err(error) => Err(error),
        }
    }

    async fn load(&self) -> Result<Option<hmac::Key>, Error> {
        let query = Query::Get { collection: KEYS.to_owned(), id: KEY.to_owned() };
        let page = self.database.query(&self.namespace, &query).await?;
        let Some(record) = page.records.first() else { return Ok(None) };
        let stored = record.data.get("key").and_then(Value::as_str);
        let secret = stored.and_then(|stored| BASE64_URL_SAFE_NO_PAD.decode(stored).ok());
        let secret =
            secret.ok_or_else(|| Error::Storage { reason: "the key of cursors is broken".to_owned() })?;
        Ok(Some(hmac::Key::new(hmac::HMAC_SHA256, &secret)))
    }
}

/// What a cursor is bound to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question<'a> {
    /// Where the collection is served.
    pub(crate) path: &'a str,
    /// What its records must be like.
    pub(crate) filter: Option<&'a Filter>,
    /// In what order they come.
    pub(crate) order: &'a [Order],
}

/// Writes the cursor of the page that starts at a position.
pub(crate) fn encode(key: &hmac::Key, question: Question<'_>, position: &Position) -> String {
    // Strings and numbers in memory have no way to fail.
    let place = serde_json::to_vec(&(&position.index, &position.values)).unwrap_or_default();
    let mut bytes = Vec::with_capacity(1 + TAG + place.len());
    bytes.push(FORM);
    bytes.extend_from_slice(&tag(key, question, &place).as_ref()[..TAG]);
    bytes.extend_from_slice(&place);
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// Tells whether a text can be a cursor at all.
pub(crate) fn is_one(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Says that a cursor is refused: a text that can be none, or one that is not good for the question.
pub(crate) fn refuse(cursor: &str) -> Problem {
    match is_one(cursor) {
        true => Problem::new(kinds::STALE_CURSOR).detail("`cursor`: start again without it"),
        false => Problem::new(kinds::MALFORMED_REQUEST).detail("`cursor`: letters, digits, `-` and `_`"),
    }
}

/// Reads a cursor; `None` for anything [`encode`] did not write for this question.
pub(crate) fn decode(key: &hmac::Key, question: Question<'_>, cursor: &str) -> Option<Position> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let (form, rest) = bytes.split_first()?;
    let (sent, place) = rest.split_at_checked(TAG)?;
    let expected = tag(key, question, place);
    let is_ours: bool = subtle::ConstantTimeEq::ct_eq(&expected.as_ref()[..TAG], sent).into();
    if *form != FORM || !is_ours {
        return None;
    }
    let (index, values) = serde_json::from_slice(place).ok()?;
    Some(Position { index, values })
}

fn tag(key: &hmac::Key, question: Question<'_>, place: &[u8]) -> hmac::Tag {
    let asked = serde_json::to_vec(&(question.path, question.filter, question.order)).unwrap_or_default();
    let mut context = hmac::Context::with_key(key);
    // The length keeps what is asked and the place apart.
    context.update(&(asked.len() as u64).to_be_bytes());
    context.update(&asked);
    context.update(place);
    context.sign()
}

#[cfg(test)]
mod tests {
    use database::find::{Comparison, Field};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn key(secret: &[u8]) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, secret)
    }

    fn all(path: &str) -> Question<'_> {
        Question { path, filter: None, order: &[] }
    }

    proptest! {
        #[test]
        fn a_cursor_reads_back_as_written_and_fits_a_query(name in ".*", number in any::<f64>(), flag in any::<bool>()) {
            let values = vec![json!(number), json!(flag), json!(null), json!(name)];
            let position = Position { index: "n:number".into(), values };
            let cursor = encode(&key(b"k"), all("/a/b"), &position);
            prop_assert!(cursor.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
            prop_assert_eq!(decode(&key(b"k"), all("/a/b"), &cursor), Some(position));
        }

        #[test]
        fn what_is_no_cursor_is_refused(text in ".*") {
            prop_assert_eq!(decode(&key(b"k"), all("/a/b"), &text), None);
        }
    }

    #[test]
    fn a_cursor_is_good_for_its_question_and_key_only() {
        let field = Field::new("price").unwrap();
        let filter = Filter::Compare { field: field.clone(), comparison: Comparison::Gt, value: json!(1) };
        let order = [Order { field, descending: true }];
        let asked = Question { path: "/a/b", filter: Some(&filter), order: &order };
        let position = Position { index: "id".into(), values: vec![json!("x")] };
        let cursor = encode(&key(b"k"), asked, &position);
        assert_eq!(decode(&key(b"k"), asked, &cursor), Some(position));
        let others = [
            Question { path: "/a/c", ..asked },
            Question { filter: None, ..asked },
            Question { order: &[], ..asked },
        ];
        assert!(others.iter().all(|other| decode(&key(b"k"), *other, &cursor).is_none()));
        assert_eq!(decode(&key(b"other"), asked, &cursor), None);
        let mut bytes = BASE64_URL_SAFE_NO_PAD.decode(&cursor).unwrap();
        for place in 0..bytes.len() {
            bytes[place] ^= 1;
            assert_eq!(
                decode(&key(b"k"), asked, &BASE64_URL_SAFE_NO_PAD.encode(&bytes)),
                None,
                "byte {place}"
            );
            bytes[place] ^= 1;
        }
    }
}
