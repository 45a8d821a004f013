//! The table of routes: from host, path and method to a route, built once and never changed.

use std::collections::HashMap;

use http::{HeaderValue, Method};
use process::{ConfigError, Services};

use crate::config::{Config, RouteConfig, check_rate, unknown_service};
use crate::path::{normalise, readings};
use crate::rate::Rate;
use crate::route::Route;
use crate::target::trim_host;

/// What `Allow` tells of a route that takes every method: those of RFC 9110 and RFC 5789 that reach a service.
const ANY_METHOD: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

/// What the gateway answers for every path.
const OPTIONS: &str = "OPTIONS";

/// What the table says about a request.
#[derive(Debug)]
pub(crate) enum Found<'t> {
    /// This route takes it.
    Route(&'t Route),
    /// There is something at the path, for these methods (the value of `Allow`).
    OtherMethods(&'t HeaderValue),
    /// There is nothing at the path.
    Nothing,
}

/// All routes of a gateway.
#[derive(Debug)]
pub(crate) struct RouteTable {
    routes: Vec<Route>,
    any_host: Paths,
    hosts: HashMap<String, Paths>,
    /// The services that routes lead to, without repeats.
    pub(crate) services: Vec<String>,
}

/// The path patterns of one host.
#[derive(Debug, Default)]
struct Paths {
    patterns: matchit::Router<usize>,
    entries: Vec<Entry>,
}

/// What one path pattern takes.
#[derive(Debug)]
struct Entry {
    pattern: String,
    by_method: Vec<(Method, usize)>,
    other_methods: Option<usize>,
    allow: HeaderValue,
}

impl RouteTable {
    /// Builds the table, or says which route is at fault.
    pub(crate) fn build(config: &Config, services: &Services) -> Result<Self, ConfigError> {
        let mut table = Self {
            routes: Vec::new(),
            any_host: Paths::default(),
            hosts: HashMap::new(),
            services: Vec::new(),
        };
        let routes = config.effective_routes(services);
        for (place, route) in routes.iter().enumerate() {
            table.add(route, &describe(config, place, route), config, services)?;
        }
        for paths in std::iter::once(&mut table.any_host).chain(table.hosts.values_mut()) {
            paths.complete()?;
        }
        let needs_tokens = routes.iter().enumerate().find(|(_, route)| !route.public);
        if let Some((place, route)) = needs_tokens
            && services.find(&config.token.jwks_service).is_none()
        {
            let key = describe(config, place, route);
            let message = format!(
                "its users need tokens, but there is no service `{}` to check them with; set public = true or \
                 api_gateway.token.jwks_service",
                config.token.jwks_service
            );
            return Err(ConfigError::inconsistent(key, message));
        }
        Ok(table)
    }

    /// Finds the route for a request; a host's own routes come before those for every host.
    pub(crate) fn find(&self, host: Option<&str>, path: &str, method: &Method) -> Found<'_> {
        let Some(entry) = self.find_entry(host, path) else { return Found::Nothing };
        let by_method = entry.by_method.iter().find(|(known, _)| known == method).map(|(_, index)| *index);
        match by_method.or(entry.other_methods) {
            Some(index) => Found::Route(&self.routes[index]),
            None => Found::OtherMethods(&entry.allow),
        }
    }

    /// Finds which methods a path takes (the value of `Allow`), if there is anything at it.
    pub(crate) fn find_methods(&self, host: Option<&str>, path: &str) -> Option<&HeaderValue> {
        self.find_entry(host, path).map(|entry| &entry.allow)
    }

    /// Tells whether there is a server that would read a path as one whose route asks for more than this one.
    pub(crate) fn could_ask_more(
        &self,
        route: &Route,
        host: Option<&str>,
        path: &str,
        method: &Method,
    ) -> bool {
        readings(path).any(|reading| match self.find(host, &reading, method) {
            Found::Route(other) => other.asks_more_than(route),
            Found::OtherMethods(_) => true,
            Found::Nothing => false,
        })
    }

    fn find_entry(&self, host: Option<&str>, path: &str) -> Option<&Entry> {
        let own = host
            .filter(|_| !self.hosts.is_empty())
            .and_then(|host| self.hosts.get(&trim_host(host).to_ascii_lowercase()));
        own.and_then(|paths| paths.find(path)).or_else(|| self.any_host.find(path))
    }

    /// Tells whether any route to a service checks bodies.
    pub(crate) fn validates(&self, service: usize) -> bool {
        self.routes.iter().any(|route| route.service == service && route.validates)
    }

    fn add(
        &mut self,
        config: &RouteConfig,
        key: &str,
        gateway: &Config,
        services: &Services,
    ) -> Result<(), ConfigError> {
        let fault = |message: String| ConfigError::inconsistent(key, message);
        if services.find(&config.service).is_none() {
            return Err(unknown_service(key, &config.service, services));
        }
        check_path(&config.path).map_err(fault)?;
        if let Some(host) = &config.host
            && trim_host(host) != host
        {
            let name = trim_host(host);
            return Err(fault(format!("a host is a name without a port or a dot at its end, as `{name}`")));
        }
        if config.public && !config.roles.is_empty() {
            return Err(fault("it is public, so it cannot ask for roles".to_owned()));
        }
        if let Some(prefix) = &config.strip_prefix
            && (!prefix.starts_with('/')
                || prefix.ends_with('/')
                || !config.path.starts_with(&format!("{prefix}/")))
        {
            return Err(fault(format!("strip_prefix `{prefix}` is not what the path starts with")));
        }
        if let Some(rate) = config.rate {
            check_rate(key, rate)?;
        }
        let mut methods = Vec::with_capacity(config.methods.len());
        for name in &config.methods {
            // They are case-sensitive (RFC 9110 §9.1), so it would match nothing that clients send.
            if name.bytes().any(|byte| byte.is_ascii_lowercase()) {
                let capital = name.to_ascii_uppercase();
                return Err(fault(format!("there is no method `{name}`; did you mean `{capital}`?")));
            }
            let method =
                Method::from_bytes(name.as_bytes()).map_err(|_| fault(format!("`{name}` is no method")))?;
            methods.push(method);
        }
        let service = self.services.iter().position(|name| *name == config.service).unwrap_or_else(|| {
            self.services.push(config.service.clone());
            self.services.len() - 1
        });
        let index = self.routes.len();
        self.routes.push(Route {
            number: number_of(config),
            service,
            is_public: config.public,
            roles: config.roles.clone(),
            timeout: config.timeout.unwrap_or(gateway.timeout),
            connect_timeout: config.connect_timeout.unwrap_or(gateway.connect_timeout),
            total_timeout: config.total_timeout,
            body_limit: config.body_limit.unwrap_or(gateway.body_limit),
            rate: config.rate.map(Rate::from),
            validates: config.validate,
            strip_prefix: config.strip_prefix.clone(),
        });
        let paths = match &config.host {
            None => &mut self.any_host,
            Some(host) => self.hosts.entry(host.to_ascii_lowercase()).or_default(),
        };
        paths.add(&config.path, &methods, index).map_err(fault)
    }
}

impl Paths {
    fn add(&mut self, pattern: &str, methods: &[Method], route: usize) -> Result<(), String> {
        let place = match self.entries.iter().position(|entry| entry.pattern == pattern) {
            Some(place) => place,
            None => {
                let place = self.entries.len();
                self.patterns.insert(pattern, place).map_err(|error| error.to_string())?;
                self.entries.push(Entry {
                    pattern: pattern.to_owned(),
                    by_method: Vec::new(),
                    other_methods: None,
                    allow: HeaderValue::from_static(""),
                });
                place
            }
        };
        let entry = &mut self.entries[place];
        let twice = "it is there twice; the built-in routes go away with api_gateway.default_routes = false";
        if methods.is_empty() && entry.other_methods.replace(route).is_some() {
            return Err(twice.to_owned());
        }
        for method in methods {
            if entry.by_method.iter().any(|(known, _)| known == method) {
                return Err(format!("{method}: {twice}"));
            }
            entry.by_method.push((method.clone(), route));
        }
        Ok(())
    }

    fn complete(&mut self) -> Result<(), ConfigError> {
        for entry in &mut self.entries {
            let mut methods: Vec<&str> = entry.by_method.iter().map(|(method, _)| method.as_str()).collect();
            let others = ANY_METHOD.iter().filter(|_| entry.other_methods.is_some());
            for method in others.chain([&OPTIONS]) {
                if !methods.contains(method) {
                    methods.push(method);
                }
            }
            entry.allow = HeaderValue::try_from(methods.join(", "))
                .map_err(|error| ConfigError::inconsistent(entry.pattern.clone(), error.to_string()))?;
        }
        Ok(())
    }

    fn find(&self, path: &str) -> Option<&Entry> {
        self.patterns.at(path).ok().map(|found| &self.entries[*found.value])
    }
}

/// Gives a route a number that stays when others come and go, so that what clients have used of its rate
/// stays too (FNV-1a; two routes with one number, 1 in 2^32, would share a rate).
fn number_of(route: &RouteConfig) -> u32 {
    let methods = route.methods.iter().map(String::as_str);
    let parts = [route.host.as_deref().unwrap_or_default(), &route.path].into_iter().chain(methods);
    let bytes = parts.flat_map(|part| part.bytes().chain([0]));
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash.max(1)
}

/// Refuses a path that no request has once it is normal.
fn check_path(path: &str) -> Result<(), String> {
    if !path.starts_with('/') {
        return Err("a path starts with `/`".to_owned());
    }
    match normalise(path) {
        Some(normal) if normal != path => Err(format!("requests are matched as `{normal}`; write it so")),
        Some(_) if path.is_ascii() => Ok(()),
        _ => Err("`%` and letters beyond ASCII are written percent-encoded, as in `%25`".to_owned()),
    }
}

/// Names a route in an error; one's own by its place in the file, where the built-in ones have none.
fn describe(gateway: &Config, place: usize, route: &RouteConfig) -> String {
    let host = route.host.as_deref().unwrap_or_default();
    let listed = if place < gateway.routes.len() { format!("[{place}]") } else { String::new() };
    format!("api_gateway.routes{listed}: {host}{}", route.path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(routes: &str) -> RouteTable {
        let config: Config = serde_json::from_str(&format!(r#"{{"routes": {routes}}}"#)).unwrap();
        RouteTable::build(&config, &Services::default()).unwrap()
    }

    fn service(table: &RouteTable, host: Option<&str>, path: &str, method: Method) -> Option<String> {
        match table.find(host, path, &method) {
            Found::Route(route) => Some(table.services[route.service].clone()),
            _ => None,
        }
    }

    #[test]
    fn reading_the_catalog_is_public_and_writing_takes_an_admin() {
        let table = table("[]");
        let Found::Route(read) = table.find(None, "/catalog/products", &Method::GET) else { panic!() };
        assert!(read.is_public);
        let Found::Route(write) = table.find(None, "/catalog/products", &Method::POST) else { panic!() };
        assert!(!write.is_public && write.validates);
        assert_eq!(write.roles, ["admin"]);
    }

    #[test]
    fn a_path_with_a_verb_after_a_colon_reaches_the_worker() {
        assert_eq!(service(&table("[]"), None, "/jobs/0190:cancel", Method::POST).unwrap(), "worker");
    }

    #[test]
    fn the_list_of_queues_is_the_worker_s_and_takes_an_admin() {
        let table = table("[]");
        let Found::Route(list) = table.find(None, "/queues", &Method::GET) else { panic!() };
        assert_eq!((&*table.services[list.service], &*list.roles), ("worker", &["admin".to_owned()][..]));
    }

    #[test]
    fn another_method_is_told_which_are_allowed() {
        let table = table("[]");
        let Found::OtherMethods(allow) = table.find(None, "/auth/login", &Method::GET) else { panic!() };
        assert_eq!(allow, "POST, OPTIONS");
        assert!(matches!(table.find(None, "/nowhere", &Method::GET), Found::Nothing));
        assert!(matches!(table.find(None, "/catalog", &Method::GET), Found::Nothing));
    }

    #[test]
    fn a_host_s_own_route_comes_first_and_the_others_still_answer() {
        let table = table(r#"[{"host": "shop.example", "path": "/catalog/{*rest}", "service": "orders"}]"#);
        let find = |host, path| service(&table, Some(host), path, Method::GET).unwrap();
        assert_eq!(find("Shop.Example:8000", "/catalog/a"), "orders");
        assert_eq!(find("shop.example.", "/catalog/a"), "orders");
        assert_eq!(find("shop.example.:8000", "/catalog/a"), "orders");
        assert_eq!(find("shop.example", "/orders/a"), "orders");
        assert_eq!(find("other.example", "/catalog/a"), "catalog");
        assert_eq!(find("[::1]:8000", "/catalog/a"), "catalog");
    }

    #[test]
    fn another_reading_counts_where_its_route_asks_for_more() {
        let could = |inner: &str, outer: &str, path: &str| {
            let service = r#""service": "orders""#;
            let table = table(&format!(
                r#"[{{"path": "/a/{{*rest}}", {service}, {outer}}}, {{"path": "/a/b/{{*rest}}", {service}, {inner}}}]"#
            ));
            let Found::Route(route) = table.find(None, path, &Method::GET) else { panic!("{path}") };
            table.could_ask_more(route, None, path, &Method::GET)
        };
        let (public, user, one) = (r#""public": true"#, r#""roles": []"#, r#""roles": ["x"]"#);
        let (two, limited) = (r#""roles": ["x", "y"]"#, r#""public": true, "body_limit": "1KiB""#);
        let rated = r#""public": true, "rate": {"per_second": 1, "burst": 1}"#;
        let (validated, post) =
            (r#""public": true, "validate": true"#, r#""public": true, "methods": ["POST"]"#);
        for (inner, outer) in [
            (user, public),
            (one, public),
            (one, user),
            (one, two),
            (limited, public),
            (rated, public),
            (validated, public),
            (post, public),
        ] {
            assert!(could(inner, outer, "/a//b/c"), "{inner} in {outer}");
            assert!(!could(inner, outer, "/a//c/b"), "{inner} in {outer}, elsewhere");
        }
        for (inner, outer) in
            [(public, public), (public, one), (user, one), (user, user), (two, one), (one, one)]
        {
            assert!(!could(inner, outer, "/a//b/c"), "{inner} in {outer}");
        }
        assert!(!could(one, public, "/a/b-c/d"));
    }

    #[test]
    fn without_the_built_in_routes_only_one_s_own_answer() {
        let config: Config = serde_json::from_str(
            r#"{"default_routes": false, "routes": [{"path": "/catalog/{*rest}", "service": "orders"}]}"#,
        )
        .unwrap();
        let table = RouteTable::build(&config, &Services::default()).unwrap();
        assert_eq!(service(&table, None, "/catalog/a", Method::GET).unwrap(), "orders");
        assert_eq!(service(&table, None, "/orders/a", Method::GET), None);
    }
}
