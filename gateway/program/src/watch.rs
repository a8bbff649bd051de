//! Keeps the gateway's topology as the API server has it.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::select_all;
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
use tokio::sync::{Notify, watch};
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

/// How often in a row a list is refused until it is not waited for any more.
const REFUSALS: u32 = 3;

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
    let mut classes = stores::<Guarded>(&client, namespaces, &watching, &changed, forget_code);
    let mut slices = stores::<EndpointSlice>(&client, namespaces, &endpoints, &changed, |_| {});
    let watches = classes.watches.drain(..).chain(slices.watches.drain(..));
    let watches = select_all(watches.collect::<Vec<_>>());
    let applying = async {
        synced(&mut classes.listed).await;
        readiness.done(CLASSES);
        synced(&mut slices.listed).await;
        loop {
            gateway.apply(known(&classes.stores, &slices.stores));
            readiness.done(ENDPOINTS);
            changed.notified().await;
            sleep(GATHER).await;
        }
    };
    tokio::select! {
        () = applying => {}
        _ = watches => {}
    }
}

type Watch = futures::future::BoxFuture<'static, ()>;

/// Whether a watch has listed what there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listed {
    NotYet,
    /// It may not, as in a namespace that is gone with the rights in it. Others are not kept waiting.
    Refused,
    Once,
}

/// What is known of a kind.
struct Stores<K: Resource<DynamicType = ()> + 'static> {
    /// One for each namespace.
    stores: Vec<Store<K>>,
    /// Of each.
    listed: Vec<watch::Receiver<Listed>>,
    /// What fills them.
    watches: Vec<Watch>,
}

fn stores<K>(
    client: &Client,
    namespaces: &[String],
    config: &watcher::Config,
    changed: &Arc<Notify>,
    trim: fn(&mut K),
) -> Stores<K>
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
    let mut all = Stores {
        stores: vec![],
        listed: vec![],
        watches: vec![],
    };
    for api in apis {
        let (store, writer) = reflector::store();
        let (says, listed) = watch::channel(Listed::NotYet);
        let follow = follow(api, config.clone(), writer, says, Arc::clone(changed), trim);
        all.stores.push(store);
        all.listed.push(listed);
        all.watches.push(Box::pin(follow));
    }
    all
}

async fn follow<K>(
    api: Api<K>,
    config: watcher::Config,
    writer: reflector::store::Writer<K>,
    listed: watch::Sender<Listed>,
    changed: Arc<Notify>,
    trim: fn(&mut K),
) where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + 'static,
{
    let url = api.resource_url().to_owned();
    let events = watcher(api, config)
        .default_backoff()
        .modify(move |object| {
            object.managed_fields_mut().clear();
            trim(object);
        })
        .reflect(writer);
    let mut events = std::pin::pin!(events);
    let mut refused = 0;
    while let Some(event) = events.next().await {
        match event {
            // A list begins before it is known whether it is refused.
            Ok(watcher::Event::Init) => {}
            Ok(watcher::Event::InitApply(_)) => refused = 0,
            Ok(event) => {
                refused = 0;
                if matches!(event, watcher::Event::InitDone) {
                    listed.send_replace(Listed::Once);
                }
                changed.notify_one();
            }
            Err(error) => {
                refused += u32::from(is_refusal(&error));
                let cause = anyhow::Error::new(error);
                let cause = cause.root_cause();
                tracing::warn!(url, %cause, "the watch broke; going on with what is known");
                if refused == REFUSALS && *listed.borrow() == Listed::NotYet {
                    tracing::error!(url, "this may not be watched: nothing of it is routed");
                    listed.send_replace(Listed::Refused);
                }
            }
        }
    }
}

/// Whether a watch failed because it is not allowed, or there is no such kind.
fn is_refusal(error: &watcher::Error) -> bool {
    let watcher::Error::InitialListFailed(kube::Error::Api(status)) = error else {
        return false;
    };
    matches!(status.code, 403 | 404)
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

/// Returns when all have been listed, or may not be. Where all is refused it is not the namespaces that are gone, but the rights: that
/// is waited for.
async fn synced(listed: &mut [watch::Receiver<Listed>]) {
    // These fail only if a watch is gone, and with it this future.
    for one in &mut *listed {
        let _ = one.wait_for(|listed| *listed != Listed::NotYet).await;
    }
    let once = listed.iter_mut().map(|one| {
        let once = one.wait_for(|listed| *listed == Listed::Once);
        Box::pin(async move { drop(once.await) })
    });
    select_all(once).await;
}

fn known(classes: &[Store<Guarded>], slices: &[Store<EndpointSlice>]) -> Topology {
    let classes: Vec<_> = classes.iter().flat_map(Store::state).collect();
    let slices: Vec<_> = slices.iter().flat_map(Store::state).collect();
    topology(
        classes.iter().filter_map(|class| class.0.as_ref().ok()),
        slices.iter().map(|slice| &**slice),
    )
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    /// An API server that lets these namespaces be listed, in which there is nothing.
    fn client(namespaces: &'static [&'static str]) -> Client {
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let is_there = |name: &&&str| request.uri().path().contains(&format!("/{name}/"));
            let (code, body) = match namespaces.iter().find(is_there) {
                Some(_) => (200, r#"{"metadata":{"resourceVersion":"1"},"items":[]}"#),
                None => (
                    403,
                    r#"{"kind":"Status","status":"Failure","message":"forbidden","code":403}"#,
                ),
            };
            let response = http::Response::builder().status(code);
            let response = response.body(kube::client::Body::from(body.as_bytes().to_vec()));
            std::future::ready(response)
        });
        Client::new(service, "default")
    }

    /// Whether all is known of a gateway's two namespaces after a while.
    async fn is_synced(client: &Client) -> bool {
        let namespaces = ["a".to_owned(), "b".to_owned()];
        let config = watcher::Config::default();
        let changed = Arc::default();
        let mut all = stores::<Guarded>(client, &namespaces, &config, &changed, forget_code);
        tokio::spawn(select_all(all.watches));
        let within = Duration::from_secs(300);
        timeout(within, synced(&mut all.listed)).await.is_ok()
    }

    /// As where a namespace is gone, and with it the rights in it.
    #[tokio::test(start_paused = true)]
    async fn a_namespace_that_may_not_be_watched_does_not_keep_others_waiting() {
        assert!(is_synced(&client(&["a", "b"])).await);
        assert!(is_synced(&client(&["b"])).await);
        assert!(!is_synced(&client(&[])).await, "no rights at all");
    }
}
