//! Requests as messages of hyper's, to backends that speak HTTP/2.

use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use process::TraceContext;
use process::problem::Problem;
use process::trace::{self, REQUEST_ID, TRACEPARENT};
use proxy::fields::prepare_request;
use proxy::server::Handler;
use proxy::{Body, Client, wire};

use super::logged::Logged;
use super::{Front, Told, affinity, tell_failure};
use crate::clock::now_ns;
use crate::dispatch::{Asked, Passing, Sent, Way};
use crate::explain::{EXPLAIN, Story};

/// Fields a request gains: the trace, three of who asked, `Via` and a framing.
const ADDED_FIELDS: usize = 6;

impl Handler for Front {
    type Body = Body<Logged>;

    async fn handle(&self, mut request: Request<Incoming>, client: &Rc<Client>) -> Response<Self::Body> {
        let started_ns = now_ns();
        let settings = self.settings();
        let trace = trace::continue_or_start(request.headers(), &mut *self.rng.borrow_mut());
        let is_explained = settings.explain.wants(|| request.headers().contains_key(EXPLAIN));
        let mut record = self.record(&settings, &request, client, trace, started_ns);
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
        let (mut response, passing, error) = match answered {
            Ok(Sent { reply, passing }) => (reply, Some(passing), None),
            Err((problem, error)) => (refuse(&problem, trace).await, None, Some(error)),
        };
        let backend = passing.as_ref().map(Passing::backend);
        let told = Told {
            settings: &settings,
            story: &story,
            elapsed_ns,
            is_explained,
            view: &view,
            asked,
            is_secure: client.is_tls(),
        };
        self.tell(&told, backend.map(AsRef::as_ref), |name, value| {
            if let Ok(value) = HeaderValue::from_bytes(value) {
                response.headers_mut().append(HeaderName::from_static(name), value);
            }
        });
        if !response.headers().contains_key(REQUEST_ID) {
            response.headers_mut().insert(REQUEST_ID, trace.request_id());
        }
        let status = response.status().as_u16();
        self.figures.count(status, elapsed_ns);
        if let Some(record) = &mut record {
            (record.error, record.story) = (error, story);
            record.backend = backend.map(Arc::clone);
            record.note_head(status);
        }
        response.map(|body| body.guarded(Logged { passing, record }))
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

/// Writes a problem, naming the trace.
async fn refuse(problem: &Problem, trace: TraceContext) -> Response<Body> {
    let mut response = trace::within(trace, async { problem.to_response() }).await;
    if matches!(problem.kind().status, 400..=499 | 501) {
        // Where the next request begins may be in doubt too.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response.map(Body::from)
}
