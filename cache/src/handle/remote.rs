//! A cache reached over RESP, ours or a Redis: one connection, multiplexed, made when first used and again when it is lost.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use process::{ClusterToken, Secret};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, Cmd, ErrorKind, IntoConnectionInfo, Pipeline, RedisError, Value};
use tokio::time::Instant;

use super::gate::Gate;
use super::link::NoAnswer;
use crate::config::{Config, Upstream};

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Failures in a row after which the connection is given up and made anew: one whose other end vanished
/// without a word never fails by itself, nor does one whose password was refused. Several, because a
/// connection slower to make than one call's deadline is made step by step.
const FAILURES_TO_RENEW: u32 = 10;

/// The connection; nothing it does takes longer than its deadline.
pub(super) struct Remote {
    client: Client,
    manager: Mutex<Option<ConnectionManager>>,
    gate: Gate,
    has_refused: AtomicBool,
    started: Instant,
    deadline: Duration,
}

impl Remote {
    /// Prepares a connection and makes none yet; `None` if the address cannot be used.
    pub(super) fn new(config: &Config, token: &ClusterToken) -> Option<Self> {
        let client = open_client(config, token)
            .inspect_err(|error| tracing::warn!(%error, "there is no cache: its address cannot be used"));
        Some(Self {
            client: client.ok()?,
            manager: Mutex::new(None),
            gate: Gate::default(),
            has_refused: AtomicBool::new(false),
            started: Instant::now(),
            deadline: config.timeout,
        })
    }

    /// Tells whether a call would be sent; of those who ask after a pause, one is told so.
    pub(super) fn is_worth_trying(&self) -> bool {
        self.gate.lets_pass(self.now_ms())
    }

    /// Reads a key.
    pub(super) async fn get(&self, key: &str) -> Result<Option<Bytes>, NoAnswer> {
        let mut command = Cmd::with_capacity(2, key.len() + 3);
        command.arg("GET").arg(key);
        match self.call(&command).await? {
            Value::BulkString(value) => Ok(Some(Bytes::from(value))),
            Value::Nil => Ok(None),
            _ => Err(NoAnswer),
        }
    }

    /// Sets a key where nothing is; tells whether it was set.
    pub(super) async fn set_absent(&self, key: &str, value: &[u8], life_ms: u64) -> Result<bool, NoAnswer> {
        let mut command = redis::cmd("SET");
        command.arg(key).arg(value).arg("NX").arg("PX").arg(life_ms);
        self.call(&command).await.map(|answer| answer != Value::Nil)
    }

    /// Sets keys, also of a cache that is thought to be down.
    pub(super) async fn set_all<'k>(
        &self,
        entries: impl ExactSizeIterator<Item = (&'k str, Vec<u8>)>,
        life_ms: u64,
    ) -> Result<(), NoAnswer> {
        let count = entries.len();
        let mut commands = redis::pipe();
        for (key, value) in entries {
            commands.cmd("SET").arg(key).arg(value).arg("PX").arg(life_ms);
        }
        self.insist(&commands, count).await
    }

    /// Removes a key.
    pub(super) async fn remove(&self, key: &str) -> Result<(), NoAnswer> {
        let mut command = redis::cmd("DEL");
        command.arg(key);
        self.call(&command).await.map(drop)
    }

    /// Sends a command unless the cache is known to be down.
    async fn call(&self, command: &Cmd) -> Result<Value, NoAnswer> {
        if !self.gate.lets_pass(self.now_ms()) {
            return Err(NoAnswer);
        }
        let mut manager = self.manager().ok_or(NoAnswer)?;
        self.judge(tokio::time::timeout(self.deadline, manager.send_packed_command(command)).await)
    }

    /// Sends commands together, also to a cache that is thought to be down, and waits longer.
    async fn insist(&self, commands: &Pipeline, count: usize) -> Result<(), NoAnswer> {
        let mut manager = self.manager().ok_or(NoAnswer)?;
        // Twice: once the answer is here the caller can rely on it, so it is worth more patience than a read.
        let patience = self.deadline * 2;
        let sent = tokio::time::timeout(patience, manager.send_packed_commands(commands, 0, count)).await;
        let answers = self.judge(sent)?;
        let is_fault = |answer: &Value| matches!(answer, Value::ServerError(_));
        if answers.iter().any(is_fault) { Err(NoAnswer) } else { Ok(()) }
    }

    fn judge<T>(
        &self,
        outcome: Result<Result<T, RedisError>, tokio::time::error::Elapsed>,
    ) -> Result<T, NoAnswer> {
        let reason = match outcome {
            Ok(Ok(answer)) => {
                if self.gate.note_success() {
                    tracing::info!("the cache answers again");
                }
                return Ok(answer);
            }
            // The cache is there and refuses this command, such as a read of a key of another type.
            Ok(Err(error)) if matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension) => {
                if !self.has_refused.swap(true, Relaxed) {
                    tracing::warn!(%error, "the cache refuses commands; this is said once");
                }
                return Err(NoAnswer);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        if self.gate.note_failure(self.now_ms()) {
            tracing::warn!(reason, "the cache does not answer; reads go on without it");
        }
        if self.gate.failures().is_multiple_of(FAILURES_TO_RENEW) {
            self.renew();
        }
        Err(NoAnswer)
    }

    fn renew(&self) {
        self.manager.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Gives the connection, and makes it if there is none; connecting itself happens when it is first used.
    fn manager(&self) -> Option<ConnectionManager> {
        let mut manager = self.manager.lock().unwrap_or_else(PoisonError::into_inner);
        if manager.is_none() {
            let config = ConnectionManagerConfig::new()
                .set_connection_timeout(Some(CONNECT_TIMEOUT))
                // The gate says when to try again; the manager's own retries would keep calls waiting.
                .set_number_of_retries(0)
                // Every call has a deadline of its own.
                .set_response_timeout(None);
            let made = ConnectionManager::new_lazy_with_config(self.client.clone(), config);
            *manager = made.inspect_err(|error| tracing::warn!(%error, "no connection to the cache")).ok();
        }
        manager.clone()
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX / 2)
    }
}

fn open_client(config: &Config, token: &ClusterToken) -> Result<Client, RedisError> {
    let (url, username, password) = match config.upstream() {
        Upstream::Sixfold(address) => (format!("redis://{address}"), None, token.secret()),
        Upstream::Redis(url) => (url, config.username.as_deref(), config.password.as_ref()),
    };
    let info = url.into_connection_info()?;
    let mut settings = info.redis_settings().clone();
    if let Some(username) = username {
        settings = settings.set_username(username);
    }
    if let Some(password) = password.map(Secret::expose) {
        settings = settings.set_password(password);
    }
    Client::open(info.set_redis_settings(settings))
}
