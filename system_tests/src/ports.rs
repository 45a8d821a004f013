//! Ports nobody else uses, below the range the kernel hands to outgoing connections.
//!
//! Tests run in parallel, each in a process of its own, so a port that is free now may be taken a moment
//! later. A process therefore takes a block of ports by locking a file, for as long as it lives.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, PoisonError};

use rand::Rng;

/// The first port of the first block; Linux hands out 32768 and above by itself.
const FIRST: u16 = 11_000;

/// The ports of a block; a house takes 14.
const BLOCK: u16 = 20;

/// How many blocks there are.
const BLOCKS: u16 = 1000;

/// The blocks this process has, and the next port to give out with the ports left.
static TAKEN: Mutex<(Vec<File>, u16, u16)> = Mutex::new((Vec::new(), 0, 0));

/// Gives a port that is free and that no other test gets while this process lives.
pub fn free_port() -> u16 {
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let (blocks, next, left) = &mut *taken;
        if *left == 0 {
            let (lock, first) = take_block();
            blocks.push(lock);
            (*next, *left) = (first, BLOCK);
        }
        let port = *next;
        (*next, *left) = (*next + 1, *left - 1);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

fn take_block() -> (File, u16) {
    let folder = std::env::temp_dir().join("sixfold-test-ports");
    std::fs::create_dir_all(&folder).expect("a folder for locks");
    for _ in 0..10_000 {
        let block = rand::rng().random_range(0..BLOCKS);
        let lock = File::create(folder.join(block.to_string())).expect("a lock file");
        if lock.try_lock().is_ok() {
            return (lock, FIRST + block * BLOCK);
        }
    }
    panic!("no block of ports is free");
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
