//! `POST` of NDJSON to a collection: a new record a line, in constant memory, with progress.
//!
//! Lines are read as they come and committed a batch at a time; the answer, NDJSON too, begins at once and tells of
//! each line that was refused and after each batch how far it is. What is committed stays, whatever
//! becomes of later lines; the last line of the answer says `"done":true`, and one that lacks it broke off.

use std::sync::Arc;

use axum::body::{Body, BodyDataStream};
use axum::extract::Request;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use database::Error;
use futures_util::StreamExt as _;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use process::problem::{Fault, kinds};
use process::{Identity, Problem};
use serde_json::{Value, json};
use uuid::Uuid;

use super::commit::{Change, commit};
use super::export::NDJSON;
use super::{Collection, is_record_name, once, prepare};
use crate::body;
use crate::fault::problem_of;
use crate::schema::RESERVED;

/// How many records are committed together.
const BATCH: usize = 100;

/// After how many bytes of lines a batch ends early; with one more line it is what an import holds in memory.
const BATCH_BYTES: usize = 4 << 20;

/// Answers POST of NDJSON.
pub(super) async fn import(collection: &Arc<Collection>, request: Request) -> Result<Response, Problem> {
    // It means nothing here, but what is none is refused wherever it comes.
    once::key_of(request.headers())?;
    let caller = Identity::read(request.headers());
    collection.rules.grant_create(caller.as_ref())?;
    let import = Import {
        collection: Arc::clone(collection),
        caller,
        body: request.into_body().into_data_stream(),
        unread: BytesMut::new(),
        line: 0,
        imported: 0,
        refused: 0,
        is_over: false,
    };
    let answer = futures_util::stream::unfold(import, |mut import| async move {
        let lines = import.next().await?;
        Some((Ok::<_, std::convert::Infallible>(lines), import))
    });
    let mut response = Response::new(Body::from_stream(answer));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(NDJSON));
    Ok(response)
}

/// An import on its way.
struct Import {
    collection: Arc<Collection>,
    caller: Option<Identity>,
    body: BodyDataStream,
    /// What was received of lines that are not dealt with; at most one line and what came in one piece with it.
    unread: BytesMut,
    line: u64,
    imported: u64,
    refused: u64,
    is_over: bool,
}

impl Import {
    /// Deals with the next batch and gives what is told of it; `None` after the end.
    async fn next(&mut self) -> Option<Bytes> {
        if self.is_over {
            return None;
        }
        let mut told = Vec::new();
        let (mut changes, mut bytes) = (Vec::new(), 0);
        while changes.len() < BATCH && bytes < BATCH_BYTES {
            match self.next_line().await {
                Ok(Some(line)) if line.trim_ascii().is_empty() => self.line += 1,
                Ok(Some(line)) => {
                    self.line += 1;
                    bytes += line.len();
                    match self.prepare(&line) {
                        Ok(change) => changes.push((self.line, change)),
                        Err(problem) => self.refuse(&mut told, self.line, &problem),
                    }
                }
                Ok(None) => {
                    self.is_over = true;
                    break;
                }
                Err(problem) => {
                    self.is_over = true;
                    self.commit(&mut told, changes).await;
                    self.refuse(&mut told, self.line + 1, &problem);
                    return Some(Bytes::from(told));
                }
            }
        }
        let is_lost = !self.commit(&mut told, changes).await;
        self.is_over |= is_lost;
        let mut progress = json!({ "line": self.line, "imported": self.imported, "refused": self.refused });
        if self.is_over && !is_lost {
            progress["done"] = Value::Bool(true);
        }
        tell(&mut told, &progress);
        Some(Bytes::from(told))
    }

    /// Reads one line without its end; `None` after the last.
    async fn next_line(&mut self) -> Result<Option<Bytes>, Problem> {
        let limit = self.collection.settings.max_body;
        let mut searched = 0;
        loop {
            if let Some(end) = self.unread[searched..].iter().position(|byte| *byte == b'\n') {
                let mut line = self.unread.split_to(searched + end + 1);
                line.truncate(searched + end);
                return Ok(Some(line.freeze()));
            }
            searched = self.unread.len();
            if searched as u64 > limit {
                return Err(body::too_large(limit));
            }
            match tokio::time::timeout(body::BODY_TIMEOUT, self.body.next()).await {
                Err(_) => return Err(Problem::new(kinds::REQUEST_TIMEOUT)),
                Ok(Some(Ok(bytes))) => self.unread.extend_from_slice(&bytes),
                Ok(Some(Err(_))) => {
                    return Err(Problem::new(kinds::MALFORMED_REQUEST).detail("the body ended early"));
                }
                Ok(None) if self.unread.is_empty() => return Ok(None),
                Ok(None) => return Ok(Some(self.unread.split().freeze())),
            }
        }
    }

    /// Makes a record of a line. What only the server sets is passed over, so that what was exported can be
    /// imported; but for the name, which a line may choose.
    fn prepare(&self, line: &Bytes) -> Result<Change, Problem> {
        if line.len() as u64 > self.collection.settings.max_body {
            return Err(body::too_large(self.collection.settings.max_body));
        }
        let mut fields = body::as_object(body::parse(line)?)?;
        let id = match fields.remove("id") {
            None => None,
            Some(Value::String(id)) if is_record_name(&id) => Some(id),
            Some(_) => {
                let detail = "this cannot name a record".to_owned();
                return Err(body::invalid(vec![Fault { pointer: "/id".to_owned(), detail }]));
            }
        };
        fields.retain(|name, _| {
            !RESERVED.contains(&name.as_str()) && !self.collection.schema.is_server_s(name)
        });
        let is_new_name = id.is_none();
        let id = id.unwrap_or_else(|| Uuid::now_v7().to_string());
        prepare::create(&self.collection, self.caller.as_ref(), &id, Value::Object(fields), is_new_name)
    }

    /// Commits a batch, or its records one by one where some cannot be; false when the database is lost.
    async fn commit(&mut self, told: &mut Vec<u8>, changes: Vec<(u64, Change)>) -> bool {
        if changes.is_empty() {
            return true;
        }
        let together = changes.iter().map(|(_, change)| change.clone()).collect();
        match commit(&self.collection, together, None).await {
            Ok(_) => self.imported += changes.len() as u64,
            Err(Error::PreconditionFailed { .. } | Error::NotUnique { .. } | Error::Invalid { .. }) => {
                for (line, change) in changes {
                    match commit(&self.collection, vec![change], None).await {
                        Ok(_) => self.imported += 1,
                        Err(Error::PreconditionFailed { .. }) => {
                            self.refuse(told, line, &Problem::new(kinds::ALREADY_EXISTS));
                        }
                        Err(error) => {
                            self.refuse(told, line, &problem_of(&error));
                            if is_lost(&error) {
                                return false;
                            }
                        }
                    }
                }
            }
            Err(error) => {
                let first = changes.first().map_or(self.line, |(line, _)| *line);
                self.refuse(told, first, &problem_of(&error));
                return false;
            }
        }
        true
    }

    fn refuse(&mut self, told: &mut Vec<u8>, line: u64, problem: &Problem) {
        self.refused += 1;
        let document: Value = serde_json::from_slice(problem.to_response().body()).unwrap_or_default();
        tell(told, &json!({ "line": line, "problem": document }));
    }
}

fn is_lost(error: &Error) -> bool {
    !matches!(error, Error::PreconditionFailed { .. } | Error::NotUnique { .. } | Error::Invalid { .. })
}

fn tell(told: &mut Vec<u8>, document: &Value) {
    told.extend_from_slice(document.to_string().as_bytes());
    told.push(b'\n');
}
