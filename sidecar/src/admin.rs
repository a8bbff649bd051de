//! What a pod answers to gateways and the operator on its admin port.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Query, State};
use axum::routing::get;
use axum::{Json, Router};
use portside_crds::sidecar::{self, SidecarStatus, SidecarWorkers};
use portside_store::Store;
use serde::Deserialize;
use tokio::sync::{Mutex, watch};
use tokio::time::timeout;

use crate::pod::Pod;

/// A count of the stored workers is as good as new for this long: it reads an index entry of each.
const COUNT: Duration = Duration::from_secs(60);
/// How long an answer waits for a count; after that it has what was known before.
const PATIENCE: Duration = Duration::from_secs(1);

struct Reports {
    pod: Arc<Pod>,
    digest: String,
    store: Arc<dyn Store>,
    stored: Arc<Stored>,
}

/// The routes `/ownership` and `/status`, in the forms of [`portside_crds::sidecar`]. `digest` is the code's.
pub fn routes(pod: Arc<Pod>, digest: String, store: Arc<dyn Store>) -> Router {
    let reports = Arc::new(Reports {
        pod,
        digest,
        store,
        stored: Arc::default(),
    });
    Router::new()
        .route(sidecar::OWNERSHIP_PATH, get(ownership))
        .route(sidecar::STATUS_PATH, get(status))
        .with_state(reports)
}

/// What the asker knows already, and for how long it would wait for something else.
#[derive(Deserialize)]
struct Known {
    not: Option<String>,
    #[serde(default)]
    wait: u64,
}

async fn ownership(
    State(reports): State<Arc<Reports>>,
    Query(known): Query<Known>,
) -> Json<sidecar::Ownership> {
    if let Some(known_state) = known.not.as_deref().and_then(sidecar::parse_token) {
        let wait = Duration::from_secs(known.wait.min(sidecar::MAX_WAIT_SECONDS));
        let changed = reports.pod.ownership_other_than(known_state);
        // Either way, what it is now is the answer.
        let _ = timeout(wait, changed).await;
    }
    Json(reports.pod.ownership())
}

async fn status(State(reports): State<Arc<Reports>>) -> Json<SidecarStatus> {
    let ownership = reports.pod.ownership();
    Json(SidecarStatus {
        digest: reports.digest.clone(),
        state: ownership.state,
        term: ownership.term,
        workers: SidecarWorkers {
            awake: reports.pod.app().awake() as u64,
            stored: reports.stored().await,
        },
    })
}

impl Reports {
    /// The number of stored workers; nothing before it was counted for the first time.
    async fn stored(&self) -> Option<u64> {
        let store = self.store.clone();
        let count = async move { store.count_workers().await.ok() };
        self.stored.get(count).await
    }
}

/// A count that takes time, and may never end.
#[derive(Default)]
struct Stored {
    known: watch::Sender<Option<(Instant, u64)>>,
    counting: Arc<Mutex<()>>,
}

impl Stored {
    /// What was counted within [`COUNT`], or else what `count` finds, or else, after [`PATIENCE`], what was known before.
    /// One count is under way at a time, whoever waits for it.
    async fn get(
        self: &Arc<Self>,
        count: impl Future<Output = Option<u64>> + Send + 'static,
    ) -> Option<u64> {
        let mut known = self.known.subscribe();
        let is_new = |(counted, _): (Instant, u64)| counted.elapsed() < COUNT;
        if !known.borrow_and_update().is_some_and(is_new) {
            if let Ok(counting) = self.counting.clone().try_lock_owned() {
                let stored = self.clone();
                tokio::spawn(async move {
                    let counted = count.await;
                    // Those who wait hear of a failure, too.
                    stored.known.send_modify(|known| {
                        *known = counted.map(|it| (Instant::now(), it)).or(*known);
                    });
                    drop(counting);
                });
            }
            let _ = timeout(PATIENCE, known.changed()).await;
        }
        known.borrow().map(|(_, workers)| workers)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn a_count_is_asked_for_once_in_a_while() {
        let stored = Arc::new(Stored::default());
        assert_eq!(stored.get(ready(None)).await, None);
        assert_eq!(stored.get(ready(Some(3))).await, Some(3));
        assert_eq!(stored.get(ready(Some(4))).await, Some(3));
    }

    #[tokio::test]
    async fn nobody_waits_long_for_a_store_that_is_silent() {
        let stored = Arc::new(Stored::default());
        let began = Instant::now();
        let asked = (0..10).map(|_| stored.get(pending()));
        let answers = timeout(PATIENCE * 5, futures::future::join_all(asked)).await;
        assert_eq!(answers.unwrap(), [None; 10]);
        assert!(began.elapsed() < PATIENCE * 5);
        // What is old is better than nothing.
        let old = Instant::now().checked_sub(COUNT).unwrap();
        stored.known.send_replace(Some((old, 7)));
        assert_eq!(stored.get(pending()).await, Some(7));
    }
}
