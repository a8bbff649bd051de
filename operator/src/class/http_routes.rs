//! HTTPRoutes of the Gateway API, in clusters that have them.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResourceList;
use kube::{Client, CustomResource, Resource};
use portside_core::backoff::Backoff;
use portside_crds::class::ParentRef;
use portside_crds::names::{CLASS_LABEL, MANAGED_BY, MANAGED_BY_LABEL};
use portside_watches::watching;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::queue;
use super::uptake::HttpRouteSeen;
use crate::api;
use crate::caches::{Caches, Filler, Indexed, Unseen, Watches, index, owner};

/// How often a cluster without the Gateway API is asked again, while a class wants it.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// Between tries when the API server does not say whether there is such a kind.
const RETRY: Backoff = Backoff {
    first_ms: 1_000,
    max_ms: 60_000,
};

/// How long classes wait for an answer at the start.
const PATIENCE: Duration = Duration::from_secs(10);

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
    store: Indexed<HttpRouteSeen>,
    presence: Arc<watch::Sender<Presence>>,
}

/// What is known of the kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    /// Nothing yet.
    Unasked,
    /// Nothing: the API server did not say.
    Unknown,
    /// The cluster does not have it.
    Absent,
    /// It has it, and those there are have been listed.
    Listed,
}

impl HttpRoutes {
    /// None known yet, and what fills the store.
    pub(crate) fn new() -> (Self, Filler<HttpRouteSeen>) {
        let (store, filler) = index::new();
        let routes = Self {
            store,
            presence: Arc::new(watch::Sender::new(Presence::Unasked)),
        };
        (routes, filler)
    }

    /// Whether the cluster has them, and those there are have been listed. `None` while that is not known.
    pub(crate) fn available(&self) -> Option<bool> {
        match *self.presence.borrow() {
            Presence::Unasked | Presence::Unknown => None,
            Presence::Absent => Some(false),
            Presence::Listed => Some(true),
        }
    }

    /// Returns when the API server has been asked, or does not answer.
    pub(crate) async fn asked(&self) {
        let mut presence = self.presence.subscribe();
        let asked = presence.wait_for(|presence| *presence != Presence::Unasked);
        // Without an answer it is not known, which is said.
        let _ = timeout(PATIENCE, asked).await;
    }

    /// Those made for classes.
    pub(crate) fn store(&self) -> &Indexed<HttpRouteSeen> {
        &self.store
    }

    /// Looks for the kind until the API server has said whether there is one, and then as long as a class wants it; watches it when
    /// it is there.
    pub(crate) async fn watch(
        self,
        watches: Watches,
        caches: Caches,
        filler: Filler<HttpRouteSeen>,
    ) {
        // Where they may not be watched a class that wants one is told when it is written.
        let watches = Watches {
            unseen: Unseen::default(),
            ..watches
        };
        let say = |presence: Presence| {
            if self.presence.send_replace(presence) != presence {
                for key in queue::with_routes(&caches.classes) {
                    watches.queue.push(key);
                }
            }
        };
        let mut failures = 0;
        loop {
            match exists(&watches.client).await {
                Ok(true) => break,
                Ok(false) => {
                    failures = 0;
                    say(Presence::Absent);
                    sleep(ASK_AGAIN).await;
                    while !wanted(&caches) {
                        sleep(ASK_AGAIN).await;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "it is not known whether the cluster has HTTPRoutes; asking again");
                    if self.available().is_none() {
                        say(Presence::Unknown);
                    }
                    sleep(Duration::from_millis(RETRY.delay_ms(failures))).await;
                    failures = failures.saturating_add(1);
                }
            }
        }
        let made = watching().labels(&format!("{CLASS_LABEL},{MANAGED_BY_LABEL}={MANAGED_BY}"));
        let listed = async {
            if self.store.wait_until_ready().await.is_ok() {
                say(Presence::Listed);
            }
        };
        tokio::join!(watches.feed(filler, made, owner(&watches.queue)), listed);
    }
}

fn wanted(caches: &Caches) -> bool {
    let wants = |class: &crate::caches::Class| {
        let class = class.0.as_ref();
        class.is_ok_and(|class| class.spec.http_route.is_some())
    };
    caches.classes.find(wants).is_some()
}

async fn exists(client: &Client) -> Result<bool, kube::Error> {
    let version = HTTPRoute::api_version(&());
    let listed: Result<APIResourceList, _> = client.list_api_group_resources(&version).await;
    let plural = HTTPRoute::plural(&());
    match listed {
        Ok(list) => Ok(list.resources.iter().any(|one| one.name == plural)),
        Err(error) if api::is_not_found(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::time::Instant;

    use super::*;
    use crate::class::mock::{client, failure, nothing};
    use crate::class::queue::Queue;

    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_does_not_say_is_asked_again_soon() {
        let asked = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&asked);
        let (client, _) = client(move |_| match count.fetch_add(1, Ordering::Relaxed) {
            0..3 => failure(503, "starting"),
            _ => failure(404, "the server could not find the requested resource"),
        });
        let (routes, filler) = HttpRoutes::new();
        let watches = Watches {
            client,
            namespaces: vec![],
            queue: Queue::default(),
            unseen: Unseen::default(),
        };
        let began = Instant::now();
        tokio::spawn(routes.clone().watch(watches, nothing(), filler));
        routes.asked().await;
        assert_eq!(routes.available(), None);
        let mut presence = routes.presence.subscribe();
        let known = presence.wait_for(|presence| *presence == Presence::Absent);
        known.await.unwrap();
        assert_eq!(routes.available(), Some(false));
        assert!(began.elapsed() < Duration::from_secs(10));
        sleep(Duration::from_secs(3600)).await;
        let asked = asked.load(Ordering::Relaxed);
        assert_eq!(asked, 4, "no class wants any");
    }
}
