//! One step of a request's way: over a socket, or into a role of the same process.

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use http::{Request, Response};

use crate::{Body, Failure, Pool, Timeouts};

/// What a local service gives for a request; it stays on the caller's thread.
pub type LocalFuture = Pin<Box<dyn Future<Output = Response<Body>>>>;

/// A role as a function from request to response.
pub type LocalService = Arc<dyn Fn(Request<Body>) -> LocalFuture + Send + Sync>;

/// Where a request goes next.
#[derive(Clone)]
pub enum Hop {
    /// To a backend over HTTP.
    Http(SocketAddr),
    /// To a role of this process, without a socket.
    Local(LocalService),
}

impl Hop {
    /// Sends a prepared request over this hop.
    pub async fn send(
        &self,
        pool: &Pool,
        request: Request<Body>,
        timeouts: &Timeouts,
    ) -> Result<Response<Body>, Failure> {
        match self {
            Self::Http(address) => pool.upstream(*address).forward(request, timeouts).await,
            Self::Local(service) => Ok(service(request).await),
        }
    }
}

impl fmt::Debug for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(address) => f.debug_tuple("Http").field(address).finish(),
            Self::Local(_) => f.write_str("Local"),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_local_hop_calls_the_role_directly() {
        let service: LocalService = Arc::new(|request| {
            let path = request.uri().path().to_owned();
            Box::pin(async move { Response::new(Body::from(bytes::Bytes::from(path))) })
        });
        let request = Request::builder().uri("/here").body(Body::empty()).unwrap();
        let sent = Hop::Local(service).send(&Pool::default(), request, &Timeouts::default()).await;
        let body = sent.unwrap().into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "/here");
    }
}
