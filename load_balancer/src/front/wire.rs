//! Requests in bytes: HTTP/1 from the client to HTTP/1 at the backend.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use process::problem::Kind;
use proxy::Client;
use proxy::wire::{Ending, Exchange, Handler, Rules};

use super::{Front, Told, affinity, tell_failure};
use crate::Backend;
use crate::access_log::{Asker, Line};
use crate::clock::now_ns;
use crate::dispatch::{Sent, Way};
use crate::explain::{EXPLAIN, Story};
use crate::lanes::WireLane;

/// Fields of responses that end here: what a gateway tells of itself, and what a balancer behind us explains.
const REMOVED: [&[u8]; 2] = [b"sixfold-load", EXPLAIN.as_bytes()];

impl Handler for Front {
    async fn serve(&self, exchange: &mut Exchange<'_>) {
        let started_ns = now_ns();
        let settings = self.settings();
        let request = exchange.request();
        let field = |name: &str| request.field(name.as_bytes());
        let view = self.balancer.view();
        let client = exchange.client();
        let asked = affinity::find(&settings.policy, view.sticky(), client.ip(), field);
        let is_explained = settings.explain.wants(|| field(EXPLAIN).is_some());
        let lane = WireLane::new(exchange, &settings.timeouts);
        let mut way = Way::new(&self.balancer, Rc::clone(&view), &lane, asked, settings.retries);
        let sent = way.go().await;
        let story = way.story;
        drop(way);
        let elapsed_ns = now_ns().saturating_sub(started_ns);
        let told = Told {
            settings: &settings,
            story: &story,
            elapsed_ns,
            is_explained,
            view: &view,
            asked,
            is_secure: client.is_tls(),
        };
        let mut added = self.added.take();
        added.clear();
        let (backend, error) = match sent {
            Ok(Sent { reply, passing }) => {
                let backend = Arc::clone(passing.backend());
                self.tell(&told, Some(&backend), |name, value| added.push(name, value));
                let ending = exchange.respond(reply, &added, &REMOVED, passing).await;
                (Some(backend), describe(ending).map(Cow::Borrowed))
            }
            Err(error) => {
                tell_failure(&error, exchange.trace(), self.balancer.cluster().name());
                self.tell(&told, None, |name, value| added.push(name, value));
                exchange.refuse(&error.problem(), &added).await;
                (None, Some(Cow::Owned(error.to_string())))
            }
        };
        self.added.replace(added);
        let status = exchange.status();
        self.figures.count(status, elapsed_ns);
        if self.wants_line(&settings, status) {
            self.log(exchange, started_ns, &story, backend.as_deref(), error.as_deref());
        }
    }

    fn rules(&self) -> Rc<Rules> {
        Rc::clone(&self.settings().rules)
    }

    fn note_refusal(&self, _client: &Client, kind: Kind) {
        self.figures.count(kind.status, 0);
    }
}

impl Front {
    fn log(
        &self,
        exchange: &Exchange<'_>,
        started_ns: u64,
        story: &Story,
        backend: Option<&Backend>,
        error: Option<&str>,
    ) {
        let request = exchange.request();
        let host = String::from_utf8_lossy(request.host());
        let asker = Asker {
            client: exchange.client().ip(),
            method: &String::from_utf8_lossy(request.method()),
            host: (!host.is_empty()).then_some(&*host),
            path: &String::from_utf8_lossy(request.path()),
            protocol: if request.is_http_10() { "HTTP/1.0" } else { "HTTP/1.1" },
        };
        self.lines.add(&Line {
            bytes: Some(exchange.sent()),
            duration_us: now_ns().saturating_sub(started_ns) / 1000,
            error,
            trace_id: &exchange.trace().trace_id(),
            ..Line::new(asker, exchange.status(), story, backend)
        });
    }
}

fn describe(ending: Ending) -> Option<&'static str> {
    match ending {
        Ending::Whole => None,
        Ending::BackendBroke => Some("the backend broke off its response"),
        Ending::ClientLeft => Some("the client went away"),
    }
}
