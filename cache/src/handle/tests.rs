//! The handle against our own server, over RESP and within its process, and against a real Redis: the same promises.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use process::{Secret, Shutdown};
use proptest::prelude::*;
use tokio::task::JoinSet;

use super::*;

const TTL: Duration = Duration::from_secs(60);

/// A cache to test against; it ends with the test.
struct Server {
    cache: Cache,
    config: Config,
    token: ClusterToken,
    store: Option<SharedStore>,
    _tasks: JoinSet<Result<(), process::RoleError>>,
    _redis: Option<Redis>,
}

struct Redis(Child);

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_address() -> SocketAddr {
    process::listen::Reserved::take().unwrap().until_exit()
}

/// The tests wait for answers, not for deadlines, so a busy machine must not make one pass.
fn patient(url: String) -> Config {
    let free = "127.0.0.1:0".to_owned();
    Config {
        url,
        listen: free.clone(),
        resp_listen: free,
        timeout: Duration::from_secs(5),
        ..Config::default()
    }
}

impl Server {
    fn own() -> Self {
        let token = ClusterToken::new(Some(Secret::new("token")));
        let valid = Config { timeout: Duration::from_millis(100), ..patient(String::new()) };
        let store = SharedStore::new(&valid).unwrap();
        let bound = crate::bind_store(store.clone(), &valid, &token).unwrap();
        let config = patient(format!("sixfold://{}", bound.listening[1].address));
        let mut tasks = JoinSet::new();
        tasks.spawn(bound.run(Shutdown::new(Duration::ZERO)));
        let (cache, store) = (Cache::connect(&config, &token), Some(store));
        Self { cache, config, token, store, _tasks: tasks, _redis: None }
    }

    /// As [`Server::own`], asked in its own process; who is elsewhere asks the same over RESP.
    fn within() -> Self {
        let own = Self::own();
        Self { cache: Cache::local(own.store.as_ref().unwrap()), ..own }
    }

    async fn redis() -> Self {
        let address = free_address();
        let port = address.port().to_string();
        let child = Command::new("redis-server")
            .args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--requirepass", "secret"])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is needed for this test: `make test` installs it");
        let mut redis = Redis(child);
        while tokio::net::TcpStream::connect(address).await.is_err() {
            assert!(redis.0.try_wait().unwrap().is_none(), "redis-server ended at once");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let config =
            Config { password: Some(Secret::new("secret")), ..patient(format!("redis://{address}")) };
        let token = ClusterToken::default();
        let cache = Cache::connect(&config, &token);
        Self { cache, config, token, store: None, _tasks: JoinSet::new(), _redis: Some(redis) }
    }

    async fn all() -> [Self; 3] {
        [Self::own(), Self::within(), Self::redis().await]
    }

    /// Another process's handle.
    fn elsewhere(&self) -> Cache {
        Cache::connect(&self.config, &self.token)
    }
}

async fn miss(cache: &Cache, key: &str) -> Fill {
    match cache.read(key).await {
        Found::Miss(fill) => fill,
        other => panic!("{key} should be missed: {other:?}"),
    }
}

#[tokio::test]
async fn a_filled_value_is_read_by_everyone_until_it_is_invalidated() {
    for server in Server::all().await {
        let (here, there) = (&server.cache, server.elsewhere());
        let fill = miss(here, "k").await;
        here.fill(fill, Bytes::from("value"), TTL).await;
        assert_eq!(there.read("k").await, Found::Hit(Bytes::from("value")));
        there.invalidate(&["k".into(), "other".into()]).await;
        miss(here, "k").await;
        miss(here, "other").await;
    }
}

#[tokio::test]
async fn a_value_loaded_before_an_invalidation_cannot_be_stored_after_it() {
    for server in Server::all().await {
        let writer = server.elsewhere();
        let fill = miss(&server.cache, "k").await;
        writer.invalidate(&["k".into()]).await;
        server.cache.fill(fill, Bytes::from("stale"), TTL).await;
        miss(&writer, "k").await;
        // Nor by one who saw the first invalidation but not the second.
        let fill = miss(&server.cache, "k").await;
        writer.invalidate(&["k".into()]).await;
        server.cache.fill(fill, Bytes::from("stale"), TTL).await;
        miss(&writer, "k").await;
    }
}

#[tokio::test]
async fn of_two_fills_of_one_miss_the_first_stays() {
    for server in Server::all().await {
        let (first, second) = (miss(&server.cache, "k").await, miss(&server.cache, "k").await);
        server.cache.fill(first, Bytes::from("first"), TTL).await;
        server.cache.fill(second, Bytes::from("second"), TTL).await;
        assert_eq!(server.cache.read("k").await, Found::Hit(Bytes::from("first")));
    }
}

#[tokio::test]
async fn a_fill_that_took_too_long_is_dropped() {
    let server = Server::own();
    let mut fill = miss(&server.cache, "k").await;
    fill.missed_at = Instant::now().checked_sub(FILL_BOUND + Duration::from_millis(1)).unwrap();
    server.cache.fill(fill, Bytes::from("late"), TTL).await;
    miss(&server.cache, "k").await;
}

#[tokio::test]
async fn a_value_that_looks_like_a_tombstone_is_not_stored() {
    let server = Server::own();
    let fill = miss(&server.cache, "k").await;
    let value = Bytes::from(Tombstone::new(&mut rand::rng()).write());
    server.cache.fill(fill, value, TTL).await;
    assert_eq!(miss(&server.cache, "k").await.tombstone, None);
}

#[tokio::test]
async fn a_value_too_large_for_the_server_is_not_stored_within_its_process_either() {
    let server = Server::within();
    let fill = miss(&server.cache, "k").await;
    let largest = usize::try_from(server.store.as_ref().unwrap().largest_value).unwrap();
    server.cache.fill(fill.clone(), Bytes::from(vec![b'a'; largest + 1]), TTL).await;
    miss(&server.cache, "k").await;
    server.cache.fill(fill, Bytes::from(vec![b'a'; largest]), TTL).await;
    assert!(matches!(server.elsewhere().read("k").await, Found::Hit(_)));
}

#[tokio::test]
async fn a_claim_is_one_for_those_within_the_process_and_elsewhere() {
    let server = Server::within();
    let time = Duration::from_secs(60);
    let Claim::Mine(mine) = server.cache.claim("a", time).await else { panic!("nobody has it") };
    assert!(matches!(server.elsewhere().claim("a", time).await, Claim::Taken));
    server.cache.give_up(mine).await;
    assert!(matches!(server.elsewhere().claim("a", time).await, Claim::Mine(_)));
    assert!(matches!(server.cache.claim("a", time).await, Claim::Taken));
}

#[tokio::test]
async fn a_cache_that_is_down_costs_nothing_and_one_that_comes_back_is_used() {
    let address = free_address();
    let config = patient(format!("sixfold://{address}"));
    let cache = Cache::connect(&config, &ClusterToken::default());
    for _ in 0..5 {
        assert_eq!(cache.read("k").await, Found::Unavailable);
    }
    let valid = Config { resp_listen: address.to_string(), timeout: Duration::from_millis(100), ..config };
    let bound = crate::bind(&valid, &ClusterToken::default()).unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(bound.run(Shutdown::new(Duration::ZERO)));
    while cache.read("k").await == Found::Unavailable {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_cache_that_says_nothing_is_waited_for_a_few_times_and_then_passed_by() {
    let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("sixfold://{}", mute.local_addr().unwrap());
    let config = Config { timeout: Duration::from_millis(100), ..patient(url) };
    let cache = Cache::connect(&config, &ClusterToken::default());
    for _ in 0..3 {
        let asked = Instant::now();
        assert_eq!(cache.read("k").await, Found::Unavailable);
        assert!(asked.elapsed() >= config.timeout);
    }
    let asked = Instant::now();
    for _ in 0..1000 {
        assert_eq!(cache.read("k").await, Found::Unavailable);
    }
    assert_eq!(asked.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_fill_that_may_still_be_under_way_is_followed_by_an_invalidation() {
    let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = patient(format!("sixfold://{}", mute.local_addr().unwrap()));
    let cache = Cache::connect(&config, &ClusterToken::default());
    let fill = Fill { key: "k".into(), missed_at: Instant::now(), tombstone: None };
    cache.fill(fill, Bytes::from("value"), TTL).await;
    assert!(cache.0.postponed.contains("k"));
}

#[tokio::test]
async fn a_key_whose_invalidation_failed_is_invalidated_before_it_is_believed_again() {
    let address = free_address();
    let config = patient(format!("sixfold://{address}"));
    let cache = Cache::connect(&config, &ClusterToken::default());
    cache.invalidate(&["k".into()]).await;
    // The cache comes back and holds what was loaded before the write, as a real one would.
    let valid =
        Config { resp_listen: address.to_string(), timeout: Duration::from_millis(100), ..config.clone() };
    let bound = crate::bind(&valid, &ClusterToken::default()).unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(bound.run(Shutdown::new(Duration::ZERO)));
    let other = Cache::connect(&config, &ClusterToken::default());
    let fill = miss(&other, "k").await;
    other.fill(fill, Bytes::from("stale"), TTL).await;
    assert_eq!(other.read("k").await, Found::Hit(Bytes::from("stale")));
    loop {
        match cache.read("k").await {
            Found::Unavailable => tokio::time::sleep(Duration::from_millis(10)).await,
            Found::Miss(_) => break,
            Found::Hit(value) => panic!("a stale value was read: {value:?}"),
        }
    }
    miss(&other, "k").await;
}

#[tokio::test]
async fn who_misses_a_key_together_loads_it_once() {
    for server in Server::all().await {
        let loads = AtomicUsize::new(0);
        let (start, wait) = tokio::sync::watch::channel(false);
        let read = async |name: usize| {
            let load = async || {
                loads.fetch_add(1, Ordering::Relaxed);
                let _ = wait.clone().wait_for(|started| *started).await;
                Ok::<_, ()>(Bytes::from(format!("loaded by {name}")))
            };
            server.cache.read_through("k", TTL, load).await.unwrap()
        };
        let release = async {
            while server.cache.0.flights.joined() < 7 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            start.send_replace(true);
        };
        let reads = async {
            let (a, b, c, d) = tokio::join!(read(0), read(1), read(2), read(3));
            [a, b, c, d]
        };
        let more = async { tokio::join!(read(4), read(5), read(6), read(7)) };
        let (some, (e, f, g, h), ()) = tokio::join!(reads, more, release);
        let all: Vec<_> = some.into_iter().chain([e, f, g, h]).collect();
        assert_eq!(loads.load(Ordering::Relaxed), 1);
        assert!(all.iter().all(|(value, _)| *value == all[0].0));
        assert_eq!(all.iter().filter(|(_, source)| *source == Source::Miss).count(), 1);
        assert_eq!(all.iter().filter(|(_, source)| *source == Source::Coalesced).count(), 7);
        let again = read(9).await;
        assert_eq!(again, (all[0].0.clone(), Source::Hit));
    }
}

#[tokio::test]
async fn without_a_cache_everyone_loads() {
    let load = async || Ok::<_, ()>(Bytes::from("value"));
    let read = Cache::disabled().read_through("k", TTL, load).await;
    assert_eq!(read, Ok((Bytes::from("value"), Source::Bypass)));
}

#[tokio::test]
async fn a_failed_load_is_passed_on_and_not_stored() {
    let server = Server::own();
    let failed = server.cache.read_through("k", TTL, async || Err("broken")).await;
    assert_eq!(failed, Err("broken"));
    let load = async || Ok::<_, ()>(Bytes::from("value"));
    assert_eq!(server.cache.read_through("k", TTL, load).await.unwrap().1, Source::Miss);
}

proptest! {
    #[test]
    fn a_time_to_live_varies_by_ten_percent(ttl_ms in 1u64..10_000_000, seed: u64) {
        let mut rng = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(seed);
        let jittered = jitter_ms(Duration::from_millis(ttl_ms), &mut rng);
        prop_assert!(jittered >= ttl_ms - ttl_ms / 10 && jittered <= ttl_ms + ttl_ms / 10 && jittered > 0);
    }
}
