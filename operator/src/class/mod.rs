//! The controller of classes: fetch, validate, build, apply, status, each step taking what the one before it gives.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicyPeer;
use kube::core::error_boundary::InvalidObject;
use kube::runtime::controller::Action;
use kube::runtime::events::Recorder;
use kube::runtime::reflector::Store;
use kube::{Client, Resource};
use portside_core::backoff::Backoff;
use portside_crds::ServerlessWorkerClass;
use portside_crds::routes::ClassKey;

use crate::api::Refusal;
use crate::args::HostPort;
use crate::caches::{Caches, Class};
use crate::certificates::Trusted;
use crate::metrics::Metrics;
use http_routes::HttpRoutes;
use queue::Queue;

mod apply;
mod build;
mod code;
pub(crate) mod deletion;
mod deletion_cost;
mod failures;
mod fetch;
mod findings;
pub(crate) mod http_routes;
#[cfg(test)]
pub(crate) mod mock;
pub(crate) mod owned;
mod passed_on;
pub(crate) mod queue;
mod rivals;
mod rollout;
pub(crate) mod samples;
pub(crate) mod source;
mod status;
#[cfg(test)]
pub(crate) mod testkit;
#[cfg(test)]
mod tests;
pub(crate) mod uptake;
mod validate;

/// How often a class is looked at that nothing happens to, should a watch have missed something. No requests follow
/// if it has not.
const RESYNC: Duration = Duration::from_secs(30 * 60);
/// The same while there are pods that are about to end: of those that do not, nothing is heard.
const LEAVING: Duration = Duration::from_secs(60);

/// Between tries when the API server, or an object, is in the way.
const RETRY: Backoff = Backoff {
    first_ms: 1_000,
    max_ms: 300_000,
};

/// What the command line decides about classes.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The operator's and the gateway's namespace.
    pub namespace: String,
    /// The gateway's Service.
    pub gateway_service: String,
    /// Where Ingress controllers find it by name, if they are to.
    pub gateway_dns_name: Option<HostPort>,
    /// The Service of the API server of workers, if there is one.
    pub apiserver: Option<String>,
    /// Who may reach the port with metrics of classes' pods beside the operator and the gateway; everybody if there are none.
    pub metrics_from: Vec<NetworkPolicyPeer>,
    /// The image for classes that name none.
    pub sidecar_image: String,
    /// When it is pulled.
    pub sidecar_pull_policy: &'static str,
    /// The IngressClass for classes that name none.
    pub ingress_class: Option<String>,
    /// This operator's version.
    pub version: String,
    /// Which of several operators this is: its namespace and lease.
    pub instance: String,
}

/// What every reconciliation uses.
pub(crate) struct Context {
    pub client: Client,
    pub settings: Settings,
    pub caches: Caches,
    pub queue: Queue,
    /// The slices of the gateway's Service.
    pub gateway: Store<EndpointSlice>,
    pub http_routes: HttpRoutes,
    /// Whom pods are to believe that it is the API server of workers.
    pub trusted: Trusted,
    pub recorder: Recorder,
    pub metrics: Metrics,
    pub memory: Memory,
}

/// What is remembered of classes while this process leads: all of it can be found out again.
#[derive(Default)]
pub(crate) struct Memory {
    pub sources: source::SourceMemory,
    pub written: apply::ApplyMemory,
    pub published: status::Published,
    pub samples: samples::Samples,
    pub attempts: deletion::Attempts,
    pub failures: failures::Failures,
    pub rivals: rivals::Rivals,
}

impl Memory {
    /// Forgets a class that is gone.
    pub(crate) fn forget(&self, key: &ClassKey) {
        self.sources.forget(key);
        self.written.forget(key);
        self.published.forget(key);
        self.samples.forget(key);
        self.attempts.forget(key);
        self.failures.forget(key);
        self.rivals.forget(key);
    }
}

impl std::ops::Deref for Context {
    type Target = Memory;

    fn deref(&self) -> &Memory {
        &self.memory
    }
}

/// Why a class is to be looked at again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The API server could not be asked, or said no for now.
    #[error("the API server: {0}")]
    Api(#[from] kube::Error),
    /// The same, as the class's status tells.
    #[error("{message}")]
    Told {
        /// A word for metrics.
        kind: &'static str,
        /// What the status says.
        message: String,
    },
}

impl Error {
    /// All that [`Error::kind`] says.
    pub(crate) const KINDS: [&str; 7] = [
        "forbidden",
        "not_found",
        "conflict",
        "throttled",
        "server",
        REFUSED,
        "connection",
    ];

    /// A word for metrics.
    fn kind(&self) -> &'static str {
        match self {
            Self::Api(error) => error_kind(error),
            Self::Told { kind, .. } => kind,
        }
    }
}

/// A word for metrics.
fn error_kind(error: &kube::Error) -> &'static str {
    match error {
        kube::Error::Api(status) => match status.code {
            403 => "forbidden",
            404 => "not_found",
            409 => "conflict",
            429 => "throttled",
            code if code >= 500 => "server",
            _ => REFUSED,
        },
        _ => "connection",
    }
}

/// What an error is called in metrics that only a change of something helps against.
const REFUSED: &str = "refused";

/// Looks at one class, and does what is to be done.
pub(crate) async fn reconcile(class: Arc<Class>, context: Arc<Context>) -> Result<Action, Error> {
    let started = Instant::now();
    let key = queue::key_of(class.meta());
    let result = match &class.0 {
        Ok(class) => {
            let class = Arc::new(class.clone());
            let result = reconcile_valid(&context, Arc::clone(&class)).await;
            if let Err(Error::Api(error)) = &result {
                tell(&context, &class, &key, error).await;
            }
            result
        }
        Err(invalid) => reconcile_invalid(&context, invalid).await,
    };
    context
        .metrics
        .reconciled(started.elapsed(), result.as_ref().err().map(Error::kind));
    if result.is_ok() {
        context.failures.forget(&key);
    }
    result
}

/// Of a class that cannot be read nobody knows what is to become of its state, so that stays.
async fn reconcile_invalid(context: &Context, invalid: &InvalidObject) -> Result<Action, Error> {
    if invalid.metadata.deletion_timestamp.is_some() {
        deletion::let_go_unread(context, invalid).await?;
    } else {
        status::publish_invalid(context, invalid).await?;
    }
    Ok(Action::await_change())
}

/// Says in the status of a class that nothing could be done for it, unless that is over by the next try.
async fn tell(
    context: &Context,
    class: &ServerlessWorkerClass,
    key: &ClassKey,
    error: &kube::Error,
) {
    let Some(message) = context.failures.to_tell(key, "the API server", error) else {
        return;
    };
    if let Err(error) = status::publish_failure(context, class, &message).await {
        tracing::warn!(class = %key, %error, "the status does not tell that the class is not looked after");
    }
}

/// Of a class in a namespace that is not seen whole nothing is changed: what seems to be missing may be there.
async fn unseen(
    context: &Context,
    class: &ServerlessWorkerClass,
    kind: &str,
) -> Result<Action, Error> {
    if class.metadata.deletion_timestamp.is_some() {
        if !deletion::has_finalizer(class) {
            return Ok(Action::await_change());
        }
        if deletion::namespace_is_going(context, class).await {
            deletion::leave_state_there(context, class).await?;
            return Ok(Action::await_change());
        }
    }
    let message = format!(
        "the operator may not list and watch objects of kind {kind} in this namespace; give its ServiceAccount the right, as \
         its chart does"
    );
    status::publish_failure(context, class, &message).await?;
    Err(Error::Told {
        kind: "forbidden",
        message,
    })
}

async fn reconcile_valid(
    context: &Context,
    class: Arc<ServerlessWorkerClass>,
) -> Result<Action, Error> {
    let is_going = class.metadata.deletion_timestamp.is_some();
    let namespace = class.metadata.namespace.as_deref().unwrap_or_default();
    if let Some(kind) = context.caches.unseen.within(namespace) {
        return unseen(context, &class, &kind).await;
    }
    if !is_going {
        deletion::keep_finalizer(context, &class).await?;
    }
    let fetched = fetch::fetch(context, class).await?;
    let valid = validate::validate(fetched);
    if is_going {
        return deletion::reconcile(context, &valid).await;
    }
    if let Some(left) = rivals::leave(context, &valid).await {
        return Ok(Action::requeue(jittered(left)));
    }
    let built = build::build(valid, &context.settings);
    let mut applied = apply::apply(context, built).await;
    let mut kind = REFUSED;
    if let Some(apply::Failure { what, error }) = applied.failure.take() {
        let told = context.failures.to_tell(&applied.valid.key, &what, &error);
        let Some(message) = told else {
            return Err(error.into());
        };
        kind = error_kind(&error);
        applied.refusals.insert(0, Refusal::passing(message));
    }
    status::publish(context, &applied).await?;
    match applied.refusals.first() {
        Some(refusal) => Err(Error::Told {
            kind,
            message: refusal.message.clone(),
        }),
        None => {
            let mut pods = applied.valid.live.pods.iter();
            let again = match pods.any(|pod| rollout::is_leaving(pod)) {
                true => LEAVING,
                false => RESYNC,
            };
            Ok(Action::requeue(jittered(again)))
        }
    }
}

/// Decides when a class that failed is tried again.
#[allow(
    clippy::needless_pass_by_value,
    reason = "the signature is the controller's"
)]
pub(crate) fn on_error(class: Arc<Class>, error: &Error, context: Arc<Context>) -> Action {
    let key = queue::key_of(class.meta());
    let before = context.failures.count(&key);
    let delay = jittered(Duration::from_millis(RETRY.delay_ms(before)));
    // What is well at the next try is no news: somebody else has written the object, or the namespace goes.
    match before {
        0 => tracing::debug!(class = %key, %error, ?delay, "a class is tried again"),
        _ => tracing::warn!(class = %key, %error, ?delay, "a class is tried again"),
    }
    Action::requeue(delay)
}

/// Up to a fifth longer, so that what failed together is not tried together.
fn jittered(delay: Duration) -> Duration {
    let random = RandomState::new().hash_one(0_u8) % 1000;
    delay + delay.mul_f64(0.2 * (random as f64) / 1000.0)
}
