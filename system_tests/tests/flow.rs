//! A real client's request through every tier, folded and unfolded.

use std::time::Duration;

use serde_json::json;
use system_tests::postgres::Server;
use system_tests::{Client, House, Layout};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

#[tokio::test]
async fn a_request_passes_all_six_tiers_in_one_process() {
    walk_through(Layout::Folded).await;
}

#[tokio::test]
async fn a_request_passes_all_six_tiers_as_processes_of_their_own() {
    walk_through(Layout::Unfolded).await;
}

#[tokio::test]
async fn a_request_passes_all_six_tiers_with_the_data_on_postgres() {
    let server = Server::start();
    let house = House::start_on_postgres(Layout::Folded, "", &server).await;
    walk(&house).await;
    let log = house.logs();
    assert!(!log.contains("ss word") && !log.contains("ss%20word"), "the password is not printed: {log}");
    assert!(!house.data().join("sixfold.db").exists(), "nothing is in SQLite");
}

async fn walk_through(layout: Layout) {
    walk(&House::start(layout).await).await;
}

async fn walk(house: &House) {
    let admin = house.administrator().await;
    let product = create_and_read_a_product(house, &admin).await;
    change_it_only_with_the_right_version(&admin, &product).await;
    find_it_and_change_several_at_once(house, &admin, &product).await;
    order_it_and_see_the_job_confirm_it(&admin, &product).await;
    report_on_products(&admin).await;
    continue_the_callers_trace(&house.client()).await;
}

/// Finds the product by what it is, and changes it in a batch that happens once; a follower is told.
async fn find_it_and_change_several_at_once(house: &House, admin: &Client, product: &str) {
    let id = product.rsplit('/').next().unwrap();
    let query =
        "price=gte.12&name=like.la*&or=(category.is.null,price.lt.0)&order=-price&limit=5&count=exact";
    let found = house.client().get(&format!("/catalog/products?{query}")).await;
    assert_eq!((found.status.as_u16(), &found.json()["items"][0]["id"]), (200, &json!(id)), "{found:?}");
    assert_eq!(found.json()["count"], json!({"value": 1, "exact": true}));

    let mut follower = Follower::start(house.ports.load_balancer).await;
    let operations = json!([
        {"op": "patch", "collection": "products", "id": id, "data": {"category": "desk"}},
        {"op": "create", "collection": "products", "id": "chair", "data": {"name": "chair", "price": 1}},
    ]);
    let body = json!({ "operations": operations }).to_string();
    let fields = [("content-type", "application/json"), ("idempotency-key", "flow")];
    let send = async || admin.send("POST", "/catalog/_batch", &fields, body.clone()).await;
    let (done, again) = (send().await, send().await);
    assert_eq!((done.status.as_u16(), done.json()), (200, again.json()), "{done:?}");
    assert_eq!(house.client().get(product).await.json()["category"], "desk", "the cached copy is gone");
    assert_eq!(
        (follower.next_event().await, follower.next_event().await),
        ("update".into(), "create".into())
    );
}

/// A client that follows the changes of the products through balancer and gateway.
struct Follower(BufReader<TcpStream>);

impl Follower {
    async fn start(port: u16) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let head = "GET /catalog/products/changes?fields=name HTTP/1.1\r\nhost: a\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut follower = Self(BufReader::new(stream));
        while !follower.line().await.starts_with("retry:") {}
        follower
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        let reading = self.0.read_line(&mut line);
        let read = tokio::time::timeout(Duration::from_secs(60), reading).await.unwrap().unwrap();
        assert_ne!(read, 0, "the stream ended");
        line.trim_end().to_owned()
    }

    async fn next_event(&mut self) -> String {
        loop {
            if let Some(kind) = self.line().await.strip_prefix("event: ") {
                return kind.to_owned();
            }
        }
    }
}

/// Creates a product, reads it twice, and gives its path.
async fn create_and_read_a_product(house: &House, admin: &Client) -> String {
    let created = admin.post("/catalog/products", &json!({"name": "lamp", "price": 12.5})).await;
    assert_eq!(created.status, 201, "{created:?}\n{}", house.logs());
    let path = created.field("location").to_owned();
    assert!(path.starts_with("/catalog/products/"), "{path}");

    let anonymous = house.client();
    let first = anonymous.get(&path).await;
    assert_eq!((first.status.as_u16(), &first.json()["name"]), (200, &json!("lamp")));
    assert_eq!(first.field("etag"), created.field("etag"));
    // A fresh write leaves a tombstone that keeps fills away for a moment, so hits begin soon, not at once.
    system_tests::wait_until("a read comes from the cache", || async {
        anonymous.get(&path).await.field("cache-status").contains("hit")
    })
    .await;

    let listed = anonymous.get("/catalog/products?limit=1").await;
    assert_eq!(listed.json()["items"][0]["id"], created.json()["id"]);
    path
}

async fn change_it_only_with_the_right_version(admin: &Client, path: &str) {
    let before = admin.get(path).await;
    let etag = before.field("etag").to_owned();
    let patch = |etag: &str| {
        let fields = [
            ("content-type".to_owned(), "application/merge-patch+json".to_owned()),
            ("if-match".to_owned(), etag.to_owned()),
        ];
        let admin = admin.clone();
        let path = path.to_owned();
        async move {
            let fields: Vec<(&str, &str)> =
                fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            admin.send("PATCH", &path, &fields, r#"{"price": 15}"#).await
        }
    };
    assert_eq!(patch(&etag).await.status, 200);
    let stale = patch(&etag).await;
    assert_eq!((stale.status.as_u16(), stale.problem().as_str()), (412, "precondition-failed"));
    // The cached representation went with the write.
    assert_eq!(admin.get(path).await.json()["price"], json!(15));
}

async fn order_it_and_see_the_job_confirm_it(admin: &Client, product: &str) {
    let id = product.rsplit('/').next().expect("the product's id");
    let ordered = admin.post("/orders/orders", &json!({"product_id": id, "quantity": 2})).await;
    assert_eq!(ordered.status, 201, "{ordered:?}");
    let path = ordered.field("location").to_owned();
    system_tests::wait_until("the job confirms the order", || async {
        admin.get(&path).await.json()["status"] == "confirmed"
    })
    .await;
    // The order is confirmed within the attempt; that the attempt ended is written after it.
    system_tests::wait_until("the job is told as succeeded", || async {
        let jobs = admin.get("/queues/orders/jobs?state=succeeded").await;
        jobs.json()["jobs"][0]["kind"] == "order.confirm"
    })
    .await;
}

async fn report_on_products(admin: &Client) {
    for (name, price) in [("desk", 100), ("desk", 50)] {
        assert_eq!(admin.post("/catalog/products", &json!({"name": name, "price": price})).await.status, 201);
    }
    let job = json!({
        "kind": "report",
        "payload": {"service": "catalog", "collection": "products", "group_by": "name", "sum": "price"}
    });
    let accepted = admin.post("/queues/reports/jobs", &job).await;
    assert_eq!(accepted.status, 202, "{accepted:?}");
    let path = format!("{}?wait=20s", accepted.field("location"));
    let done = admin.get(&path).await.json();
    assert_eq!(done["state"], "succeeded", "{done}");
    for key in ["id", "queue", "kind", "state", "attempt", "result", "error"] {
        assert!(done.get(key).is_some(), "{key} is missing in {done}");
    }
    assert_eq!(done["result"]["count"], 4, "{done}");
    let groups = done["result"]["groups"].as_array().expect("groups");
    let desk = groups.iter().find(|group| group["key"] == "desk").expect("the group of desks");
    assert_eq!((desk["count"].as_u64(), desk["sum"].as_f64()), (Some(2), Some(150.0)));
}

async fn continue_the_callers_trace(client: &Client) {
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    let reply = client.send("GET", "/catalog/products", &[("traceparent", &parent)], "").await;
    assert_eq!(reply.field("x-request-id"), trace);
    let refused = client.send("GET", "/orders/orders", &[("traceparent", &parent)], "").await;
    assert_eq!((refused.status.as_u16(), refused.field("x-request-id")), (401, trace));
    assert_eq!(refused.json()["trace_id"], trace);
}
