//! A client's request, from its head to the end of its response.

use std::rc::Rc;
use std::sync::Arc;

use proxy::wire::{Ending, Exchange, Handler, Refused, Rules};

use super::{Front, Settings, Told, affinity, tell_failure};
use crate::access_log::{Asker, CLIENT_GONE, Line};
use crate::clock::now_ns;
use crate::dispatch::{Sent, Way};
use crate::explain::{EXPLAIN, Story};
use crate::lanes::WireLane;
use crate::{Backend, SendError};

/// Fields of responses that end here: what a gateway tells of itself, and what a balancer behind us explains.
const REMOVED: [&[u8]; 2] = [b"sixfold-load", EXPLAIN.as_bytes()];

impl Handler for Front {
    async fn serve(&self, exchange: &mut Exchange<'_>) {
        let mut record = Record::begin(self, exchange);
        let (settings, exchange) = (&record.settings, &mut *record.exchange);
        let request = exchange.request();
        let view = self.balancer.view();
        let client = exchange.client();
        let fields = |name| request.values(name);
        let asked = affinity::find(&settings.policy, view.sticky(), || exchange.find_address(), fields);
        let is_explained = settings.explain.wants(|| request.field(EXPLAIN.as_bytes()).is_some());
        let lane = WireLane::new(exchange, &settings.timeouts);
        let mut way = Way::new(&self.balancer, Rc::clone(&view), &lane, asked, settings.retries);
        let sent = way.go().await;
        record.story = way.story;
        drop(way);
        let elapsed_ns = now_ns().saturating_sub(record.started_ns);
        let told = Told {
            settings,
            story: &record.story,
            elapsed_ns,
            is_explained,
            view: &view,
            asked,
            is_secure: client.is_tls(),
        };
        let mut added = self.added.take();
        added.clear();
        match sent {
            Ok(Sent { reply, passing }) => {
                record.backend = Some(Arc::clone(passing.backend()));
                self.tell(&told, record.backend.as_deref(), |name, value| added.push(name, value));
                record.ending = Some(exchange.respond(reply, &added, &REMOVED, passing).await);
            }
            Err(error) => {
                tell_failure(&error, exchange.trace(), self.balancer.cluster().name());
                self.tell(&told, None, |name, value| added.push(name, value));
                let problem = error.problem();
                record.error = Some(error);
                exchange.refuse(&problem, &added).await;
                record.ending = Some(Ending::Whole);
            }
        }
        self.added.replace(added);
        self.figures.count(exchange.status(), elapsed_ns);
    }

    fn rules(&self) -> Rc<Rules> {
        Rc::clone(&self.settings().rules)
    }

    fn note_refusal(&self, refused: &Refused<'_>) {
        let status = refused.problem.kind().status;
        self.figures.count(status, 0);
        let settings = self.settings();
        if settings.access_log.is_on() && self.wants_line(&settings, status) {
            let (client, protocol) = (refused.client.ip(), refused.protocol);
            let asker = Asker { client, method: "", host: None, path: "", protocol };
            self.lines.add(&Line {
                error: Some(refused.reason),
                trace_id: &refused.trace.trace_id(),
                ..Line::new(asker, status, &Story::default(), None)
            });
        }
    }
}

/// An exchange, and what of it is for the access log. The line is written when it is dropped: at the end of the
/// exchange, or when the client has left and it is given up.
struct Record<'a, 'c> {
    front: &'a Front,
    settings: Rc<Settings>,
    exchange: &'a mut Exchange<'c>,
    started_ns: u64,
    story: Story,
    backend: Option<Arc<Backend>>,
    error: Option<SendError>,
    /// `None` until the exchange has ended by itself.
    ending: Option<Ending>,
}

impl<'a, 'c> Record<'a, 'c> {
    fn begin(front: &'a Front, exchange: &'a mut Exchange<'c>) -> Self {
        Self {
            front,
            settings: front.settings(),
            exchange,
            started_ns: now_ns(),
            story: Story::default(),
            backend: None,
            error: None,
            ending: None,
        }
    }
}

impl Drop for Record<'_, '_> {
    fn drop(&mut self) {
        if !self.settings.access_log.is_on() {
            return;
        }
        let exchange = &*self.exchange;
        let client_gone = matches!(self.ending, None | Some(Ending::ClientLeft));
        // What was sent stands; a client that left before has the status nginx gives it.
        let status = if exchange.status() == 0 { CLIENT_GONE } else { exchange.status() };
        if !self.front.wants_line(&self.settings, status) {
            return;
        }
        let error = match (&self.error, self.ending) {
            (Some(error), _) => Some(error.to_string()),
            (None, Some(Ending::BackendBroke)) => Some("the backend broke off its response".to_owned()),
            (None, _) => None,
        };
        let request = exchange.request();
        let host = String::from_utf8_lossy(request.host());
        let asker = Asker {
            client: exchange.find_address(),
            method: &String::from_utf8_lossy(request.method()),
            host: (!host.is_empty()).then_some(&*host),
            path: &String::from_utf8_lossy(request.path()),
            protocol: request.protocol(),
        };
        self.front.lines.add(&Line {
            bytes: Some(exchange.sent()),
            duration_us: now_ns().saturating_sub(self.started_ns) / 1000,
            client_gone,
            error: error.as_deref(),
            trace_id: &exchange.trace().trace_id(),
            ..Line::new(asker, status, &self.story, self.backend.as_deref())
        });
    }
}
