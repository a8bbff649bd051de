//! What the operator knows of the cluster without asking: one watch per kind, and per namespace if it serves some only.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, PartialObjectMeta};
use kube::core::{DeserializeGuard, NamespaceResourceScope};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::reflector::store::Store;
use kube::runtime::watcher;
use kube::{Client, Resource};
use portside_crds::ServerlessWorkerClass;
use portside_crds::names::{CLASS_LABEL, MANAGED_BY, MANAGED_BY_LABEL};
use portside_crds::routes::ClassKey;
use portside_watches::watching;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use tokio::task::JoinSet;

use crate::class::queue::{self, Queue};
use crate::class::source::{self, SourceMemory};
use crate::class::uptake::IngressSeen;
use feed::Feed;

pub(crate) use index::{Filler, Indexed};
pub(crate) use routes::RouteTable;
pub(crate) use unseen::Unseen;

mod feed;
pub(crate) mod index;
mod routes;
mod unseen;

/// A class, or what is left of one that does not fit the schema this program knows.
pub(crate) type Class = DeserializeGuard<ServerlessWorkerClass>;

/// An object of which only the metadata is kept.
type Meta<K> = PartialObjectMeta<K>;

macro_rules! caches {
    ($($(#[$doc:meta])* $field:ident: $kind:ty,)*) => {
        /// The stores. Each is ready once all its objects were listed.
        #[derive(Clone)]
        pub(crate) struct Caches {
            /// What may not be watched.
            pub unseen: Unseen,
            /// Which class has which route.
            pub routes: RouteTable,
            $($(#[$doc])* pub $field: Indexed<$kind>,)*
        }

        /// The other ends of [`Caches`].
        pub(crate) struct Writers {
            $($field: Filler<$kind>,)*
        }

        /// Empty stores, and what fills them.
        pub(crate) fn new() -> (Caches, Writers) {
            $(let $field = index::new();)*
            (
                Caches {
                    unseen: Unseen::default(),
                    routes: RouteTable::default(),
                    $($field: $field.0,)*
                },
                Writers { $($field: $field.1,)* },
            )
        }

        /// API group and plural of each kind that is watched.
        #[cfg(test)]
        fn kinds() -> Vec<(String, String)> {
            vec![$(tests::named::<$kind>(),)*]
        }

        impl Caches {
            /// Returns when every store is ready; `false` if one never will be.
            pub(crate) async fn ready(&self) -> bool {
                $(if self.$field.wait_until_ready().await.is_err() { return false; })*
                true
            }
        }
    };
}

caches! {
    /// The classes.
    classes: Class,
    /// Their Deployments.
    deployments: Deployment,
    /// Their pods, those of purge Jobs among them.
    pods: Pod,
    /// Their purge Jobs.
    jobs: Job,
    /// All ConfigMaps: users' code, and the copies of it.
    config_maps: Meta<ConfigMap>,
    /// Services made for classes.
    services: Meta<Service>,
    /// ServiceAccounts made for classes.
    service_accounts: Meta<ServiceAccount>,
    /// PodDisruptionBudgets made for classes.
    disruption_budgets: Meta<PodDisruptionBudget>,
    /// NetworkPolicies made for classes.
    network_policies: Meta<NetworkPolicy>,
    /// Ingresses made for classes.
    ingresses: IngressSeen,
    /// EndpointSlices made for classes.
    endpoint_slices: Meta<EndpointSlice>,
}

/// Where and how to watch.
pub(crate) struct Watches {
    /// The client.
    pub client: Client,
    /// The namespaces that are served; none means all.
    pub namespaces: Vec<String>,
    /// Who is told of changes.
    pub queue: Queue,
    /// What may not be watched.
    pub unseen: Unseen,
}

impl Watches {
    /// Fills the stores until the tasks are ended.
    pub(crate) fn start(
        &self,
        caches: &Caches,
        writers: Writers,
        sources: &SourceMemory,
        tasks: &mut JoinSet<()>,
    ) {
        let made = || watching().labels(&format!("{CLASS_LABEL},{MANAGED_BY_LABEL}={MANAGED_BY}"));
        let of_classes = || watching().labels(CLASS_LABEL);
        let queue = self.queue.clone();
        let classes = caches.classes.clone();
        let sources = sources.clone();
        let without_code = move |class: &mut Class| source::take_inline(class, &sources);
        tasks.spawn(
            self.feed_trimmed(writers.classes, watching(), without_code, {
                let (queue, routes) = (queue.clone(), caches.routes.clone());
                move |class: &Class| {
                    let is_news = routes.changed(class, &classes);
                    if !queue.is_open() {
                        return;
                    }
                    // Most changes are of a status.
                    if !is_news {
                        queue.push(queue::key_of(class.meta()));
                        return;
                    }
                    for key in queue::concerned_by_class(class, &classes) {
                        queue.push(key);
                    }
                }
            }),
        );
        let classes = caches.classes.clone();
        tasks.spawn(self.feed(writers.config_maps, watching(), {
            let queue = queue.clone();
            move |map: &Meta<ConfigMap>| {
                if !queue.is_open() {
                    return;
                }
                for key in queue::concerned_by_config_map(map.meta(), &classes) {
                    queue.push(key);
                }
            }
        }));
        tasks.spawn(self.feed(writers.pods, of_classes(), owner(&queue)));
        tasks.spawn(self.feed(writers.deployments, made(), owner(&queue)));
        tasks.spawn(self.feed(writers.jobs, made(), owner(&queue)));
        tasks.spawn(self.feed(writers.services, made(), owner(&queue)));
        tasks.spawn(self.feed(writers.service_accounts, made(), owner(&queue)));
        tasks.spawn(self.feed(writers.disruption_budgets, made(), owner(&queue)));
        tasks.spawn(self.feed(writers.network_policies, made(), owner(&queue)));
        tasks.spawn(self.feed(writers.ingresses, made(), owner(&queue)));
        tasks.spawn(self.feed(writers.endpoint_slices, made(), owner(&queue)));
    }

    /// Fills one store until dropped. `changed` is told of every object that came, changed or went.
    pub(crate) fn feed<K>(
        &self,
        filler: Filler<K>,
        config: watcher::Config,
        changed: impl FnMut(&K) + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + Sync
            + 'static,
    {
        self.feed_trimmed(filler, config, |_: &mut K| {}, changed)
    }

    /// The same, with what `trim` leaves of the objects.
    fn feed_trimmed<K>(
        &self,
        filler: Filler<K>,
        config: watcher::Config,
        trim: impl FnMut(&mut K) + Send + 'static,
        changed: impl FnMut(&K) + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + Sync
            + 'static,
    {
        let (namespaces, apis) = if self.namespaces.is_empty() {
            (vec![None], vec![Api::all(self.client.clone())])
        } else {
            let api = |namespace: &String| Api::namespaced(self.client.clone(), namespace);
            (
                self.namespaces.iter().cloned().map(Some).collect(),
                self.namespaces.iter().map(api).collect(),
            )
        };
        Feed::new(filler, namespaces, self.unseen.clone()).run(apis, config, trim, changed)
    }
}

/// Tells the queue of the class that an object was made for.
pub(crate) fn owner<K: Resource>(queue: &Queue) -> impl FnMut(&K) + Send + 'static + use<K> {
    let queue = queue.clone();
    move |object| {
        if let Some(key) = queue::class_of(object.meta()) {
            queue.push(key);
        }
    }
}

/// The class's reference in [`Caches::classes`].
pub(crate) fn class_ref(key: &ClassKey) -> ObjectRef<Class> {
    ObjectRef::new(&key.name).within(&key.namespace)
}

/// The metadata of an object in a store.
pub(crate) fn meta_in<K>(store: &Store<K>, namespace: &str, name: &str) -> Option<ObjectMeta>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let found = store.get(&ObjectRef::new(name).within(namespace))?;
    Some(found.meta().clone())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::stream::{self, StreamExt as _};
    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use serde_json::{Value, json};
    use tower::BoxError;

    use super::*;
    use crate::class::http_routes::HTTPRoute;

    pub(super) fn named<K: Resource<DynamicType = ()>>() -> (String, String) {
        (K::group(&()).into_owned(), K::plural(&()).into_owned())
    }

    /// The rules of the operator's role in classes' namespaces, in a file that is compared with what the chart renders.
    fn rules(golden: &str) -> Vec<Value> {
        let roles = golden
            .split("\n---\n")
            .map(|document| serde_saphyr::from_str::<Value>(document).unwrap())
            .filter(|object| {
                object["metadata"]["name"] == "portside-operator"
                    && matches!(object["kind"].as_str(), Some("Role" | "ClusterRole"))
            });
        let rules = roles.filter_map(|role| role["rules"].as_array().cloned());
        rules.into_iter().flatten().collect()
    }

    /// As a connection does of which the other end is gone: nothing comes, not even an end.
    #[tokio::test(start_paused = true)]
    async fn a_watch_that_nothing_comes_of_is_begun_anew_within_a_minute() {
        let (told, mut watched) = tokio::sync::mpsc::unbounded_channel();
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let query = request.uri().query().unwrap_or_default();
            let is_watch = query.contains("watch=true");
            let frames = if is_watch {
                told.send(tokio::time::Instant::now()).unwrap();
                stream::pending().boxed()
            } else {
                let list = json!({"metadata": {"resourceVersion": "1"}, "items": []});
                let frame = Frame::data(Bytes::from(list.to_string()));
                stream::iter([Ok::<_, BoxError>(frame)]).boxed()
            };
            std::future::ready(Ok::<_, BoxError>(http::Response::new(StreamBody::new(
                frames,
            ))))
        });
        let watches = Watches {
            client: Client::new(service, "default"),
            namespaces: vec![],
            queue: Queue::default(),
            unseen: Unseen::default(),
        };
        let (_store, filler) = index::new::<Deployment>();
        tokio::spawn(watches.feed(filler, watching(), |_| {}));
        let mut before = watched.recv().await.unwrap();
        for _ in 0..3 {
            let now = watched.recv().await.unwrap();
            assert!(now - before <= std::time::Duration::from_secs(60));
            before = now;
        }
    }

    #[test]
    fn whatever_is_watched_the_charts_role_lets_be_watched() {
        let all = [
            include_str!("../../../charts/portside/tests/golden/rbac.yaml"),
            include_str!("../../../charts/portside/tests/golden/rbac-namespaced.yaml"),
        ];
        for rules in all.map(rules) {
            assert!(!rules.is_empty());
            for (group, plural) in kinds().into_iter().chain([named::<HTTPRoute>()]) {
                let of_kind = |rule: &&Value| {
                    let has = |field: &str, what: &str| {
                        let list = rule[field].as_array();
                        list.is_some_and(|list| list.iter().any(|one| one == what))
                    };
                    has("apiGroups", &group) && has("resources", &plural)
                };
                let verbs: Vec<&Value> = (rules.iter().filter(of_kind))
                    .filter_map(|rule| rule["verbs"].as_array())
                    .flatten()
                    .collect();
                for verb in ["list", "watch"] {
                    let is_granted = verbs.iter().any(|one| **one == *verb);
                    assert!(is_granted, "the role has no {verb} for {plural}.{group}");
                }
            }
        }
    }
}
