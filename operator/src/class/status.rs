//! The last step: tells in the class's status what came of it. Computing is pure; one patch, only if it says something new.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use kube::core::error_boundary::InvalidObject;
use kube::runtime::events::{Event, EventType};
use kube::{Resource, ResourceExt};
use portside_crds::conditions::{self, ConditionType, Finding, Holds};
use portside_crds::names::{self, FIELD_MANAGER};
use portside_crds::routes::ClassKey;
use portside_crds::status::CodeStatus;
use portside_crds::{Reason, ServerlessWorkerClass, ServerlessWorkerClassStatus};
use serde_json::json;

use super::Context;
use super::apply::Applied;
use super::build::DIGEST_ANNOTATION;
use super::findings::{Seen, findings};
use super::queue::key_of;
use super::rollout::{self, Rollout};
use super::samples::Sample;
use super::validate::{Routing, Valid};
use crate::caches::Class;

/// What was last written, for the time until the watch has brought it back.
#[derive(Default)]
pub(crate) struct Published(Mutex<HashMap<ClassKey, Written>>);

struct Written {
    /// The version of the class that it was computed from.
    based_on: Option<String>,
    status: ServerlessWorkerClassStatus,
}

impl Published {
    /// Forgets a class.
    pub(crate) fn forget(&self, key: &ClassKey) {
        self.lock().remove(key);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ClassKey, Written>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The status of a class whose objects were written.
pub(crate) async fn publish(context: &Context, applied: &Applied) -> Result<(), kube::Error> {
    let class = current(context, &applied.valid.class);
    let sample = context.samples.get(&applied.valid.key);
    let status = compute(&class, applied, sample, &now());
    write(context, &class, status).await
}

/// The status of a class that is being deleted: these conditions, the rest as it was but for the pods.
pub(crate) async fn publish_going(
    context: &Context,
    valid: &Valid,
    findings: &[Finding],
) -> Result<(), kube::Error> {
    let class = current(context, &valid.class);
    let mut status = with_findings(&class, findings);
    let pods = || {
        valid
            .live
            .pods
            .iter()
            .filter(|pod| rollout::is_sidecar(pod))
    };
    let number = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    status.replicas = number(pods().count());
    status.ready_replicas = number(pods().filter(|pod| rollout::is_ready(pod)).count());
    write(context, &class, status).await
}

/// The class's status with other conditions in place of those there are.
fn with_findings(
    class: &ServerlessWorkerClass,
    findings: &[Finding],
) -> ServerlessWorkerClassStatus {
    let mut status = class.status.clone().unwrap_or_default();
    let generation = class.metadata.generation.unwrap_or(0);
    let kept = status.conditions.iter().filter_map(finding);
    let all: Vec<Finding> = kept
        .filter(|one| !one.kind.only_while_true())
        .chain(findings.iter().cloned())
        .collect();
    status.conditions = conditions::merge(&status.conditions, &all, generation, &now());
    status.observed_generation = Some(generation);
    status
}

/// Says of a class that nothing could be done for it.
pub(crate) async fn publish_failure(
    context: &Context,
    class: &ServerlessWorkerClass,
    message: &str,
) -> Result<(), kube::Error> {
    let class = current(context, class);
    let broken = [
        Finding::no(ConditionType::Ready, Reason::ApplyFailed, message),
        Finding::yes(ConditionType::Reconciling, Reason::ApplyFailed, message),
    ];
    let status = with_findings(&class, &broken);
    write(context, &class, status).await
}

/// Says of a class that it cannot be read.
pub(crate) async fn publish_invalid(
    context: &Context,
    invalid: &InvalidObject,
) -> Result<(), kube::Error> {
    let class = current(
        context,
        &ServerlessWorkerClass {
            metadata: invalid.metadata.clone(),
            ..ServerlessWorkerClass::default()
        },
    );
    let message = format!(
        "the class cannot be read: {}; correct it, or install the definition that comes with this operator",
        invalid.error
    );
    let stuck = [
        Finding::no(ConditionType::Ready, Reason::ClassInvalid, message.clone()),
        Finding::yes(ConditionType::Stalled, Reason::ClassInvalid, message),
    ];
    let status = with_findings(&class, &stuck);
    write(context, &class, status).await
}

fn finding(condition: &Condition) -> Option<Finding> {
    let kind = ConditionType::ALL
        .into_iter()
        .find(|kind| kind.as_str() == condition.type_)?;
    let reason = Reason::ALL
        .iter()
        .find(|reason| reason.as_str() == condition.reason)?;
    let message = condition.message.clone();
    Some(match condition.status.as_str() {
        "True" => Finding::yes(kind, *reason, message),
        "False" => Finding::no(kind, *reason, message),
        _ => Finding::unknown(kind, *reason, message),
    })
}

/// The status that says what was seen.
pub(crate) fn compute(
    class: &ServerlessWorkerClass,
    applied: &Applied,
    sample: Option<Sample>,
    now: &Time,
) -> ServerlessWorkerClassStatus {
    let valid = &applied.valid;
    let rollout = applied
        .deployment
        .as_deref()
        .map(Rollout::of)
        .unwrap_or_default();
    let found = findings(&Seen {
        class,
        rejection: valid.workload.as_ref().err(),
        refusals: &applied.refusals,
        deployment: applied.deployment.as_deref(),
        pods: pods_of(valid),
        routing: &valid.routing,
    });
    let before = class.status.as_ref();
    let conditions = before.map_or(&[][..], |status| &status.conditions);
    let generation = class.metadata.generation.unwrap_or(0);
    let sample = sample.filter(|_| rollout.ready > 0);
    let nobody = (rollout.ready == 0).then_some(0);
    ServerlessWorkerClassStatus {
        observed_generation: Some(generation),
        conditions: conditions::merge(conditions, &found, generation, now),
        url: url(class, &valid.routing),
        code: code(valid, &pods_of(valid)),
        replicas: rollout.replicas,
        ready_replicas: rollout.ready,
        selector: Some(names::selector_text(&valid.key.name)),
        // What was heard is not of now: of pods that are gone since, none serves.
        serving_replicas: (sample.as_ref().map(|it| it.serving.min(rollout.ready))).or(nobody),
        workers: sample.and_then(|sample| sample.workers),
        sidecar_image: sidecar_image(applied),
    }
}

fn pods_of(valid: &Valid) -> Vec<&Pod> {
    valid.live.pods.iter().map(|pod| &**pod).collect()
}

/// Nothing where neither is known: an object whose last field goes is refused by server-side apply.
fn code(valid: &Valid, pods: &[&Pod]) -> Option<CodeStatus> {
    let code = CodeStatus {
        digest: (valid.workload.as_ref().ok()).map(|workload| workload.digest.clone()),
        observed_digest: observed_digest(pods),
    };
    (code != CodeStatus::default()).then_some(code)
}

/// The digest that the oldest ready pod runs: it is the last to hand over.
fn observed_digest(pods: &[&Pod]) -> Option<String> {
    let ready = pods
        .iter()
        .filter(|pod| rollout::is_sidecar(pod) && rollout::is_ready(pod));
    let oldest = ready.min_by_key(|pod| {
        (
            pod.metadata.creation_timestamp.as_ref().map(|time| time.0),
            pod.name_any(),
        )
    })?;
    oldest.annotations().get(DIGEST_ANNOTATION).cloned()
}

/// Where the first route with a plain host is reached.
fn url(class: &ServerlessWorkerClass, routing: &Routing) -> Option<String> {
    let mut routes = routing.routes.iter();
    let route = routes.find(|route| !route.host.is_empty() && !route.host.starts_with('*'))?;
    let scheme = if class.spec.ingress.tls.is_some() {
        "https"
    } else {
        "http"
    };
    Some(format!("{scheme}://{}{}", route.host, route.path))
}

fn sidecar_image(applied: &Applied) -> Option<String> {
    let template = &applied.deployment.as_ref()?.spec.as_ref()?.template;
    let mut containers = template.spec.as_ref()?.containers.iter();
    containers
        .find(|one| one.name == names::SIDECAR_CONTAINER)?
        .image
        .clone()
}

/// The class with the status that was last written, if the watch has not brought it yet.
fn current(context: &Context, class: &ServerlessWorkerClass) -> ServerlessWorkerClass {
    let mut class = class.clone();
    let published = context.published.lock();
    if let Some(written) = published.get(&key_of(&class.metadata))
        && (written.based_on == class.metadata.resource_version || class.status.is_none())
    {
        class.status = Some(written.status.clone());
    }
    class
}

/// Writes a status that says something new, and tells of it in an event if the class turned to another state.
async fn write(
    context: &Context,
    class: &ServerlessWorkerClass,
    status: ServerlessWorkerClassStatus,
) -> Result<(), kube::Error> {
    if class.status.as_ref() == Some(&status) {
        return Ok(());
    }
    let key = key_of(&class.metadata);
    // The guard takes the answer even if the class cannot be read.
    let api: Api<Class> = Api::namespaced(context.client.clone(), &key.namespace);
    let patch = json!({
        "apiVersion": portside_crds::API_VERSION,
        "kind": portside_crds::KIND,
        "metadata": { "uid": class.metadata.uid },
        "status": status,
    });
    let params = PatchParams::apply(FIELD_MANAGER).force();
    api.patch_status(&key.name, &params, &Patch::Apply(patch))
        .await?;
    if let Some(event) = event(class.status.as_ref(), &status)
        && let Err(error) = context
            .recorder
            .publish(&event, &class.object_ref(&()))
            .await
    {
        tracing::warn!(class = %key, %error, "an event was not recorded");
    }
    let written = Written {
        based_on: class.metadata.resource_version.clone(),
        status,
    };
    context.published.lock().insert(key, written);
    Ok(())
}

/// The event for a class that turned to another state.
fn event(
    before: Option<&ServerlessWorkerClassStatus>,
    after: &ServerlessWorkerClassStatus,
) -> Option<Event> {
    let ready = after.condition(ConditionType::Ready)?;
    let before = before.and_then(|status| status.condition(ConditionType::Ready));
    if before.is_some_and(|one| one.status == ready.status && one.reason == ready.reason) {
        return None;
    }
    // Events take 1 KiB.
    let note = &ready.message[..ready.message.floor_char_boundary(1000)];
    Some(Event {
        type_: if ready.status == Holds::No.as_str() && ready.reason != Reason::Purging.as_str() {
            EventType::Warning
        } else {
            EventType::Normal
        },
        reason: ready.reason.clone(),
        note: Some(note.to_owned()),
        action: "Reconcile".to_owned(),
        secondary: None,
    })
}

fn now() -> Time {
    // Conditions have whole seconds.
    let now = Timestamp::now();
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}

#[cfg(test)]
mod tests;
