//! Objects as the API server has them, kept by watches. While it is away, what is known stays.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::{BoxFuture, select_all};
use kube::core::NamespaceResourceScope;
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

/// How often in a row a list is refused until it is not waited for any more.
const REFUSALS: u32 = 3;

/// Changes that come together are taken together.
const GATHER: Duration = Duration::from_millis(20);

/// What fills a store. Does not end.
pub type Filling = BoxFuture<'static, ()>;

/// Whether a watch has listed what there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listed {
    NotYet,
    /// It may not, as in a namespace that is gone with the rights in it. Others are not kept waiting.
    Refused,
    Once,
}

/// What is known of a kind.
pub struct Known<K: Resource<DynamicType = ()> + 'static> {
    /// One for each namespace.
    stores: Vec<Store<K>>,
    /// Of each.
    listed: Vec<watch::Receiver<Listed>>,
}

/// What is known of a kind in these namespaces, or in all if there are none, as long as what is added to `filling` is polled. `changed` is
/// told of each change, `trim` leaves of each object what is looked at.
pub fn known<K>(
    client: &Client,
    namespaces: &[String],
    config: &watcher::Config,
    changed: &Arc<Notify>,
    trim: fn(&mut K),
    filling: &mut Vec<Filling>,
) -> Known<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    K: Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let apis: Vec<Api<K>> = if namespaces.is_empty() {
        vec![Api::all(client.clone())]
    } else {
        let namespaced = |namespace: &String| Api::namespaced(client.clone(), namespace);
        namespaces.iter().map(namespaced).collect()
    };
    let mut all = Known {
        stores: vec![],
        listed: vec![],
    };
    for api in apis {
        let (store, writer) = reflector::store();
        let (says, listed) = watch::channel(Listed::NotYet);
        let fill = fill(api, config.clone(), writer, says, Arc::clone(changed), trim);
        all.stores.push(store);
        all.listed.push(listed);
        filling.push(Box::pin(fill));
    }
    all
}

/// Returns after the next change, and those that come with it.
pub async fn gathered(changed: &Notify) {
    changed.notified().await;
    sleep(GATHER).await;
}

impl<K: Resource<DynamicType = ()> + Clone + 'static> Known<K> {
    /// Returns when all have been listed, or may not be. Where all is refused it is not the namespaces that are gone, but the rights: that
    /// is waited for.
    pub async fn synced(&mut self) {
        // These fail only if a watch is gone, and with it this future.
        for one in &mut self.listed {
            let _ = one.wait_for(|listed| *listed != Listed::NotYet).await;
        }
        let once = self.listed.iter_mut().map(|one| {
            let once = one.wait_for(|listed| *listed == Listed::Once);
            Box::pin(async move { drop(once.await) })
        });
        select_all(once).await;
    }

    /// All objects, in no order.
    #[must_use]
    pub fn objects(&self) -> Vec<Arc<K>> {
        self.stores.iter().flat_map(Store::state).collect()
    }
}

async fn fill<K>(
    api: Api<K>,
    config: watcher::Config,
    writer: reflector::store::Writer<K>,
    listed: watch::Sender<Listed>,
    changed: Arc<Notify>,
    trim: fn(&mut K),
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
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
                    tracing::error!(url, "this may not be watched: nothing of it is known");
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

#[cfg(test)]
mod tests {
    use portside_crds::ServerlessWorkerClass;
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

    /// Whether all is known of two namespaces after a while.
    async fn is_synced(client: &Client) -> bool {
        let namespaces = ["a".to_owned(), "b".to_owned()];
        let config = watcher::Config::default();
        let (changed, mut filling) = (Arc::default(), vec![]);
        let mut all = known::<ServerlessWorkerClass>(
            client,
            &namespaces,
            &config,
            &changed,
            |_| {},
            &mut filling,
        );
        tokio::spawn(select_all(filling));
        let within = Duration::from_secs(300);
        timeout(within, all.synced()).await.is_ok()
    }

    /// As where a namespace is gone, and with it the rights in it.
    #[tokio::test(start_paused = true)]
    async fn a_namespace_that_may_not_be_watched_does_not_keep_others_waiting() {
        assert!(is_synced(&client(&["a", "b"])).await);
        assert!(is_synced(&client(&["b"])).await);
        assert!(!is_synced(&client(&[])).await, "no rights at all");
    }
}
