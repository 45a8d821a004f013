//! What a database holds of the writers' transactions, read back over HTTP.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};

use crate::{Client, Reply};

/// The entries of a page.
const PAGE: usize = 1000;

/// What a database holds of the transactions whose names begin with one prefix.
#[derive(Debug, Clone, Default)]
pub struct Contents {
    /// The first record of each transaction.
    pub one: BTreeSet<String>,
    /// The second.
    pub two: BTreeSet<String>,
    /// The job of each; one that stands twice would make this longer than the records.
    pub jobs: Vec<String>,
    /// Each caller's counter: the name of the transaction that wrote it last.
    pub counters: BTreeMap<String, String>,
    /// The sequences of all changes after the one that was known, in order.
    pub sequences: Vec<u64>,
    /// How many of those changes are of these transactions.
    pub changes: usize,
    /// Whether the change log could be read: after a restore its followers are told to list again instead.
    pub has_log: bool,
}

impl Contents {
    /// Reads all of it, or says what cannot be read; changes only after the sequence `after`.
    pub async fn read(client: &Client, prefix: &str, after: u64) -> Result<Self, String> {
        let mut contents = Self::read_rows(client, prefix).await?;
        contents.read_changes(client, prefix, after).await?;
        contents.has_log = true;
        Ok(contents)
    }

    /// Reads all but the change log of a database that was restored, and sees that followers are told to list again.
    pub async fn read_restored(client: &Client, prefix: &str) -> Result<Self, String> {
        let followed = client.get("/v1/changes?after=0").await;
        match followed.status.as_u16() {
            410 => Self::read_rows(client, prefix).await,
            status => Err(format!("who follows from before the restore is answered {status}")),
        }
    }

    /// Reads the change log from the file of a database that does not run.
    pub fn read_log_of(&mut self, file: &Path, prefix: &str) -> Result<(), String> {
        let read = || -> rusqlite::Result<Vec<(u64, String)>> {
            let connection = rusqlite::Connection::open(file)?;
            let mut statement = connection.prepare("SELECT sequence, id FROM changes ORDER BY sequence")?;
            let rows =
                statement.query_map((), |row| Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get(1)?)))?;
            rows.collect()
        };
        for (sequence, id) in read().map_err(|error| error.to_string())? {
            self.sequences.push(sequence);
            self.changes += usize::from(id.starts_with(prefix));
        }
        self.has_log = true;
        Ok(())
    }

    async fn read_rows(client: &Client, prefix: &str) -> Result<Self, String> {
        let counters = list(client, "counters", prefix).await?;
        Ok(Self {
            one: list(client, "one", prefix).await?.into_keys().collect(),
            two: list(client, "two", prefix).await?.into_keys().collect(),
            jobs: jobs(client, prefix).await?,
            counters: counters.into_iter().map(|(id, data)| (id, text(&data["name"]))).collect(),
            ..Self::default()
        })
    }

    async fn read_changes(&mut self, client: &Client, prefix: &str, mut after: u64) -> Result<(), String> {
        loop {
            let page = read(client.get(&format!("/v1/changes?after={after}&limit={PAGE}")).await)?;
            let page = page.as_array().expect("changes");
            for change in page {
                after = change["sequence"].as_u64().expect("a sequence");
                self.sequences.push(after);
                self.changes += usize::from(text(&change["id"]).starts_with(prefix));
            }
            if page.is_empty() {
                return Ok(());
            }
        }
    }
}

/// Reads an answer's document; one that is no success is an error.
fn read(reply: Reply) -> Result<Value, String> {
    match reply.status.is_success() {
        true => Ok(reply.json()),
        false => Err(format!("{}: {}", reply.status, String::from_utf8_lossy(&reply.body))),
    }
}

async fn list(client: &Client, collection: &str, prefix: &str) -> Result<BTreeMap<String, Value>, String> {
    let mut found = BTreeMap::new();
    // No record is named by a prefix alone.
    let mut after = (!prefix.is_empty()).then(|| prefix.to_owned());
    loop {
        let query = json!({"query": "list", "collection": collection, "after": after, "limit": PAGE});
        let page = read(client.post("/v1/query?namespace=shop", &query).await)?;
        for record in page["records"].as_array().expect("records") {
            let id = text(&record["id"]);
            if !id.starts_with(prefix) {
                return Ok(found);
            }
            found.insert(id, record["data"].clone());
        }
        match page["next"].as_str() {
            Some(next) => after = Some(next.to_owned()),
            None => return Ok(found),
        }
    }
}

async fn jobs(client: &Client, prefix: &str) -> Result<Vec<String>, String> {
    let (mut found, mut after) = (Vec::new(), Value::Null);
    // Each prefix has a queue of its own; without one, all are meant.
    let queue = (!prefix.is_empty()).then(|| format!("{prefix}jobs"));
    loop {
        let filter = json!({"queue": queue, "after": after, "limit": PAGE});
        let page = read(client.post("/v1/jobs/list", &filter).await)?;
        let jobs = page["jobs"].as_array().expect("jobs");
        found.extend(jobs.iter().map(|job| text(&job["payload"]["name"])));
        after = page["next"].clone();
        if after.is_null() {
            return Ok(found);
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}
