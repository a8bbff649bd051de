//! The first step: reads what a class names and what there is of it.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Resource;
use kube::runtime::reflector::ObjectRef;
use portside_crds::ServerlessWorkerClass;
use portside_crds::names;
use portside_crds::routes::{ClassKey, Conflict};

use super::Context;
use super::owned::{self, Owned};
use super::queue::key_of;
use super::source::{self, Source};
use super::uptake::{self, Uptake};
use crate::certificates::Trust;

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
    /// Whom its pods are to believe.
    pub trust: Trust,
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

/// Reads all that `class` needs. Only code is asked of the API server, where it has to be written. A class that goes needs none.
pub(crate) async fn fetch(
    context: &Context,
    class: Arc<ServerlessWorkerClass>,
) -> Result<Fetched, kube::Error> {
    let key = key_of(&class.metadata);
    // Before what there is: HTTPRoutes that are there count only where it is known that there can be some.
    let has_http_routes = context.http_routes.available();
    let live = live(context, &class, &key, has_http_routes);
    let source = match class.metadata.deletion_timestamp {
        None => source::source(context, &class, &key, &live).await?,
        Some(_) => Source::None,
    };
    Ok(Fetched {
        source,
        live,
        conflicts: conflicts(context, &key),
        gateway: context.gateway.state(),
        gateway_name: names::qualified(
            &context.settings.namespace,
            &context.settings.gateway_service,
        ),
        has_http_routes,
        uptake: uptake::find(context, &class, &key),
        trust: context.trusted.get(),
        class,
        key,
    })
}

fn live(
    context: &Context,
    class: &ServerlessWorkerClass,
    key: &ClassKey,
    has_http_routes: Option<bool>,
) -> Live {
    let caches = &context.caches;
    let http_routes = (has_http_routes == Some(true)).then(|| context.http_routes.store());
    let uid = class.metadata.uid.as_deref();
    let deployment = caches
        .deployments
        .get(&ObjectRef::new(&names::workers(&key.name)).within(&key.namespace))
        .filter(|deployment| owned::is_owned(deployment.meta(), uid));
    Live {
        deployment,
        pods: caches.pods.of(key),
        owned: owned::list(caches, http_routes, key, uid),
    }
}

fn conflicts(context: &Context, key: &ClassKey) -> Vec<Conflict> {
    let caches = &context.caches;
    caches.routes.get(&caches.classes).conflicts(key).to_vec()
}
