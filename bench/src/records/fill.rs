//! The same rows for both sides, made once per size.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use process::HttpClient;

use super::{Store, pocketbase, sixfold};
use crate::Args;

/// Lines of one import.
const LINES: usize = 50_000;

/// How long one import may take.
const IMPORT_DEADLINE: Duration = Duration::from_secs(120);

/// One record.
pub(super) struct Row {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) price: f64,
    pub(super) category: String,
}

/// Gives the rows: prices of all sizes in no order, a hundred categories.
pub(super) fn rows(size: usize) -> impl Iterator<Item = Row> {
    (0..size).map(|index| Row {
        id: format!("{index:015}"),
        name: format!("lamp {index}"),
        price: (index * 7919 % 1_000_000) as f64 / 100.0,
        category: format!("c{}", index * 31 % 100),
    })
}

/// Where the filled data of a store lies.
pub(super) fn of(folder: &Path, store: Store) -> PathBuf {
    folder.join(if store == Store::PocketBase { "pocketbase" } else { "sixfold" })
}

/// Fills both.
pub(super) fn fill(args: &Args, size: usize, folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    pocketbase::fill(&args.peers, &of(folder, Store::PocketBase), size)?;
    let house = sixfold::start(&args.binary, &of(folder, Store::Service))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(import(&house.service, size))
}

/// Imports the rows as any client would.
async fn import(service: &str, size: usize) -> anyhow::Result<()> {
    let client = HttpClient::with_credential(None, IMPORT_DEADLINE);
    let url = format!("http://{}{}", service, sixfold::PATH);
    let mut rows = rows(size).peekable();
    while rows.peek().is_some() {
        let lines: String = rows
            .by_ref()
            .take(LINES)
            .map(|Row { id, name, price, category }| {
                format!(r#"{{"id":"{id}","name":"{name}","price":{price},"category":"{category}"}}"#) + "\n"
            })
            .collect();
        let request = http::Request::post(&url).header("content-type", "application/x-ndjson");
        let answer = client.send(&url, request, lines.into(), IMPORT_DEADLINE).await?;
        let said = String::from_utf8_lossy(&answer.body).into_owned();
        let last = said.lines().last().context("nothing was said")?;
        anyhow::ensure!(last.contains("\"done\":true") && !said.contains("\"errors\":["), "{last}");
    }
    Ok(())
}
