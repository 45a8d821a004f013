//! The cursor of a listing: where the next page starts, as a text clients pass back and do not read.
//!
//! It is a place in an index, which may be that of a record its reader does not see: the last one a page walked past.
//! So it is sealed (AES-256-GCM-SIV, RFC 8452), at a length that tells little. The question it came from is authenticated
//! with it: a cursor of another collection, filter or order would skip or repeat records, and is refused. All instances
//! seal with one key, derived from a secret that the database keeps ([`Keys`]), so a cursor outlives the instance that
//! wrote it.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use database::find::{Filter, Order, Position};
use database::{Error, Operation, Outcome, Precondition};
use process::Problem;
use process::problem::kinds;
use rand::RngCore as _;
use serde_json::{Map, Value};
use tokio::sync::OnceCell;

use crate::namespace::Namespace;

/// The first byte of every cursor, so that a later form can be told apart.
const FORM: u8 = 3;

/// To a multiple of how many bytes a place is filled up, so that the length of a cursor does not give away that of a
/// hidden text: most places are of one length.
const STEP: usize = 64;

/// What the sealing key is derived for; the secret itself signed the cursors of earlier forms.
const PURPOSE: &[u8] = b"sixfold cursors";

/// The collection of a namespace that holds its keys; no declared collection begins with `_`.
const KEYS: &str = "_keys";

/// The name of the key of cursors.
const KEY: &str = "cursors";

/// What seals cursors.
#[derive(Debug)]
pub(crate) struct Key(LessSafeKey);

impl Key {
    fn of(secret: &[u8]) -> Result<Self, Error> {
        let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), PURPOSE);
        let key = UnboundKey::new(&AES_256_GCM_SIV, derived.as_ref());
        let key = key.map_err(|_| Error::Storage { reason: "the key of cursors is of no use".to_owned() })?;
        Ok(Self(LessSafeKey::new(key)))
    }
}

/// The key of a service's cursors, made by whichever instance first needs it.
#[derive(Debug)]
pub(crate) struct Keys {
    namespace: Namespace,
    key: OnceCell<Key>,
}

impl Keys {
    /// Keeps the key of a namespace.
    pub(crate) fn new(namespace: Namespace) -> Self {
        Self { namespace, key: OnceCell::new() }
    }

    /// Gives the key.
    pub(crate) async fn key(&self) -> Result<&Key, Error> {
        self.key.get_or_try_init(|| self.load_or_make()).await
    }

    async fn load_or_make(&self) -> Result<Key, Error> {
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
        match self.namespace.transact(vec![put]).await {
            Ok(committed) if matches!(committed.outcomes.as_slice(), [Outcome::Written { .. }]) => {
                Key::of(&secret)
            }
            // Another instance was faster.
            Ok(_) | Err(Error::PreconditionFailed { .. }) => {
                let missing = || Error::Storage { reason: "the key of cursors is gone".to_owned() };
                self.load().await?.ok_or_else(missing)
            }
            Err(error) => Err(error),
        }
    }

    async fn load(&self) -> Result<Option<Key>, Error> {
        let Some(record) = self.namespace.find(KEYS, KEY).await? else { return Ok(None) };
        let stored = record.data.get("key").and_then(Value::as_str);
        let secret = stored.and_then(|stored| BASE64_URL_SAFE_NO_PAD.decode(stored).ok());
        let secret =
            secret.ok_or_else(|| Error::Storage { reason: "the key of cursors is broken".to_owned() })?;
        Key::of(&secret).map(Some)
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
pub(crate) fn encode(key: &Key, question: Question<'_>, position: &Position) -> Result<String, Problem> {
    let failed = || Problem::new(kinds::INTERNAL);
    let mut place = serde_json::to_vec(&(&position.index, &position.values)).map_err(|_| failed())?;
    // JSON may end in spaces.
    place.resize(place.len().next_multiple_of(STEP), b' ');
    let mut nonce = [0; NONCE_LEN];
    rand::rng().fill_bytes(&mut nonce);
    let mut bytes = Vec::with_capacity(1 + NONCE_LEN + place.len() + AES_256_GCM_SIV.tag_len());
    bytes.push(FORM);
    bytes.extend_from_slice(&nonce);
    let nonce = Nonce::assume_unique_for_key(nonce);
    let sealed = key.0.seal_in_place_append_tag(nonce, Aad::from(context(question)), &mut place);
    sealed.map_err(|_| failed())?;
    bytes.extend_from_slice(&place);
    Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes))
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
pub(crate) fn decode(key: &Key, question: Question<'_>, cursor: &str) -> Option<Position> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let (form, rest) = bytes.split_first()?;
    let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
    if *form != FORM {
        return None;
    }
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut sealed = sealed.to_vec();
    let place = key.0.open_in_place(nonce, Aad::from(context(question)), &mut sealed).ok()?;
    let (index, values) = serde_json::from_slice(place).ok()?;
    Some(Position { index, values })
}

/// What a cursor is bound to, as bytes.
fn context(question: Question<'_>) -> Vec<u8> {
    // Strings and numbers in memory have no way to fail.
    serde_json::to_vec(&(question.path, question.filter, question.order)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use database::find::{Comparison, Field};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn key(secret: &[u8]) -> Key {
        Key::of(secret).unwrap()
    }

    fn all(path: &str) -> Question<'_> {
        Question { path, filter: None, order: &[] }
    }

    proptest! {
        #[test]
        fn a_cursor_reads_back_as_written_and_fits_a_query(name in ".*", number in any::<f64>(), flag in any::<bool>()) {
            let values = vec![json!(number), json!(flag), json!(null), json!(name)];
            let position = Position { index: "n:number".into(), values };
            let cursor = encode(&key(b"k"), all("/a/b"), &position).unwrap();
            prop_assert!(cursor.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
            prop_assert_eq!(decode(&key(b"k"), all("/a/b"), &cursor), Some(position));
        }

        #[test]
        fn what_is_no_cursor_is_refused(text in ".*") {
            prop_assert_eq!(decode(&key(b"k"), all("/a/b"), &text), None);
        }
    }

    #[test]
    fn a_cursor_gives_away_neither_what_it_holds_nor_how_long_that_is() {
        let place = |text: &str| Position { index: "price:number".into(), values: vec![json!(text)] };
        let write = |text: &str| encode(&key(b"k"), all("/a/b"), &place(text)).unwrap();
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(write("a secret name")).unwrap();
        for shown in [&b"price"[..], b"secret"] {
            assert!(!bytes.windows(shown.len()).any(|window| window == shown));
        }
        assert_eq!(write("a").len(), write(&"a".repeat(40)).len());
        assert_ne!(write("a"), write("a"), "one place does not look like another time it was told");
    }

    #[test]
    fn a_cursor_is_good_for_its_question_and_key_only() {
        let field = Field::new("price").unwrap();
        let filter = Filter::Compare { field: field.clone(), comparison: Comparison::Gt, value: json!(1) };
        let order = [Order { field, descending: true }];
        let asked = Question { path: "/a/b", filter: Some(&filter), order: &order };
        let position = Position { index: "id".into(), values: vec![json!("x")] };
        let cursor = encode(&key(b"k"), asked, &position).unwrap();
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
