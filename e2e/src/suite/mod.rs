//! The tests, in the order in which they run.

use std::sync::Arc;

use libtest_mimic::Trial;

use crate::cluster::Cluster;
use crate::test::trial;

mod apiserver;
mod argo;
mod autoscaling;
mod certificates;
mod cloudnative_pg;
mod database;
mod deletion;
mod examples;
mod failures;
mod gitops;
mod informers;
mod isolation;
mod kubectl;
mod manifests;
mod many;
mod million;
mod newcomer;
mod objects;
mod operation;
mod routes;
mod scaling;
mod tenants;
mod uninstall;
mod updates;
mod upgrades;
mod workers;

/// The tests that take minutes, for what seldom breaks: left out where it is to be short.
const LONG: [&str; 8] = [
    "cloudnative_pg::a_switchover_and_a_lost_primary_lose_nothing",
    "certificates::cert_manager_makes_one_for_a_class",
    "autoscaling::an_autoscaler_follows_the_load",
    "gitops::flux_keeps_a_class_as_the_repository_has_it",
    "gitops::flux_prunes_a_class_and_its_state_as_it_says",
    "gitops::flux_substitutes_where_it_is_not_told_otherwise",
    "argo::it_syncs_in_waves_and_knows_the_health",
    "many::a_hundred_classes_settle",
];

/// Every test that is to run.
pub fn all(cluster: &Arc<Cluster>) -> Vec<Trial> {
    let mut trials = every(cluster);
    let is_short = cluster.settings.short;
    trials.retain(|trial| !is_short || !LONG.contains(&trial.name()));
    trials
}

fn every(cluster: &Arc<Cluster>) -> Vec<Trial> {
    macro_rules! trials {
        ($($module:ident :: $name:ident),* $(,)?) => {
            vec![$(trial(cluster, concat!(stringify!($module), "::", stringify!($name)), $module::$name)),*]
        };
    }
    trials![
        manifests::bad_ones_are_refused_with_their_reason,
        manifests::a_fresh_class_is_in_progress_until_it_is_seen,
        examples::each_runs,
        examples::two_tabs_chat,
        examples::a_bundle_runs,
        examples::the_charts_database_is_found,
        objects::each_example_runs,
        objects::a_killed_pod_loses_nothing,
        updates::new_code_under_load,
        updates::broken_code_leaves_the_old_one,
        updates::what_is_missing_is_named_and_waited_for,
        database::a_new_password_is_followed_under_load,
        database::its_secret_stays_and_a_missing_authority_is_named,
        operation::it_can_be_suspended_and_resumed,
        operation::an_upgrade_restarts_nothing,
        operation::the_older_class_keeps_its_route,
        operation::a_watched_namespace_may_go,
        tenants::a_host_is_one_namespaces,
        tenants::a_namespace_has_the_hosts_it_is_given,
        tenants::an_ingress_has_the_hosts_of_its_namespace,
        tenants::containers_beside_have_no_more_rights,
        isolation::pods_are_reached_by_whom_they_serve,
        isolation::a_teams_rights_end_at_its_namespace,
        isolation::whoever_asks_in_anothers_name_is_refused,
        isolation::a_request_goes_by_its_host_alone,
        isolation::a_class_reads_its_own_namespace,
        isolation::a_database_is_one_teams,
        apiserver::everybody_knows_whom_to_believe,
        apiserver::rights_are_kubernetes_own,
        apiserver::certificates_are_replaced_and_nobody_is_refused,
        apiserver::any_replica_answers,
        apiserver::namespaces_go_without_it,
        apiserver::it_can_be_turned_off,
        workers::kubectl_shows_those_of_all_namespaces,
        workers::other_versions_of_kubectl_do_the_same,
        workers::a_watch_sees_one_wake_and_go_to_sleep,
        workers::one_is_managed_like_any_object,
        million::a_million_workers_are_listed_and_watched,
        kubectl::a_folder_is_deployed,
        kubectl::workers_are_managed,
        kubectl::workers_are_watched,
        kubectl::a_worker_is_inspected,
        informers::they_miss_and_repeat_nothing,
        routes::an_ingress_that_nobody_takes_is_told,
        routes::a_class_scaled_to_zero_answers_at_once,
        routes::an_httproute_leads_to_the_class,
        failures::a_killed_pod_loses_nothing,
        failures::a_paused_pod_is_replaced_and_fenced,
        failures::nothing_depends_on_the_operator,
        failures::gateways_come_and_go,
        failures::the_database_restarts,
        cloudnative_pg::a_switchover_and_a_lost_primary_lose_nothing,
        gitops::flux_keeps_a_class_as_the_repository_has_it,
        gitops::flux_prunes_a_class_and_its_state_as_it_says,
        gitops::flux_substitutes_where_it_is_not_told_otherwise,
        certificates::cert_manager_makes_one_for_a_class,
        argo::it_syncs_in_waves_and_knows_the_health,
        scaling::pods_come_and_go,
        scaling::a_lost_pod_loses_nothing,
        scaling::new_code_reaches_every_pod,
        scaling::a_drained_node_loses_nothing,
        scaling::pods_that_share_nothing_give_way,
        autoscaling::an_autoscaler_follows_the_load,
        deletion::retained_state_is_found_again,
        deletion::deleted_state_is_gone,
        many::a_hundred_classes_settle,
        upgrades::from_an_earlier_version_and_back,
        newcomer::the_guide_leads_to_a_chat_room,
        uninstall::nothing_gets_stuck,
    ]
}
