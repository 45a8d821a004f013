//! The HTTP side of the accounts.

use std::sync::{Arc, LazyLock, PoisonError};
use std::time::Instant;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use database::{Error, Precondition};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use jiff::Timestamp;
use process::problem::{Fault, kinds};
use process::{Identity, Problem, Secret, identity, metrics};
use prometheus::IntCounterVec;
use serde_json::{Map, Value, json};

use super::session::{Presented, RefreshToken, SESSIONS, Session};
use super::user::{self, USER_ROLE, USERS, User};
use super::{Accounts, Shared};
use crate::body::{self, JSON};
use crate::fault::{problem_of, problem_of_read};

/// The largest body: two short texts.
const BODY_LIMIT: u64 = 16 << 10;

/// Logins, by how they ended.
static LOGINS: LazyLock<IntCounterVec> =
    LazyLock::new(|| metrics::counter("sixfold_logins_total", "Attempts to log in.", &["outcome"]));

/// Makes the routes.
pub(crate) fn routes(accounts: Shared) -> Router {
    Router::new()
        .route("/auth/register", post(register))
        .route("/auth/login", post(login))
        .route("/auth/refresh", post(refresh))
        .route("/auth/logout", post(logout))
        .route("/auth/me", get(me))
        .route("/.well-known/jwks.json", get(key_set))
        .with_state(accounts)
}

async fn register(State(accounts): State<Shared>, request: Request) -> Result<Response, Problem> {
    if !accounts.settings.registration {
        return Err(Problem::new(kinds::FORBIDDEN).detail("registration is off"));
    }
    let fields = read_fields(request).await?;
    let (username, password) = (text(&fields, "username")?, text(&fields, "password")?);
    let username = user::read_name(username)
        .ok_or_else(|| fault("username", "a name has 1 to 64 letters, digits or . _ - @ +"))?;
    if let Some(reason) = user::refuse_password(password) {
        return Err(fault("password", &reason));
    }
    let password_hash = accounts.hasher.hash(Secret::new(password)).await?;
    let roles = vec![USER_ROLE.to_owned()];
    let made = User { password_hash, roles: roles.clone() };
    match accounts.records.put(USERS, &username, &made, Precondition::Absent).await {
        Ok(_) => {
            Ok((StatusCode::CREATED, Json(json!({ "username": username, "roles": roles }))).into_response())
        }
        Err(Error::PreconditionFailed { .. }) => {
            Err(Problem::new(kinds::ALREADY_EXISTS).detail("the user name is taken"))
        }
        Err(error) => Err(problem_of(&error)),
    }
}

async fn login(State(accounts): State<Shared>, request: Request) -> Result<Response, Problem> {
    let client = client_of(&accounts, request.headers());
    let fields = read_fields(request).await?;
    let (username, password) = (text(&fields, "username")?, text(&fields, "password")?);
    // What cannot be a name is counted as one, so that it tells nothing either.
    let username = user::read_name(username).unwrap_or_default();
    let admitted = {
        let mut throttle = accounts.throttle.lock().unwrap_or_else(PoisonError::into_inner);
        throttle.admit(&username, &client, Instant::now())
    };
    if let Err(wait) = admitted {
        LOGINS.with_label_values(&["slowed"]).inc();
        let detail = "too many failed logins; wait before trying again";
        return Err(Problem::new(kinds::RATE_LIMITED).detail(detail).retry_after(wait));
    }
    let checked = check_password(&accounts, &username, password).await;
    note_attempt(&accounts, &username, &client, &checked);
    let user = checked?.ok_or_else(|| Problem::new(kinds::INVALID_CREDENTIALS))?;
    let now = Timestamp::now();
    let (session, token) = Session::begin(&username, now, accounts.settings.refresh_ttl);
    let stored = accounts.records.put(SESSIONS, &token.session, &session, Precondition::Absent).await;
    stored.map_err(|error| problem_of(&error))?;
    grant(&accounts, &username, &user.roles, &token, now)
}

/// Counts an admitted attempt by how it ended.
fn note_attempt(accounts: &Accounts, username: &str, client: &str, checked: &Result<Option<User>, Problem>) {
    let mut throttle = accounts.throttle.lock().unwrap_or_else(PoisonError::into_inner);
    let outcome = match checked {
        Ok(Some(_)) => {
            throttle.succeed(username, client);
            "admitted"
        }
        Ok(None) => "refused",
        Err(_) => {
            throttle.withdraw(username, client);
            "failed"
        }
    };
    LOGINS.with_label_values(&[outcome]).inc();
}

/// Gives the user if the password is right; takes as long when there is no such user.
async fn check_password(
    accounts: &Accounts,
    username: &str,
    password: &str,
) -> Result<Option<User>, Problem> {
    let user = match username {
        "" => None,
        name => accounts.records.get::<User>(USERS, name).await.map_err(|error| problem_of_read(&error))?,
    };
    let hash = user.as_ref().map(|user| user.value.password_hash.clone());
    let is_right = accounts.hasher.verify(Secret::new(password), hash).await?;
    Ok(user.filter(|_| is_right).map(|user| user.value))
}

async fn refresh(State(accounts): State<Shared>, request: Request) -> Result<Response, Problem> {
    let refused = || Problem::new(kinds::INVALID_TOKEN).detail("log in again");
    let failed = |error: Error| problem_of(&error);
    let fields = read_fields(request).await?;
    let token = RefreshToken::read(text(&fields, "refresh_token")?).ok_or_else(refused)?;
    let now = Timestamp::now();
    let stored = accounts.records.get::<Session>(SESSIONS, &token.session).await.map_err(failed)?;
    let stored = stored.ok_or_else(refused)?;
    if stored.value.judge(&token, now) != Presented::Good {
        end_session(&accounts, &stored.value, &token, now).await?;
        return Err(refused());
    }
    let username = stored.value.username.clone();
    let user = accounts.records.get::<User>(USERS, &username).await.map_err(failed)?.ok_or_else(refused)?;
    let (session, next) = stored.value.rotate(&token);
    let precondition = Precondition::Version(stored.version);
    match accounts.records.put(SESSIONS, &token.session, &session, precondition).await {
        Ok(_) => grant(&accounts, &username, &user.value.roles, &next, now),
        // Somebody used the same token in this very moment: two have it.
        Err(Error::PreconditionFailed { .. } | Error::NotFound { .. }) => {
            end_session(&accounts, &session, &token, now).await?;
            Err(refused())
        }
        Err(error) => Err(failed(error)),
    }
}

async fn logout(State(accounts): State<Shared>, request: Request) -> Result<Response, Problem> {
    let fields = read_fields(request).await?;
    let token = RefreshToken::read(text(&fields, "refresh_token")?);
    // A token that is not good any more is answered alike (RFC 7009 §2.2): its session is to end, too.
    if let Some(token) = token {
        let ended = accounts.records.delete(SESSIONS, &token.session).await;
        ended.map_err(|error| problem_of(&error))?;
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn me(State(accounts): State<Shared>, fields: HeaderMap) -> Result<Response, Problem> {
    let identity = accounts.token.authorizes(&fields).then(|| Identity::read(&fields)).flatten();
    let Identity { subject, roles, .. } = identity.ok_or_else(|| Problem::new(kinds::UNAUTHENTICATED))?;
    Ok(Json(json!({ "username": subject, "roles": roles })).into_response())
}

async fn key_set(State(accounts): State<Shared>) -> Result<Response, Problem> {
    let mut response = accounts.signer()?.key_set().into_response();
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/jwk-set+json"));
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=300"));
    Ok(response)
}

/// Ends a session whose token was presented again, or that is over.
async fn end_session(
    accounts: &Accounts,
    session: &Session,
    token: &RefreshToken,
    now: Timestamp,
) -> Result<(), Problem> {
    if session.judge(token, now) == Presented::Reused {
        tracing::warn!(username = session.username, "a refresh token was used twice; its session is ended");
    }
    accounts.records.delete(SESSIONS, &token.session).await.map_err(|error| problem_of(&error))
}

/// Answers with both tokens (RFC 6749 §5.1).
fn grant(
    accounts: &Arc<Accounts>,
    username: &str,
    roles: &[String],
    token: &RefreshToken,
    now: Timestamp,
) -> Result<Response, Problem> {
    let settings = &accounts.settings;
    let body = json!({
        "access_token": accounts.signer()?.sign(settings, username, roles, now),
        "refresh_token": token.write(),
        "token_type": "Bearer",
        "expires_in": settings.access_ttl.as_secs(),
    });
    Ok(([(CACHE_CONTROL, HeaderValue::from_static("no-store"))], Json(body)).into_response())
}

async fn read_fields(request: Request) -> Result<Map<String, Value>, Problem> {
    body::as_object(body::read_json(request, BODY_LIMIT, JSON).await?)
}

fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> Result<&'a str, Problem> {
    fields.get(name).and_then(Value::as_str).ok_or_else(|| fault(name, "a text is required"))
}

fn fault(name: &str, detail: &str) -> Problem {
    body::invalid(vec![Fault { pointer: format!("/{name}"), detail: detail.to_owned() }])
}

/// Names the client as the gateway does; everything that does not come through one is one client.
fn client_of(accounts: &Accounts, fields: &HeaderMap) -> String {
    let told = accounts.token.authorizes(fields).then(|| identity::read_client(fields)).flatten();
    told.map(|address| address.to_string()).unwrap_or_default()
}
