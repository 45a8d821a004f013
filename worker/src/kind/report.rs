//! `report`: counts and sums the records of a collection by the value of a field.
//!
//! It reads every record, a page at a time. Records written meanwhile may or may not be counted: each page
//! is consistent in itself, the report as a whole is not a snapshot.

use database::record::PAGE_LIMIT;
use database::{Database, Error, Page, Query};
use process::Identity;
use process::problem::Fault;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::aggregate::{Aggregate, AggregateError};
use super::payload::{describe, fault_at};
use super::{Attempt, Failure, Kind, Progress, Running, read_payload};

/// How many times smaller a page is asked for when one did not arrive.
const PAGE_SHRINK: u32 = 10;

/// The smallest page: ten of the largest records fit into one answer.
const SMALLEST_PAGE: u32 = 10;

/// What to report on.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    /// The service, which is the namespace of its records.
    service: String,
    /// The collection.
    collection: String,
    /// The field whose values make the groups.
    group_by: String,
    /// The field to sum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sum: Option<String>,
}

/// Aggregates a collection.
#[derive(Debug)]
pub(super) struct Report {
    database: Database,
    closed_namespaces: Vec<String>,
}

impl Report {
    /// Makes the kind; it reads every namespace but the closed ones.
    pub(super) fn new(database: Database, closed_namespaces: Vec<String>) -> Self {
        Self { database, closed_namespaces }
    }

    fn read(&self, payload: Value) -> Result<Payload, Vec<Fault>> {
        let payload: Payload = read_payload(payload)?;
        match self.closed_namespaces.contains(&payload.service) {
            true => Err(fault_at("/service", "the records of this service are not open to reports")),
            false => Ok(payload),
        }
    }

    async fn aggregate(&self, attempt: Attempt) -> Result<Value, Failure> {
        // Checked again: a job can be enqueued without the API, and the configuration can change.
        let payload = self.read(attempt.job.payload).map_err(|faults| Failure::never(describe(&faults)))?;
        let mut aggregate = Aggregate::new(&payload.group_by, payload.sum.clone());
        let mut position = Position::default();
        let mut after = None;
        let mut limit = PAGE_LIMIT;
        loop {
            let query = Query::List { collection: payload.collection.clone(), after: after.clone(), limit };
            let page = match self.database.query(&payload.service, &query).await {
                // Also what a page too large for one answer meets; reading is safe to repeat.
                Err(Error::Unknown { .. }) if limit > SMALLEST_PAGE => {
                    limit /= PAGE_SHRINK;
                    continue;
                }
                page => page?,
            };
            after = page.next.clone();
            position.advance(&page, &attempt.progress);
            // Off the async threads: a page of large records takes milliseconds.
            let added = tokio::task::spawn_blocking(move || add_page(aggregate, &page)).await;
            aggregate = added
                .map_err(|_| Failure::passing("the aggregation broke off"))?
                .map_err(|error| Failure::never(error.to_string()))?;
            if after.is_none() {
                break;
            }
        }
        let mut result = aggregate.finish();
        result.insert("service".to_owned(), json!(payload.service));
        result.insert("collection".to_owned(), json!(payload.collection));
        result.insert("group_by".to_owned(), json!(payload.group_by));
        Ok(Value::Object(result))
    }
}

impl Kind for Report {
    fn name(&self) -> &'static str {
        "report"
    }

    fn accept(&self, payload: Value, _caller: Option<&Identity>) -> Result<Value, Vec<Fault>> {
        self.read(payload.clone()).map(|_| payload)
    }

    fn run(&self, attempt: Attempt) -> Running<'_> {
        Box::pin(self.aggregate(attempt))
    }
}

fn add_page(mut aggregate: Aggregate, page: &Page) -> Result<Aggregate, AggregateError> {
    // What cannot be read was logged by the database.
    for record in page.records.iter().filter(|record| !record.unreadable) {
        aggregate.add(&record.data)?;
    }
    Ok(aggregate)
}

/// How far a walk over a collection is, where names are UUIDs of version 7 and so lie in order of time.
///
/// The number of records is not known without counting them, which would cost as much as the report.
#[derive(Debug, Default)]
struct Position {
    first: Option<f64>,
}

impl Position {
    fn advance(&mut self, page: &Page, progress: &Progress) {
        let seconds_of = |id: &str| {
            let (seconds, nanos) = Uuid::try_parse(id).ok()?.get_timestamp()?.to_unix();
            Some(seconds as f64 + f64::from(nanos) / 1e9)
        };
        let (Some(start), Some(end)) = (page.records.first(), page.records.last()) else { return };
        let Some(first) = self.first.or_else(|| seconds_of(&start.id)) else { return };
        self.first = Some(first);
        let now = jiff::Timestamp::now().as_millisecond() as f64 / 1e3;
        if let Some(last) = seconds_of(&end.id)
            && now > first
        {
            progress.report((last - first) / (now - first));
        }
    }
}
