//! The body of a request: how large it may be, and whether it is what the service's schema says.

use bytes::{Bytes, BytesMut};
use http::{Request, header};
use http_body_util::BodyExt;
use process::Problem;
use process::problem::kinds;
use proxy::Body;

use crate::drain::drain_beside;
use crate::refusal::Refusal;
use crate::route::Route;
use crate::schema::{Check, check_body};
use crate::upstream::{Upstream, refuse_broken_body};

/// Limits the body, and reads and checks it where the route asks for that.
pub(crate) async fn limit_and_check(
    request: Request<Body>,
    route: &Route,
    upstream: &Upstream,
    sends_body: bool,
) -> Result<Request<Body>, Refusal> {
    if route.validates
        && let Some(schemas) = &upstream.service().schemas
        && let Some(current) = schemas.load().as_ref()
    {
        match current.content.find_check(request.method(), request.uri().path(), request.headers()) {
            Ok(None) => {}
            Ok(Some(check)) => return Box::pin(read_and_check(request, route, check)).await,
            Err(refusal) => {
                if sends_body {
                    drain_beside(request.into_body());
                }
                return Err(refusal);
            }
        }
    }
    // A length that was announced was looked at before, and hyper holds the client to it.
    let is_announced = http_body::Body::size_hint(request.body()).exact().is_some();
    Ok(if is_announced { request } else { request.map(|body| body.limit(route.body_limit)) })
}

/// Reads the whole body, checks it, and gives the request with the body in one piece.
async fn read_and_check(
    request: Request<Body>,
    route: &Route,
    check: Check<'_>,
) -> Result<Request<Body>, Refusal> {
    let (mut head, body) = request.into_parts();
    let reading = tokio::time::timeout(route.timeout, read_whole(body, route));
    let bytes = reading.await.unwrap_or_else(|_| Err(Problem::new(kinds::REQUEST_TIMEOUT).into()))?;
    check_body(check, &bytes)?;
    head.headers.remove(header::TRANSFER_ENCODING);
    head.headers.insert(header::CONTENT_LENGTH, bytes.len().into());
    Ok(Request::from_parts(head, Body::from(bytes)))
}

async fn read_whole(mut body: Body, route: &Route) -> Result<Bytes, Refusal> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| refuse_broken_body())?;
        let Some(data) = frame.data_ref() else { continue };
        if (whole.len() + data.len()) as u64 > route.body_limit {
            drain_beside(body);
            return Err(route.refuse_size());
        }
        whole.extend_from_slice(data);
    }
    Ok(whole.freeze())
}
