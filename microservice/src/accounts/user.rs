//! Users: their names, their records, and the passwords they may choose.

use serde::{Deserialize, Serialize};

/// The collection of the users.
pub(super) const USERS: &str = "users";

/// The role of everybody who has an account.
pub(super) const USER_ROLE: &str = "user";

/// The role that may do everything.
pub(super) const ADMIN_ROLE: &str = "admin";

/// The longest user name.
const NAME_LIMIT: usize = 64;

/// The shortest password a person may choose (NIST SP 800-63B §5.1.1.2).
const SHORTEST_PASSWORD: usize = 8;

/// The longest password in bytes; more would only be work.
const LONGEST_PASSWORD: usize = 1024;

/// A user as it is stored, under its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct User {
    /// The hash of its password as a PHC string.
    pub(super) password_hash: String,
    /// Its roles.
    pub(super) roles: Vec<String>,
}

/// Reads a user name: it does not depend on case, so nobody is `Admin` beside `admin`.
pub(super) fn read_name(text: &str) -> Option<String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'@' | b'+');
    let is_name = (1..=NAME_LIMIT).contains(&text.len()) && text.bytes().all(fits);
    is_name.then(|| text.to_ascii_lowercase())
}

/// Says why a password cannot be chosen, if it cannot.
pub(crate) fn refuse_password(password: &str) -> Option<String> {
    let fits = password.chars().count() >= SHORTEST_PASSWORD && password.len() <= LONGEST_PASSWORD;
    (!fits).then(|| format!("a password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_does_not_depend_on_case_and_needs_no_escaping() {
        assert_eq!(read_name("Ada.Lovelace@x"), Some("ada.lovelace@x".into()));
        for name in ["", "a b", "a/b", "a,b", "ä", "a\n", &"a".repeat(65)] {
            assert_eq!(read_name(name), None, "{name}");
        }
    }
}
