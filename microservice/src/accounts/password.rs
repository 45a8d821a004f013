//! Hashing and verifying passwords with argon2id, a few at a time.

use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::{PasswordHash, SaltString};
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use process::problem::kinds;
use process::{Problem, Secret};
use rand::RngCore;
use tokio::sync::Semaphore;

/// What an unknown user's password is verified against, so that it takes as long as a known one's. Its
/// parameters are those of [`Argon2::default`] (19 MiB, two passes, one lane: OWASP's first choice); no
/// password is known to give it.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$c2l4Zm9sZC1ub2JvZHk$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// How many callers may wait for one place; a wait of about a second, after which a client gives up.
const WAITING_PER_PLACE: usize = 16;

/// When a caller that found no place may try again.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// The bytes of a random password: 144 bits, 24 characters.
const RANDOM_BYTES: usize = 18;

/// Hashes passwords on blocking threads, a bounded number at a time and a bounded number waiting.
#[derive(Debug)]
pub(super) struct Hasher {
    places: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl Hasher {
    /// Makes a hasher with this many places.
    pub(super) fn new(places: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places)),
            waiting: Arc::new(Semaphore::new(places * (1 + WAITING_PER_PLACE))),
        }
    }

    /// Hashes a password with a fresh salt, as a PHC string.
    pub(super) async fn hash(&self, password: Secret) -> Result<String, Problem> {
        let hashed = self.run(move || hash(&password)).await?;
        hashed.ok_or_else(|| Problem::new(kinds::INTERNAL))
    }

    /// Tells whether a password gives a hash; without a hash it never does, after the same work.
    pub(super) async fn verify(&self, password: Secret, hash: Option<String>) -> Result<bool, Problem> {
        self.run(move || verify(&password, hash.as_deref())).await
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
        let overloaded = || Problem::new(kinds::OVERLOADED).retry_after(RETRY_AFTER);
        let waiting = Arc::clone(&self.waiting).try_acquire_owned().map_err(|_| overloaded())?;
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| overloaded())?;
        // The permits go along: a caller that hangs up does not make room for more than the places.
        tokio::task::spawn_blocking(move || {
            let done = work();
            drop((place, waiting));
            done
        })
        .await
        .map_err(|_| Problem::new(kinds::INTERNAL))
    }
}

/// Makes a random password.
pub(super) fn random() -> Secret {
    let mut bytes = [0; RANDOM_BYTES];
    rand::rng().fill_bytes(&mut bytes);
    Secret::new(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

fn hash(password: &Secret) -> Option<String> {
    let mut salt = [0; 16];
    rand::rng().fill_bytes(&mut salt);
    let salt = SaltString::encode_b64(&salt).ok()?;
    Some(Argon2::default().hash_password(password.expose().as_bytes(), &salt).ok()?.to_string())
}

fn verify(password: &Secret, hash: Option<&str>) -> bool {
    let Ok(parsed) = PasswordHash::new(hash.unwrap_or(NOBODY)) else { return false };
    let matches = Argon2::default().verify_password(password.expose().as_bytes(), &parsed).is_ok();
    matches && hash.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_gives_the_hash() {
        let hasher = Hasher::new(1);
        let hash = hasher.hash(Secret::new("correct horse")).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(hasher.verify(Secret::new("correct horse"), Some(hash.clone())).await.unwrap());
        assert!(!hasher.verify(Secret::new("wrong horse"), Some(hash)).await.unwrap());
    }

    #[tokio::test]
    async fn an_unknown_user_costs_the_same_work_and_never_enters() {
        let parsed = PasswordHash::new(NOBODY).unwrap();
        let known = hash(&Secret::new("x")).unwrap();
        let known = PasswordHash::new(&known).unwrap();
        assert_eq!(parsed.params, known.params);
        assert_eq!(parsed.hash.unwrap().len(), known.hash.unwrap().len());
        assert!(!Hasher::new(1).verify(Secret::new("x"), None).await.unwrap());
    }

    #[tokio::test]
    async fn beyond_the_places_and_the_queue_a_caller_is_turned_away() {
        let hasher = Hasher::new(1);
        let all = u32::try_from(1 + WAITING_PER_PLACE).unwrap();
        let _held = hasher.waiting.try_acquire_many(all).unwrap();
        let problem = hasher.verify(Secret::new("x"), None).await.unwrap_err();
        assert_eq!(problem.kind(), kinds::OVERLOADED);
    }
}
