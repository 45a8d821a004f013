//! What passes through the balancer beside plain requests, spoken by other people's programs: WebSockets,
//! gRPC, curl; and what no program shows, as raw bytes.

mod clients;
mod interim;
mod tls;
