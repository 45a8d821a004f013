//! Sessions: one login and the chain of refresh tokens that continues it.
//!
//! A session is one record that holds the hash of its only good refresh token. Refreshing replaces the
//! hash on the condition that nobody else did; any other token of the session is one that was used
//! before, so somebody has a copy, and the session ends for both (RFC 9700 §4.14.2).

use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::Timestamp;
use process::Secret;
use rand::RngCore;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use uuid::Uuid;

/// The collection of the sessions, by their IDs.
pub(super) const SESSIONS: &str = "sessions";

/// The bytes of a refresh token's random part: 256 bits.
const SECRET_BYTES: usize = 32;

/// A session as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Session {
    /// Whose it is.
    pub(super) username: String,
    /// The SHA-256 of the good refresh token's random part, as base64url.
    token_hash: String,
    /// When it ends, however often it is refreshed.
    pub(super) expires_at: Timestamp,
}

/// A refresh token: the session's ID and a random part, joined by a dot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RefreshToken {
    /// The session's ID.
    pub(super) session: String,
    secret: Secret,
}

/// What a presented refresh token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presented {
    /// The good one.
    Good,
    /// Of a session that is over.
    Expired,
    /// One that was used before, or made up: the session must end.
    Reused,
}

impl Session {
    /// Begins a session of a user: the first token and what is stored of it. IDs grow with time.
    pub(super) fn begin(username: &str, now: Timestamp, lasts: Duration) -> (Self, RefreshToken) {
        let token = RefreshToken { session: Uuid::now_v7().to_string(), secret: random() };
        let expires_at = now.checked_add(lasts).unwrap_or(Timestamp::MAX);
        let session = Self { username: username.to_owned(), token_hash: token.hash(), expires_at };
        (session, token)
    }

    /// Judges a token of this session.
    pub(super) fn judge(&self, token: &RefreshToken, now: Timestamp) -> Presented {
        if self.expires_at <= now {
            return Presented::Expired;
        }
        match bool::from(self.token_hash.as_bytes().ct_eq(token.hash().as_bytes())) {
            true => Presented::Good,
            false => Presented::Reused,
        }
    }

    /// Replaces the good token by a new one.
    pub(super) fn rotate(self, token: &RefreshToken) -> (Self, RefreshToken) {
        let token = RefreshToken { session: token.session.clone(), secret: random() };
        (Self { token_hash: token.hash(), ..self }, token)
    }
}

impl RefreshToken {
    /// Reads a token; `None` for what cannot be one.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (session, secret) = text.split_once('.')?;
        let session = Uuid::try_parse(session).ok()?.to_string();
        let is_secret = BASE64_URL_SAFE_NO_PAD.decode(secret).is_ok_and(|bytes| bytes.len() == SECRET_BYTES);
        is_secret.then(|| Self { session, secret: Secret::new(secret) })
    }

    /// Writes the token for the client.
    pub(super) fn write(&self) -> String {
        format!("{}.{}", self.session, self.secret.expose())
    }

    /// Plain SHA-256 is enough: there are 256 random bits to guess.
    fn hash(&self) -> String {
        let hash = digest::digest(&digest::SHA256, self.secret.expose().as_bytes());
        BASE64_URL_SAFE_NO_PAD.encode(hash)
    }
}

fn random() -> Secret {
    let mut bytes = [0; SECRET_BYTES];
    rand::rng().fill_bytes(&mut bytes);
    Secret::new(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_latest_token_is_good_until_the_session_ends() {
        let now = Timestamp::now();
        let (session, first) = Session::begin("ada", now, Duration::from_secs(60));
        assert_eq!(session.judge(&first, now), Presented::Good);
        let (session, second) = session.rotate(&first);
        assert_eq!(session.judge(&second, now), Presented::Good);
        assert_eq!(session.judge(&first, now), Presented::Reused);
        let end = now + Duration::from_secs(60);
        assert_eq!(session.judge(&second, end), Presented::Expired, "refreshing does not prolong it");
    }

    #[test]
    fn a_token_reads_back_as_written_and_is_stored_only_as_a_hash() {
        let (session, token) = Session::begin("ada", Timestamp::now(), Duration::from_secs(60));
        assert_eq!(RefreshToken::read(&token.write()), Some(token.clone()));
        let stored = serde_json::to_string(&session).unwrap();
        assert!(!stored.contains(token.secret.expose()), "{stored}");
        assert!(!format!("{token:?}").contains(token.secret.expose()));
    }

    #[test]
    fn what_cannot_be_a_token_is_refused() {
        let (_, token) = Session::begin("ada", Timestamp::now(), Duration::from_secs(60));
        let text = token.write();
        for text in
            ["", ".", "a.b", &text[1..], &text[..text.len() - 1], &format!("{text}A"), "../users/admin."]
        {
            assert_eq!(RefreshToken::read(text), None, "{text}");
        }
    }
}
