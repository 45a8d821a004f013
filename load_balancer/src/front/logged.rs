//! A message's line of the access log, written when its exchange has ended: with the last of the body, or when the
//! client has left and it is given up.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderValue, Request, Version, header};
use process::TraceContext;
use proxy::{Client, Guard};
use rand::Rng;

use super::{Front, Settings};
use crate::Backend;
use crate::access_log::{Asker, CLIENT_GONE, Line, Lines};
use crate::clock::now_ns;
use crate::dispatch::Passing;
use crate::explain::Story;

/// What goes with a message's response until it has ended.
#[derive(Debug)]
pub(crate) struct Logged {
    /// Dropped first, so that the request counts as in flight no longer than it is.
    pub(super) passing: Option<Passing>,
    pub(super) record: Option<Box<Record>>,
}

/// How an exchange ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Whole,
    BackendBroke,
}

/// What is kept of an exchange for its line, which is written when this is dropped.
#[derive(Debug)]
pub(super) struct Record {
    lines: Rc<Lines>,
    settings: Rc<Settings>,
    /// Drawn at the beginning, where the thread's random source is at hand.
    chance: f64,
    started_ns: u64,
    client: IpAddr,
    method: String,
    host: Option<String>,
    path: String,
    protocol: &'static str,
    trace: TraceContext,
    pub(super) story: Story,
    pub(super) backend: Option<Arc<Backend>>,
    pub(super) error: Option<String>,
    /// 0 until the response begins.
    status: u16,
    bytes: u64,
    /// `None` until the exchange has ended by itself.
    ending: Option<Ending>,
}

impl Front {
    /// Begins the record of a request, if any are logged.
    pub(super) fn record<B>(
        &self,
        settings: &Rc<Settings>,
        request: &Request<B>,
        client: &Client,
        trace: TraceContext,
        started_ns: u64,
    ) -> Option<Box<Record>> {
        if !settings.access_log.is_on() {
            return None;
        }
        let authority = request.uri().authority().map(ToString::to_string);
        let field = || request.headers().get(header::HOST).map(HeaderValue::to_str)?.ok().map(str::to_owned);
        Some(Box::new(Record {
            lines: Rc::clone(&self.lines),
            settings: Rc::clone(settings),
            chance: self.rng.borrow_mut().random(),
            started_ns,
            client: client.ip(),
            method: request.method().to_string(),
            host: authority.or_else(field),
            path: request.uri().path().to_owned(),
            protocol: match request.version() {
                Version::HTTP_2 => "HTTP/2",
                Version::HTTP_10 => "HTTP/1.0",
                _ => "HTTP/1.1",
            },
            trace,
            story: Story::default(),
            backend: None,
            error: None,
            status: 0,
            bytes: 0,
            ending: None,
        }))
    }
}

impl Record {
    /// Notes that the response begins.
    pub(super) fn note_head(&mut self, status: u16) {
        self.status = status;
        // Nobody asks for the body, should the backend end its stream apart from the head.
        if self.method == "HEAD" || matches!(status, 204 | 304) {
            self.ending = Some(Ending::Whole);
        }
    }
}

impl Guard for Logged {
    fn note_broken(&mut self) {
        if let Some(passing) = &mut self.passing {
            passing.note_broken();
        }
        if let Some(record) = &mut self.record {
            record.ending = Some(Ending::BackendBroke);
        }
    }

    fn note_passed(&mut self, count: usize) {
        if let Some(record) = &mut self.record {
            record.bytes += count as u64;
        }
    }

    fn note_whole(&mut self) {
        if let Some(record) = &mut self.record {
            record.ending = Some(Ending::Whole);
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        // What was sent stands; a client that left before has the status nginx gives it.
        let status = if self.status == 0 { CLIENT_GONE } else { self.status };
        if !self.settings.access_log.wants(status, || self.chance) {
            return;
        }
        let broke =
            (self.ending == Some(Ending::BackendBroke)).then_some("the backend broke off its response");
        let asker = Asker {
            client: self.client,
            method: &self.method,
            host: self.host.as_deref(),
            path: &self.path,
            protocol: self.protocol,
        };
        self.lines.add(&Line {
            bytes: Some(self.bytes),
            duration_us: now_ns().saturating_sub(self.started_ns) / 1000,
            client_gone: self.ending.is_none(),
            error: self.error.as_deref().or(broke),
            trace_id: &self.trace.trace_id(),
            ..Line::new(asker, status, &self.story, self.backend.as_deref())
        });
    }
}
