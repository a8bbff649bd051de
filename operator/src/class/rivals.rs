//! Two operators over one namespace, which would undo each other's work without end: one leaves a class to the other for a while.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use kube::runtime::events::{Event, EventType};
use kube::{Resource, ResourceExt};
use portside_crds::Reason;
use portside_crds::names;
use portside_crds::routes::ClassKey;
use tokio::time::Instant;

use super::Context;
use super::validate::Valid;

/// For how long a class is left to another operator. It may be gone after that.
const LEFT: Duration = Duration::from_secs(10 * 60);

/// Until when which classes are left to another operator.
#[derive(Default)]
pub(crate) struct Rivals(Mutex<HashMap<ClassKey, Instant>>);

impl Rivals {
    /// Forgets a class.
    pub(crate) fn forget(&self, key: &ClassKey) {
        self.lock().remove(key);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ClassKey, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For how long the class is to be left to another operator, if it is.
///
/// What another one has written is taken over, as it may be gone, once. Where that is undone it is not gone.
pub(super) async fn leave(context: &Context, valid: &Valid) -> Option<Duration> {
    let now = Instant::now();
    let until = context.rivals.lock().get(&valid.key).copied();
    if let Some(left) = until.and_then(|until| until.checked_duration_since(now))
        && !left.is_zero()
    {
        return Some(left);
    }
    let rival = valid.live.deployment.as_deref().and_then(writer);
    let rival = rival.filter(|rival| **rival != context.settings.instance)?;
    if !context.written.has_deployment(&valid.key) {
        return None;
    }
    // The next one writes again.
    context.written.forget(&valid.key);
    let until = now + LEFT;
    context.rivals.lock().insert(valid.key.clone(), until);
    tell(context, valid, rival).await;
    Some(LEFT)
}

/// The operator that wrote a Deployment.
fn writer(deployment: &Deployment) -> Option<&String> {
    deployment.annotations().get(names::OPERATOR_ANNOTATION)
}

async fn tell(context: &Context, valid: &Valid, rival: &str) {
    let own = &context.settings.instance;
    let note = format!(
        "operator {rival} looks after this class, too, and undoes what operator {own} does; let one of them look after this \
         namespace, with watchNamespaces in their charts; {own} leaves the class alone for ten minutes"
    );
    tracing::warn!(class = %valid.key, "{note}");
    let event = Event {
        type_: EventType::Warning,
        reason: Reason::ApplyFailed.to_string(),
        note: Some(note),
        action: "Reconcile".to_owned(),
        secondary: None,
    };
    let class = valid.class.object_ref(&());
    if let Err(error) = context.recorder.publish(&event, &class).await {
        tracing::warn!(class = %valid.key, %error, "an event was not recorded");
    }
}
