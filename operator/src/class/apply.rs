//! The fourth step: writes the objects, and deletes those that are no longer wanted.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use kube::core::NamespaceResourceScope;
use kube::{Resource, ResourceExt};
use portside_crds::names::FIELD_MANAGER;
use portside_crds::routes::ClassKey;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Context;
use super::build::{self, Built, CodeMap, Entrance, RuntimeMap};
use super::http_routes::HTTPRoute;
use super::owned::{self, Kind, Owned};
use super::rollout::Rollout;
use super::validate::Valid;
use crate::api::{self, Refusal};

/// A class and what the API server made of its objects.
pub(crate) struct Applied {
    /// The class.
    pub valid: Valid,
    /// Its Deployment as the API server has it.
    pub deployment: Option<Arc<Deployment>>,
    /// What could not be made.
    pub refusals: Vec<Refusal>,
    /// Why not all of it was tried.
    pub failure: Option<Failure>,
}

/// The API server could not be asked, or is to be asked again.
pub(crate) struct Failure {
    /// For which object.
    pub what: String,
    /// Why.
    pub error: kube::Error,
}

/// What was written, so that a class that is looked at again costs no request.
#[derive(Default)]
pub(crate) struct ApplyMemory(Mutex<HashMap<ClassKey, ByName>>);

type ByName = HashMap<(Kind, String), Written>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Written {
    /// Of what was asked for.
    wanted: u64,
    /// Of what there was then.
    found: u64,
}

impl ApplyMemory {
    /// Forgets a class.
    pub(crate) fn forget(&self, key: &ClassKey) {
        self.lock().remove(key);
    }

    /// Whether a class's Deployment was written.
    pub(crate) fn has_deployment(&self, key: &ClassKey) -> bool {
        let all = self.lock();
        let written = all.get(key);
        written.is_some_and(|written| written.keys().any(|(kind, _)| *kind == Kind::Deployment))
    }

    fn get(&self, key: &ClassKey, kind: Kind, name: &str) -> Option<Written> {
        self.lock().get(key)?.get(&(kind, name.to_owned())).copied()
    }

    fn set(&self, key: &ClassKey, kind: Kind, name: &str, written: Written) {
        let mut all = self.lock();
        let class = all.entry(key.clone()).or_default();
        class.insert((kind, name.to_owned()), written);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ClassKey, ByName>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes what differs from what there is.
pub(crate) async fn apply(context: &Context, built: Built) -> Applied {
    let mut writer = Writer::new(context, &built.valid);
    let mut deployment = built.valid.live.deployment.clone();
    let written = write(&mut writer, &built, &mut deployment).await;
    let Writer { refusals, at, .. } = writer;
    Applied {
        deployment,
        refusals,
        failure: written.err().map(|error| Failure { what: at, error }),
        valid: built.valid,
    }
}

/// Puts what the API server makes of the Deployment into `live`.
async fn write(
    writer: &mut Writer<'_>,
    built: &Built,
    live: &mut Option<Arc<Deployment>>,
) -> Result<(), kube::Error> {
    // Without `..`, so that a new object cannot be forgotten here.
    let build::Objects {
        service_account,
        service,
        network_policy,
        disruption_budget,
        code,
        deployment,
        entrance,
        runtime,
    } = &built.objects;
    writer.put(Kind::ServiceAccount, service_account).await?;
    writer.put(Kind::NetworkPolicy, network_policy).await?;
    writer
        .put(Kind::PodDisruptionBudget, disruption_budget)
        .await?;
    writer.put(Kind::Service, service).await?;
    if let Some(RuntimeMap::Whole(map)) = runtime {
        writer.put(Kind::ConfigMap, &**map).await?;
    }
    let has_code = match code {
        Some(CodeMap::Whole(code)) => !writer.put_code(code).await?.is_refused(),
        Some(CodeMap::There(_)) | None => true,
    };
    // Pods whose code is not there could not start: those that there are stay as they are.
    let settings = &writer.context.settings;
    let kept = if has_code {
        None
    } else {
        build::kept(&built.valid, settings)
    };
    let deployment = if has_code { deployment } else { &kept };
    let mut is_current = has_code;
    if let Some(deployment) = deployment {
        match writer.put(Kind::Deployment, deployment).await? {
            Put::Kept => {}
            Put::Written(written) => *live = Some(Arc::new(written)),
            Put::Refused => is_current = false,
        }
    }
    if let Some(entrance) = entrance {
        put_entrance(writer, entrance).await?;
    }
    let rolled_out = is_current
        && live
            .as_deref()
            .is_some_and(|live| Rollout::of(live).is_complete());
    for unwanted in build::garbage(built, rolled_out) {
        writer.at(unwanted.kind, &unwanted.name);
        delete(writer.context, &writer.key.namespace, &unwanted).await?;
    }
    Ok(())
}

async fn put_entrance(writer: &mut Writer<'_>, entrance: &Entrance) -> Result<(), kube::Error> {
    let Entrance {
        service,
        slices,
        ingress,
        http_routes,
    } = entrance;
    writer.put(Kind::Service, service).await?;
    for slice in slices {
        writer.put(Kind::EndpointSlice, slice).await?;
    }
    if let Some(ingress) = ingress {
        writer.put(Kind::Ingress, ingress).await?;
    }
    for route in http_routes {
        writer.put(Kind::HttpRoute, route).await?;
    }
    Ok(())
}

/// Writes the objects of a class unless they are as they should be.
pub(crate) struct Writer<'a> {
    context: &'a Context,
    key: &'a ClassKey,
    uid: Option<&'a str>,
    owned: &'a [Owned],
    /// What was refused.
    pub refusals: Vec<Refusal>,
    /// The object that was last looked at, as it is told.
    at: String,
}

/// What came of writing an object.
pub(crate) enum Put<K> {
    /// It is as it should be.
    Kept,
    /// It was written, and is now this.
    Written(K),
    /// It cannot be written, as the refusals tell.
    Refused,
}

impl<K> Put<K> {
    fn is_refused(&self) -> bool {
        matches!(self, Self::Refused)
    }
}

impl<'a> Writer<'a> {
    /// Has written nothing yet.
    pub(crate) fn new(context: &'a Context, valid: &'a Valid) -> Self {
        Self {
            context,
            key: &valid.key,
            uid: valid.class.metadata.uid.as_deref(),
            owned: &valid.live.owned,
            refusals: vec![],
            at: String::new(),
        }
    }

    /// Writes the class's code, unless it is there: it cannot change, and its name says what it is.
    async fn put_code(&mut self, code: &ConfigMap) -> Result<Put<ConfigMap>, kube::Error> {
        let name = code.name_any();
        let mut owned = self.owned.iter();
        if owned.any(|one| one.kind == Kind::ConfigMap && one.name == name) {
            return Ok(Put::Kept);
        }
        self.put(Kind::ConfigMap, code).await
    }

    /// Writes one object.
    pub(crate) async fn put<K>(&mut self, kind: Kind, object: &K) -> Result<Put<K>, kube::Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        let name = object.name_any();
        self.at(kind, &name);
        let api: Api<K> = Api::namespaced(self.context.client.clone(), &self.key.namespace);
        let wanted = hash(object)?;
        let found = self
            .owned
            .iter()
            .find(|one| one.kind == kind && one.name == name);
        if let Some(found) = found {
            let as_written = Written {
                wanted,
                found: found.fingerprint,
            };
            if self.context.written.get(self.key, kind, &name) == Some(as_written) {
                return Ok(Put::Kept);
            }
        } else if let Some(other) = api.get_metadata_opt(&name).await?
            && !owned::is_owned(&other.metadata, self.uid)
        {
            self.refusals.push(Refusal::name_taken(kind, &name));
            return Ok(Put::Refused);
        }
        let params = PatchParams::apply(FIELD_MANAGER).force();
        match api.patch(&name, &params, &Patch::Apply(object)).await {
            Ok(written) => {
                let found = owned::fingerprint(written.meta());
                let memory = Written { wanted, found };
                self.context.written.set(self.key, kind, &name, memory);
                Ok(Put::Written(written))
            }
            Err(error) => {
                let refusal = Refusal::of(kind, &name, &error).ok_or(error)?;
                self.refusals.push(refusal);
                Ok(Put::Refused)
            }
        }
    }

    fn at(&mut self, kind: Kind, name: &str) {
        self.at = format!("{} {name}", kind.as_str());
    }
}

/// Deletes an object that a class owns, unless another has taken its place.
pub(crate) async fn delete(
    context: &Context,
    namespace: &str,
    owned: &Owned,
) -> Result<(), kube::Error> {
    tracing::info!(kind = owned.kind.as_str(), namespace, name = %owned.name, "deleting what is no longer wanted");
    match owned.kind {
        Kind::ConfigMap => delete_one::<ConfigMap>(context, namespace, owned).await,
        Kind::Deployment => delete_one::<Deployment>(context, namespace, owned).await,
        Kind::EndpointSlice => delete_one::<EndpointSlice>(context, namespace, owned).await,
        Kind::HttpRoute => delete_one::<HTTPRoute>(context, namespace, owned).await,
        Kind::Ingress => delete_one::<Ingress>(context, namespace, owned).await,
        Kind::Job => delete_one::<Job>(context, namespace, owned).await,
        Kind::NetworkPolicy => delete_one::<NetworkPolicy>(context, namespace, owned).await,
        Kind::PodDisruptionBudget => {
            delete_one::<PodDisruptionBudget>(context, namespace, owned).await
        }
        Kind::Service => delete_one::<Service>(context, namespace, owned).await,
        Kind::ServiceAccount => delete_one::<ServiceAccount>(context, namespace, owned).await,
    }
}

async fn delete_one<K>(context: &Context, namespace: &str, owned: &Owned) -> Result<(), kube::Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(context.client.clone(), namespace);
    let params = DeleteParams::background().preconditions(Preconditions {
        uid: owned.uid.clone(),
        resource_version: None,
    });
    match api.delete(&owned.name, &params).await {
        Ok(_) => Ok(()),
        Err(error) if api::is_not_found(&error) || api::is_conflict(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Of all that is asked for. Which version it replaces is not.
fn hash<K: Resource + Clone + Serialize>(object: &K) -> Result<u64, kube::Error> {
    let mut object = object.clone();
    object.meta_mut().resource_version = None;
    let text = serde_json::to_string(&object).map_err(kube::Error::SerdeError)?;
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    Ok(hasher.finish())
}
