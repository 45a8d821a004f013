//! What it would cost or gain to keep records as JSONB in SQLite instead of JSON text.
//!
//! `cargo run --release -p database --example jsonb` writes, changes, reads and lists the same records both ways, in
//! alternating rounds on one thread, and prints the median of each with its spread. No round waits for a disk
//! (`synchronous=OFF`), as the flushes are the same; what is read is parsed to the value that the engine answers with.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a tool for the one who measures")]

use std::time::Instant;

use rusqlite::{Connection, params};
use serde_json::{Map, Value, json};

/// How many records a round writes, in commits of as many.
const RECORDS: usize = 20_000;
const BATCH: usize = 64;

/// How many records are changed and read by their names, and how many lists of fifty are read.
const READS: usize = 40_000;
const LISTS: usize = 2_000;

const ROUNDS: usize = 5;

/// How a document lies in the database: what it is written and read through.
struct Form {
    name: &'static str,
    column: &'static str,
    written: &'static str,
    read: &'static str,
}

const FORMS: [Form; 2] = [
    Form { name: "text", column: "TEXT", written: "?5", read: "data" },
    Form { name: "jsonb", column: "BLOB", written: "jsonb(?5)", read: "json(data)" },
];

const MEASURES: [&str; 5] = [
    "write, µs a record",
    "change, µs a record",
    "read by name, µs",
    "list of 50, µs",
    "file, bytes a record",
];

fn document(number: usize, filler: usize) -> String {
    let filler: Vec<Value> = (0..filler)
        .map(
            |line| json!({"line": line, "text": format!("a line of some length, number {line}"), "ok": true}),
        )
        .collect();
    json!({
        "name": format!("product {}", number * 7919 % RECORDS),
        "description": "A lamp with a foot of oak and a shade of linen, for the desk or beside the bed.",
        "price": number * 31 % 5000, "currency": "EUR", "category": "lamps", "stock": number % 100,
        "size": {"width": 12.5, "height": 40.25}, "tags": ["wood", "light", "desk"], "lines": filler,
    })
    .to_string()
}

/// Runs one round and gives the measures.
fn round(form: &Form, documents: &[String]) -> [f64; MEASURES.len()] {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("measured.db");
    let connection = Connection::open(&file).unwrap();
    let Form { column, written, read, .. } = form;
    connection
        .execute_batch(&format!(
            "PRAGMA journal_mode = wal; PRAGMA synchronous = off; \
             CREATE TABLE records (number INTEGER PRIMARY KEY, namespace TEXT NOT NULL, \
               collection TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, data {column} NOT NULL, \
               UNIQUE (namespace, collection, id)) STRICT; \
             CREATE INDEX by_name ON records (CASE json_type(data, '$.\"name\"') WHEN 'text' \
               THEN data ->> '$.\"name\"' END, id) WHERE namespace = 'shop' AND collection = 'products'; \
             CREATE INDEX by_price ON records (CASE json_type(data, '$.\"price\"') WHEN 'integer' \
               THEN data ->> '$.\"price\"' WHEN 'real' THEN data ->> '$.\"price\"' END, id) \
               WHERE namespace = 'shop' AND collection = 'products';"
        ))
        .unwrap();
    let id = |number: usize| format!("{:08x}", number.wrapping_mul(2_654_435_761) % (1 << 32));
    let in_batches = |sql: &str| {
        let began = Instant::now();
        let mut statement = connection.prepare(sql).unwrap();
        for batch in (0..RECORDS).collect::<Vec<_>>().chunks(BATCH) {
            connection.execute_batch("BEGIN IMMEDIATE").unwrap();
            for number in batch {
                let row = params!["shop", "products", id(*number), 1, documents[*number]];
                statement.execute(row).unwrap();
            }
            connection.execute_batch("COMMIT").unwrap();
        }
        began.elapsed().as_secs_f64() * 1e6 / RECORDS as f64
    };
    let write = in_batches(&format!(
        "INSERT INTO records (namespace, collection, id, version, data) VALUES (?1, ?2, ?3, ?4, {written})"
    ));
    let change = in_batches(&format!(
        "UPDATE records SET version = version + ?4, data = {written} \
         WHERE namespace = ?1 AND collection = ?2 AND id = ?3"
    ));
    let parse = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap().len();
    let mut by_name = connection
        .prepare(&format!(
            "SELECT {read} FROM records WHERE namespace = 'shop' AND collection = 'products' AND id = ?1"
        ))
        .unwrap();
    let began = Instant::now();
    let mut members = 0;
    for number in 0..READS {
        let id = id(number * 7919 % RECORDS);
        members += by_name.query_row([id], |row| Ok(parse(row.get_ref(0)?.as_str()?))).unwrap();
    }
    let get = began.elapsed().as_secs_f64() * 1e6 / READS as f64;
    let price = "CASE json_type(data, '$.\"price\"') WHEN 'integer' \
        THEN data ->> '$.\"price\"' WHEN 'real' THEN data ->> '$.\"price\"' END";
    let mut by_price = connection
        .prepare(&format!(
            "SELECT {read} FROM records INDEXED BY by_price WHERE namespace = 'shop' \
             AND collection = 'products' AND {price} >= ?1 ORDER BY {price}, id LIMIT 50"
        ))
        .unwrap();
    let began = Instant::now();
    for number in 0..LISTS {
        let mut rows = by_price.query([(number * 13 % 4000) as i64]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            members += parse(row.get_ref(0).unwrap().as_str().unwrap());
        }
    }
    let list = began.elapsed().as_secs_f64() * 1e6 / LISTS as f64;
    assert_eq!(members, (READS + LISTS * 50) * 9, "every document was read whole");
    connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    let size = std::fs::metadata(&file).unwrap().len() as f64 / RECORDS as f64;
    [write, change, get, list, size]
}

fn main() {
    println!("SQLite {}, {RECORDS} records, commits of {BATCH}, {ROUNDS} rounds", rusqlite::version());
    for filler in [0, 40] {
        let documents: Vec<String> = (0..RECORDS).map(|number| document(number, filler)).collect();
        println!("\ndocuments of {} bytes", documents[0].len());
        let mut found = [Vec::new(), Vec::new()];
        for place in 0..ROUNDS {
            // Who goes first takes turns.
            for form in [place % 2, 1 - place % 2] {
                found[form].push(round(&FORMS[form], &documents));
            }
        }
        for (measure, name) in MEASURES.iter().enumerate() {
            let shown = FORMS.iter().zip(&found).map(|(form, rounds)| {
                let mut values: Vec<f64> = rounds.iter().map(|round| round[measure]).collect();
                values.sort_by(f64::total_cmp);
                let (least, median, most) = (values[0], values[ROUNDS / 2], values[ROUNDS - 1]);
                (format!("{} {median:.2} ({least:.2} to {most:.2})", form.name), median)
            });
            let [(text, by_text), (jsonb, by_jsonb)]: [(String, f64); 2] =
                shown.collect::<Vec<_>>().try_into().unwrap();
            println!("{name:<22} {text:<34} {jsonb:<34} jsonb / text {:.2}", by_jsonb / by_text);
        }
    }
}
