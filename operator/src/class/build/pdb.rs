//! What keeps the drain of nodes from taking all pods at once.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use portside_crds::names;

use super::meta;
use crate::class::validate::Valid;

/// One pod may go at a time, so that a drain never blocks; one that is not ready always may.
pub(super) fn pdb(valid: &Valid) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: meta(valid, names::workers(&valid.key.name)),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(LabelSelector {
                match_labels: Some(names::pod_selector(&valid.key.name)),
                ..LabelSelector::default()
            }),
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    }
}
