//! Which of a class's pods goes first when there are to be fewer: the one that has the fewest workers awake.
//!
//! Kubernetes takes pods with a lower cost first. It is written to the API server only where it makes a difference.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use portside_crds::routes::ClassKey;
use portside_crds::sidecar::{SidecarStatus, State};
use serde_json::json;

use super::Context;
use super::samples::Answer;
use crate::caches::class_ref;

/// See <https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/#pod-deletion-cost>.
const ANNOTATION: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The least cost of a pod that runs workers. Fewer workers than these make no difference.
const LEAST: i32 = 16;

/// Writes the costs of a class's pods.
///
/// A class that gives its pods a cost by itself keeps it. It goes by way of their status, of which the API server takes annotations as well: so the operator has no right to change
/// what pods run.
pub(super) async fn write(context: &Context, key: &ClassKey, answers: &[Answer]) {
    let class = context.caches.classes.get(&class_ref(key));
    let is_given = class.is_some_and(|class| {
        let spec = class.0.as_ref().map(|class| &class.spec);
        spec.is_ok_and(|spec| spec.pod.annotations.contains_key(ANNOTATION))
    });
    if is_given {
        return;
    }
    let api: Api<Pod> = Api::namespaced(context.client.clone(), &key.namespace);
    for (pod, cost) in due(answers) {
        let (name, cost) = (pod.name_any(), cost.to_string());
        let patch =
            json!({ "metadata": { "uid": pod.uid(), "annotations": { ANNOTATION: cost } } });
        let params = PatchParams::default();
        let written = api.patch_status(&name, &params, &Patch::Merge(patch)).await;
        if let Err(error) = written {
            // Pods come and go; the next sample comes soon.
            tracing::debug!(class = %key, pod = name, %error, "the cost of a pod's deletion was not written");
        }
    }
}

/// The costs that are far from those that pods have. Where there is one pod there is no choice.
fn due(answers: &[Answer]) -> Vec<(&Arc<Pod>, i32)> {
    if answers.len() < 2 {
        return vec![];
    }
    let costs = answers.iter().filter_map(|(pod, said)| {
        let (was, cost) = (written(pod), cost(said.as_ref()?));
        is_far(was, cost).then_some((pod, cost))
    });
    costs.collect()
}

/// As Kubernetes reads it.
fn written(pod: &Pod) -> i32 {
    let text = pod.annotations().get(ANNOTATION);
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn cost(said: &SidecarStatus) -> i32 {
    match said.state {
        State::Active | State::Serving => {
            let awake = i32::try_from(said.workers.awake).unwrap_or(i32::MAX);
            awake.max(LEAST)
        }
        State::Standby | State::Draining => 0,
    }
}

/// Numbers change all the time; what matters is which pods have many more than others.
fn is_far(was: i32, cost: i32) -> bool {
    was < cost / 2 || was / 2 > cost || (was == 0) != (cost == 0)
}

#[cfg(test)]
mod tests {
    use portside_crds::sidecar::SidecarWorkers;

    use super::*;
    use crate::class::testkit::pod;

    fn answer(state: State, awake: u64, written: Option<&str>) -> Answer {
        let mut pod = (*pod("a", "inputs", "{}")).clone();
        let annotations = pod.metadata.annotations.get_or_insert_default();
        annotations.extend(written.map(|cost| (ANNOTATION.to_owned(), cost.to_owned())));
        let workers = SidecarWorkers {
            awake,
            stored: None,
        };
        let said = SidecarStatus {
            digest: String::new(),
            state,
            term: 0,
            workers,
        };
        (Arc::new(pod), Some(said))
    }

    fn costs(answers: &[Answer]) -> Vec<i32> {
        due(answers).into_iter().map(|(_, cost)| cost).collect()
    }

    #[test]
    fn who_has_more_awake_costs_more_and_who_serves_more_than_who_does_not() {
        let answers = [
            answer(State::Standby, 0, None),
            answer(State::Serving, 3, None),
            answer(State::Serving, 900, None),
            answer(State::Active, 0, Some("0")),
            (Arc::default(), None),
        ];
        assert_eq!(costs(&answers), [16, 900, 16]);
        assert_eq!(costs(&answers[2..3]), Vec::<i32>::new(), "no choice");
    }

    #[test]
    fn small_changes_are_not_written() {
        let now = |awake, written| {
            let other = answer(State::Standby, 0, None);
            costs(&[answer(State::Serving, awake, Some(written)), other])
        };
        assert!(now(190, "100").is_empty());
        assert!(now(60, "100").is_empty());
        assert_eq!(now(202, "100"), [202]);
        assert_eq!(now(40, "100"), [40]);
        assert!(now(0, "16").is_empty());
        assert!(now(15, "16").is_empty());
        assert_eq!(now(0, "what"), [16]);
    }
}
