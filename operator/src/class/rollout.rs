//! How far a Deployment is, and what keeps its pods from becoming ready. Pure.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition};
use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateTerminated, ContainerStatus, KeyToPath, Pod,
};
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
    // The pod knows only where it would have been mounted.
    said.message = match said.reason {
        TerminationReason::DatabaseMissing => database_missing(pod),
        TerminationReason::DatabaseCaMissing => ca_missing(pod),
        _ => None,
    }
    .unwrap_or(said.message);
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

/// That the database's URL is missing, with the step that makes it.
fn database_missing(pod: &Pod) -> Option<String> {
    let Mounted { name, key, .. } = mounted(pod, names::DATABASE_URL_FILE)?;
    Some(format!(
        "there is no Secret {name} with the key {key}; make it with `kubectl create secret generic {name} \
         --from-literal={key}=postgres://user:password@host/database`"
    ))
}

/// The same for the certificates of the database's authority.
fn ca_missing(pod: &Pod) -> Option<String> {
    let Mounted { kind, name, key } = mounted(pod, names::DATABASE_CA_FILE)?;
    let create = match kind {
        "Secret" => "secret generic",
        _ => "configmap",
    };
    Some(format!(
        "there is no {kind} {name} with the key {key}, as spec.storage.database.ca says; make it with \
         `kubectl create {create} {name} --from-file={key}=FILE`, of certificates in PEM"
    ))
}

/// What a file of a pod is mounted from.
struct Mounted<'p> {
    kind: &'static str,
    name: &'p str,
    key: &'p str,
}

/// What this file of the volume with the database is made of.
fn mounted<'p>(pod: &'p Pod, file: &str) -> Option<Mounted<'p>> {
    let volumes = pod.spec.as_ref()?.volumes.as_deref()?;
    let volume = volumes.iter().find(|volume| volume.name == DATABASE)?;
    let (_, path) = file.rsplit_once('/')?;
    let of = |kind, name: &'p str, items: &'p Option<Vec<KeyToPath>>| {
        let item = items.iter().flatten().find(|item| item.path == path)?;
        let key = &*item.key;
        Some(Mounted { kind, name, key })
    };
    if let Some(secret) = &volume.secret {
        return of("Secret", secret.secret_name.as_deref()?, &secret.items);
    }
    let sources = volume.projected.as_ref()?.sources.as_deref()?;
    sources.iter().find_map(|one| {
        let secret = one.secret.as_ref();
        let map = one.config_map.as_ref();
        secret
            .and_then(|it| of("Secret", &it.name, &it.items))
            .or_else(|| map.and_then(|it| of("ConfigMap", &it.name, &it.items)))
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::class::testkit::{pod, yaml};

    #[test]
    fn what_the_database_lacks_is_named_as_the_class_names_it() {
        let ended = |reason: &str| {
            let log = format!(r#"{{"reason":"{reason}","message":"nothing in a file"}}"#);
            format!(
                "containerStatuses: [{{ name: sidecar, image: '', imageID: '', ready: false, restartCount: 1, \
                 lastState: {{ terminated: {{ exitCode: 1, message: '{log}' }} }} }}]"
            )
        };
        let said = |pod: &Pod| {
            let trouble = trouble(pod).unwrap();
            assert_eq!(trouble.reason, Reason::DatabaseMissing);
            trouble.message
        };
        let of = |reason: &str, sources: &str| {
            let mut pod = Pod::clone(&pod("chat-1", "new", &ended(reason)));
            let url = "secret: { name: pg, items: [{ key: uri, path: url }] }";
            let volume = format!(
                "[{{ name: database, projected: {{ sources: [{{ {url} }}, {{ {sources} }}] }} }}]"
            );
            pod.spec.as_mut().unwrap().volumes = Some(yaml(&volume));
            said(&pod)
        };
        let secret = "secret: { name: authorities, items: [{ key: a, path: ca.crt }] }";
        let map = "configMap: { name: authorities, items: [{ key: a, path: ca.crt }] }";
        for (reason, sources, expected) in [
            (
                "DatabaseMissing",
                secret,
                "there is no Secret pg with the key uri; make it with",
            ),
            (
                "DatabaseCaMissing",
                secret,
                "there is no Secret authorities with the key a, as spec.storage.database.ca says",
            ),
            (
                "DatabaseCaMissing",
                map,
                "there is no ConfigMap authorities with the key a, as spec.storage.database.ca says",
            ),
        ] {
            let message = of(reason, sources);
            assert!(
                message.starts_with(&format!("pod chat-1: {expected}")),
                "{message}"
            );
        }
        let plain = said(&pod("chat-1", "new", &ended("DatabaseMissing")));
        assert!(
            plain.contains("Secret portside-database with the key url"),
            "{plain}"
        );
        // Of a pod that mounts none.
        let unknown = said(&pod("chat-1", "new", &ended("DatabaseCaMissing")));
        assert_eq!(unknown, "pod chat-1: nothing in a file");
    }
}
