//! What every store does, run on each of them, and on the model that simulations use.

#![allow(clippy::unwrap_used)] // These are tests.

mod conformance {
    pub mod alarms;
    pub mod common;
    pub mod members;
    pub mod opening;
    pub mod ownership;
    pub mod reading;
    pub mod writing;
}

/// Makes one test for each store and each function.
macro_rules! on_every_store {
    ($($module:ident: $($test:ident)*;)*) => {
        on_every_store!(@on sqlite Sqlite $($module: $($test)*;)*);
        on_every_store!(@on postgres Postgres $($module: $($test)*;)*);
        on_every_store!(@on model Model $($module: $($test)*;)*);
    };
    (@on $name:ident $kind:ident $($module:ident: $($test:ident)*;)*) => {
        mod $name {
            $(mod $module {
                $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    crate::conformance::$module::$test(crate::conformance::common::Kind::$kind).await;
                })*
            })*
        }
    };
}

on_every_store! {
    opening:
        data_outlives_the_store
        applications_do_not_see_each_other
        many_may_open_at_once
        newer_schemas_are_refused;
    ownership:
        claims_are_disjoint_and_raise_the_epoch
        racing_claims_never_take_a_shard_twice
        only_live_pods_claim
        an_unchanged_number_is_death_and_death_is_final
        a_renewal_saves_from_an_old_observation
        released_shards_are_free_and_fenced
        a_stale_epoch_writes_nothing
        a_takeover_sees_the_last_acknowledged_commit
        racing_pods_never_both_write
        advancing_refuses_the_old_epoch
        a_pod_reads_what_it_owns
        released_shards_leave_the_rest_and_the_lease
        an_application_is_deleted_by_its_owner_only;
    members:
        what_a_pod_announces_is_seen
        shards_of_the_living_are_counted
        shards_are_handed_over_with_all_that_was_written
        nothing_is_handed_to_the_dead
        racing_hand_overs_move_a_shard_once
        a_hand_over_loses_no_acknowledged_commit
        the_map_follows_every_change_of_owners;
    reading:
        keys_are_in_byte_order
        ranges_are_honoured
        get_leaves_absent_keys_out
        loading_stops_at_its_limits
        an_unknown_worker_is_empty
        workers_are_listed_page_by_page
        a_worker_is_found_with_its_alarm_and_size
        an_object_is_found_with_its_name
        the_largest_key_and_value_fit;
    writing:
        batches_do_what_the_model_does
        clearing_keeps_what_the_same_batch_puts
        commits_of_one_worker_apply_in_order
        refused_commits_leave_others_alone
        same_names_in_different_scripts_are_different_workers
        simultaneous_calls_lose_nothing
        ten_thousand_workers
        lanes_keep_the_order;
    alarms:
        due_alarms_are_listed_earliest_first
        pages_of_due_alarms_follow_each_other
        changes_are_conditional_on_the_arming
        a_worker_without_keys_and_alarm_is_gone
        names_survive_any_character;
}
