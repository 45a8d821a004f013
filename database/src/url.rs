//! `database.url`: which engine, and where it is. A password in it is never printed.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use process::Secret;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio_postgres::config::Host;

/// PostgreSQL's port where a URL names none.
const POSTGRES_PORT: u16 = 5432;

/// Which engine stores the data, and where.
///
/// In configuration it is the URL itself, or `file:PATH` for a file that holds it.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Url {
    /// `sqlite`: a file in the data directory. `sqlite:DIR` names another directory.
    #[default]
    Sqlite,
    /// `sqlite:DIR`: a file in this directory.
    SqliteIn(PathBuf),
    /// `postgres://USER:PASSWORD@HOST:PORT/NAME`, with the parameters tokio-postgres knows.
    Postgres(Secret),
}

impl Url {
    /// Tells whether it names a PostgreSQL server.
    pub fn is_postgres(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }
}

impl Url {
    /// Reads a URL, or the file that holds it when the text is `file:PATH`.
    pub fn read(text: &str) -> Result<Self, String> {
        let url = match text.strip_prefix("file:") {
            None => text.to_owned(),
            Some(path) => std::fs::read_to_string(path)
                .map_err(|error| format!("the URL's file {path} cannot be read: {error}"))?,
        };
        Ok(url.trim().parse::<Self>()?)
    }

    /// Tells what a PostgreSQL URL names, without who asks.
    pub(crate) fn place(&self) -> Option<Place> {
        let Self::Postgres(url) = self else { return None };
        // It was read once already.
        let config: tokio_postgres::Config = without_roots(url.expose()).0.parse().ok()?;
        let ports = config.get_ports();
        let port = |at: usize| ports.get(at).or(ports.first()).copied().unwrap_or(POSTGRES_PORT);
        let servers = match config.get_hosts() {
            [] => config.get_hostaddrs().iter().map(ToString::to_string).collect::<Vec<_>>(),
            hosts => hosts.iter().map(name).collect(),
        };
        let servers = servers.iter().enumerate().map(|(at, server)| format!("{server}:{}", port(at)));
        let database = config.get_dbname().or(config.get_user()).unwrap_or_default().to_owned();
        Some(Place { servers: servers.collect(), database })
    }
}

/// Which servers a PostgreSQL URL names, each as `HOST:PORT`, and which database on them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) servers: Vec<String>,
    pub(crate) database: String,
}

fn name(host: &Host) -> String {
    match host {
        Host::Tcp(name) => name.clone(),
        #[cfg(unix)]
        Host::Unix(folder) => folder.display().to_string(),
    }
}

/// What is said of a PostgreSQL URL that the driver does not take; its own words may repeat the password.
const UNREADABLE: &str = "the PostgreSQL URL cannot be read: write postgres://USER:PASSWORD@HOST:PORT/NAME, with `%XX` for what is special \
    in a password, and after `?` parameters the driver knows (sslmode is disable, prefer, require or verify-full)";

impl FromStr for Url {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            None if text == "sqlite" => Ok(Self::Sqlite),
            Some(("sqlite", folder)) if !folder.is_empty() => Ok(Self::SqliteIn(folder.into())),
            Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") => {
                let parsed = tokio_postgres::Config::from_str(&without_roots(text).0);
                let parsed = parsed.map_err(|_| UNREADABLE)?;
                if parsed.get_hosts().is_empty() && parsed.get_hostaddrs().is_empty() {
                    return Err("the PostgreSQL URL names no host");
                }
                Ok(Self::Postgres(Secret::new(text)))
            }
            _ => Err("write \"sqlite\", or \"postgres://USER:PASSWORD@HOST:PORT/NAME\""),
        }
    }
}

/// What a PostgreSQL URL is made of, divided as the driver does: a password may have a `?` in it.
struct Parts<'u> {
    scheme: &'u str,
    /// The user, and after a colon the password.
    login: Option<&'u str>,
    /// Servers and the database.
    place: &'u str,
    parameters: Option<&'u str>,
}

impl<'u> Parts<'u> {
    fn of(url: &'u str) -> Self {
        let (scheme, rest) = url.split_once("://").unwrap_or(("postgres", url));
        let (login, rest) = rest.split_once('@').map_or((None, rest), |(login, rest)| (Some(login), rest));
        let (place, parameters) =
            rest.split_once('?').map_or((rest, None), |(place, parameters)| (place, Some(parameters)));
        Self { scheme, login, place, parameters }
    }
}

/// Takes the parameter `sslrootcert=FILE` out of a URL, which the driver does not know, and calls
/// `verify-full`, which is what we do, by the driver's name.
pub(crate) fn without_roots(url: &str) -> (String, Option<String>) {
    let Some(parameters) = Parts::of(url).parameters else { return (url.to_owned(), None) };
    let roots = parameters.split('&').find_map(|parameter| parameter.strip_prefix("sslrootcert="));
    let kept = parameters.split('&').filter(|parameter| !parameter.starts_with("sslrootcert="));
    let kept = kept.map(|parameter| parameter.replace("sslmode=verify-full", "sslmode=require"));
    let kept: Vec<String> = kept.collect();
    let before = &url[..url.len() - parameters.len() - 1];
    (format!("{before}?{}", kept.join("&")), roots.map(|roots| roots.replace("%2F", "/")))
}

/// Writes the URL without its password; parameters are left out, since a password may hide there too.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = match self {
            Self::Sqlite => return f.write_str("sqlite"),
            Self::SqliteIn(folder) => return write!(f, "sqlite:{}", folder.display()),
            Self::Postgres(url) => url.expose(),
        };
        let Parts { scheme, login, place, .. } = Parts::of(url);
        match login.map(|login| login.split_once(':').map_or(login, |(user, _)| user)) {
            None => write!(f, "{scheme}://{place}"),
            Some(user) => write!(f, "{scheme}://{user}@{place}"),
        }
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Url {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Url {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::read(&text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_printed() {
        let cases = [
            ("postgres://ann:hunter2@db:5432/shop", "postgres://ann@db:5432/shop"),
            ("postgresql://ann:p%40hunter2@db/shop?password=hunter2", "postgresql://ann@db/shop"),
            ("postgres://db/shop?user=ann&password=hunter2", "postgres://db/shop"),
            ("postgres://ann:hunter2@/shop?host=/run/postgresql", "postgres://ann@/shop"),
            ("postgres://ann:hunter2?x@db/shop?sslmode=require", "postgres://ann@db/shop"),
        ];
        for (text, shown) in cases {
            let url: Url = text.parse().unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), shown);
            assert_eq!(serde_json::to_value(&url).unwrap(), shown);
        }
    }

    #[test]
    fn what_is_no_url_is_refused_without_repeating_it() {
        for text in ["", "mysql://a:hunter2@b", "postgres:hunter2", "postgres://a:hunter2@b:x/c", "sqlite:"] {
            let error = text.parse::<Url>().unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
        let config = serde_json::json!({"url": "postgres://a:hunter2@b:x/c"});
        let error = serde_json::from_value::<crate::Config>(config).unwrap_err().to_string();
        assert!(error.contains("cannot be read") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_place_is_servers_and_a_database_without_who_asks() {
        let place = |text: &str| text.parse::<Url>().unwrap().place().unwrap();
        let of = |servers: &[&str], database: &str| Place {
            servers: servers.iter().map(ToString::to_string).collect(),
            database: database.into(),
        };
        assert_eq!(place("postgres://ann:hunter2@db/shop"), of(&["db:5432"], "shop"));
        assert_eq!(place("postgres://ann@a,b:7000/shop"), of(&["a:5432", "b:7000"], "shop"));
        assert_eq!(place("postgres://ann@/?host=/run/pg&port=7000"), of(&["/run/pg:7000"], "ann"));
        assert_eq!(Url::Sqlite.place(), None);
    }

    #[test]
    fn a_url_can_be_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("url");
        std::fs::write(&file, "postgres://ann:hunter2@db/shop\n").unwrap();
        let read: Url = serde_json::from_value(format!("file:{}", file.display()).into()).unwrap();
        assert_eq!(read, "postgres://ann:hunter2@db/shop".parse().unwrap());
    }
}
