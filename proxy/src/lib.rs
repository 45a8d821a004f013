//! Forwards one request to one backend, correctly and fast.
//!
//! The data plane is one thread per core, each with a runtime, a listener and connection pools of its own,
//! so that nothing on the path of a request is shared or locked. [`server::serve`] accepts connections and
//! gives each to a [`server::Handler`], which serves it in one of two lanes: in bytes ([`wire`]), or as messages
//! ([`server::message`]). A handler of messages cleans a request's fields ([`fields::prepare_request`]), picks a
//! backend, and calls [`pool::Upstream::forward`], which streams the request out and the response back, or says
//! whether a repeat would be safe.

pub mod body;
pub mod client;
pub mod connect;
pub mod fields;
pub mod forward;
mod host;
mod imitation;
pub mod pool;
mod protected;
pub mod proxy_protocol;
pub mod server;
pub mod stream;
pub mod tls;
mod upgrade;
mod upload;
mod via;
pub mod wire;

pub use body::{Body, BodyError, Guard};
pub use client::Client;
pub use connect::{Connector, Target};
pub use forward::{Failure, ForwardError, Timeouts};
pub use pool::{Pool, Upstream};
pub use stream::Stream;
pub use upload::Progress;
