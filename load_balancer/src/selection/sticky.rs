//! The cookie that brings a client back to the backend it was at before.
//!
//! Its value is a MAC of the backend's name under a secret: nobody can read an address from it, and nobody
//! without the secret can make one up. All balancers with the same secret understand each other's.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The bytes of the MAC that are used: 128 bits, the least RFC 2104 §5 allows of HMAC-SHA256.
const LEN: usize = 16;

/// What the MAC is for, so that the same secret can serve other purposes.
const PURPOSE: &[u8] = b"sixfold sticky cookie 1\0";

/// The cookies of a cluster's backends; made when they change.
#[derive(Debug, Default)]
pub struct Sticky {
    macs: Vec<[u8; LEN]>,
}

impl Sticky {
    /// Makes the cookies for backends given by their names.
    pub fn new<'a>(secret: &[u8], backends: impl IntoIterator<Item = &'a str>) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let mac = |name: &str| {
            let mut context = hmac::Context::with_key(&key);
            context.update(PURPOSE);
            context.update(name.as_bytes());
            let mut mac = [0; LEN];
            mac.copy_from_slice(&context.sign().as_ref()[..LEN]);
            mac
        };
        Self { macs: backends.into_iter().map(mac).collect() }
    }

    /// Gives the value of a backend's cookie.
    pub fn encode(&self, index: usize) -> Option<String> {
        self.macs.get(index).map(|mac| URL_SAFE_NO_PAD.encode(mac))
    }

    /// Gives the backend a cookie's value names; `None` if it is not one of ours, or its backend is gone.
    pub fn verify(&self, value: &str) -> Option<usize> {
        let mut given = [0; LEN];
        let len = URL_SAFE_NO_PAD.decode_slice(value, &mut given).ok()?;
        // All are compared, each in constant time: the time tells nothing about what would have been right.
        let mut found = None;
        for (index, mac) in self.macs.iter().enumerate() {
            if verify_slices_are_equal(mac, &given[..len]).is_ok() {
                found = Some(index);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 3] = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"];

    #[test]
    fn a_cookie_names_its_backend_and_survives_others_leaving() {
        let all = Sticky::new(b"secret", NAMES);
        let cookie = all.encode(2).unwrap();
        assert_eq!(all.verify(&cookie), Some(2));
        let fewer = Sticky::new(b"secret", [NAMES[2]]);
        assert_eq!(fewer.verify(&cookie), Some(0));
        assert_eq!(Sticky::new(b"secret", [NAMES[0]]).verify(&cookie), None);
    }

    #[test]
    fn what_was_not_made_with_the_secret_names_nobody() {
        let ours = Sticky::new(b"secret", NAMES);
        let theirs = Sticky::new(b"guess", NAMES).encode(0).unwrap();
        for value in [theirs.as_str(), "", "A", "10.0.0.1:80", &"A".repeat(22), &"A".repeat(4000)] {
            assert_eq!(ours.verify(value), None, "{value}");
        }
        let cookie = ours.encode(0).unwrap();
        let forged =
            if cookie.starts_with('A') { cookie.replacen('A', "B", 1) } else { format!("A{}", &cookie[1..]) };
        assert_eq!(ours.verify(&forged), None);
        assert_eq!(ours.verify(&cookie[..20]), None, "a part of it is not enough");
    }

    #[test]
    fn no_address_can_be_read_from_a_cookie() {
        let cookie = Sticky::new(b"secret", NAMES).encode(0).unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(&cookie).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains("10.0"));
        assert_eq!(cookie.len(), 22);
    }
}
