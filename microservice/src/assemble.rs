//! A service's collections, made from its configuration once: what is served, described and declared is the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::routing::{any, get};
use axum::{Json, Router};
use cache::Cache;
use database::Declaration;
use process::services::SCHEMAS_PATH;
use serde_json::json;

use crate::collection::in_flight::InFlight;
use crate::collection::places::Feeds;
use crate::collection::{self, Collection, batch};
use crate::config::{self, Service};
use crate::cursor::Keys;
use crate::declare;
use crate::doubt::Doubt;
use crate::follower::OwnWrites;
use crate::namespace::Namespace;
use crate::openapi;
use crate::rules::Rules;
use crate::schema::Schema;
use crate::sensitive::{self, Sensitive};

/// What the collections of a service share.
pub(crate) struct Common {
    pub(crate) namespace: Namespace,
    pub(crate) cache: Cache,
    /// The writes of this instance, which it invalidated itself.
    pub(crate) own_writes: Arc<OwnWrites>,
    /// Whether the cache is not to be believed.
    pub(crate) doubt: Arc<Doubt>,
    /// Who follows their changes.
    pub(crate) feeds: Arc<Feeds>,
    /// Which idempotency keys are under way.
    pub(crate) in_flight: Arc<InFlight>,
    /// What signs their cursors.
    pub(crate) cursor_keys: Arc<Keys>,
    /// What seals sensitive fields; there if any collection has some.
    pub(crate) sealing: Option<Arc<sensitive::Keys>>,
}

/// Collections that are ready to be served.
pub(crate) struct Assembled {
    collections: batch::Collections,
    /// What each declares to the database.
    declared: BTreeMap<String, Declaration>,
}

/// Makes the collections of a service; an error names the collection and what is wrong.
pub(crate) fn assemble(service: &Service, common: &Common) -> Result<Assembled, String> {
    let (mut collections, mut declared) = (batch::Collections::new(), BTreeMap::new());
    for (name, settings) in &service.collections {
        let (collection, declaration) = make(name, settings, common)?;
        collections.insert(name.clone(), Arc::new(collection));
        declared.insert(name.clone(), declaration);
    }
    Ok(Assembled { collections, declared })
}

fn make(
    name: &str,
    settings: &config::Collection,
    common: &Common,
) -> Result<(Collection, Declaration), String> {
    let refused = |(part, reason): (&str, String)| format!("{name}.{part}: {reason}");
    let schema = Schema::load(settings)?;
    let rules = Rules::read(settings, &schema).map_err(refused)?;
    let declaration = declare::declaration(name, settings, &schema).map_err(refused)?;
    let Namespace { name: namespace, database } = &common.namespace;
    let collection = Collection {
        indexed: declare::indexed(&declaration),
        indexed_texts: declare::indexed_texts(&declaration),
        namespace: namespace.clone(),
        name: name.to_owned(),
        path: format!("/{namespace}/{name}"),
        settings: settings.clone(),
        schema,
        sensitive: Sensitive::new(namespace, name, &settings.sensitive, common.sealing.clone()),
        rules,
        database: database.clone(),
        feeds: Arc::clone(&common.feeds),
        in_flight: Arc::clone(&common.in_flight),
        keys: Arc::clone(&common.cursor_keys),
        cache: common.cache.clone(),
        own_writes: Arc::clone(&common.own_writes),
        doubt: Arc::clone(&common.doubt),
    };
    Ok((collection, declaration))
}

impl Assembled {
    /// Gives what the database is to have, also of deleted records.
    pub(crate) fn declarations(&self) -> Vec<Declaration> {
        let with_deleted =
            self.collections.iter().zip(self.declared.values()).flat_map(|((_, of), declared)| {
                let deleted = of.settings.soft_delete.then(|| declare::of_deleted(declared));
                deleted.into_iter().chain([declared.clone()])
            });
        with_deleted.collect()
    }

    /// Names what has sensitive fields.
    pub(crate) fn sensitive(&self) -> Vec<Sensitive> {
        let all = self.collections.values().map(|collection| collection.sensitive.clone());
        all.filter(|sensitive| !sensitive.is_empty()).collect()
    }

    /// Makes the routes: of each collection, of batches, and of what describes them.
    pub(crate) fn routes(self, namespace: &str) -> Router {
        let described: Vec<_> =
            self.collections.values().map(AsRef::as_ref).zip(self.declared.values()).collect();
        let description = Json(openapi::describe(namespace, &described));
        let describe = get(move || std::future::ready(description.clone()));
        let schemas = Json(json!({ "collections": self.schemas() }));
        let mut router = Router::new();
        for collection in self.collections.values() {
            router = router.merge(collection::routes(Arc::clone(collection)));
        }
        let batch = any(batch::serve).with_state(Arc::new(self.collections));
        router
            // Beside the collections too, so that a route that reaches them reaches it; no collection's name has a dot.
            .route("/openapi.json", describe.clone())
            .route(&format!("/{namespace}/openapi.json"), describe)
            .route(&format!("/{namespace}/_batch"), batch.clone())
            // The name with a colon is a sibling of the collections' paths, which their routes do not reach.
            .route(&format!("/{namespace}:batch"), batch)
            .route(SCHEMAS_PATH, get(move || std::future::ready(schemas.clone())))
    }

    /// Gives what gateways check bodies by, under the paths of the collections.
    fn schemas(&self) -> BTreeMap<&str, serde_json::Value> {
        let of_one = |collection: &Arc<Collection>| {
            json!({
                "schema": collection.schema.of_bodies(),
                "sensitive": collection.schema.sensitive_fields(),
            })
        };
        self.collections.values().map(|collection| (collection.path.as_str(), of_one(collection))).collect()
    }
}
