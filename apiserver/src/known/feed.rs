//! Watches classes and pods.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, select_all};
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, PodStatus};
use kube::core::{NamespaceResourceScope, PartialObjectMeta};
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use portside_admin::Readiness;
use portside_crds::ServerlessWorkerClass;
use portside_crds::names::{COMPONENT_LABEL, COMPONENT_SIDECAR, SIDECAR_CONTAINER};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use super::Classes;

/// What readiness waits for.
pub const CLASSES: &str = "the first list of classes";
/// What readiness waits for, too.
pub const PODS: &str = "the first list of pods";

/// How long one watch takes, in seconds, before another one goes on from there: of a connection that died without a word nothing else
/// is heard.
const WATCH_SECONDS: u32 = 50;
/// Changes that come together are taken together.
const GATHER: Duration = Duration::from_millis(20);

type ClassMeta = PartialObjectMeta<ServerlessWorkerClass>;
type Events<K> = futures::stream::BoxStream<'static, watcher::Result<watcher::Event<K>>>;

/// Keeps `known` as it is in these namespaces, or in all if there are none; what cannot be watched changes nothing. Does not end.
pub async fn follow(
    client: Client,
    namespaces: &[String],
    known: watch::Sender<Arc<Classes>>,
    readiness: Readiness,
) {
    let changed = Arc::new(Notify::new());
    let config = watcher::Config::default().timeout(WATCH_SECONDS);
    let labels = format!("{COMPONENT_LABEL}={COMPONENT_SIDECAR}");
    let of_pods = config.clone().labels(&labels);
    let mut watches = vec![];
    let mut classes: Vec<Store<ClassMeta>> = vec![];
    let mut pods: Vec<Store<Pod>> = vec![];
    for api in apis::<ClassMeta>(&client, namespaces) {
        let events = watcher(api, config.clone()).boxed();
        classes.push(store(events, |_| {}, &changed, &mut watches));
    }
    for api in apis::<Pod>(&client, namespaces) {
        let events = watcher(api, of_pods.clone()).boxed();
        pods.push(store(events, trim, &changed, &mut watches));
    }
    let applying = async {
        for store in &classes {
            // Fails only if the watch is gone, and with it this future.
            let _ = store.wait_until_ready().await;
        }
        readiness.done(CLASSES);
        for store in &pods {
            let _ = store.wait_until_ready().await;
        }
        loop {
            apply(&classes, &pods, &known);
            readiness.done(PODS);
            changed.notified().await;
            sleep(GATHER).await;
        }
    };
    tokio::select! {
        () = applying => {}
        _ = select_all(watches) => {}
    }
}

fn apply(classes: &[Store<ClassMeta>], pods: &[Store<Pod>], known: &watch::Sender<Arc<Classes>>) {
    let classes: Vec<_> = classes.iter().flat_map(Store::state).collect();
    let pods: Vec<_> = pods.iter().flat_map(Store::state).collect();
    let now = Classes::new(classes.iter().map(|it| &**it), pods.iter().map(|it| &**it));
    known.send_if_modified(|before| {
        let is_new = **before != now;
        if is_new {
            *before = Arc::new(now);
        }
        is_new
    });
}

fn apis<K>(client: &Client, namespaces: &[String]) -> Vec<Api<K>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    if namespaces.is_empty() {
        return vec![Api::all(client.clone())];
    }
    let namespaced = |it: &String| Api::namespaced(client.clone(), it);
    namespaces.iter().map(namespaced).collect()
}

/// A store, and among `watches` what fills it.
fn store<K>(
    events: Events<K>,
    trim: fn(&mut K),
    changed: &Arc<Notify>,
    watches: &mut Vec<BoxFuture<'static, ()>>,
) -> Store<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
{
    let (store, writer) = reflector::store();
    let events = events
        .default_backoff()
        .modify(move |object| {
            object.managed_fields_mut().clear();
            object.annotations_mut().clear();
            trim(object);
        })
        .reflect(writer);
    watches.push(Box::pin(fill(events, Arc::clone(changed))));
    store
}

async fn fill<K: Resource<DynamicType = ()>>(
    events: impl Stream<Item = watcher::Result<watcher::Event<K>>>,
    changed: Arc<Notify>,
) {
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => {}
            Ok(_) => changed.notify_one(),
            Err(error) => {
                let kind = K::plural(&());
                tracing::warn!(%kind, %error, "the watch broke; going on with what is known");
            }
        }
    }
}

/// Leaves what is looked at.
fn trim(pod: &mut Pod) {
    let spec = pod.spec.take().unwrap_or_default();
    let init = spec.init_containers.into_iter().flatten();
    let sidecars = spec.containers.into_iter().chain(init);
    let sidecars = sidecars.filter(|it| it.name == SIDECAR_CONTAINER);
    let containers = sidecars.map(|it| Container {
        name: it.name,
        ports: it.ports,
        ..Container::default()
    });
    pod.spec = Some(PodSpec {
        containers: containers.collect(),
        ..PodSpec::default()
    });
    let status = pod.status.take().unwrap_or_default();
    pod.status = Some(PodStatus {
        phase: status.phase,
        pod_ip: status.pod_ip,
        conditions: status.conditions,
        ..PodStatus::default()
    });
}
