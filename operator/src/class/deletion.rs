//! What happens before a class goes: with `deletionPolicy: Delete` its workers' state is deleted, once no pod can write any.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use kube::core::error_boundary::InvalidObject;
use kube::runtime::controller::Action;
use kube::runtime::events::{Event, EventType};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Resource, api::PartialObjectMeta};
use portside_core::backoff::Backoff;
use portside_crds::class::DeletionPolicy;
use portside_crds::conditions::{ConditionType, Finding};
use portside_crds::names::{self, FINALIZER};
use portside_crds::routes::ClassKey;
use portside_crds::sidecar::Termination;
use portside_crds::{Reason, ServerlessWorkerClass};
use serde_json::json;

use super::apply::{self, Writer};
use super::build::{self, ATTEMPT_ANNOTATION, COMPONENT_PURGE};
use super::owned::{self, Kind};
use super::rollout;
use super::status;
use super::validate::Valid;
use super::{Context, Error, REFUSED};

/// What is said until the pods are gone.
/// How often a class that goes is looked at, should nothing be heard of what it waits for.
const LOOK: Duration = Duration::from_secs(15);
const PODS_END: &str = "the pods hand over and end";

/// Between tries to delete a class's state.
const BETWEEN_TRIES: Backoff = Backoff {
    first_ms: 10_000,
    max_ms: 600_000,
};

/// How many tries there were, for the time between two Jobs.
#[derive(Default)]
pub(crate) struct Attempts(Mutex<HashMap<ClassKey, u32>>);

impl Attempts {
    /// Forgets a class.
    pub(crate) fn forget(&self, key: &ClassKey) {
        self.lock().remove(key);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ClassKey, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What comes next for a class that is being deleted.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// The Deployment has to go.
    EndPods,
    /// The pods are on their way out.
    AwaitPods,
    /// The state is to be deleted, for the so-manieth time.
    Purge(u32),
    /// It is being deleted.
    AwaitPurge,
    /// It could not be deleted; to be tried again at that time.
    Failed {
        attempt: u32,
        message: String,
        again: Timestamp,
    },
    /// There is no state any more.
    Done,
}

/// Makes the finalizer be there exactly if the class's state is to be deleted with it.
pub(crate) async fn keep_finalizer(
    context: &Context,
    class: &ServerlessWorkerClass,
) -> Result<(), kube::Error> {
    let wanted = class.spec.storage.deletion_policy == DeletionPolicy::Delete;
    if wanted == has_finalizer(class) {
        return Ok(());
    }
    set_finalizer(&context.client, &class.metadata, wanted).await
}

/// Adds or removes the finalizer, unless the object has changed meanwhile.
pub(crate) async fn set_finalizer(
    client: &kube::Client,
    meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
    wanted: bool,
) -> Result<(), kube::Error> {
    let mut finalizers = meta.finalizers.clone().unwrap_or_default();
    finalizers.retain(|one| one != FINALIZER);
    if wanted {
        finalizers.push(FINALIZER.to_owned());
    }
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    let name = meta.name.as_deref().unwrap_or_default();
    let api: Api<PartialObjectMeta<ServerlessWorkerClass>> =
        Api::namespaced(client.clone(), namespace);
    let patch = json!({"metadata": {
        "resourceVersion": meta.resource_version,
        "finalizers": finalizers,
    }});
    api.patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await?;
    Ok(())
}

/// Takes a class that is being deleted one step further.
///
/// # Errors
/// The API server could not be asked, or is to be asked again.
pub(crate) async fn reconcile(context: &Context, valid: &Valid) -> Result<Action, Error> {
    let class = &*valid.class;
    if !has_finalizer(class) {
        return Ok(Action::await_change());
    }
    match advance(context, valid).await {
        // Where rights are given in the namespace they may go before the class.
        Err(_) if namespace_is_going(context, class).await => {
            leave_state_there(context, class).await?;
            Ok(Action::await_change())
        }
        result => result,
    }
}

async fn advance(context: &Context, valid: &Valid) -> Result<Action, Error> {
    let class = &*valid.class;
    if class.spec.storage.deletion_policy == DeletionPolicy::Retain {
        tracing::info!(class = %valid.key, "the state is retained");
        set_finalizer(&context.client, &class.metadata, false).await?;
        return Ok(Action::await_change());
    }
    let job = own_job(&context.caches.jobs, valid);
    let tried = context
        .attempts
        .lock()
        .get(&valid.key)
        .copied()
        .unwrap_or(0);
    match step(valid, job.as_deref(), tried, Timestamp::now()) {
        Step::EndPods => {
            say(context, valid, Reason::Purging, PODS_END).await?;
            for owned in valid
                .live
                .owned
                .iter()
                .filter(|one| one.kind == Kind::Deployment)
            {
                apply::delete(context, &valid.key.namespace, owned).await?;
            }
        }
        Step::AwaitPods => {
            say(context, valid, Reason::Purging, PODS_END).await?;
        }
        Step::Purge(attempt) => purge(context, valid, attempt).await?,
        Step::AwaitPurge => match purge_trouble(valid) {
            None => {
                let message = "the workers' state is being deleted";
                say(context, valid, Reason::Purging, message).await?;
            }
            Some(trouble) => {
                let message = format!("the workers' state cannot be deleted yet: {trouble}");
                say(context, valid, Reason::PurgeFailed, &message).await?;
            }
        },
        Step::Failed {
            attempt,
            message,
            again,
        } => {
            let message = format!(
                "the workers' state could not be deleted (attempt {attempt}): {message}; it is tried again; \
                 to delete the class and leave the state, set spec.storage.deletionPolicy to Retain"
            );
            say(context, valid, Reason::PurgeFailed, &message).await?;
            let wait = again.duration_since(Timestamp::now());
            return Ok(Action::requeue(
                Duration::try_from(wait).unwrap_or_default(),
            ));
        }
        Step::Done => {
            tracing::info!(class = %valid.key, "the state is deleted");
            set_finalizer(&context.client, &class.metadata, false).await?;
        }
    }
    // Looked at again by itself, too: where the namespace goes, so may the right to see what changes.
    Ok(Action::requeue(LOOK))
}

/// The Job that deletes the class's state. Another class of the same name may have left one, which says nothing of this one's.
fn own_job(jobs: &Store<Job>, valid: &Valid) -> Option<Arc<Job>> {
    let name = names::purge(&valid.key.name);
    let job = jobs.get(&ObjectRef::new(&name).within(&valid.key.namespace))?;
    owned::is_owned(job.meta(), valid.class.metadata.uid.as_deref()).then_some(job)
}

/// Starts a try, in place of an earlier one.
async fn purge(context: &Context, valid: &Valid, attempt: u32) -> Result<(), Error> {
    context.attempts.lock().insert(valid.key.clone(), attempt);
    let earlier: Vec<_> = valid
        .live
        .owned
        .iter()
        .filter(|one| one.kind == Kind::Job)
        .collect();
    if !earlier.is_empty() {
        for job in earlier {
            apply::delete(context, &valid.key.namespace, job).await?;
        }
        // The watch tells when it is gone; the next try then starts.
        return Ok(());
    }
    let mut writer = Writer::new(context, valid);
    let (account, job) = build::purge(valid, &context.settings, attempt);
    writer.put(Kind::ServiceAccount, &account).await?;
    writer.put(Kind::Job, &job).await?;
    match writer.refusals.first() {
        None => {
            say(
                context,
                valid,
                Reason::Purging,
                "the workers' state is being deleted",
            )
            .await
        }
        Some(refusal) if refusal.is_namespace_going => {
            leave_state_there(context, &valid.class).await
        }
        Some(refusal) => {
            say(context, valid, Reason::PurgeFailed, &refusal.message).await?;
            Err(Error::Told {
                kind: REFUSED,
                message: refusal.message.clone(),
            })
        }
    }
}

/// Lets a class go that is being deleted and cannot be read: it says no more where its state is.
pub(super) async fn let_go_unread(context: &Context, invalid: &InvalidObject) -> Result<(), Error> {
    let class = ServerlessWorkerClass {
        metadata: invalid.metadata.clone(),
        ..ServerlessWorkerClass::default()
    };
    if !has_finalizer(&class) {
        return Ok(());
    }
    let why = format!(
        "the class cannot be read: {}; the workers' state, if there is any, stays in the database",
        invalid.error
    );
    leave_state(context, &class, &why).await
}

/// Whether the class's namespace is being deleted, if the operator may know.
pub(super) async fn namespace_is_going(context: &Context, class: &ServerlessWorkerClass) -> bool {
    let name = class.metadata.namespace.as_deref().unwrap_or_default();
    let api: Api<Namespace> = Api::all(context.client.clone());
    let found = api.get_metadata_opt(name).await;
    found.is_ok_and(|it| it.is_some_and(|it| it.metadata.deletion_timestamp.is_some()))
}

/// Lets a class go whose namespace does, and takes no Job any more: one that never ends would be worse than state that stays.
pub(super) async fn leave_state_there(
    context: &Context,
    class: &ServerlessWorkerClass,
) -> Result<(), Error> {
    let why = "the namespace is being deleted and takes no Job: the workers' state stays in the database; \
               delete classes before their namespace to have it deleted";
    leave_state(context, class, why).await
}

/// Lets a class go without its state, and tells why.
async fn leave_state(
    context: &Context,
    class: &ServerlessWorkerClass,
    why: &str,
) -> Result<(), Error> {
    tracing::warn!(class = %class.name_any(), "{why}");
    let event = Event {
        type_: EventType::Warning,
        reason: Reason::PurgeFailed.to_string(),
        // Events take 1 KiB.
        note: Some(why[..why.floor_char_boundary(1000)].to_owned()),
        action: "Purge".to_owned(),
        secondary: None,
    };
    // Most likely refused where the namespace goes.
    let _ = context
        .recorder
        .publish(&event, &class.object_ref(&()))
        .await;
    set_finalizer(&context.client, &class.metadata, false).await?;
    Ok(())
}

async fn say(context: &Context, valid: &Valid, reason: Reason, message: &str) -> Result<(), Error> {
    let findings = [
        Finding::no(ConditionType::Ready, reason, message),
        Finding::yes(ConditionType::Reconciling, reason, message),
        Finding::no(
            ConditionType::Available,
            reason,
            "the class is being deleted",
        ),
    ];
    status::publish_going(context, valid, &findings).await?;
    Ok(())
}

pub(super) fn has_finalizer(class: &ServerlessWorkerClass) -> bool {
    class.finalizers().iter().any(|one| one == FINALIZER)
}

/// Decides. `tried` counts the tries this process knows of.
fn step(valid: &Valid, job: Option<&Job>, tried: u32, now: Timestamp) -> Step {
    if valid.live.deployment.is_some() {
        return Step::EndPods;
    }
    if valid.live.pods.iter().any(|pod| rollout::is_sidecar(pod)) {
        return Step::AwaitPods;
    }
    let Some(job) = job else {
        return Step::Purge(tried.max(1));
    };
    let conditions = job
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let mut met = conditions.filter(|one| one.status == "True");
    let attempt = annotated_attempt(job);
    if attempt < tried || job.metadata.deletion_timestamp.is_some() {
        return Step::AwaitPurge;
    }
    match met.find(|one| matches!(one.type_.as_str(), "Complete" | "Failed")) {
        None => Step::AwaitPurge,
        Some(end) if end.type_ == "Complete" => Step::Done,
        Some(end) => {
            let failed = end.last_transition_time.as_ref().map_or(now, |time| time.0);
            let delay = Duration::from_millis(BETWEEN_TRIES.delay_ms(attempt.saturating_sub(1)));
            let again = failed.saturating_add(delay).unwrap_or(now);
            if again <= now {
                return Step::Purge(attempt + 1);
            }
            let pods = valid
                .live
                .pods
                .iter()
                .filter_map(|pod| last_words(pod))
                .next();
            let message = pods.or_else(|| end.message.clone()).unwrap_or_default();
            Step::Failed {
                attempt,
                message,
                again,
            }
        }
    }
}

fn annotated_attempt(job: &Job) -> u32 {
    let attempt = job.annotations().get(ATTEMPT_ANNOTATION);
    attempt
        .and_then(|attempt| attempt.parse().ok())
        .unwrap_or(1)
}

fn is_purge(pod: &Pod) -> bool {
    pod.labels().get(names::COMPONENT_LABEL).map(String::as_str) == Some(COMPONENT_PURGE)
}

/// What keeps a purge pod from its work: a node that has room, or the image.
fn purge_trouble(valid: &Valid) -> Option<String> {
    let pods = valid.live.pods.iter();
    let mut waiting = pods.filter(|pod| is_purge(pod) && !rollout::has_ended(pod));
    waiting.find_map(|pod| Some(rollout::trouble(pod)?.message))
}

/// What a purge pod said when it ended.
fn last_words(pod: &Pod) -> Option<String> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    if !is_purge(pod) {
        return None;
    }
    let log = statuses
        .iter()
        .find_map(rollout::last_end)?
        .message
        .clone()?;
    Some(Termination::from_log(&log).map_or(log, |said| said.message))
}

#[cfg(test)]
mod tests;
