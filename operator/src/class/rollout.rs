//! How far a Deployment is, and what keeps its pods from becoming ready. Pure.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition};
use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use portside_crds::Reason;
use portside_crds::names;
use portside_crds::sidecar::{Termination, TerminationReason};

use super::build::DATABASE;

/// The most bytes of a message that is not ours.
const MAX_FOREIGN_BYTES: usize = 1000;

/// For how long a pod may be late with its end: much longer than a lease, and than clocks differ.
const OVERDUE: SignedDuration = SignedDuration::from_secs(30);

/// A Deployment's numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rollout {
    /// Pods there are to be.
    pub desired: i32,
    /// Pods there are.
    pub replicas: i32,
    /// Pods of the newest revision.
    pub updated: i32,
    /// Ready pods of any revision.
    pub ready: i32,
    /// Whether the numbers are of the newest revision.
    pub observed: bool,
}

/// What keeps pods from becoming ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// In one word.
    pub reason: Reason,
    /// Which pod, why, and what to do.
    pub message: String,
    /// Whether only a change of the class can help.
    pub is_final: bool,
}

impl Rollout {
    /// The numbers of a Deployment.
    pub(crate) fn of(deployment: &Deployment) -> Self {
        let status = deployment.status.clone().unwrap_or_default();
        let spec = deployment.spec.as_ref();
        Self {
            desired: spec.and_then(|spec| spec.replicas).unwrap_or(1),
            replicas: status.replicas.unwrap_or(0),
            updated: status.updated_replicas.unwrap_or(0),
            ready: status.ready_replicas.unwrap_or(0),
            observed: status.observed_generation >= deployment.metadata.generation,
        }
    }

    /// Whether there are pods of the newest revision only, as many as there should be.
    pub(crate) fn is_replaced(&self) -> bool {
        self.observed && self.updated == self.desired && self.replicas == self.desired
    }

    /// Whether they are all ready as well.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_replaced() && self.ready == self.desired
    }
}

/// Whether a pod runs a class's workers, or could.
pub(crate) fn is_sidecar(pod: &Pod) -> bool {
    pod.labels().get(names::COMPONENT_LABEL).map(String::as_str) == Some(names::COMPONENT_SIDECAR)
}

/// Whether a pod is ready and stays.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    !is_leaving(pod)
        && conditions
            .filter(|one| one.type_ == "Ready")
            .any(|one| one.status == "True")
}

/// Whether a pod is about to end.
pub(crate) fn is_leaving(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Whether a pod should have ended so long ago that it has, or has lost what it had. Where a node is gone nobody says that its pods
/// have ended: those run for ever.
pub(crate) fn is_overdue(pod: &Pod, now: Timestamp) -> bool {
    let due = pod.metadata.deletion_timestamp.as_ref();
    due.is_some_and(|Time(due)| now.duration_since(*due) > OVERDUE)
}

/// Whether a pod's containers have ended for good. Kubernetes keeps such pods, those that a node has evicted for example.
pub(crate) fn has_ended(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// What keeps a pod from becoming ready, if anything is known.
pub(crate) fn trouble(pod: &Pod) -> Option<Trouble> {
    if is_ready(pod) || is_leaving(pod) {
        return None;
    }
    let name = pod.name_any();
    let status = pod.status.as_ref()?;
    let containers = || {
        let init = status.init_container_statuses.iter().flatten();
        init.chain(status.container_statuses.iter().flatten())
    };
    containers()
        .find_map(|container| said(&name, pod, container))
        .or_else(|| containers().find_map(|container| waiting(&name, container)))
        .or_else(|| containers().find_map(|container| crashed(&name, container)))
        .or_else(|| unschedulable(&name, pod))
}

/// What the sidecar said of itself when it ended.
fn said(name: &str, pod: &Pod, container: &ContainerStatus) -> Option<Trouble> {
    let ended = last_end(container)?;
    let mut said = Termination::from_log(ended.message.as_deref()?)?;
    if said.reason == TerminationReason::DatabaseMissing
        && let Some((secret, key)) = database(pod)
    {
        // The pod knows only where it would have been mounted.
        said.message = format!(
            "there is no Secret {secret} with the key {key}; make it with `kubectl create secret generic {secret} \
             --from-literal={key}=postgres://user:password@host/database`"
        );
    }
    Some(Trouble {
        reason: said.reason.reason(),
        message: if said.reason.is_final() {
            said.message
        } else {
            format!("pod {name}: {}", said.message)
        },
        is_final: said.reason.is_final(),
    })
}

/// The Secret that has the database's URL, and its key.
fn database(pod: &Pod) -> Option<(&str, &str)> {
    let volumes = pod.spec.as_ref()?.volumes.as_deref()?;
    let volume = volumes.iter().find(|volume| volume.name == DATABASE)?;
    let secret = volume.secret.as_ref()?;
    let item = secret.items.as_deref()?.first()?;
    Some((secret.secret_name.as_deref()?, &item.key))
}

fn waiting(pod: &str, container: &ContainerStatus) -> Option<Trouble> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let name = &container.name;
    let image = &container.image;
    let detail = waiting.message.as_deref().unwrap_or_default();
    let (reason, message) = match waiting.reason.as_deref()? {
        "ErrImagePull"
        | "ImagePullBackOff"
        | "InvalidImageName"
        | "ErrImageNeverPull"
        | "ImageInspectError"
        | "RegistryUnavailable"
        | "SignatureValidationFailed" => (
            Reason::ImagePullFailed,
            format!(
                "pod {pod}: image {image} of container {name} cannot be pulled: {}; check spec.pod.image, \
                 spec.pod.imagePullSecrets and the registry",
                short(detail)
            ),
        ),
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => (
            Reason::PodRejected,
            format!(
                "pod {pod}: container {name} cannot be started: {}; correct spec.pod",
                short(detail)
            ),
        ),
        _ => return None,
    };
    Some(Trouble {
        reason,
        message,
        is_final: false,
    })
}

fn crashed(pod: &str, container: &ContainerStatus) -> Option<Trouble> {
    let ended = last_end(container)?;
    let name = &container.name;
    let why = ended
        .reason
        .as_deref()
        .filter(|why| !matches!(*why, "Error" | "Completed"));
    let code = ended.exit_code;
    let how = why.map_or_else(
        || format!("exit code {code}"),
        |why| format!("{why} (exit code {code})"),
    );
    let next = match why {
        Some("OOMKilled") => "raise spec.pod.resources.limits.memory".to_owned(),
        _ => format!("see `kubectl logs {pod} --container {name} --previous`"),
    };
    let log = ended
        .message
        .as_deref()
        .map(short)
        .filter(|log| !log.is_empty());
    let log = log.map(|log| format!(": {log}")).unwrap_or_default();
    Some(Trouble {
        reason: Reason::PodCrashing,
        message: format!("pod {pod}: container {name} ended with {how}{log}; {next}"),
        is_final: false,
    })
}

fn unschedulable(name: &str, pod: &Pod) -> Option<Trouble> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let condition = conditions.iter().find(|one| {
        one.type_ == "PodScheduled"
            && one.status == "False"
            && one.reason.as_deref() == Some("Unschedulable")
    })?;
    let detail = short(condition.message.as_deref().unwrap_or_default());
    Some(Trouble {
        reason: Reason::PodUnschedulable,
        message: format!(
            "pod {name} fits no node: {detail}; add nodes, or ask for less in spec.pod (resources, nodeSelector, affinity)"
        ),
        is_final: false,
    })
}

/// How a container ended that is not running for good.
pub(crate) fn last_end(container: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    let ended = |state: &'_ Option<ContainerState>| {
        state
            .as_ref()
            .is_some_and(|state| state.terminated.is_some())
    };
    let state = if ended(&container.state) {
        &container.state
    } else {
        &container.last_state
    };
    let terminated = state.as_ref()?.terminated.as_ref()?;
    // A container that ended well and is started again has nothing to say.
    (terminated.exit_code != 0).then_some(terminated)
}

/// What keeps a Deployment from making pods, or from being done.
pub(crate) fn deployment_trouble(deployment: &Deployment) -> Option<Trouble> {
    let conditions = deployment.status.as_ref()?.conditions.as_deref()?;
    let find = |kind: &str, status: &str| -> Option<&DeploymentCondition> {
        conditions
            .iter()
            .find(|one| one.type_ == kind && one.status == status)
    };
    if let Some(refused) = find("ReplicaFailure", "True") {
        let detail = short(refused.message.as_deref().unwrap_or_default());
        let next = if detail.contains("exceeded quota") {
            "raise the namespace's quota, or lower spec.scaling.replicas or spec.pod.resources"
        } else if detail.contains("PodSecurity") {
            "correct spec.pod.extraContainers: the namespace takes restricted pods only"
        } else {
            "correct spec.pod, or what refuses the pod"
        };
        return Some(Trouble {
            reason: Reason::PodRejected,
            message: format!("pods are refused: {detail}; {next}"),
            is_final: false,
        });
    }
    find("Progressing", "False")
        .filter(|one| one.reason.as_deref() == Some("ProgressDeadlineExceeded"))
        .map(|_| Trouble {
            reason: Reason::RolloutTimedOut,
            message: format!(
                "Deployment {} has no ready pod of the newest revision after its deadline; see `kubectl describe pods --selector {}`",
                deployment.name_any(),
                deployment
                    .labels()
                    .get(names::CLASS_LABEL)
                    .map_or_else(String::new, |class| names::selector_text(class)),
            ),
            is_final: false,
        })
}

fn short(text: &str) -> &str {
    let text = text.trim().trim_end_matches('.');
    &text[..text.floor_char_boundary(MAX_FOREIGN_BYTES)]
}
