//! HTTPRoutes of the Gateway API, in clusters that have them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResourceList;
use kube::runtime::reflector::{self, Store, store::Writer};
use kube::{Client, CustomResource, Resource};
use portside_crds::class::ParentRef;
use portside_crds::names::{CLASS_LABEL, MANAGED_BY, MANAGED_BY_LABEL};
use serde::{Deserialize, Serialize};

use super::queue;
use crate::api::watching;
use super::uptake::HttpRouteSeen;
use crate::caches::{Caches, Watches, owner};

/// How often a cluster without the Gateway API is asked again, while a class wants it.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// The part of an HTTPRoute that the operator writes.
///
/// Source: <https://gateway-api.sigs.k8s.io/reference/spec/#httproute>.
#[derive(CustomResource, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[kube(
    group = "gateway.networking.k8s.io",
    version = "v1",
    kind = "HTTPRoute",
    plural = "httproutes",
    namespaced,
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HttpRouteSpec {
    /// The Gateways.
    pub parent_refs: Vec<ParentRef>,
    /// Host names; none for all.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub hostnames: Vec<String>,
    /// Which requests go where.
    pub rules: Vec<Rule>,
}

/// Requests that match go to the backends.
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Rule {
    /// Any of these.
    pub matches: Vec<Match>,
    /// Where they go.
    pub backend_refs: Vec<BackendRef>,
    /// No time limit of the Gateway's own: the class has one.
    pub timeouts: Timeouts,
}

/// What a request must be like.
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq)]
pub(crate) struct Match {
    /// Its path.
    pub path: PathMatch,
}

/// What a path must be like.
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq)]
pub(crate) struct PathMatch {
    /// `PathPrefix`: by whole segments.
    #[serde(rename = "type")]
    pub kind: String,
    /// The prefix.
    pub value: String,
}

/// A Service.
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq)]
pub(crate) struct BackendRef {
    /// Its name.
    pub name: String,
    /// Its port.
    pub port: u16,
}

/// Time limits.
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq)]
pub(crate) struct Timeouts {
    /// `0s` for none.
    pub request: String,
}

/// Whether the cluster has HTTPRoutes, and those made for classes. Cloning gives another handle.
#[derive(Clone)]
pub(crate) struct HttpRoutes {
    store: Store<HttpRouteSeen>,
    available: Arc<AtomicBool>,
}

impl HttpRoutes {
    /// None known yet, and what fills the store.
    pub(crate) fn new() -> (Self, Writer<HttpRouteSeen>) {
        let (store, writer) = reflector::store();
        let routes = Self {
            store,
            available: Arc::default(),
        };
        (routes, writer)
    }

    /// Whether the cluster has them, and those there are have been listed.
    pub(crate) fn available(&self) -> bool {
        self.available.load(Ordering::Relaxed)
    }

    /// Those made for classes.
    pub(crate) fn store(&self) -> &Store<HttpRouteSeen> {
        &self.store
    }

    /// Looks for the kind once, and then as long as a class wants it; watches it when it is there.
    pub(crate) async fn watch(
        self,
        watches: Watches,
        caches: Caches,
        writer: Writer<HttpRouteSeen>,
    ) {
        let mut asked = false;
        loop {
            if !asked || wanted(&caches) {
                asked = true;
                if exists(&watches.client).await {
                    break;
                }
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
        let made = watching().labels(&format!("{CLASS_LABEL},{MANAGED_BY_LABEL}={MANAGED_BY}"));
        let listed = async {
            if self.store.wait_until_ready().await.is_ok() {
                self.available.store(true, Ordering::Relaxed);
                for key in queue::with_routes(&caches.classes) {
                    watches.queue.push(key);
                }
            }
        };
        tokio::join!(watches.feed(writer, made, owner(&watches.queue)), listed);
    }
}

fn wanted(caches: &Caches) -> bool {
    let wants = |class: &crate::caches::Class| {
        let class = class.0.as_ref();
        class.is_ok_and(|class| class.spec.http_route.is_some())
    };
    caches.classes.find(wants).is_some()
}

async fn exists(client: &Client) -> bool {
    let version = HTTPRoute::api_version(&());
    let listed: Result<APIResourceList, _> = client.list_api_group_resources(&version).await;
    let plural = HTTPRoute::plural(&());
    listed.is_ok_and(|list| list.resources.iter().any(|one| one.name == plural))
}
