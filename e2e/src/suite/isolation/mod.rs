//! Two teams in one cluster: what one may try to take from the other. Where something is refused to the one, the other shows that it works.

mod data;
mod hosts;
mod network;
mod proof;
mod rights;

pub use data::{a_class_reads_its_own_namespace, a_database_is_one_teams};
pub use hosts::a_request_goes_by_its_host_alone;
pub use network::pods_are_reached_by_whom_they_serve;
pub use proof::whoever_asks_in_anothers_name_is_refused;
pub use rights::a_teams_rights_end_at_its_namespace;
