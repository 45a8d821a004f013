//! Who may do what, decided for people of several roles and claims.

use std::collections::BTreeMap;

use database::find::State;
use database::find::filter::{CONDITION_LIMIT, DEPTH_LIMIT};
use serde_json::json;

use super::*;

fn person(name: &str, roles: &[&str]) -> Identity {
    let roles = roles.iter().map(|role| (*role).to_owned()).collect();
    Identity { subject: name.into(), roles, claims: BTreeMap::new() }
}

fn rule(roles: &[&str]) -> Option<Vec<String>> {
    Some(roles.iter().map(|role| (*role).to_owned()).collect())
}

fn record(data: Value) -> Record {
    let Value::Object(data) = data else { panic!("an object") };
    let at = jiff::Timestamp::UNIX_EPOCH;
    Record {
        collection: "c".into(),
        id: "r".into(),
        version: 1,
        created_at: at,
        updated_at: at,
        data,
        unreadable: false,
    }
}

fn rules(change: impl FnOnce(&mut config::Collection)) -> Rules {
    let mut settings = config::Collection::default();
    change(&mut settings);
    Rules::read(&settings, &Schema::load(&settings).unwrap()).unwrap()
}

#[test]
fn a_rule_is_for_roles_for_owners_or_for_everybody() {
    let (ada, admin) = (person("ada", &["user"]), person("root", &["user", "admin"]));
    let status = |rule: Option<Vec<String>>, caller| {
        grant(rule.as_deref(), caller).map_err(|problem| problem.status().as_u16())
    };
    assert_eq!(status(None, None), Ok(Grant::All));
    assert_eq!(status(rule(&["public"]), None), Ok(Grant::All));
    assert_eq!(status(rule(&["admin", "owner"]), Some(&admin)), Ok(Grant::All));
    assert_eq!(status(rule(&["admin", "owner"]), Some(&ada)), Ok(Grant::Own));
    assert_eq!(status(rule(&["admin"]), Some(&ada)), Err(403));
    assert_eq!(status(rule(&["owner"]), None), Err(401));
    assert_eq!(status(rule(&[]), Some(&admin)), Err(403), "nobody");
}

#[test]
fn rows_narrow_what_a_caller_sees() {
    let rules = rules(|settings| {
        settings.rules.rows = Some("or=(public.is.true,by.eq.$subject)".into());
        settings.rules.all_rows = vec!["admin".into()];
    });
    let (ada, admin) = (person("ada", &[]), person("root", &["admin"]));
    let (hers, shown, other) =
        (record(json!({"by": "ada"})), record(json!({"public": true})), record(json!({"by": "$subject"})));
    let sees = |caller: Option<&Identity>| [&hers, &shown, &other].map(|record| rules.sees(caller, record));
    assert_eq!(sees(Some(&ada)), [true, true, false]);
    assert_eq!(sees(None), [false, true, false]);
    assert_eq!(sees(Some(&admin)), [true, true, true]);
    assert_eq!(rules.narrow(Some(&admin), Grant::All, None).unwrap(), None);
    assert!(rules.narrow(None, Grant::All, None).unwrap().unwrap().matches(&shown));
}

#[test]
fn claims_narrow_what_a_caller_sees_and_without_them_it_sees_nothing() {
    let of = |tenant: Option<Value>| {
        let mut person = person("ada", &[]);
        person.claims.extend(tenant.map(|tenant| ("tenant".to_owned(), tenant)));
        person
    };
    let (acme, other) = (record(json!({"tenant": "acme"})), record(json!({"tenant": "$claims.tenant"})));
    for (rows, expected) in [
        ("tenant=eq.$claims.tenant", [true, false]),
        ("tenant=not.eq.$claims.tenant", [false, true]),
        ("not.or=(tenant.eq.$claims.tenant)", [false, true]),
        ("tenant=neq.$claims.tenant", [false, true]),
    ] {
        let rules = rules(|settings| settings.rules.rows = Some(rows.into()));
        let sees = |caller: Option<&Identity>| [&acme, &other].map(|record| rules.sees(caller, record));
        assert_eq!(sees(Some(&of(Some(json!("acme"))))), expected, "{rows}");
        assert_eq!(sees(Some(&of(None))), [false, false], "{rows}");
        assert_eq!(sees(None), [false, false], "{rows}");
    }
    let rules = rules(|settings| {
        (settings.owner, settings.owner_claim) = (Some("tenant".into()), Some("tenant".into()));
        settings.rules.list = rule(&["owner"]);
    });
    assert!(rules.owns(Some(&of(Some(json!("acme")))), &acme));
    assert!(!rules.owns(Some(&of(None)), &acme) && !rules.owns(Some(&of(Some(json!("x")))), &acme));
    let narrowed = rules.narrow(Some(&of(None)), Grant::Own, None).unwrap().unwrap();
    assert!(!narrowed.matches(&acme) && !narrowed.matches(&record(json!({}))));
    assert_eq!(rules.grant_create(Some(&of(None))).unwrap_err().status(), 403);
    assert_eq!(rules.owner_name(Some(&of(Some(json!("acme"))))), Some(json!("acme")));
}

#[test]
fn what_is_asked_and_what_may_be_seen_are_bounded_together() {
    let rules = rules(|settings| settings.rules.rows = Some("or=(public.is.true,by.eq.$subject)".into()));
    let is_public = Filter::Is { field: Field::new("public").unwrap(), state: State::True };
    let many = Filter::And(vec![is_public.clone(); CONDITION_LIMIT - 1]);
    let deep = (0..DEPTH_LIMIT).fold(is_public, |inner, _| Filter::Not(Box::new(inner)));
    for asked in [many, deep] {
        asked.check().unwrap();
        assert_eq!(rules.narrow(None, Grant::All, Some(asked)).unwrap_err().status(), 400);
    }
    let mut settings = config::Collection::default();
    settings.rules.rows = Some(format!("or=({})", vec!["a.eq.1"; CONDITION_LIMIT - 1].join(",")));
    let refused = Rules::read(&settings, &Schema::load(&settings).unwrap()).unwrap_err();
    assert_eq!(refused.0, "rules.rows");
}

#[test]
fn an_owner_has_its_own_records_and_nobody_has_those_of_nobody() {
    let rules = rules(|settings| settings.owner = Some("by".into()));
    let ada = person("ada", &[]);
    assert!(rules.owns(Some(&ada), &record(json!({"by": "ada"}))));
    for data in [json!({"by": "bob"}), json!({}), json!({"by": ["ada"]})] {
        assert!(!rules.owns(Some(&ada), &record(data.clone())) && !rules.owns(None, &record(data)));
    }
}

#[test]
fn rules_that_cannot_hold_are_named() {
    let refuse = |change: &dyn Fn(&mut config::Collection)| {
        let mut settings = config::Collection::default();
        change(&mut settings);
        Rules::read(&settings, &Schema::load(&settings).unwrap()).unwrap_err().0
    };
    assert_eq!(refuse(&|settings| settings.rules.list = rule(&["owner"])), "rules");
    assert_eq!(refuse(&|settings| settings.owner = Some("a.b".into())), "owner");
    assert_eq!(refuse(&|settings| settings.rules.rows = Some("a=1".into())), "rules.rows");
    for rows in ["limit=1", "a=eq.$tenant", "a=eq.$claims.", "a=in.($subject,b)", "a=like.$subject"] {
        assert_eq!(refuse(&|settings| settings.rules.rows = Some(rows.into())), "rules.rows", "{rows}");
    }
    assert_eq!(refuse(&|settings| settings.owner_claim = Some("tenant".into())), "owner_claim");
}
