//! The worker at its edges: a real database role, real sockets, real services.

mod api;
mod attempts;
mod house;
mod kinds;
mod lifecycle;
mod probe;
mod relay;
