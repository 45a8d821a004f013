//! Tokens that were verified lately, so that a token in use costs no signature check.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::Verified;

/// The tokens one thread remembers: two generations, of which the older makes way as a whole.
///
/// So at most the configured number is held, and one that is in use survives every change.
#[derive(Debug)]
pub(crate) struct Remembered {
    half: usize,
    inner: RefCell<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// The keys these were verified with; others make them worthless.
    keys: u64,
    young: HashMap<Box<str>, Rc<Verified>>,
    old: HashMap<Box<str>, Rc<Verified>>,
}

impl Remembered {
    /// Makes room for so many tokens.
    pub(crate) fn new(tokens: usize) -> Self {
        Self { half: tokens.div_ceil(2), inner: RefCell::default() }
    }

    /// Finds a token that was verified with these keys and has not expired.
    pub(crate) fn find(&self, token: &str, keys: u64, unix_now: u64) -> Option<Rc<Verified>> {
        let inner = &mut *self.inner.borrow_mut();
        if inner.keys != keys {
            return None;
        }
        let found = match inner.young.get(token) {
            Some(found) => Rc::clone(found),
            None => {
                let (token, found) = inner.old.remove_entry(token)?;
                self.insert(inner, token, Rc::clone(&found));
                found
            }
        };
        (unix_now < found.valid_until).then_some(found)
    }

    /// Remembers a token that was verified with these keys.
    pub(crate) fn remember(&self, token: &str, keys: u64, verified: Rc<Verified>) {
        let inner = &mut *self.inner.borrow_mut();
        if inner.keys != keys {
            *inner = Inner { keys, ..Inner::default() };
        }
        self.insert(inner, token.into(), verified);
    }

    fn insert(&self, inner: &mut Inner, token: Box<str>, verified: Rc<Verified>) {
        if self.half == 0 {
            return;
        }
        if inner.young.len() >= self.half {
            inner.old = std::mem::take(&mut inner.young);
        }
        inner.young.insert(token, verified);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TokenConfig;
    use crate::token::testing::{Issuer, NOW};
    use crate::token::{Rules, verify};

    fn verified() -> Rc<Verified> {
        let issuer = Issuer::new("k1");
        let token = issuer.sign(&issuer.claims("ada", &[]));
        Rc::new(verify(&token, &issuer.key_set(), &Rules::from(&TokenConfig::default()), NOW).unwrap())
    }

    #[test]
    fn a_token_is_remembered_until_it_expires_or_the_keys_change() {
        let (remembered, ada) = (Remembered::new(8), verified());
        remembered.remember("a", 1, Rc::clone(&ada));
        assert!(remembered.find("a", 1, NOW).is_some());
        assert!(remembered.find("a", 1, ada.valid_until).is_none());
        assert!(remembered.find("a", 2, NOW).is_none());
        assert!(remembered.find("b", 1, NOW).is_none());
    }

    #[test]
    fn no_more_than_configured_are_held_and_one_in_use_stays() {
        let (remembered, ada) = (Remembered::new(8), verified());
        remembered.remember("busy", 1, Rc::clone(&ada));
        for number in 0..1000 {
            remembered.remember(&number.to_string(), 1, Rc::clone(&ada));
            assert!(remembered.find("busy", 1, NOW).is_some(), "{number}");
            let inner = remembered.inner.borrow();
            assert!(inner.young.len() + inner.old.len() <= 8);
        }
        assert!(remembered.find("0", 1, NOW).is_none());
    }
}
