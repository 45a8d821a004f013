//! Asking DNS: one look at one entry of `backends`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::config::{NameServerConfigGroup, ResolverConfig};
use hickory_resolver::name_server::TokioConnectionProvider;
use hickory_resolver::proto::ProtoErrorKind;
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, RecordType};
use hickory_resolver::{ResolveError, TokioResolver};
use tokio::task::JoinSet;

use super::Config;
use super::answer::{Answer, HostAnswers, Look, Target};
use super::source::Source;

/// The port of a name server (RFC 1035 §4.2).
const PORT: u16 = 53;

/// The targets of a service that are looked up; a service of more is a fault, or somebody's joke.
const TARGETS: usize = 256;

/// The hosts of a service that are asked for at a time.
const AT_A_TIME: usize = 16;

/// What one look brought, and how long the answers say they hold.
#[derive(Debug)]
pub(crate) struct Looked {
    pub(crate) look: Look,
    /// The shortest time to live among the answers; `None` when none came.
    pub(crate) ttl: Option<Duration>,
}

/// Looks at an entry; `None` for one that is not of DNS.
///
/// The resolver is made anew each time, so that a change of `/etc/resolv.conf` or `/etc/hosts` is seen.
/// Truncated answers are asked for again over TCP.
pub(crate) async fn look(source: &Source, config: &Config) -> Option<Looked> {
    let question = match make_resolver(config) {
        Ok(resolver) => Ok(Question { resolver }),
        Err(error) => Err(error.to_string()),
    };
    let question = match question {
        Ok(question) => question,
        Err(reason) => return failed(source, reason),
    };
    match source {
        Source::Fixed(_) => None,
        Source::Name { host, .. } => {
            let (answers, ttl) = question.host(host).await;
            Some(Looked { look: Look::Name(answers), ttl })
        }
        Source::Service { name } => Some(question.service(name).await),
    }
}

/// Gives what a look brings that comes to nothing.
pub(super) fn failed(source: &Source, reason: String) -> Option<Looked> {
    let look = match source {
        Source::Fixed(_) => return None,
        Source::Name { .. } => Look::Name((Answer::Failed(reason.clone()), Answer::Failed(reason))),
        Source::Service { .. } => Look::Service(Answer::Failed(reason), BTreeMap::new()),
    };
    Some(Looked { look, ttl: None })
}

fn make_resolver(config: &Config) -> Result<TokioResolver, ResolveError> {
    let mut builder = match read_nameserver(&config.nameserver) {
        None => TokioResolver::builder_tokio()?,
        Some(server) => {
            let servers = NameServerConfigGroup::from_ips_clear(&[server.ip()], server.port(), true);
            let parts = ResolverConfig::from_parts(None, Vec::new(), servers);
            TokioResolver::builder_with_config(parts, TokioConnectionProvider::default())
        }
    };
    let options = builder.options_mut();
    options.timeout = config.timeout;
    // Nothing is asked twice within its time to live anyway.
    options.cache_size = 0;
    Ok(builder.build())
}

/// Reads an address of a name server, with or without a port.
pub(crate) fn read_nameserver(text: &str) -> Option<SocketAddr> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, PORT)))
}

#[derive(Clone)]
struct Question {
    resolver: TokioResolver,
}

impl Question {
    async fn host(&self, host: &str) -> (HostAnswers, Option<Duration>) {
        let v4 = self.ask(host, RecordType::A, |data| match data {
            RData::A(address) => Some(IpAddr::from(address.0)),
            _ => None,
        });
        let v6 = self.ask(host, RecordType::AAAA, |data| match data {
            RData::AAAA(address) => Some(IpAddr::from(address.0)),
            _ => None,
        });
        let ((v4, ttl), (v6, other_ttl)) = tokio::join!(v4, v6);
        ((v4, v6), shorter(ttl, other_ttl))
    }

    async fn service(&self, name: &str) -> Looked {
        let (targets, mut ttl) = self
            .ask(name, RecordType::SRV, |data| match data {
                RData::SRV(record) => Some(Target {
                    host: record.target().to_ascii(),
                    port: record.port(),
                    priority: record.priority(),
                    weight: record.weight(),
                }),
                _ => None,
            })
            .await;
        // A target of "." says that the service is not to be had here (RFC 2782).
        let targets = match targets {
            Answer::Records(mut records) => {
                records.retain(|target| target.host != "." && target.port != 0);
                records.truncate(TARGETS);
                if records.is_empty() { Answer::Empty } else { Answer::Records(records) }
            }
            other => other,
        };
        let mut hosts = BTreeMap::new();
        if let Answer::Records(records) = &targets {
            let names: BTreeSet<String> = records.iter().map(|target| target.host.clone()).collect();
            let (mut names, mut asking) = (names.into_iter(), JoinSet::new());
            loop {
                for host in names.by_ref().take(AT_A_TIME.saturating_sub(asking.len())) {
                    let question = self.clone();
                    asking.spawn(async move {
                        let answers = question.host(&host).await;
                        (host, answers)
                    });
                }
                let Some(done) = asking.join_next().await else { break };
                if let Ok((host, (answers, host_ttl))) = done {
                    ttl = shorter(ttl, host_ttl);
                    hosts.insert(host, answers);
                }
            }
        }
        Looked { look: Look::Service(targets, hosts), ttl }
    }

    async fn ask<T>(
        &self,
        name: &str,
        kind: RecordType,
        read: impl Fn(&RData) -> Option<T>,
    ) -> (Answer<T>, Option<Duration>) {
        match self.resolver.lookup(name, kind).await {
            Ok(found) => {
                let records: Vec<T> = found.iter().filter_map(read).collect();
                let ttl = found.records().iter().map(|record| record.ttl()).min();
                let answer = if records.is_empty() { Answer::Empty } else { Answer::Records(records) };
                (answer, ttl.map(|seconds| Duration::from_secs(seconds.into())))
            }
            Err(error) => match error.proto().map(|fault| fault.kind()) {
                Some(ProtoErrorKind::NoRecordsFound {
                    response_code: ResponseCode::NXDomain | ResponseCode::NoError,
                    ..
                }) => (Answer::Empty, None),
                Some(ProtoErrorKind::NoRecordsFound { response_code, .. }) => {
                    (Answer::Failed(response_code.to_string()), None)
                }
                _ => (Answer::Failed(error.to_string()), None),
            },
        }
    }
}

fn shorter(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_server_may_stand_without_its_port() {
        assert_eq!(read_nameserver("10.0.0.1"), Some(SocketAddr::from(([10, 0, 0, 1], 53))));
        assert_eq!(read_nameserver("[::1]:5353").map(|server| server.port()), Some(5353));
        assert_eq!(read_nameserver("dns.internal"), None);
        assert_eq!(read_nameserver(""), None);
    }
}
