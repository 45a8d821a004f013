//! Ports nobody else uses, below the range the kernel hands to outgoing connections.

use std::net::{Ipv4Addr, TcpListener};

use rand::Rng;

/// The range ports are taken from; Linux hands out 32768 and above by itself.
const RANGE: std::ops::Range<u16> = 11_000..32_000;

/// Finds a port that is free now; tests in parallel pick at random, so that they rarely meet.
pub fn free_port() -> u16 {
    for _ in 0..1000 {
        let port = rand::rng().random_range(RANGE);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between {} and {}", RANGE.start, RANGE.end);
}

/// The ports of one house.
#[derive(Debug, Clone)]
pub struct Ports {
    /// The load balancer.
    pub load_balancer: u16,
    /// The gateways.
    pub gateways: [u16; 5],
    /// The service `catalog`.
    pub catalog: u16,
    /// The service `orders`.
    pub orders: u16,
    /// The service `accounts`.
    pub accounts: u16,
    /// The database.
    pub database: u16,
    /// The cache over HTTP.
    pub cache: u16,
    /// The cache over RESP.
    pub resp: u16,
    /// The worker.
    pub worker: u16,
    /// The admin address of `up` and of the load balancer.
    pub admin: u16,
}

impl Ports {
    /// Finds ports for every role.
    pub fn find() -> Self {
        Self {
            load_balancer: free_port(),
            gateways: std::array::from_fn(|_| free_port()),
            catalog: free_port(),
            orders: free_port(),
            accounts: free_port(),
            database: free_port(),
            cache: free_port(),
            resp: free_port(),
            worker: free_port(),
            admin: free_port(),
        }
    }
}
