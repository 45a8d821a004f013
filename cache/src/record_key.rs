//! The key under which a record is cached: one function, because whoever changes a record must invalidate
//! the very key that a service reads it under.

/// Names a record in the shared cache.
///
/// Every name is preceded by its length, so that no two different records share a key.
pub fn record_key(namespace: &str, collection: &str, id: &str) -> String {
    format!("record:{}:{namespace}:{}:{collection}:{id}", namespace.len(), collection.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_records_share_a_key() {
        assert_eq!(record_key("orders", "orders", "7"), "record:6:orders:6:orders:7");
        assert_ne!(record_key("a", "b:c", "d"), record_key("a", "b", "c:d"));
        assert_ne!(record_key("a:1:b", "c", "d"), record_key("a", "b", "c:d"));
    }
}
