//! `POST` of NDJSON to a collection: a new record a line, in constant memory, with progress.
//!
//! Lines are read as they come and committed a batch at a time; the answer, NDJSON too, begins at once and tells of
//! each line that was refused and after each batch how far it is. What is committed stays, whatever
//! becomes of later lines; the last line of the answer says `"done":true`, and one that lacks it broke off.
//!
//! Under an `Idempotency-Key` each line is made once ([`LineKeys`]): a transaction for each, many at a time, which the
//! database commits together.

use std::sync::Arc;

use axum::body::{Body, BodyDataStream};
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use database::Error;
use futures_util::StreamExt as _;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use process::problem::{Fault, kinds};
use process::{Identity, Problem};
use serde_json::{Value, json};
use uuid::Uuid;

use super::commit::{Change, commit, commit_once};
use super::export::NDJSON;
use super::lines::{Line, Lines};
use super::name::NAME_RULE;
use super::once::{LineKeys, Once};
use super::reserved::require_free_name;
use super::{Collection, is_record_name, prepare};
use crate::body;
use crate::fault::problem_of;
use crate::schema::RESERVED;

/// How many lines are dealt with together.
const BATCH: usize = 100;

/// How many lines are under way to the database at a time, when each is a transaction of its own.
const AT_ONCE: usize = 32;

/// After how many bytes of lines a batch ends early; with one more line it is what an import holds in memory.
const BATCH_BYTES: usize = 4 << 20;

/// Answers POST of NDJSON.
pub(super) async fn import(collection: &Arc<Collection>, request: Request) -> Result<Response, Problem> {
    let caller = Identity::read(request.headers());
    collection.rules.grant_create(caller.as_ref())?;
    let keys = LineKeys::read(request.headers(), request.uri().path(), caller.as_ref())?;
    let import = Import {
        collection: Arc::clone(collection),
        caller,
        keys,
        lines: Lines::new(request.into_body().into_data_stream(), collection.settings.max_body),
        line: 0,
        imported: 0,
        repeated: 0,
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
    keys: Option<LineKeys>,
    lines: Lines<BodyDataStream>,
    line: u64,
    imported: u64,
    /// The lines that were imported before under the same key.
    repeated: u64,
    refused: u64,
    is_over: bool,
}

/// A record to be made of a line.
#[derive(Debug, Clone)]
struct Prepared {
    line: u64,
    change: Change,
    once: Option<Once>,
}

impl Import {
    /// Deals with the next batch and gives what is told of it; `None` after the end.
    async fn next(&mut self) -> Option<Bytes> {
        if self.is_over {
            return None;
        }
        let mut told = Vec::new();
        let (mut prepared, mut bytes, mut refused) = (Vec::new(), 0, 0);
        // Refused lines count too, since what is told of them is held until then.
        while prepared.len() + refused < BATCH && bytes < BATCH_BYTES {
            let line = match self.lines.next().await {
                Ok(Some(line)) => line,
                Ok(None) => {
                    self.is_over = true;
                    break;
                }
                Err(problem) => {
                    self.is_over = true;
                    self.commit(&mut told, prepared).await;
                    self.refuse(&mut told, self.line + 1, &problem);
                    return Some(Bytes::from(told));
                }
            };
            self.line += 1;
            let made = match &line {
                Line::Whole(line) if line.trim_ascii().is_empty() => continue,
                Line::Whole(line) => {
                    bytes += line.len();
                    self.prepare(line).await
                }
                Line::TooLong => Err(body::too_large(self.collection.settings.max_body)),
            };
            match made {
                Ok(made) => prepared.push(made),
                Err(problem) => {
                    refused += 1;
                    self.refuse(&mut told, self.line, &problem);
                }
            }
        }
        let is_lost = !self.commit(&mut told, prepared).await;
        self.is_over |= is_lost;
        let mut progress = json!({ "line": self.line, "imported": self.imported, "refused": self.refused });
        if self.keys.is_some() {
            progress["repeated"] = Value::from(self.repeated);
        }
        if self.is_over && !is_lost {
            progress["done"] = Value::Bool(true);
        }
        tell(&mut told, &progress);
        Some(Bytes::from(told))
    }

    /// Makes a record of a line. What only the server sets is passed over, so that what was exported can be
    /// imported; but for the name, which a line may choose.
    async fn prepare(&mut self, line: &Bytes) -> Result<Prepared, Problem> {
        let collection = &self.collection;
        let caller = self.caller.as_ref();
        let mut fields = body::as_object(body::parse(line)?)?;
        let named = match fields.remove("id") {
            None => None,
            Some(Value::String(id)) if is_record_name(&id) => Some(id),
            Some(_) => {
                let detail = NAME_RULE.to_owned();
                return Err(body::invalid(vec![Fault { pointer: "/id".to_owned(), detail }]));
            }
        };
        fields.retain(|name, _| !RESERVED.contains(&name.as_str()) && !collection.schema.is_server_s(name));
        let is_new_name = named.is_none();
        let id = named.unwrap_or_else(|| Uuid::now_v7().to_string());
        let mut change = prepare::create(collection, caller, &id, Value::Object(fields), is_new_name)?;
        let once = self.keys.as_ref().map(|keys| keys.of(self.line, line, collection.sensitive.keys()));
        if !is_new_name && !require_free_name(collection, caller, &id, &mut change).await? {
            let is_repeated = match &once {
                Some(once) => once.find(collection).await?.is_some(),
                None => false,
            };
            // What it made before may have been deleted since.
            if !is_repeated {
                return Err(Problem::new(kinds::ALREADY_EXISTS));
            }
        }
        Ok(Prepared { line: self.line, change, once })
    }

    /// Commits what was prepared; false when the database is lost.
    async fn commit(&mut self, told: &mut Vec<u8>, prepared: Vec<Prepared>) -> bool {
        let Some(first) = prepared.first().map(|first| first.line) else { return true };
        if self.keys.is_none() {
            let together = prepared.iter().map(|prepared| prepared.change.clone()).collect();
            match commit(&self.collection, together, None).await {
                Ok(_) => {
                    self.imported += prepared.len() as u64;
                    return true;
                }
                // Some cannot be: which ones is found out one by one.
                Err(error) if !is_lost(&error) => {}
                Err(error) => {
                    self.refuse(told, first, &problem_of(&error));
                    return false;
                }
            }
        }
        // Without keys in order, so that of two lines that cannot both be the first is.
        let at_once = if self.keys.is_some() { AT_ONCE } else { 1 };
        let collection = Arc::clone(&self.collection);
        let making = prepared.into_iter().map(|prepared| {
            let collection = Arc::clone(&collection);
            async move { (prepared.line, make(&collection, prepared).await) }
        });
        let mut making = futures_util::stream::iter(making).buffered(at_once);
        let mut is_there = true;
        while let Some((line, made)) = making.next().await {
            match made {
                Ok(true) => self.imported += 1,
                Ok(false) => self.repeated += 1,
                Err(Error::PreconditionFailed { .. }) => {
                    self.refuse(told, line, &Problem::new(kinds::ALREADY_EXISTS));
                }
                Err(error) if !is_lost(&error) => self.refuse(told, line, &problem_of(&error)),
                // Told once; what was sent meanwhile may still have been done.
                Err(error) => {
                    if is_there {
                        self.refuse(told, line, &problem_of(&error));
                    }
                    is_there = false;
                    if at_once == 1 {
                        break;
                    }
                }
            }
        }
        is_there
    }

    fn refuse(&mut self, told: &mut Vec<u8>, line: u64, problem: &Problem) {
        self.refused += 1;
        let document: Value = serde_json::from_slice(problem.to_response().body()).unwrap_or_default();
        tell(told, &json!({ "line": line, "problem": document }));
    }
}

/// Makes one record; false when it was made before under its key.
async fn make(collection: &Collection, Prepared { change, once, .. }: Prepared) -> Result<bool, Error> {
    let Some(once) = once else {
        return commit(collection, vec![change], None).await.map(|_| true);
    };
    match commit_once(collection, change, &once).await {
        // The same line, hashed under an earlier key of sensitive fields, was made before, too.
        Err(Error::KeyReused) if matches!(once.find(collection).await, Ok(Some(_))) => Ok(false),
        made => made,
    }
}

fn is_lost(error: &Error) -> bool {
    !matches!(
        error,
        Error::PreconditionFailed { .. } | Error::NotUnique { .. } | Error::Invalid { .. } | Error::KeyReused
    )
}

fn tell(told: &mut Vec<u8>, document: &Value) {
    told.extend_from_slice(document.to_string().as_bytes());
    told.push(b'\n');
}
