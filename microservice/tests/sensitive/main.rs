//! Sensitive fields: sealed wherever they lie, shown to whom may see them, told to nobody else in any way.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[macro_use]
#[path = "../house/mod.rs"]
mod house;

mod sealed;
mod shown;
mod staff;
mod start;

use sealed::{
    a_field_whose_key_is_gone_is_in_nobodys_way, a_sealed_value_opens_only_in_its_own_record,
    after_a_rotation_every_record_is_sealed_with_the_new_key,
    what_is_deleted_and_what_was_before_is_sealed_anew_too,
};
use shown::{
    a_follower_is_shown_its_own_and_no_other,
    a_request_under_a_key_is_known_again_and_its_body_cannot_be_tried_out,
    a_sensitive_field_is_sealed_where_it_lies_and_shown_to_whom_asks_and_may,
    nothing_can_ask_about_a_sensitive_field, who_does_not_see_a_field_neither_loses_nor_learns_it,
};

on_both_engines! {
    a_sensitive_field_is_sealed_where_it_lies_and_shown_to_whom_asks_and_may
    who_does_not_see_a_field_neither_loses_nor_learns_it
    nothing_can_ask_about_a_sensitive_field
    a_follower_is_shown_its_own_and_no_other
    a_sealed_value_opens_only_in_its_own_record
    after_a_rotation_every_record_is_sealed_with_the_new_key
    what_is_deleted_and_what_was_before_is_sealed_anew_too
    a_field_whose_key_is_gone_is_in_nobodys_way
    a_request_under_a_key_is_known_again_and_its_body_cannot_be_tried_out
}
