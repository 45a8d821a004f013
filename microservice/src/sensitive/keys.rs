//! The keys of sensitive fields, and how one value is sealed with them.
//!
//! A sealed value is `form | key id | nonce | ciphertext and tag`: AES-256-GCM-SIV (RFC 8452), whose random nonces
//! may come twice and then tell only that two values are equal. What it belongs to is authenticated beside it, so
//! that it opens nowhere else. Each key file is one secret, of which what is needed is derived.

use std::fmt;
use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rand::RngCore as _;

use crate::config;

/// The first byte of every sealed value, so that a later form can be told apart.
const FORM: u8 = 1;

/// How many bytes name a key; enough to tell a handful apart.
const KEY_ID: usize = 4;

/// The bytes of a key file's secret.
const SECRET: usize = 32;

/// The bytes before the ciphertext.
const HEAD: usize = 1 + KEY_ID + NONCE_LEN;

/// The keys: what is sealed is sealed with the first, what was sealed opens with any.
pub(crate) struct Keys(Vec<Key>);

/// One key file.
struct Key {
    id: [u8; KEY_ID],
    sealing: LessSafeKey,
    fingerprints: hmac::Key,
}

/// Why a value does not open; it says nothing of the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    /// It is not what sealing makes.
    #[error("what is stored was not sealed by this program")]
    Form,
    /// No key file is the one it was sealed with.
    #[error("it was sealed with key {0}, which is neither key_file nor among previous_key_files")]
    Key(String),
    /// It was changed, or it belongs to another field or record.
    #[error("it was changed, or moved here from another field or record")]
    Forged,
}

impl Keys {
    /// Reads the key files; the error names the setting and the file.
    pub(crate) fn read(settings: &config::Sensitive) -> Result<Self, String> {
        let setting = |name: &str| format!("microservice.sensitive.{name}");
        let Some(first) = &settings.key_file else {
            return Err(format!("{} is missing: a collection has sensitive fields", setting("key_file")));
        };
        let previous = settings.previous_key_files.iter().map(|file| ("previous_key_files", file));
        let mut keys: Vec<Key> = Vec::new();
        for (name, file) in std::iter::once(("key_file", first)).chain(previous) {
            let key = read_file(file).map_err(|reason| format!("{}: {reason}", setting(name)))?;
            if keys.iter().any(|known| known.id == key.id) {
                return Err(format!(
                    "{}: {} is the same key as one before it",
                    setting(name),
                    file.display()
                ));
            }
            keys.push(key);
        }
        Ok(Self(keys))
    }

    /// Seals a value for a place.
    pub(super) fn seal(&self, place: &[u8], value: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let key = &self.0[0];
        let mut sealed = Vec::with_capacity(HEAD + value.len() + AES_256_GCM_SIV.tag_len());
        sealed.push(FORM);
        sealed.extend_from_slice(&key.id);
        let mut nonce = [0; NONCE_LEN];
        rand::rng().fill_bytes(&mut nonce);
        sealed.extend_from_slice(&nonce);
        let mut secret = value.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        key.sealing.seal_in_place_append_tag(nonce, Aad::from(place), &mut secret)?;
        sealed.extend_from_slice(&secret);
        Ok(sealed)
    }

    /// Opens what was sealed for a place.
    pub(super) fn open(&self, place: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Unreadable> {
        let (head, secret) = sealed.split_at_checked(HEAD).ok_or(Unreadable::Form)?;
        let (id, nonce) = head[1..].split_at(KEY_ID);
        if head[0] != FORM {
            return Err(Unreadable::Form);
        }
        let key = self.0.iter().find(|key| key.id == id).ok_or_else(|| Unreadable::Key(hex(id)))?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Unreadable::Form)?;
        let mut value = secret.to_vec();
        let length = key
            .sealing
            .open_in_place(nonce, Aad::from(place), &mut value)
            .map_err(|_| Unreadable::Forged)?
            .len();
        value.truncate(length);
        Ok(value)
    }

    /// Tells whether a value was sealed with the present key.
    pub(super) fn is_present(&self, sealed: &[u8]) -> bool {
        sealed.get(1..=KEY_ID) == Some(&self.0[0].id[..])
    }

    /// Tells whether there are keys beside the present one.
    pub(super) fn has_previous(&self) -> bool {
        self.0.len() > 1
    }

    /// Names the present key.
    pub(super) fn present_id(&self) -> String {
        hex(&self.0[0].id)
    }

    /// Hashes under each key, the present one first: nobody without a key can try out what was hashed.
    pub(crate) fn fingerprints<'a>(&'a self, text: &'a str) -> impl Iterator<Item = String> + 'a {
        self.0.iter().map(|key| hex(hmac::sign(&key.fingerprints, text.as_bytes()).as_ref()))
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<String> = self.0.iter().map(|key| hex(&key.id)).collect();
        write!(f, "Keys({})", ids.join(", "))
    }
}

fn read_file(file: &Path) -> Result<Key, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let secret = BASE64_STANDARD.decode(text.trim()).ok().filter(|secret| secret.len() == SECRET);
    // What is in the file is a secret, or half of one: it is not repeated.
    let hint = format!(
        "{}: does not hold {SECRET} bytes in base64; `openssl rand -base64 {SECRET}` makes them",
        file.display()
    );
    Key::of(&secret.ok_or(hint.clone())?).ok_or(hint)
}

impl Key {
    fn of(secret: &[u8]) -> Option<Self> {
        let root = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let derive = |what: &str| hmac::sign(&root, what.as_bytes());
        let mut id = [0; KEY_ID];
        id.copy_from_slice(derive("sixfold key id").as_ref().get(..KEY_ID)?);
        let sealing = UnboundKey::new(&AES_256_GCM_SIV, derive("sixfold sensitive fields").as_ref()).ok()?;
        let fingerprints = hmac::Key::new(hmac::HMAC_SHA256, derive("sixfold fingerprints").as_ref());
        Some(Self { id, sealing: LessSafeKey::new(sealing), fingerprints })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(secrets: &[u8]) -> Keys {
        Keys(secrets.iter().map(|secret| Key::of(&[*secret; SECRET]).unwrap()).collect())
    }

    #[test]
    fn a_value_opens_in_its_own_place_with_the_key_it_was_sealed_with() {
        let old = keys(&[1]);
        let sealed = old.seal(b"here", b"secret").unwrap();
        assert!(!sealed.windows(6).any(|window| window == b"secret"));
        assert_ne!(old.seal(b"here", b"secret").unwrap(), sealed, "nonces differ");
        let rotated = keys(&[2, 1]);
        assert_eq!(rotated.open(b"here", &sealed).unwrap(), b"secret");
        assert!(old.is_present(&sealed) && !rotated.is_present(&sealed));
        assert_eq!(rotated.open(b"there", &sealed), Err(Unreadable::Forged));
        assert!(matches!(keys(&[2]).open(b"here", &sealed), Err(Unreadable::Key(_))));
    }

    #[test]
    fn no_bit_of_a_sealed_value_can_be_changed() {
        let keys = keys(&[1]);
        let mut sealed = keys.seal(b"here", b"secret").unwrap();
        for bit in 0..sealed.len() * 8 {
            sealed[bit / 8] ^= 1 << (bit % 8);
            assert!(keys.open(b"here", &sealed).is_err(), "bit {bit}");
            sealed[bit / 8] ^= 1 << (bit % 8);
        }
        for length in 0..sealed.len() {
            assert!(keys.open(b"here", &sealed[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn a_key_file_that_is_missing_or_holds_no_key_is_named_and_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let (file, other) = (folder.path().join("key"), folder.path().join("other"));
        let settings = |previous: &[&Path]| config::Sensitive {
            key_file: Some(file.clone()),
            previous_key_files: previous.iter().map(|file| (*file).to_owned()).collect(),
        };
        let error = |previous: &[&Path]| Keys::read(&settings(previous)).unwrap_err();
        let text = error(&[]);
        assert!(
            text.starts_with("microservice.sensitive.key_file: ") && text.contains("/key: No such"),
            "{text}"
        );
        std::fs::write(&file, "aHVudGVyMg==").unwrap();
        let text = error(&[]);
        assert!(text.contains("openssl rand") && !text.contains("aHVu"), "{text}");
        std::fs::write(&file, format!("{}\n", BASE64_STANDARD.encode([7; SECRET]))).unwrap();
        assert_eq!(Keys::read(&settings(&[])).unwrap().0.len(), 1);
        std::fs::write(&other, BASE64_STANDARD.encode([7; SECRET])).unwrap();
        assert!(error(&[&other]).contains("previous_key_files"), "the same key twice");
        assert!(Keys::read(&config::Sensitive::default()).unwrap_err().contains("key_file is missing"));
    }
}
