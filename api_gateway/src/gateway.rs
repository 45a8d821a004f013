//! One thread's way of a request: through the guards in order, to a service, and back.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use hyper::body::Incoming;
use load_balancer::Passing;
use load_balancer::load::{LOAD_FIELD, write_load};
use process::problem::kinds;
use process::{Identity, Problem, TraceContext, identity, trace};
use proxy::fields;
use proxy::server::{self, message};
use proxy::{Body, Client, Pool};

use crate::body::limit_and_check;
use crate::clock::unix_now;
use crate::drain::drain_beside;
use crate::figures::Figures;
use crate::own;
use crate::path::has_dot_segment;
use crate::rate::{Client as RateClient, Rate};
use crate::refusal::Refusal;
use crate::route::Route;
use crate::routes::Found;
use crate::shared::Shared;
use crate::target::{find_host, normalise_path, strip_prefix};
use crate::token::{self, Remembered, Verified};
use crate::upstream::Upstream;

/// Room for the fields added on the way: who asked (5), the trace, the token and the identity (3), made once.
const ADDED_FIELDS: usize = 10;

/// One thread of a gateway.
pub(crate) struct Gateway {
    current: Arc<ArcSwap<Shared>>,
    /// What the thread uses of it; a request in flight keeps the one it began with.
    generation: RefCell<Rc<Generation>>,
    thread: usize,
    pool: Pool,
    figures: Figures,
}

/// One thread's part of one configuration of the gateway.
struct Generation {
    shared: Arc<Shared>,
    upstreams: Vec<Upstream>,
    remembered: Rc<Remembered>,
}

/// What the guards that need no more than a request's head found.
struct Passed<'g> {
    route: &'g Route,
    user: Option<Rc<Verified>>,
    /// Where it came from, behind all trusted proxies.
    address: IpAddr,
}

impl server::Handler for Gateway {
    fn serve(self: &Rc<Self>, connection: server::Connection) -> impl Future<Output = ()> + 'static {
        message::serve(connection, Rc::clone(self))
    }

    fn tick(&self) {
        self.pool.close_idle();
        self.figures.publish();
    }
}

impl message::Handler for Gateway {
    type Body = Body<Passing>;

    async fn handle(&self, mut request: Request<Incoming>, client: &Rc<Client>) -> Response<Self::Body> {
        let started = Instant::now();
        request.headers_mut().reserve(ADDED_FIELDS);
        let context = trace::continue_or_start(request.headers(), &mut rand::rng());
        let logged = tracing::enabled!(tracing::Level::DEBUG)
            .then(|| (request.method().clone(), request.uri().path().to_owned()));
        let generation = self.generation();
        // Probes are no load, and take far less than requests do.
        let metered = (!own::is_health(request.uri().path())).then(|| generation.shared.meter.begin());
        let mut response = trace::within(context, async {
            match generation.answer(request, client, started).await {
                Ok(response) => response,
                Err(refusal) => {
                    self.figures.count_refusal(refusal.kind());
                    whole(refusal.to_response())
                }
            }
        })
        .await;
        if !is_named(&response, context) {
            response.headers_mut().insert(trace::REQUEST_ID, context.request_id());
        }
        let elapsed = started.elapsed();
        self.figures.count_request(response.status(), elapsed);
        if let Some(metered) = metered {
            metered.note_answer();
        }
        // What a service told of itself ends here; a balancer in front hears of this gateway.
        if generation.shared.trusted.believes(client) {
            response.headers_mut().insert(LOAD_FIELD, write_load(generation.shared.meter.load()));
        } else {
            response.headers_mut().remove(LOAD_FIELD);
        }
        if let Some((method, path)) = logged {
            tracing::debug!(
                role = "gateway",
                trace_id = context.trace_id(),
                %method,
                path,
                status = response.status().as_u16(),
                duration_us = elapsed.as_micros(),
                "answered"
            );
        }
        response
    }
}

impl Gateway {
    /// Makes one thread's part of a gateway; runs on that thread.
    pub(crate) fn new(current: Arc<ArcSwap<Shared>>) -> Self {
        let pool = Pool::default();
        let shared = current.load_full();
        let thread = shared.enter_thread();
        let figures = Figures::new(&shared.label);
        let generation = RefCell::new(Rc::new(Generation::build(shared, None, thread, &pool)));
        Self { current, generation, thread, pool, figures }
    }

    /// Gives this thread's part of the configuration that holds.
    fn generation(&self) -> Rc<Generation> {
        let current = self.current.load();
        let known = Rc::clone(&self.generation.borrow());
        if Arc::ptr_eq(&known.shared, &current) {
            return known;
        }
        let next = Generation::build(Arc::clone(&current), Some(&known), self.thread, &self.pool);
        let next = Rc::new(next);
        self.generation.replace(Rc::clone(&next));
        next
    }
}

impl Generation {
    /// Makes a thread's part of a configuration; circuits and connections of services that stay are kept,
    /// and remembered tokens unless they are checked differently.
    fn build(shared: Arc<Shared>, previous: Option<&Self>, thread: usize, pool: &Pool) -> Self {
        let known = previous.map_or(&[][..], |previous| &previous.upstreams);
        let upstreams = shared.services.iter().map(|service| {
            let follows = known.iter().find(|known| Arc::ptr_eq(&known.service().cluster, &service.cluster));
            Upstream::new(&shared, service, thread, pool, follows)
        });
        let upstreams = upstreams.collect();
        let same_tokens = previous.filter(|previous| previous.shared.checks_tokens_like(&shared));
        let remembered = match same_tokens {
            Some(previous) => Rc::clone(&previous.remembered),
            None => Rc::new(Remembered::new(shared.config.token.remembered)),
        };
        Self { shared, upstreams, remembered }
    }

    async fn answer(
        &self,
        mut request: Request<Incoming>,
        client: &Rc<Client>,
        now: Instant,
    ) -> Result<Response<Body<Passing>>, Refusal> {
        // Who expects 100 (Continue) sends no body after another answer, so there is none to read.
        let sends_body = !request.headers().contains_key(header::EXPECT);
        if let Err(refusal) = normalise_path(request.uri_mut()) {
            if sends_body {
                drain_beside(request.into_body());
            }
            return Err(refusal);
        }
        if let Some(answer) = self.answer_itself(&request, client, now) {
            if sends_body {
                drain_beside(request.into_body());
            }
            return answer.map(whole);
        }
        let passed = match self.guard(&request, client, now).await {
            Ok(passed) => passed,
            Err(refusal) => {
                if sends_body {
                    drain_beside(request.into_body());
                }
                return Err(refusal);
            }
        };
        let route = passed.route;
        let upstream = &self.upstreams[route.service];
        let request = self.prepare(request, client, &passed, upstream)?;
        let request = limit_and_check(request, route, upstream, sends_body).await?;
        match upstream.admit() {
            Ok(admission) => admission.send(request, route).await,
            Err(refusal) => {
                if sends_body {
                    drain_beside(request.into_body());
                }
                Err(refusal)
            }
        }
    }

    /// Applies the guards that need no more of a request than its head.
    async fn guard(
        &self,
        request: &Request<Incoming>,
        client: &Rc<Client>,
        now: Instant,
    ) -> Result<Passed<'_>, Refusal> {
        let shared = &*self.shared;
        let path = request.uri().path();
        if has_dot_segment(path) {
            let detail = "the path has a dot segment; send it resolved";
            return Err(Problem::new(kinds::MALFORMED_REQUEST).detail(detail).into());
        }
        let host = find_host(request);
        let route = match shared.routes.find(host, path, request.method()) {
            Found::Route(route) => route,
            Found::OtherMethods(allow) => {
                let problem = Problem::new(kinds::METHOD_NOT_ALLOWED);
                return Err(Refusal::from(problem).with_field(header::ALLOW, allow.clone()));
            }
            Found::Nothing => return Err(Problem::new(kinds::NOT_FOUND).into()),
        };
        if shared.routes.could_ask_more(route, host, path, request.method()) {
            let detail = "the path could be read as one that asks for more; send it plain";
            return Err(Problem::new(kinds::MALFORMED_REQUEST).detail(detail).into());
        }
        let address = find_address(shared, client, request.headers());
        let user = self.authenticate(route, request.headers(), address, now).await?;
        self.charge(route, user.as_deref().map(|user| &user.identity), address, now)?;
        if http_body::Body::size_hint(request.body()).lower() > route.body_limit {
            return Err(route.refuse_size());
        }
        Ok(Passed { route, user, address })
    }

    /// Answers what is the gateway's own business.
    fn answer_itself(
        &self,
        request: &Request<Incoming>,
        client: &Rc<Client>,
        now: Instant,
    ) -> Option<Result<Response<Bytes>, Refusal>> {
        let shared = &*self.shared;
        if let Some(answer) = own::answer_health(shared, request) {
            return Some(answer);
        }
        if *request.method() != Method::OPTIONS {
            return None;
        }
        let response = own::answer_options(shared, find_host(request), request)?;
        let address = find_address(shared, client, request.headers());
        Some(self.charge_rate(0, address.into(), shared.rate, now).map(|()| response))
    }

    /// Finds who the request is from, and whether they may use the route.
    async fn authenticate(
        &self,
        route: &Route,
        fields: &HeaderMap,
        address: IpAddr,
        now: Instant,
    ) -> Result<Option<Rc<Verified>>, Refusal> {
        let shared = &*self.shared;
        let checked = match (token::find_token(fields), &shared.keys) {
            (Ok(None), _) if route.is_public => return Ok(None),
            (Ok(None), _) => Err(token::ask_for_token()),
            // A service of one's own without accounts of ours understands its own credentials.
            (_, None) => return Ok(None),
            (Err(refusal), _) => Err(refusal),
            (Ok(Some(presented)), Some(keys)) => {
                token::authenticate(presented, keys, &self.remembered, &shared.rules, unix_now()).await
            }
        };
        match checked {
            Ok(user) if user.identity.has_any_role(&route.roles) => Ok(Some(user)),
            Ok(_) => Err(token::ask_for_role()),
            Err(refusal) => {
                // Guessing tokens is counted too, by the address, since there is no user to count.
                self.charge_rate(0, address.into(), shared.rate, now)?;
                Err(refusal)
            }
        }
    }

    fn charge(
        &self,
        route: &Route,
        user: Option<&Identity>,
        address: IpAddr,
        now: Instant,
    ) -> Result<(), Refusal> {
        let client = user.map_or(RateClient::from(address), |user| RateClient::Subject(&user.subject));
        self.charge_rate(0, client, self.shared.rate, now)?;
        match route.rate {
            None => Ok(()),
            Some(rate) => self.charge_rate(route.number, client, rate, now),
        }
    }

    fn charge_rate(
        &self,
        number: u32,
        client: RateClient<'_>,
        rate: Rate,
        now: Instant,
    ) -> Result<(), Refusal> {
        self.shared
            .limiter
            .charge(number, client, rate, now)
            .map_err(|wait| Problem::new(kinds::RATE_LIMITED).retry_after(wait).into())
    }

    /// Makes the request one the service may see.
    fn prepare(
        &self,
        request: Request<Incoming>,
        client: &Rc<Client>,
        passed: &Passed<'_>,
        upstream: &Upstream,
    ) -> Result<Request<Body>, Refusal> {
        let mut request = fields::prepare_request(request, client, &self.shared.trusted)
            // Where the next request begins may be in doubt too.
            .map_err(|refusal| {
                Refusal::from(refusal.problem())
                    .with_field(header::CONNECTION, HeaderValue::from_static("close"))
            })?;
        if let Some(prefix) = &passed.route.strip_prefix {
            strip_prefix(request.uri_mut(), prefix)?;
        }
        let fields = request.headers_mut();
        identity::strip(fields);
        if let Some(context) = trace::current() {
            fields.insert(trace::TRACEPARENT, context.header_value());
        }
        if upstream.service().is_internal {
            if let Some(token) = &self.shared.token_field {
                fields.insert(process::token::TOKEN_FIELD, token.clone());
            }
            if let Some(user) = &passed.user {
                user.write(fields);
            }
            identity::write_client(passed.address, fields);
        }
        Ok(request)
    }
}

/// Finds the address of who asked, behind all trusted proxies.
fn find_address(shared: &Shared, client: &Client, fields: &HeaderMap) -> IpAddr {
    let told = fields.get_all(fields::FORWARDED_FOR).iter().rev();
    fields::find_address(&shared.trusted, client, told.map(HeaderValue::as_bytes))
}

/// Tells whether an answer names the trace already, as those of the house do.
fn is_named<B>(response: &Response<B>, context: TraceContext) -> bool {
    let named = response.headers().get(trace::REQUEST_ID);
    named.is_some_and(|named| named.as_bytes() == &context.write()[3..35])
}

/// Makes an answer that is there already one for the data plane.
fn whole(response: Response<Bytes>) -> Response<Body<Passing>> {
    response.map(|bytes| Body::from(bytes).unguarded())
}
