//! One probe: a connection, a question, the head of an answer.

use std::pin::pin;
use std::time::Duration;

use http::StatusCode;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use proxy::connect::{ConnectError, Connector, Protocol, Target};
use tokio::time::Instant;

use super::question::Question;
use crate::cluster::Finding;
use crate::load::{LOAD_FIELD, parse_load};
use crate::selection::Load;

/// What a good probe tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    /// How long the answer to the question took.
    pub(super) latency: Duration,
    /// What the backend tells of its load.
    pub(super) load: Option<Load>,
}

/// Why a probe is bad.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadProbe {
    #[error("cannot connect: {0}")]
    Connect(ConnectError),
    #[error("no answer: {0}")]
    NoAnswer(String),
    #[error("it answered {0}")]
    Status(StatusCode),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("its name has no address")]
    NoAddress,
}

impl BadProbe {
    /// Gives what it says about the backend; `None` if the fault is this side's.
    pub(super) fn finding(&self) -> Option<Finding> {
        match self {
            Self::Connect(ConnectError::Exhausted(_)) => None,
            Self::Connect(ConnectError::Tcp(_)) | Self::NoAddress => Some(Finding::Refused),
            Self::Connect(ConnectError::Timeout { .. } | ConnectError::HandshakeTimeout { .. })
            | Self::Timeout(_) => Some(Finding::Silent),
            Self::Connect(_) | Self::NoAnswer(_) | Self::Status(_) => Some(Finding::Unwell),
        }
    }
}

/// Probes a backend once.
///
/// Each probe opens a connection of its own, because taking new ones is part of being up.
pub(super) async fn probe_once(
    target: &Target,
    question: &Question,
    timeout: Duration,
) -> Result<Answer, BadProbe> {
    tokio::time::timeout(timeout, ask(target, question)).await.unwrap_or(Err(BadProbe::Timeout(timeout)))
}

async fn ask(target: &Target, question: &Question) -> Result<Answer, BadProbe> {
    let opened = Instant::now();
    let stream = Connector::default().connect(target, None).await.map_err(BadProbe::Connect)?;
    if question.is_empty() {
        return Ok(Answer { latency: opened.elapsed(), load: None });
    }
    let request = question.request(target).map_err(|error| no_answer(&error))?;
    let asked = Instant::now();
    let io = TokioIo::new(stream);
    let answer = match target.protocol {
        Protocol::Http1 => {
            let (mut sender, connection) = http1::handshake(io).await.map_err(|error| no_answer(&error))?;
            drive(sender.send_request(request), connection).await
        }
        Protocol::Http2 => {
            let handshake = http2::handshake(TokioExecutor::new(), io);
            let (mut sender, connection) = handshake.await.map_err(|error| no_answer(&error))?;
            drive(sender.send_request(request), connection).await
        }
    };
    let answer = answer.map_err(|error| no_answer(&error))?;
    let status = answer.status();
    if !question.is_good(status.as_u16()) {
        return Err(BadProbe::Status(status));
    }
    let load = answer.headers().get(LOAD_FIELD).and_then(|value| parse_load(value.as_bytes()));
    Ok(Answer { latency: asked.elapsed(), load })
}

fn no_answer(reason: &dyn std::fmt::Display) -> BadProbe {
    BadProbe::NoAnswer(reason.to_string())
}

/// Waits for an answer while the connection is driven.
async fn drive<T>(answer: impl Future<Output = T>, connection: impl Future) -> T {
    let (mut answer, mut connection) = (pin!(answer), pin!(connection));
    tokio::select! {
        biased;
        answer = answer.as_mut() => answer,
        // The connection may end with the answer; then the answer is there.
        _ = connection.as_mut() => answer.await,
    }
}
