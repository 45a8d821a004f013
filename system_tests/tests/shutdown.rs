//! Stopping: what is in flight is finished.

use rustix::process::Signal;
use serde_json::json;
use system_tests::{House, Layout};
use tokio::task::JoinSet;

#[tokio::test]
async fn sigterm_under_load_finishes_what_is_in_flight() {
    let mut house = House::start(Layout::Folded).await;
    let admin = house.administrator().await;
    let mut callers = JoinSet::new();
    for caller in 0..8 {
        let admin = admin.clone();
        callers.spawn(async move {
            let mut acknowledged = Vec::new();
            for number in 0.. {
                let product = json!({"name": format!("{caller}/{number}"), "price": 1});
                let fields = [("content-type", "application/json")];
                match admin.try_send("POST", "/catalog/products", &fields, product.to_string()).await {
                    Ok(reply) if reply.status == 201 => acknowledged.push(reply.field("location").to_owned()),
                    // Once the listener is closed nobody is reached; nothing else may go wrong.
                    Err(error) if error.is_safe_to_repeat() => return (acknowledged, None),
                    other => return (acknowledged, Some(format!("{other:?}"))),
                }
            }
            unreachable!("the loop ends by returning")
        });
    }
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    house.signal("up", Signal::TERM);
    let status = house.wait_for_end("up").await;
    assert!(status.success(), "{status}\n{}", house.logs());
    let mut acknowledged = 0;
    while let Some(caller) = callers.join_next().await {
        let (paths, failure) = caller.expect("a caller ends");
        assert_eq!(failure, None, "{}", house.logs());
        acknowledged += paths.len();
    }
    assert!(acknowledged > 0);
}
