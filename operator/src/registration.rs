//! Where the cluster finds the API server of workers: an APIService, which the chart makes.
//!
//! The operator keeps whom the cluster is to believe in it. And it withdraws it while that server does not answer: the cluster asks all
//! servers for what they have before it deletes a namespace, and deletes none while one of them is silent. What was withdrawn is
//! kept, and comes back with the server.

use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::{APIService, APIServiceSpec};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use kube::core::ObjectMeta;
use kube::{Client, ResourceExt};
use portside_core::backoff::Backoff;
use portside_crds::names::{API_SERVICE, FIELD_MANAGER};
use serde_json::json;
use tokio::time::Instant;

use crate::api;
use crate::certificates::leaf_name;

/// How long the API server may be silent.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long it is not registered again, should it be ready and all the same not reachable.
const AGAIN: Backoff = Backoff {
    first_ms: 5_000,
    max_ms: 900_000,
};

/// As whom the operator makes anew what the chart has made: an upgrade, which applies as this, then finds it its own.
const HELM: &str = "helm";

/// The annotation of the API server's Secret with what was withdrawn.
const WITHDRAWN_ANNOTATION: &str = "portside.dev/withdrawn";

/// The registration of an API server of that name.
pub(crate) struct Registration {
    registrations: Api<APIService>,
    slices: Api<EndpointSlice>,
    secrets: Api<Secret>,
    service: String,
    namespace: String,
    silence: Silence,
    /// Whether it was said that somebody else has the group.
    told: bool,
}

/// What there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// None, and nobody has withdrawn it: it is not wanted, or not wanted yet.
    Nothing,
    /// It was withdrawn.
    Withdrawn {
        /// Whether the API server has a pod that is ready.
        is_ready: bool,
    },
    /// It is there.
    Registered {
        /// Whether the cluster believes whom it is to believe.
        is_believed: bool,
        /// Whether the cluster has reached it.
        answers: bool,
    },
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Nothing,
    /// The cluster is to believe others.
    Believe,
    Withdraw,
    Register,
}

/// For how long the API server has not answered.
#[derive(Debug, Default)]
struct Silence {
    since: Option<Instant>,
    /// Since when the cluster is told whom to believe, and it has not answered: somebody may take that back all the time.
    disputed: Option<Instant>,
    /// How often it was withdrawn since it has answered last.
    withdrawals: u32,
    /// When it was withdrawn last.
    withdrawn: Option<Instant>,
}

impl Silence {
    fn step(&mut self, found: Found, now: Instant) -> Step {
        match found {
            Found::Nothing => Step::Nothing,
            Found::Withdrawn { is_ready } => {
                let wait = AGAIN.delay_ms(self.withdrawals.saturating_sub(1));
                let wait = Duration::from_millis(wait);
                if is_ready && self.withdrawn.is_none_or(|at| at + wait <= now) {
                    Step::Register
                } else {
                    Step::Nothing
                }
            }
            Found::Registered {
                is_believed: false, ..
            } => {
                // It could not be reached, whatever it does.
                self.since = None;
                let disputed = *self.disputed.get_or_insert(now);
                if disputed + 2 * PATIENCE > now {
                    return Step::Believe;
                }
                self.withdraw(now)
            }
            Found::Registered { answers: true, .. } => {
                *self = Self::default();
                Step::Nothing
            }
            Found::Registered { .. } => {
                let since = *self.since.get_or_insert(now);
                if since + PATIENCE > now {
                    return Step::Nothing;
                }
                self.withdraw(now)
            }
        }
    }

    fn withdraw(&mut self, now: Instant) -> Step {
        (self.since, self.disputed) = (None, None);
        self.withdrawals = self.withdrawals.saturating_add(1);
        self.withdrawn = Some(now);
        Step::Withdraw
    }
}

impl Registration {
    pub(crate) fn new(client: Client, namespace: &str, service: &str) -> Self {
        Self {
            registrations: Api::all(client.clone()),
            slices: Api::namespaced(client.clone(), namespace),
            secrets: Api::namespaced(client, namespace),
            service: service.to_owned(),
            namespace: namespace.to_owned(),
            silence: Silence::default(),
            told: false,
        }
    }

    /// Does what is to be done now. `authorities` are the certificates of those whom the cluster is to believe; `secret` is the API
    /// server's own.
    pub(crate) async fn look(
        &mut self,
        authorities: &str,
        secret: Option<&Secret>,
    ) -> Result<(), kube::Error> {
        let live = self.registrations.get_opt(API_SERVICE).await?;
        if live.as_ref().is_some_and(|live| !self.is_ours(live)) {
            if !std::mem::replace(&mut self.told, true) {
                tracing::warn!(
                    "APIService {API_SERVICE} is that of another installation, and stays as it is; only one in a cluster can have \
                     an API server of workers"
                );
            }
            return Ok(());
        }
        let kept = secret.and_then(|secret| self.kept(secret));
        let found = match (&live, &kept) {
            (Some(live), _) => found(live, authorities),
            (None, Some(_)) => Found::Withdrawn {
                is_ready: self.is_ready().await?,
            },
            (None, None) => Found::Nothing,
        };
        match (self.silence.step(found, Instant::now()), live, kept) {
            (Step::Believe, ..) => self.believe(authorities).await,
            (Step::Withdraw, Some(live), _) => self.withdraw(live).await,
            (Step::Register, _, Some(kept)) => self.register(kept, authorities).await,
            // Somebody has made it anew: when it is deleted it is not to come back.
            (_, Some(_), Some(_)) => self.keep(None).await,
            _ => Ok(()),
        }
    }

    fn is_ours(&self, live: &APIService) -> bool {
        is_of(live, &self.namespace, &self.service)
    }

    /// What was withdrawn.
    fn kept(&self, secret: &Secret) -> Option<APIService> {
        let text = secret.annotations().get(WITHDRAWN_ANNOTATION)?;
        let kept = serde_json::from_str(text).ok();
        kept.filter(|kept| self.is_ours(kept))
    }

    /// Whether there is a pod that takes requests.
    async fn is_ready(&self) -> Result<bool, kube::Error> {
        let service = format!("kubernetes.io/service-name={}", self.service);
        let params = ListParams::default().labels(&service);
        let slices = self.slices.list(&params).await?;
        let mut endpoints = slices.iter().flat_map(|slice| &slice.endpoints);
        Ok(endpoints.any(|one| {
            one.conditions
                .as_ref()
                .is_some_and(|it| it.ready == Some(true))
        }))
    }

    async fn believe(&self, authorities: &str) -> Result<(), kube::Error> {
        let bundle = ByteString(authorities.as_bytes().to_vec());
        let patch = Patch::Merge(json!({ "spec": { "caBundle": bundle } }));
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        self.registrations
            .patch(API_SERVICE, &params, &patch)
            .await?;
        tracing::info!("told the cluster whom to believe that it is the API server of workers");
        Ok(())
    }

    async fn withdraw(&self, live: APIService) -> Result<(), kube::Error> {
        tracing::warn!(
            "the API server of workers does not answer: {}; its registration is withdrawn until it is ready, so that namespaces \
             can be deleted",
            silence_of(&live)
        );
        let preconditions = Preconditions {
            uid: live.uid(),
            resource_version: None,
        };
        self.keep(Some(&kept_of(live))).await?;
        let params = DeleteParams::default().preconditions(preconditions);
        match self.registrations.delete(API_SERVICE, &params).await {
            Err(error) if !api::is_not_found(&error) => Err(error),
            _ => Ok(()),
        }
    }

    async fn register(&self, kept: APIService, authorities: &str) -> Result<(), kube::Error> {
        // Not by a POST: of that nobody can be given the right for one name.
        let params = PatchParams::apply(HELM).force();
        self.registrations
            .patch(API_SERVICE, &params, &Patch::Apply(&kept))
            .await?;
        self.believe(authorities).await?;
        tracing::info!("the API server of workers is ready, and registered again");
        self.keep(None).await
    }

    /// Remembers what was withdrawn, for an operator that comes later, or forgets it.
    async fn keep(&self, kept: Option<&APIService>) -> Result<(), kube::Error> {
        let text = kept.map(serde_json::to_string).transpose();
        let text = text.map_err(kube::Error::SerdeError)?;
        let patch = json!({ "metadata": { "annotations": { WITHDRAWN_ANNOTATION: text } } });
        let params = PatchParams::default();
        self.secrets
            .patch_metadata(&leaf_name(&self.service), &params, &Patch::Merge(patch))
            .await?;
        Ok(())
    }
}

/// Whether a registration is that of an API server.
fn is_of(live: &APIService, namespace: &str, service: &str) -> bool {
    let spec = live.spec.as_ref();
    let reference = spec.and_then(|spec| spec.service.as_ref());
    reference.is_some_and(|it| {
        it.namespace.as_deref() == Some(namespace) && it.name.as_deref() == Some(service)
    })
}

/// What makes it anew.
fn kept_of(live: APIService) -> APIService {
    APIService {
        metadata: ObjectMeta {
            name: live.metadata.name,
            labels: live.metadata.labels,
            annotations: live.metadata.annotations,
            ..ObjectMeta::default()
        },
        spec: live.spec.map(|spec| APIServiceSpec {
            ca_bundle: None,
            ..spec
        }),
        status: None,
    }
}

fn found(live: &APIService, authorities: &str) -> Found {
    let spec = live.spec.as_ref();
    let believed = spec.and_then(|spec| spec.ca_bundle.as_ref());
    Found::Registered {
        is_believed: believed.is_some_and(|it| it.0 == authorities.as_bytes()),
        answers: answers(live),
    }
}

/// Whether the cluster has reached it.
fn answers(live: &APIService) -> bool {
    available(live).is_some_and(|condition| condition.status == "True")
}

/// Why it has not.
fn silence_of(live: &APIService) -> &str {
    let said = available(live).and_then(|condition| condition.message.as_deref());
    said.unwrap_or("the cluster does not say why")
}

fn available(
    live: &APIService,
) -> Option<&k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIServiceCondition> {
    let conditions = live.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|one| one.type_ == "Available")
}

/// Removes the registration and the certificates of an API server, when there is no operator any more.
///
/// # Errors
/// They cannot be read or deleted. Those that are gone are no error.
pub(crate) async fn remove(
    client: &Client,
    namespace: &str,
    service: &str,
) -> Result<(), kube::Error> {
    let registrations: Api<APIService> = Api::all(client.clone());
    let live = registrations.get_opt(API_SERVICE).await?;
    if let Some(live) = live.filter(|live| is_of(live, namespace, service)) {
        let params = DeleteParams::default().preconditions(Preconditions {
            uid: live.uid(),
            resource_version: None,
        });
        gone(registrations.delete(API_SERVICE, &params).await)?;
    }
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    for name in [
        crate::certificates::authorities_name(service),
        leaf_name(service),
    ] {
        gone(secrets.delete(&name, &DeleteParams::default()).await)?;
    }
    tracing::info!("removed what there was of the API server of workers");
    Ok(())
}

fn gone<T>(deleted: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match deleted {
        Err(error) if !api::is_not_found(&error) => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
