//! How many connections one address may have, over all threads.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The part of an IPv6 address that counts: whoever has one address has the 64 bits below it too.
const NETWORK_BITS: u32 = 64;

/// Counts connections by address. The lock is taken when a connection begins and ends, never for a request,
/// and not at all without a limit.
#[derive(Debug)]
pub(super) struct Addresses {
    limit: usize,
    counts: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection's place among those of its address, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    addresses: Arc<Addresses>,
    key: IpAddr,
}

impl Addresses {
    /// Makes a count; 0 means that there is no limit.
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, counts: Mutex::default() })
    }

    /// Counts a connection in; `Err` if its address has all it may have, `Ok(None)` if nobody counts.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Result<Option<Place>, ()> {
        if self.limit == 0 {
            return Ok(None);
        }
        let key = network(address);
        let mut counts = self.counts();
        let count = counts.entry(key).or_default();
        if *count >= self.limit {
            return Err(());
        }
        *count += 1;
        Ok(Some(Place { addresses: Arc::clone(self), key }))
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.addresses.counts();
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> NETWORK_BITS << NETWORK_BITS).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_gets_its_places_back_and_others_have_their_own() {
        let addresses = Addresses::new(2);
        let enter = |text: &str| addresses.enter(text.parse().unwrap());
        let first = enter("192.0.2.1").unwrap();
        let _second = enter("::ffff:192.0.2.1").unwrap();
        assert!(enter("192.0.2.1").is_err());
        assert!(enter("192.0.2.2").is_ok());
        drop(first);
        assert!(enter("192.0.2.1").is_ok());
    }

    #[test]
    fn an_ipv6_client_counts_as_its_network() {
        let addresses = Addresses::new(1);
        let _first = addresses.enter("2001:db8::1".parse().unwrap()).unwrap();
        assert!(addresses.enter("2001:db8::ffff:2".parse().unwrap()).is_err());
        assert!(addresses.enter("2001:db8:0:1::1".parse().unwrap()).is_ok());
    }

    #[test]
    fn what_is_gone_takes_no_memory() {
        let addresses = Addresses::new(1);
        drop(addresses.enter("192.0.2.1".parse().unwrap()).unwrap());
        assert!(addresses.counts().is_empty());
        assert!(Addresses::new(0).enter("192.0.2.1".parse().unwrap()).unwrap().is_none());
    }
}
