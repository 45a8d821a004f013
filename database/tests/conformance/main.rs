//! What every handle and every engine does alike: SQLite and a real PostgreSQL, each in this process and
//! behind the role over real HTTP.

#![allow(clippy::unwrap_used, reason = "a test's helper fails the test")]

mod ground;
mod harness;

mod changes;
mod counts;
mod finds;
mod jobs;
mod once;
mod records;
mod together;
mod versions;
mod writers;

/// Makes each case a test for every engine and every handle.
macro_rules! on_every_handle {
    ($($case:ident)*) => {
        mod sqlite {
            crate::on_one_engine! { sqlite $($case)* }
        }
        mod postgres {
            crate::on_one_engine! { postgres $($case)* }
        }
    };
}
pub(crate) use on_every_handle;

/// Makes each case a test for the engine in this process and for the role over HTTP.
macro_rules! on_one_engine {
    ($engine:ident $($case:ident)*) => {
        mod local {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                let house = crate::harness::local(crate::harness::$engine());
                super::super::$case(&house).await;
            })*
        }
        mod remote {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                let house = crate::harness::remote(crate::harness::$engine());
                super::super::$case(&house).await;
            })*
        }
    };
}
pub(crate) use on_one_engine;
