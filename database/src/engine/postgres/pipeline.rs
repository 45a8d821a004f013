//! Statements that are sent together and answered together.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use futures_util::FutureExt;
use futures_util::future::maybe_done;
use tokio::time::Instant;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::fault::Fault;
use super::lane::{Failed, Written};
use super::session::Session;

/// A statement under way.
type Sent<'a> = Pin<Box<dyn Future<Output = Result<Vec<Row>, tokio_postgres::Error>> + Send + 'a>>;

/// Statements of one transaction in order; all of them must have been prepared with the connection.
pub(super) struct Pipeline<'a> {
    session: &'a Session,
    sent: Vec<Sent<'a>>,
}

impl<'a> Pipeline<'a> {
    /// Begins a pipeline.
    pub(super) fn new(session: &'a Session) -> Self {
        Self { session, sent: Vec::new() }
    }

    /// Adds a statement.
    pub(super) fn add(&mut self, sql: &'static str, values: &'a [&'a (dyn ToSql + Sync)]) {
        self.sent.push(Box::pin(self.session.query(sql, values)));
    }

    /// Adds `BEGIN` or `ROLLBACK`.
    pub(super) fn add_plain(&mut self, sql: &'static str) {
        let session = self.session;
        self.sent.push(Box::pin(async move { session.run(sql).await.map(|()| Vec::new()) }));
    }

    /// Sends everything and gives the rows of each statement, or the first failure: what follows it failed
    /// because of it.
    pub(super) async fn run(self, deadline: Instant) -> Result<Vec<Vec<Row>>, Fault> {
        let all = tokio::time::timeout_at(deadline, all(self.sent)).await.map_err(|_| Fault::TimedOut)?;
        Ok(all.into_iter().collect::<Result<_, _>>()?)
    }

    /// Sends everything and `COMMIT` behind it, and gives the rows of each statement.
    ///
    /// A statement that fails makes the server answer `COMMIT` by rolling back. A failure the server did not
    /// put into words, or one of `COMMIT` itself, leaves open what became of the transaction.
    pub(super) async fn commit<D>(
        mut self,
        transaction: Option<String>,
        written: Written<D>,
        deadline: Instant,
    ) -> Result<(Written<D>, Vec<Vec<Row>>), Failed<D>> {
        let writes = self.sent.len();
        self.add_plain("COMMIT");
        let fault = match tokio::time::timeout_at(deadline, all(self.sent)).await {
            Err(_) => Fault::TimedOut,
            Ok(results) => {
                let failed = results.iter().position(Result::is_err);
                match results.into_iter().collect::<Result<Vec<_>, _>>() {
                    Ok(mut rows) => {
                        rows.truncate(writes);
                        return Ok((written, rows));
                    }
                    Err(error) if failed < Some(writes) && error.code().is_some() => {
                        return Err(Failed::NotDone { fault: error.into(), at: failed });
                    }
                    Err(error) => error.into(),
                }
            }
        };
        match transaction {
            Some(transaction) => Err(Failed::InDoubt { transaction, written, fault }),
            // It wrote nothing that could be lost.
            None => Err(fault.into()),
        }
    }
}

/// Sends all statements in order, then awaits them in order.
async fn all(sent: Vec<Sent<'_>>) -> Vec<Result<Vec<Row>, tokio_postgres::Error>> {
    let mut sent: Vec<_> = sent.into_iter().map(maybe_done).collect();
    // With its first poll a statement is on its way; COMMIT must be behind all others.
    poll_fn(|context| {
        for statement in &mut sent {
            let _ = statement.poll_unpin(context);
        }
        Poll::Ready(())
    })
    .await;
    let mut answers = Vec::with_capacity(sent.len());
    for mut statement in sent {
        (&mut statement).await;
        answers.extend(Pin::new(&mut statement).take_output());
    }
    answers
}
