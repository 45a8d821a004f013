//! What passes through the balancer beside plain requests, spoken by other people's programs: WebSockets,
//! gRPC, curl; what no program shows, as raw bytes; and what the balancer tells of a request.

mod clients;
mod interim;
mod tls;
mod told;
