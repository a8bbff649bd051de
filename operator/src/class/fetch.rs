//! The first step: reads what a class names and what there is of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::Api;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};
use portside_crds::ServerlessWorkerClass;
use portside_crds::names;
use portside_crds::routes::{Claim, ClassKey, Conflict, Routes};

use super::Context;
use super::code::Files;
use super::owned::{self, Owned};
use super::queue::key_of;
use super::uptake::{self, Uptake};
use crate::caches::meta_in;

/// A class and all that is to be known for serving it.
pub(crate) struct Fetched {
    /// The class.
    pub class: Arc<ServerlessWorkerClass>,
    /// Its key.
    pub key: ClassKey,
    /// Its code.
    pub source: Source,
    /// What was made for it earlier.
    pub live: Live,
    /// The routes that others have.
    pub conflicts: Vec<Conflict>,
    /// The gateway, as the cluster sees it.
    pub gateway: Vec<Arc<EndpointSlice>>,
    /// The gateway's Service, with its namespace.
    pub gateway_name: String,
    /// Whether the cluster has HTTPRoutes, if that is known.
    pub has_http_routes: Option<bool>,
    /// What becomes of the objects that lead to the class.
    pub uptake: Uptake,
}

/// Where a class's code comes from, as far as it could be read.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// The files of `spec.code.inline`.
    Inline(Files),
    /// The keys of this ConfigMap.
    ConfigMap { name: String, files: Arc<Files> },
    /// There is no such ConfigMap.
    Missing { name: String },
    /// An OCI artifact, which the pods pull.
    Oci,
    /// None is named.
    None,
}

/// What there is of a class in the cluster.
#[derive(Debug, Clone, Default)]
pub(crate) struct Live {
    /// Its Deployment.
    pub deployment: Option<Arc<Deployment>>,
    /// Its pods, of all revisions and of purge Jobs.
    pub pods: Vec<Arc<Pod>>,
    /// Everything that it owns.
    pub owned: Vec<Owned>,
}

/// ConfigMaps read before, so that a class that is looked at again costs no request.
#[derive(Default)]
pub(crate) struct SourceMemory(Mutex<HashMap<ClassKey, Remembered>>);

struct Remembered {
    name: String,
    version: Option<String>,
    files: Arc<Files>,
}

impl SourceMemory {
    /// Forgets a class.
    pub(crate) fn forget(&self, key: &ClassKey) {
        self.lock().remove(key);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ClassKey, Remembered>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads all that `class` needs. Only the content of a ConfigMap with code is asked of the API server, once a version.
pub(crate) async fn fetch(
    context: &Context,
    class: Arc<ServerlessWorkerClass>,
) -> Result<Fetched, kube::Error> {
    let key = key_of(&class.metadata);
    let source = source(context, &class, &key).await?;
    Ok(Fetched {
        source,
        live: live(context, &class, &key),
        conflicts: conflicts(context, &key),
        gateway: context.gateway.state(),
        gateway_name: names::qualified(
            &context.settings.namespace,
            &context.settings.gateway_service,
        ),
        has_http_routes: context.http_routes.available(),
        uptake: uptake::find(context, &class, &key),
        class,
        key,
    })
}

async fn source(
    context: &Context,
    class: &ServerlessWorkerClass,
    key: &ClassKey,
) -> Result<Source, kube::Error> {
    let code = &class.spec.code;
    if let Some(inline) = &code.inline {
        let files = inline
            .iter()
            .map(|(path, text)| (path.clone(), text.clone().into_bytes()));
        return Ok(Source::Inline(files.collect()));
    }
    if code.oci.is_some() {
        return Ok(Source::Oci);
    }
    let Some(name) = code.config_map.as_ref().map(|code| code.name.clone()) else {
        return Ok(Source::None);
    };
    let Some(meta) = meta_in(&context.caches.config_maps, &key.namespace, &name) else {
        return Ok(Source::Missing { name });
    };
    let known = context.sources.lock().get(key).and_then(|known| {
        let same = known.name == name && known.version == meta.resource_version;
        same.then(|| Arc::clone(&known.files))
    });
    if let Some(files) = known {
        return Ok(Source::ConfigMap { name, files });
    }
    let api: Api<ConfigMap> = Api::namespaced(context.client.clone(), &key.namespace);
    let Some(map) = api.get_opt(&name).await? else {
        return Ok(Source::Missing { name });
    };
    let version = map.resource_version();
    let text = map.data.into_iter().flatten();
    let text = text.map(|(path, text)| (path, text.into_bytes()));
    let bytes = map
        .binary_data
        .into_iter()
        .flatten()
        .map(|(path, bytes)| (path, bytes.0));
    let files: Arc<Files> = Arc::new(text.chain(bytes).collect());
    let remembered = Remembered {
        name: name.clone(),
        version,
        files: Arc::clone(&files),
    };
    context.sources.lock().insert(key.clone(), remembered);
    Ok(Source::ConfigMap { name, files })
}

fn live(context: &Context, class: &ServerlessWorkerClass, key: &ClassKey) -> Live {
    let caches = &context.caches;
    let uid = class.metadata.uid.as_deref();
    let deployment = caches
        .deployments
        .get(&ObjectRef::new(&names::workers(&key.name)).within(&key.namespace))
        .filter(|deployment| owned::is_owned(deployment.meta(), uid));
    let pods = caches.pods.state_filter(|pod| {
        pod.metadata.namespace.as_ref() == Some(&key.namespace)
            && pod.labels().get(names::CLASS_LABEL) == Some(&key.name)
    });
    Live {
        deployment,
        pods,
        owned: owned::list(caches, context.http_routes.store(), key, uid),
    }
}

fn conflicts(context: &Context, key: &ClassKey) -> Vec<Conflict> {
    let classes = context.caches.classes.state();
    let claims = classes.iter().filter_map(|class| {
        let class = class.0.as_ref().ok()?;
        Some(Claim {
            class: key_of(&class.metadata),
            created: class.metadata.creation_timestamp.clone(),
            routes: &class.spec.routes,
        })
    });
    Routes::new(claims).conflicts(key).to_vec()
}
