//! Collections at the edge: a real service over a real database and a real cache.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[macro_use]
#[path = "../house/mod.rs"]
mod house;

mod cached;
mod records;
mod refused;
mod sent_back;
mod service;

use cached::{
    a_write_is_seen_by_every_read_after_its_answer,
    what_a_worker_writes_leaves_the_cache_and_survives_a_client_s_change,
    who_missed_changes_does_not_believe_the_cache,
};
use house::{Answer, Engine, House};
use records::{
    a_collection_may_demand_the_version_and_go_without_a_cache,
    a_condition_saves_a_transfer_and_stops_a_lost_update,
    a_created_record_is_found_read_from_the_cache_and_gone_after_deletion,
    a_json_patch_changes_a_record_whole_or_not_at_all,
    a_put_makes_a_record_at_a_chosen_name_only_when_asked_to,
    an_order_and_the_job_that_confirms_it_come_together, patches_that_race_are_all_applied,
};
use refused::{
    a_name_that_no_path_can_end_in_is_refused, a_parameter_that_means_nothing_is_refused_wherever_it_stands,
    what_can_name_a_record_is_said_to_who_would_name_one_otherwise, what_is_wrong_with_a_request_is_said,
    with_a_cluster_token_only_health_answers_without_it,
};
use sent_back::{
    another_name_or_another_value_of_the_server_s_is_refused,
    nothing_sent_sets_when_a_record_was_made_or_changed, what_was_read_is_put_back_with_one_field_changed,
};
use serde_json::json;
use service::{
    a_listing_is_walked_page_by_page, a_service_describes_the_fields_that_say_when_and_how_often,
    the_schemas_are_published_for_the_gateways,
    without_a_database_a_service_is_degraded_and_says_so_until_it_is_there,
};

on_both_engines! {
    a_service_describes_the_fields_that_say_when_and_how_often
    a_created_record_is_found_read_from_the_cache_and_gone_after_deletion
    a_write_is_seen_by_every_read_after_its_answer
    a_condition_saves_a_transfer_and_stops_a_lost_update
    a_put_makes_a_record_at_a_chosen_name_only_when_asked_to
    patches_that_race_are_all_applied
    a_json_patch_changes_a_record_whole_or_not_at_all
    a_listing_is_walked_page_by_page
    what_is_wrong_with_a_request_is_said
    a_parameter_that_means_nothing_is_refused_wherever_it_stands
    a_name_that_no_path_can_end_in_is_refused
    what_can_name_a_record_is_said_to_who_would_name_one_otherwise
    what_was_read_is_put_back_with_one_field_changed
    nothing_sent_sets_when_a_record_was_made_or_changed
    another_name_or_another_value_of_the_server_s_is_refused
    an_order_and_the_job_that_confirms_it_come_together
    who_missed_changes_does_not_believe_the_cache
    what_a_worker_writes_leaves_the_cache_and_survives_a_client_s_change
    a_collection_may_demand_the_version_and_go_without_a_cache
    the_schemas_are_published_for_the_gateways
    without_a_database_a_service_is_degraded_and_says_so_until_it_is_there
    with_a_cluster_token_only_health_answers_without_it
}

const JSON: (&str, &str) = ("content-type", "application/json");
const MERGE: (&str, &str) = ("content-type", "application/merge-patch+json");

async fn catalog(engine: Engine) -> House {
    let mut house = House::start(engine, |_| {}).await;
    house.start_service("catalog").await;
    house
}

async fn create_lamp(house: &House) -> Answer {
    house.post("catalog", "/catalog/products", &json!({"name": "Lamp", "price": 19.5})).await
}
