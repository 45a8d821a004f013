//! Patches of either form.

use serde_json::{Value, json};

use crate::bodies::bad_bodies;
use crate::house::Engine;
use crate::wire::send;
use crate::{LOANS, MERGE, PATCH, end, library, nested};

pub(crate) async fn a_patch_that_makes_no_sense_is_refused(engine: Engine) {
    let house = library(engine).await;
    let path = format!("{LOANS}/a");
    for body in bad_bodies() {
        let what = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        for media_type in [MERGE, PATCH] {
            let answer = send(&house, "PATCH", &path, media_type, &body).await;
            let is_nothing = matches!((media_type, what.as_str()), (MERGE, "{}") | (PATCH, "[]"));
            match is_nothing {
                true => assert_eq!(answer.status, 200, "a patch that changes nothing"),
                false => answer.is_refusal(&format!("{media_type} {what}")),
            }
        }
    }
    let growing: Vec<Value> =
        std::iter::once(json!({"op": "add", "path": "/place", "value": {"x": "x".repeat(1000)}}))
            .chain((0..40).map(|n| json!({"op": "copy", "from": "/place", "path": format!("/place/{n}")})))
            .collect();
    let mut nesting = vec![json!({"op": "add", "path": "/place", "value": {}})];
    nesting.extend(vec![json!({"op": "copy", "from": "/place", "path": "/place/z"}); 140]);
    let deep: Value = serde_json::from_str(&nested(100, "[", "", "]")).unwrap();
    let many = vec![json!({"op": "test", "path": "/due", "value": 3}); 1001];
    let patches = [
        json!([1]),
        json!([{}]),
        json!([{"op": "add"}]),
        json!([{"op": "add", "path": "/due"}]),
        json!([{"op": "sing", "path": "/due"}]),
        json!([{"op": "add", "path": "due", "value": 1}]),
        json!([{"op": "add", "path": "/a~2", "value": 1}]),
        json!([{"op": "add", "path": "/x/y/z", "value": 1}]),
        json!([{"op": "add", "path": "", "value": 1}]),
        json!([{"op": "add", "path": "", "value": null}]),
        json!([{"op": "remove", "path": ""}]),
        json!([{"op": "remove", "path": "/x"}]),
        json!([{"op": "remove", "path": "/due"}]),
        json!([{"op": "move", "from": "", "path": "/a"}]),
        json!([{"op": "move", "from": "/tags", "path": "/tags/0"}]),
        json!([{"op": "copy", "from": "/x", "path": "/y"}]),
        json!([{"op": "add", "path": "/tags/99999999999999999999", "value": 1}]),
        json!([{"op": "add", "path": "/tags/-1", "value": 1}]),
        json!([{"op": "add", "path": "/tags/01", "value": 1}]),
        json!([{"op": "replace", "path": "/tags/2", "value": 1}]),
        json!([{"op": "test", "path": "/due", "value": 4}]),
        json!([{"op": "test", "path": "/card", "value": "secret"}]),
        json!([{"op": "copy", "from": "/card", "path": "/title"}]),
        json!([{"op": "replace", "path": "/id", "value": "b"}]),
        json!([{"op": "remove", "path": "/created_at"}]),
        json!([{"op": "add", "path": "/due/x", "value": 1}]),
        json!([{"op": "add", "path": "/a\u{0}", "value": 1}]),
        Value::from(growing),
        Value::from(nesting),
        json!([{"op": "add", "path": "/place", "value": deep}]),
        Value::from(many),
    ];
    for patch in patches {
        let answer = send(&house, "PATCH", &path, PATCH, patch.to_string().as_bytes()).await;
        answer.is_refusal(&patch.to_string().chars().take(100).collect::<String>());
        assert!(!answer.text().contains("secret"), "{patch}");
    }
    end(house).await;
}
