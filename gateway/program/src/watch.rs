//! Keeps the gateway's topology as the API server has it.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::{join_all, select_all};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::core::{DeserializeGuard, NamespaceResourceScope};
use kube::runtime::reflector::Store;
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use portside_admin::Readiness;
use portside_crds::ServerlessWorkerClass;
use portside_crds::names::CLASS_LABEL;
use portside_gateway::{Gateway, Topology};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::topology::topology;

/// What readiness waits for.
pub const CLASSES: &str = "classes";
/// What readiness waits for, too.
pub const ENDPOINTS: &str = "endpoints";

/// How long one watch takes, in seconds, before another one goes on from there: of a connection that died without a word nothing else
/// is heard. A watch gives up a few seconds after that.
const WATCH_SECONDS: u32 = 50;

/// For how long nothing may come of an answer. Longer than a watch takes in which nothing happens.
const SILENCE: Duration = Duration::from_secs(60);

/// Changes that come together are taken together.
const GATHER: Duration = Duration::from_millis(20);

/// Objects of which some may not be what their schema says.
type Guarded = DeserializeGuard<ServerlessWorkerClass>;

/// A client that waits for nothing without end.
///
/// # Errors
/// The configuration cannot be found, or read.
pub async fn connect() -> anyhow::Result<Client> {
    let mut config = kube::Config::infer().await?;
    config.read_timeout = Some(SILENCE);
    Ok(Client::try_from(config)?)
}

/// Watches all namespaces, or those given, and applies every change, from when everything has been seen once. While
/// the API server is away, the gateway goes by what is known. Does not end.
pub async fn run(
    client: Client,
    namespaces: &[String],
    gateway: Arc<Gateway>,
    readiness: Readiness,
) {
    let changed = Arc::new(Notify::new());
    let watching = watcher::Config::default().timeout(WATCH_SECONDS);
    let endpoints = watching.clone().labels(CLASS_LABEL);
    let (classes, class_watches) = stores::<Guarded>(
        &client,
        namespaces,
        &watching,
        &changed,
        forget_code,
    );
    let (slices, slice_watches) =
        stores::<EndpointSlice>(&client, namespaces, &endpoints, &changed, |_| {});
    let applying = async {
        synced(&classes).await;
        readiness.done(CLASSES);
        synced(&slices).await;
        loop {
            gateway.apply(known(&classes, &slices));
            readiness.done(ENDPOINTS);
            changed.notified().await;
            sleep(GATHER).await;
        }
    };
    let watches = select_all(class_watches.into_iter().chain(slice_watches));
    tokio::select! {
        () = applying => {}
        _ = watches => {}
    }
}

type Watch = futures::future::BoxFuture<'static, ()>;

/// A store per namespace, and what fills them.
fn stores<K>(
    client: &Client,
    namespaces: &[String],
    config: &watcher::Config,
    changed: &Arc<Notify>,
    trim: fn(&mut K),
) -> (Vec<Store<K>>, Vec<Watch>)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    K: Clone + std::fmt::Debug + DeserializeOwned + Send + Sync + 'static,
{
    let apis: Vec<Api<K>> = if namespaces.is_empty() {
        vec![Api::all(client.clone())]
    } else {
        let namespaced = |namespace: &String| Api::namespaced(client.clone(), namespace);
        namespaces.iter().map(namespaced).collect()
    };
    let watched = apis.into_iter().map(|api| {
        let (store, writer) = reflector::store();
        let watch = follow(api, config.clone(), writer, Arc::clone(changed), trim);
        (store, Box::pin(watch) as Watch)
    });
    watched.unzip()
}

async fn follow<K>(
    api: Api<K>,
    config: watcher::Config,
    writer: reflector::store::Writer<K>,
    changed: Arc<Notify>,
    trim: fn(&mut K),
) where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + 'static,
{
    let events = watcher(api, config)
        .default_backoff()
        .modify(move |object| {
            object.managed_fields_mut().clear();
            trim(object);
        })
        .reflect(writer);
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => {}
            Ok(_) => changed.notify_one(),
            Err(error) => {
                let kind = K::kind(&());
                let cause = anyhow::Error::new(error);
                let cause = cause.root_cause();
                tracing::warn!(%kind, %cause, "the watch broke; going on with what is known");
            }
        }
    }
}

/// The largest part of a class, and not a gateway's business.
fn forget_code(class: &mut Guarded) {
    match &mut class.0 {
        Ok(class) => class.spec.code.inline = None,
        Err(error) => {
            let name = error.metadata.name.as_deref().unwrap_or_default();
            let namespace = error.metadata.namespace.as_deref().unwrap_or_default();
            tracing::warn!(namespace, name, %error, "this class cannot be read and has no routes");
        }
    }
}

async fn synced<K>(stores: &[Store<K>])
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    // Fails only if the watch is gone, and with it this future.
    join_all(stores.iter().map(Store::wait_until_ready)).await;
}

fn known(classes: &[Store<Guarded>], slices: &[Store<EndpointSlice>]) -> Topology {
    let classes: Vec<_> = classes.iter().flat_map(Store::state).collect();
    let slices: Vec<_> = slices.iter().flat_map(Store::state).collect();
    topology(
        classes.iter().filter_map(|class| class.0.as_ref().ok()),
        slices.iter().map(|slice| &**slice),
    )
}
