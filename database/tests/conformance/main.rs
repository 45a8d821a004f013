//! What every handle and every engine does alike: SQLite in this process, and the role over real HTTP.

#![allow(clippy::unwrap_used, reason = "a test's helper fails the test")]

mod harness;

mod changes;
mod jobs;
mod records;
mod writers;

/// Makes each case a test for every handle.
macro_rules! on_every_handle {
    ($($case:ident)*) => {
        mod local {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                let house = crate::harness::local();
                super::$case(&house.database).await;
            })*
        }
        mod remote {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                let house = crate::harness::remote();
                super::$case(&house.database).await;
            })*
        }
    };
}
pub(crate) use on_every_handle;
