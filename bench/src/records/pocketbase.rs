//! The other side: PocketBase with the same collection, open to anybody.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use http::Method;
use process::HttpClient;
use rusqlite::Connection;
use serde_json::{Value, json};

use super::fill::{Row, rows};
use crate::processes::{Place, Running, free_port};

/// The path of all records.
pub(super) const PATH: &str = "/api/collections/products/records";

/// The query of a list; without the total, which it would count by default.
pub(super) const QUERY: &str =
    "?filter=(category%%3D%%27c%d%%27%%26%%26price%%3E%%3D%d)&sort=price&perPage=30&skipTotal=1";

const USER: &str = "admin@example.org";
const PASSWORD: &str = "a password for benchmarks";

/// Starts it over a data folder; gives the address that is asked.
pub(super) fn start(peers: &Path, data: &Path) -> anyhow::Result<(Running, String)> {
    let port = free_port(23_000)?;
    let address = format!("127.0.0.1:{port}");
    let mut command = program(peers, data);
    command.args(["serve", "--http", &address]);
    Ok((Running::start(command, port, Place::Anywhere, None)?, address))
}

/// Makes the collection through the API and the rows in its file, which is faster.
pub(super) fn fill(peers: &Path, data: &Path, size: usize) -> anyhow::Result<()> {
    let output = program(peers, data).args(["superuser", "upsert", USER, PASSWORD]).output()?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    {
        let (_running, address) = start(peers, data)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(set_up(&format!("http://{address}/api")))?;
    }
    let mut database = Connection::open(data.join("data.db"))?;
    let transaction = database.transaction()?;
    {
        let mut insert = transaction
            .prepare("INSERT INTO products (id, name, price, category) VALUES (?1, ?2, ?3, ?4)")?;
        for Row { id, name, price, category } in rows(size) {
            insert.execute((id, name, price, category))?;
        }
    }
    transaction.commit()?;
    database.execute_batch("ANALYZE; PRAGMA wal_checkpoint(TRUNCATE)")?;
    Ok(())
}

fn program(peers: &Path, data: &Path) -> Command {
    let mut command = Command::new(peers.join("pocketbase-bin"));
    command.arg("--dir").arg(data);
    command
}

/// Declares the collection, and turns the log of requests off.
async fn set_up(api: &str) -> anyhow::Result<()> {
    let client = HttpClient::with_credential(None, Duration::from_secs(10));
    let login = format!("{api}/collections/_superusers/auth-with-password");
    let body = json!({"identity": USER, "password": PASSWORD});
    let answer: Value = client.send_json(Method::POST, &login, &body).await?.json(&login)?;
    let token = answer["token"].as_str().with_context(|| format!("no token: {answer}"))?;
    let fields = json!([
        {"name": "name", "type": "text", "required": true, "max": 200},
        {"name": "price", "type": "number"},
        {"name": "category", "type": "text"},
    ]);
    let indexes = json!([
        "CREATE INDEX products_price ON products (price)",
        "CREATE INDEX products_category_price ON products (category, price)",
    ]);
    let collection = json!({
        "name": "products", "type": "base", "fields": fields, "indexes": indexes,
        "listRule": "", "viewRule": "", "createRule": "", "updateRule": "", "deleteRule": "",
    });
    let settings = json!({"logs": {"maxDays": 0}});
    for (method, path, body) in
        [(Method::POST, "collections", collection), (Method::PATCH, "settings", settings)]
    {
        let url = format!("{api}/{path}");
        let request = http::Request::builder()
            .method(method)
            .uri(&url)
            .header("authorization", token)
            .header("content-type", "application/json");
        let answer = client.send(&url, request, body.to_string().into(), Duration::from_secs(10)).await?;
        anyhow::ensure!(answer.status.is_success(), "{answer:?}");
    }
    Ok(())
}
