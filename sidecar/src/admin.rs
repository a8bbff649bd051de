//! What a pod answers to gateways and the operator on its admin port.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Query, State};
use axum::routing::get;
use axum::{Json, Router};
use portside_crds::sidecar::{self, SidecarStatus, SidecarWorkers};
use portside_store::Store;
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::pod::Pod;

/// A count of the stored workers is as good as new for this long: it reads an index entry of each.
const COUNT: Duration = Duration::from_secs(60);

struct Reports {
    pod: Arc<Pod>,
    digest: String,
    store: Arc<dyn Store>,
    stored: Mutex<Option<(Instant, u64)>>,
}

/// The routes `/ownership` and `/status`, in the forms of [`portside_crds::sidecar`]. `digest` is the code's.
pub fn routes(pod: Arc<Pod>, digest: String, store: Arc<dyn Store>) -> Router {
    let reports = Arc::new(Reports {
        pod,
        digest,
        store,
        stored: Mutex::default(),
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
        let _ = tokio::time::timeout(wait, changed).await;
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
    /// The number of stored workers, not older than [`COUNT`]; nothing while the store does not answer.
    async fn stored(&self) -> Option<u64> {
        let mut stored = self.stored.lock().await;
        match *stored {
            Some((counted, workers)) if counted.elapsed() < COUNT => Some(workers),
            _ => {
                let workers = self.store.count_workers().await.ok()?;
                *stored = Some((Instant::now(), workers));
                Some(workers)
            }
        }
    }
}
