//! Accounts at the edge: a real service over a real database.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[macro_use]
mod house;

use house::{Answer, Engine, House};
use http::Method;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, jwk::JwkSet};
use process::Secret;
use serde_json::{Value, json};

on_both_engines! {
    the_first_start_makes_an_admin_whose_password_is_told_once
    two_instances_that_start_at_once_agree_on_key_and_admin
    a_wrong_password_and_an_unknown_user_are_answered_alike
    logins_that_keep_failing_slow_down_for_their_client_only
    a_refresh_token_is_good_once_and_its_second_use_ends_the_session
    after_logout_the_refresh_token_is_worth_nothing
    somebody_registers_once_under_a_name
    registration_is_off_unless_turned_on
    a_login_in_a_coding_is_refused
    who_somebody_is_is_believed_from_the_gateway_only
    before_the_database_is_there_the_accounts_wait_for_it
    a_wrong_credential_is_the_reason_the_health_gives
}

const PASSWORD: &str = "correct horse battery";

async fn accounts(engine: Engine) -> House {
    let mut house = House::start(engine, |config| {
        config.accounts.admin_password = Some(Secret::new(PASSWORD));
        config.accounts.registration = true;
    })
    .await;
    assert_eq!(house.start_service("accounts").await, None, "a chosen password is not told");
    house
}

async fn login(house: &House, username: &str, password: &str) -> Answer {
    house.post("accounts", "/auth/login", &json!({"username": username, "password": password})).await
}

async fn refresh(house: &House, token: &Value) -> Answer {
    house.post("accounts", "/auth/refresh", &json!({ "refresh_token": token })).await
}

/// Checks an access token as a gateway does and gives its claims.
async fn claims(house: &House, token: &Value) -> Value {
    let token = token.as_str().unwrap();
    let set: JwkSet =
        serde_json::from_value(house.get("accounts", "/.well-known/jwks.json").await.json()).unwrap();
    let key = set.find(&decode_header(token).unwrap().kid.unwrap()).unwrap();
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_audience(&["sixfold"]);
    validation.set_issuer(&["sixfold"]);
    decode::<Value>(token, &DecodingKey::from_jwk(key).unwrap(), &validation).unwrap().claims
}

async fn a_login_in_a_coding_is_refused(engine: Engine) {
    let house = accounts(engine).await;
    let body = json!({"username": "admin", "password": PASSWORD}).to_string();
    let fields = [("content-type", "application/json"), ("content-encoding", "gzip")];
    for path in ["/auth/login", "/auth/register", "/auth/refresh", "/auth/logout"] {
        let answer = house.send("accounts", Method::POST, path, &fields, &body).await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem()),
            (415, "unsupported-coding".to_owned()),
            "{path}"
        );
        assert_eq!(answer.field("accept-encoding"), "identity");
    }
    house.stop().await;
}

async fn the_first_start_makes_an_admin_whose_password_is_told_once(engine: Engine) {
    let mut house = House::start(engine, |_| {}).await;
    let made = house.start_service("accounts").await.expect("the first start tells");
    assert_eq!(made.username, "admin");
    assert!(!format!("{made:?}").contains(made.password.expose()));
    let granted = login(&house, "admin", made.password.expose()).await;
    assert_eq!(granted.status, 200, "{granted:?}");
    assert_eq!(granted.field("cache-control"), "no-store");
    let granted = granted.json();
    assert_eq!((&granted["token_type"], &granted["expires_in"]), (&json!("Bearer"), &json!(900)));
    let claims = claims(&house, &granted["access_token"]).await;
    assert_eq!((&claims["sub"], &claims["roles"]), (&json!("admin"), &json!(["admin", "user"])));

    // A second instance over the same database signs with the same key and makes no other admin.
    let keys = house.get("accounts", "/.well-known/jwks.json").await.json();
    assert_eq!(house.start_service("accounts").await, None);
    assert_eq!(house.get("accounts", "/.well-known/jwks.json").await.json(), keys);
    assert_eq!(login(&house, "admin", made.password.expose()).await.status, 200);
    house.stop().await;
}

async fn two_instances_that_start_at_once_agree_on_key_and_admin(engine: Engine) {
    let mut house = House::without_database(engine, |_| {});
    let first = house.bind_service("accounts");
    let second = house.bind_service("accounts");
    house.start_database().await;
    let told: Vec<_> = [first.await.ok(), second.await.ok()].into_iter().flatten().collect();
    assert_eq!(told.len(), 1, "one of them made the admin");
    house.until_ready("accounts").await;
    assert_eq!(login(&house, "admin", told[0].password.expose()).await.status, 200);
    house.stop().await;
}

async fn a_wrong_password_and_an_unknown_user_are_answered_alike(engine: Engine) {
    let house = accounts(engine).await;
    let mut answers = Vec::new();
    for (username, password) in [("admin", "wrong"), ("nobody", PASSWORD), ("no body", PASSWORD)] {
        let answer = login(&house, username, password).await;
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (401, "invalid-credentials"));
        let mut document = answer.json();
        document["trace_id"].take();
        answers.push(document);
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
    let missing = house.post("accounts", "/auth/login", &json!({"username": "admin"})).await;
    assert_eq!((missing.status.as_u16(), missing.pointers()), (422, vec!["/password".to_owned()]));
    house.stop().await;
}

async fn logins_that_keep_failing_slow_down_for_their_client_only(engine: Engine) {
    let house = accounts(engine).await;
    for _ in 0..5 {
        assert_eq!(login(&house, "admin", "wrong").await.status, 401);
    }
    let slowed = login(&house, "ADMIN", PASSWORD).await;
    assert_eq!((slowed.status.as_u16(), slowed.problem().as_str()), (429, "rate-limited"));
    assert_ne!(slowed.field("retry-after"), "");
    let elsewhere = [("content-type", "application/json"), ("sixfold-client", "192.0.2.7")];
    let body = json!({"username": "admin", "password": PASSWORD}).to_string();
    let granted = house.send("accounts", Method::POST, "/auth/login", &elsewhere, &body).await;
    assert_eq!(granted.status, 200);
    let claimed = [("content-type", "application/json"), ("x-forwarded-for", "192.0.2.8")];
    let slowed = house.send("accounts", Method::POST, "/auth/login", &claimed, &body).await;
    assert_eq!(slowed.status, 429, "what a client may have written itself makes it no other one");
    house.stop().await;
}

async fn a_refresh_token_is_good_once_and_its_second_use_ends_the_session(engine: Engine) {
    let house = accounts(engine).await;
    let first = login(&house, "admin", PASSWORD).await.json();
    let second = refresh(&house, &first["refresh_token"]).await;
    assert_eq!(second.status, 200, "{second:?}");
    let second = second.json();
    assert_ne!(second["refresh_token"], first["refresh_token"]);
    assert_eq!(claims(&house, &second["access_token"]).await["sub"], "admin");

    let other = login(&house, "admin", PASSWORD).await.json();
    let stolen = refresh(&house, &first["refresh_token"]).await;
    assert_eq!((stolen.status.as_u16(), stolen.problem().as_str()), (401, "invalid-token"));
    let rightful = refresh(&house, &second["refresh_token"]).await;
    assert_eq!(rightful.status, 401, "the whole session is over");
    assert_eq!(refresh(&house, &other["refresh_token"]).await.status, 200, "another session goes on");
    assert_eq!(refresh(&house, &json!("made up")).await.status, 401);
    house.stop().await;
}

async fn after_logout_the_refresh_token_is_worth_nothing(engine: Engine) {
    let house = accounts(engine).await;
    let token = login(&house, "admin", PASSWORD).await.json()["refresh_token"].clone();
    let body = json!({ "refresh_token": token });
    assert_eq!(house.post("accounts", "/auth/logout", &body).await.status, 204);
    assert_eq!(refresh(&house, &token).await.status, 401);
    assert_eq!(house.post("accounts", "/auth/logout", &body).await.status, 204, "again is no error");
    house.stop().await;
}

async fn somebody_registers_once_under_a_name(engine: Engine) {
    let house = accounts(engine).await;
    let body = json!({"username": "Ada", "password": "analytical engine"});
    let made = house.post("accounts", "/auth/register", &body).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.json(), json!({"username": "ada", "roles": ["user"]}));
    assert_eq!(house.post("accounts", "/auth/register", &body).await.problem(), "already-exists");
    let short = json!({"username": "bob", "password": "short"});
    assert_eq!(house.post("accounts", "/auth/register", &short).await.pointers(), ["/password"]);
    let granted = login(&house, "ada", "analytical engine").await.json();
    assert_eq!(claims(&house, &granted["access_token"]).await["roles"], json!(["user"]));
    house.stop().await;
}

async fn registration_is_off_unless_turned_on(engine: Engine) {
    let mut house =
        House::start(engine, |config| config.accounts.admin_password = Some(Secret::new(PASSWORD))).await;
    house.start_service("accounts").await;
    let body = json!({"username": "ada", "password": "analytical engine"});
    let refused = house.post("accounts", "/auth/register", &body).await;
    assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (403, "forbidden"));
    house.stop().await;
}

async fn who_somebody_is_is_believed_from_the_gateway_only(engine: Engine) {
    let token = process::ClusterToken::new(Some(Secret::new("secret")));
    let mut house = House::with_token(engine, token, |_| {});
    drop(house.bind_service("accounts"));
    let identity = [("sixfold-subject", "ada"), ("sixfold-roles", "user,admin")];
    let forged = house.send("accounts", Method::GET, "/auth/me", &identity, "").await;
    assert_eq!(forged.status, 401);
    let with = [identity[0], identity[1], ("sixfold-token", "secret")];
    let me = house.send("accounts", Method::GET, "/auth/me", &with, "").await;
    assert_eq!(me.json(), json!({"username": "ada", "roles": ["user", "admin"]}));
    let nobody = house.send("accounts", Method::GET, "/auth/me", &with[2..], "").await;
    assert_eq!(nobody.problem(), "unauthenticated");
    let wrong = house.send("accounts", Method::DELETE, "/auth/me", &with, "").await;
    assert_eq!((wrong.status.as_u16(), wrong.field("allow")), (405, "GET,HEAD"));
    house.stop().await;
}

async fn before_the_database_is_there_the_accounts_wait_for_it(engine: Engine) {
    let mut house = House::without_database(engine, |_| {});
    let told = house.bind_service("accounts");
    let early = house.get("accounts", "/.well-known/jwks.json").await;
    assert_eq!((early.status.as_u16(), early.problem().as_str()), (503, "unavailable"));
    let early = house.get_until("accounts", "/health", |answer| answer.json()["state"] == "degraded").await;
    assert_eq!(early.json()["reason"], "the database is not available");
    house.start_database().await;
    house.until_ready("accounts").await;
    assert!(told.await.is_ok());
    house.stop().await;
}

async fn a_wrong_credential_is_the_reason_the_health_gives(engine: Engine) {
    let house_token = process::ClusterToken::new(Some(Secret::new("house")));
    let mut house = House::with_token(engine, house_token.clone(), |_| {});
    house.start_database().await;
    house.token = process::ClusterToken::new(Some(Secret::new("mistyped")));
    drop(house.bind_service("accounts"));
    let degraded = |answer: &house::Answer| answer.json()["state"] == "degraded";
    let told = house.get_until("accounts", "/health", degraded).await;
    assert_eq!(told.json()["reason"], "the database refuses this credential");
    house.stop().await;
}
