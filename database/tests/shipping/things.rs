//! What the tests of both backups write, read back.

use std::collections::BTreeMap;

use database::{Engine, Query};

/// Gives the value of every thing, and closes the database.
pub(crate) async fn values_of(engine: Engine) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    let mut after = None;
    loop {
        let query = Query::List { collection: "things".into(), after: after.clone(), limit: 100 };
        let page = engine.query("shop", &query).await.unwrap();
        after = page.records.last().map(|record| record.id.clone());
        if after.is_none() {
            break;
        }
        found.extend(page.records.into_iter().map(|r| (r.id, r.data["value"].as_u64().unwrap())));
    }
    engine.close();
    found
}
