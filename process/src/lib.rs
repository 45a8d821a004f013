//! What every role's process needs: configuration, listeners, shutdown, telemetry, health and the admin address.
//!
//! A role binds its listeners first and runs afterwards. [`Bound`] is what lies between the two: the
//! addresses, the health, the routes the role adds to the admin address, and the future that serves. A
//! process binds all its roles before it runs any, so a taken port leaves nothing half-started.
//!
//! A request that enters a role passes [`http::observe`], which continues the caller's trace, counts the
//! request and sets `X-Request-Id`; a call that leaves through [`HttpClient`] carries that trace onwards.

pub mod admin;
pub mod client;
pub mod coding;
pub mod config;
pub mod duration;
pub mod handover;
pub mod health;
pub mod http;
pub mod identity;
pub mod json;
pub mod listen;
mod media_type;
pub mod metrics;
pub mod named_here;
pub mod open_files;
pub mod problem;
pub mod reload;
pub mod role;
pub mod secret;
pub mod services;
pub mod shutdown;
pub mod size;
pub mod telemetry;
pub mod token;
pub mod trace;
pub mod weighted;

pub use client::{CallError, HttpClient};
pub use config::{Cluster, Config, ConfigError};
pub use health::Health;
pub use identity::Identity;
pub use media_type::media_type;
pub use problem::Problem;
pub use reload::Reload;
pub use role::{Bound, Listening, RoleError};
pub use secret::Secret;
pub use services::Services;
pub use shutdown::Shutdown;
pub use token::ClusterToken;
pub use trace::TraceContext;
pub use weighted::Weighted;
