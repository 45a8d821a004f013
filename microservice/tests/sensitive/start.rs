//! What a service with sensitive fields needs to start.

use microservice::Config;
use serde_json::{Value, json};

use crate::house::{Engine, House};
use crate::staff::staff;

#[test]
fn what_cannot_be_sensitive_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let refuse = |change: &dyn Fn(&mut Value)| {
        let mut config = Config::default();
        staff(&mut config, folder.path());
        config.sensitive.key_file = Some("a.key".into());
        let mut document = serde_json::to_value(&config).unwrap();
        change(&mut document["services"]["staff"]["collections"]["people"]);
        let config: Config = serde_json::from_value(document).unwrap();
        config.validate(&process::Services::default()).unwrap_err().to_string()
    };
    type Change<'a> = &'a dyn Fn(&mut Value);
    let cases: [(&str, Change<'_>); 6] = [
        ("people.indexes: `card.number` is sensitive", &|people| {
            people["indexes"] = json!(["card.number:number"])
        }),
        ("people.unique: `pin` is sensitive", &|people| people["unique"] = json!(["pin"])),
        ("people.rules.rows: `pin` is sensitive", &|people| people["rules"]["rows"] = json!("pin=eq.x")),
        ("people.sensitive: `by` is a field that the server sets", &|people| {
            people["sensitive"] = json!(["by"])
        }),
        ("people.sensitive: `pin` is read-only", &|people| people["readonly"] = json!(["pin"])),
        ("people.sensitive: `card.number` is no field", &|people| {
            people["sensitive"] = json!(["card.number"])
        }),
    ];
    for (expected, change) in cases {
        let text = refuse(change);
        assert!(text.contains(expected), "{text}");
    }
    let mut config = Config::default();
    staff(&mut config, folder.path());
    let text = config.validate(&process::Services::default()).unwrap_err().to_string();
    assert!(text.starts_with("microservice.sensitive.key_file: "), "{text}");
}

#[tokio::test]
async fn a_key_file_that_is_not_there_is_the_reason_of_a_service_that_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::without_database(Engine::Sqlite, |config| {
        staff(config, folder.path());
        config.sensitive.key_file = Some(folder.path().join("none.key"));
    });
    let text = house.why_not("staff");
    assert!(text.contains("service staff") && text.contains("microservice.sensitive.key_file"), "{text}");
    assert!(text.contains("none.key: No such file"), "{text}");
}
