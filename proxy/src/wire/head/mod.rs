//! Heads: which bytes are one and what they mean, and how they are written on.
//!
//! In: [`request_head`] and [`response_head`], out of [`fields`], [`target`] and [`framing`], by [`syntax`]; what is
//! wrong with a request is a [`refusal`]. Out: [`rewrite`], with an [`account`] of who asked and the fields that a
//! handler [`added`].

pub(super) mod account;
pub(super) mod added;
pub(super) mod fields;
pub(super) mod framing;
pub(super) mod refusal;
pub(super) mod request_head;
pub(super) mod response_head;
pub(super) mod rewrite;
pub(super) mod syntax;
pub(super) mod target;
