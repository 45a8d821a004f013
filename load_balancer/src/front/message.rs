//! Requests as messages of hyper's, to backends that speak HTTP/2.

use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, Request, Response, Version, header};
use hyper::body::Incoming;
use process::TraceContext;
use process::problem::Problem;
use process::trace::{self, REQUEST_ID, TRACEPARENT};
use proxy::fields::prepare_request;
use proxy::server::Handler;
use proxy::{Body, Client, wire};

use super::{Front, Told, affinity, tell_failure};
use crate::access_log::{Asker, Line};
use crate::clock::now_ns;
use crate::dispatch::{Asked, Passing, Sent, Way};
use crate::explain::{EXPLAIN, Story};

/// Fields a request gains: the trace, three of who asked, `Via` and a framing.
const ADDED_FIELDS: usize = 6;

/// What is kept of a request for its line in the access log.
struct Kept {
    method: String,
    host: Option<String>,
    path: String,
    protocol: &'static str,
}

impl Handler for Front {
    type Body = Body<Passing>;

    async fn handle(&self, mut request: Request<Incoming>, client: &Rc<Client>) -> Response<Self::Body> {
        let started_ns = now_ns();
        let settings = self.settings();
        let trace = trace::continue_or_start(request.headers(), &mut *self.rng.borrow_mut());
        let is_explained = settings.explain.wants(|| request.headers().contains_key(EXPLAIN));
        let kept = settings.access_log.is_on().then(|| Kept::of(&request));
        // Room for what is added on the way, made once.
        request.headers_mut().reserve(ADDED_FIELDS);
        request.headers_mut().insert(TRACEPARENT, trace.header_value());
        let (mut story, mut asked) = (Story::default(), Asked::default());
        let view = self.balancer.view();
        let answered = match prepare_request(request, client, &settings.rules.trusted) {
            Ok(request) => {
                let field = |name: &str| request.headers().get(name).map(HeaderValue::as_bytes);
                asked = affinity::find(&settings.policy, view.sticky(), client.ip(), field);
                let lane = self
                    .balancer
                    .message_lane(request, &settings.timeouts, settings.retries)
                    .for_client(client.addresses());
                let mut way = Way::new(&self.balancer, Rc::clone(&view), &lane, asked, settings.retries);
                let sent = way.go().await;
                story = way.story;
                sent.map_err(|error| {
                    tell_failure(&error, trace, self.balancer.cluster().name());
                    (error.problem(), error.to_string())
                })
            }
            Err(refusal) => Err((refusal.problem(), refusal.to_string())),
        };
        let elapsed_ns = now_ns().saturating_sub(started_ns);
        let (mut response, backend, error) = match answered {
            Ok(Sent { reply, passing }) => {
                let backend = Arc::clone(passing.backend());
                (reply.map(|body| body.guarded(passing)), Some(backend), None)
            }
            Err((problem, error)) => (refuse(&problem, trace).await, None, Some(error)),
        };
        let told = Told {
            settings: &settings,
            story: &story,
            elapsed_ns,
            is_explained,
            view: &view,
            asked,
            is_secure: client.is_tls(),
        };
        self.tell(&told, backend.as_deref(), |name, value| {
            if let Ok(value) = HeaderValue::from_bytes(value) {
                response.headers_mut().append(HeaderName::from_static(name), value);
            }
        });
        if !response.headers().contains_key(REQUEST_ID) {
            response.headers_mut().insert(REQUEST_ID, trace.request_id());
        }
        let status = response.status().as_u16();
        self.figures.count(status, elapsed_ns);
        if let Some(kept) = kept
            && self.wants_line(&settings, status)
        {
            let asker = Asker {
                client: client.ip(),
                method: &kept.method,
                host: kept.host.as_deref(),
                path: &kept.path,
                protocol: kept.protocol,
            };
            self.lines.add(&Line {
                duration_us: elapsed_ns / 1000,
                error: error.as_deref(),
                trace_id: &trace.trace_id(),
                ..Line::new(asker, status, &story, backend.as_deref())
            });
        }
        response
    }

    fn is_on_wire(&self) -> bool {
        self.settings().is_on_wire
    }

    fn serve_wire(self: &Rc<Self>, connection: wire::Connection) -> impl Future<Output = ()> + 'static {
        wire::serve(connection, Rc::clone(self))
    }

    fn tick(&self) {
        self.tick_all();
    }
}

impl Kept {
    fn of<B>(request: &Request<B>) -> Self {
        let authority = request.uri().authority().map(|authority| authority.to_string());
        let field = || request.headers().get(header::HOST)?.to_str().ok().map(str::to_owned);
        Self {
            method: request.method().to_string(),
            host: authority.or_else(field),
            path: request.uri().path().to_owned(),
            protocol: match request.version() {
                Version::HTTP_2 => "HTTP/2",
                Version::HTTP_10 => "HTTP/1.0",
                _ => "HTTP/1.1",
            },
        }
    }
}

/// Writes a problem, naming the trace.
async fn refuse(problem: &Problem, trace: TraceContext) -> Response<Body<Passing>> {
    let mut response = trace::within(trace, async { problem.to_response() }).await;
    if matches!(problem.kind().status, 400..=499 | 501) {
        // Where the next request begins may be in doubt too.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response.map(|document| Body::from(document).unguarded())
}
