//! The start: the signing key, the first account, and the end of sessions that are over.

use std::sync::PoisonError;

use database::{Error, Precondition};
use jiff::Timestamp;
use process::Secret;

use super::session::{SESSIONS, Session};
use super::signer::Signer;
use super::user::{ADMIN_ROLE, USER_ROLE, USERS, User};
use super::{Accounts, FirstAdmin, password};

/// The first account's name.
const FIRST_ADMIN: &str = "admin";

/// How many sessions one sweep looks at; the oldest logins come first.
const SWEEP: u32 = 200;

impl Accounts {
    /// Loads or makes the keys and the first account; done again after an error it goes on where it was.
    pub(crate) async fn prepare(&self) -> Result<(), Error> {
        if self.signer.get().is_none() {
            let signer = Signer::load(&self.records).await?;
            let _ = self.signer.set(signer);
        }
        self.ensure_first_admin().await
    }

    /// Makes the account `admin` when there is no account at all.
    async fn ensure_first_admin(&self) -> Result<(), Error> {
        if !self.records.list::<User>(USERS, None, 1).await?.is_empty() {
            return Ok(());
        }
        let (chosen, password) = match &self.settings.admin_password {
            Some(password) => (true, password.clone()),
            None => (false, password::random()),
        };
        let password_hash = self.hash_own(password.clone()).await?;
        let admin = User { password_hash, roles: vec![ADMIN_ROLE.to_owned(), USER_ROLE.to_owned()] };
        match self.records.put(USERS, FIRST_ADMIN, &admin, Precondition::Absent).await {
            Ok(_) if chosen => Ok(()),
            Ok(_) => {
                let made = FirstAdmin { username: FIRST_ADMIN.to_owned(), password };
                *self.first_admin.lock().unwrap_or_else(PoisonError::into_inner) = Some(made);
                Ok(())
            }
            // Another instance was faster, and its password is the one that counts.
            Err(Error::PreconditionFailed { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn hash_own(&self, password: Secret) -> Result<String, Error> {
        self.hasher.hash(password).await.map_err(|_| Error::Overloaded)
    }

    /// Removes the oldest sessions that are over; their order is that of the logins, and all last equally
    /// long, so a sweep ends at the first that is not.
    pub(crate) async fn sweep_sessions(&self, now: Timestamp) -> Result<(), Error> {
        loop {
            let oldest = self.records.list::<Session>(SESSIONS, None, SWEEP).await?;
            let over = oldest.iter().take_while(|session| session.value.expires_at <= now);
            let mut removed = 0;
            for session in over {
                self.records.delete(SESSIONS, &session.id).await?;
                removed += 1;
            }
            if removed < oldest.len() || oldest.is_empty() {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use database::Database;
    use process::ClusterToken;

    use super::*;
    use crate::config;

    #[tokio::test]
    async fn a_sweep_removes_the_sessions_that_are_over_and_no_other() {
        let data = tempfile::tempdir().unwrap();
        let engine = database::Engine::open(&database::Config::default(), data.path()).unwrap();
        let database = Database::Local(engine.clone());
        let accounts =
            Accounts::new("accounts", config::Accounts::default(), database, ClusterToken::default());
        let start = Timestamp::now();
        for number in 0..SWEEP + 10 {
            let lasts = Duration::from_secs(if number <= SWEEP + 5 { 60 } else { 600 });
            let (session, token) = Session::begin("ada", start, lasts);
            let stored = accounts.records.put(SESSIONS, &token.session, &session, Precondition::Absent);
            stored.await.unwrap();
        }
        accounts.sweep_sessions(start + Duration::from_secs(60)).await.unwrap();
        let left = accounts.records.list::<Session>(SESSIONS, None, SWEEP).await.unwrap();
        assert_eq!(left.len(), 4);
        assert!(left.iter().all(|session| session.value.expires_at > start + Duration::from_secs(60)));
        engine.close();
    }
}
