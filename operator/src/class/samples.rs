//! How many workers there are, asked of the pods themselves.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use k8s_openapi::api::core::v1::Pod;
use portside_crds::names::ADMIN_PORT;
use portside_crds::routes::ClassKey;
use portside_crds::sidecar::{STATUS_PATH, SidecarStatus, SidecarWorkers, State};
use portside_crds::status::WorkerCounts;

use super::Context;
use super::queue::{class_of, key_of};
use super::rollout;

/// How often pods are asked.
const EVERY: Duration = Duration::from_secs(30);

/// How long a pod may take to answer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The most bytes of an answer.
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// Classes that are asked at once.
const AT_ONCE: usize = 16;

/// The numbers that statuses show. They change only when the true ones have gone far enough from them.
#[derive(Default)]
pub(crate) struct Samples(Mutex<HashMap<ClassKey, WorkerCounts>>);

impl Samples {
    /// What a class's status is to show.
    pub(crate) fn get(&self, key: &ClassKey) -> Option<WorkerCounts> {
        self.lock().get(key).cloned()
    }

    /// Forgets a class.
    pub(crate) fn forget(&self, key: &ClassKey) {
        self.lock().remove(key);
    }

    fn set(&self, key: &ClassKey, counts: WorkerCounts) {
        self.lock().insert(key.clone(), counts);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ClassKey, WorkerCounts>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks the pods of all classes again and again. A class whose numbers changed is looked at again.
pub(crate) async fn run(context: Arc<Context>) {
    adopt(&context);
    let client: Http = Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .build_http();
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut classes: HashMap<ClassKey, Vec<Arc<Pod>>> = HashMap::new();
        let ready = |pod: &Pod| rollout::is_sidecar(pod) && rollout::is_ready(pod);
        for pod in context.caches.pods.state_filter(ready) {
            if let Some(key) = class_of(&pod.metadata) {
                classes.entry(key).or_default().push(pod);
            }
        }
        let asked = futures::stream::iter(classes).map(|(key, pods)| ask(&client, key, pods));
        let mut answers = asked.buffer_unordered(AT_ONCE);
        while let Some((key, counts)) = answers.next().await {
            let shown = context.samples.get(&key);
            if let Some(counts) = counts
                && differs(shown.as_ref(), &counts)
            {
                context.samples.set(&key, counts);
                context.queue.push(key);
            }
        }
    }
}

/// Begins with what statuses show already.
fn adopt(context: &Context) {
    for class in context.caches.classes.state() {
        if let Ok(class) = &class.0
            && let Some(counts) = class
                .status
                .as_ref()
                .and_then(|status| status.workers.clone())
        {
            context.samples.set(&key_of(&class.metadata), counts);
        }
    }
}

type Http = Client<HttpConnector, Empty<Bytes>>;

/// The numbers of the class's active pod.
async fn ask(
    client: &Http,
    key: ClassKey,
    pods: Vec<Arc<Pod>>,
) -> (ClassKey, Option<WorkerCounts>) {
    let addresses = pods
        .iter()
        .filter_map(|pod| pod.status.as_ref()?.pod_ip.clone());
    let answers = futures::future::join_all(addresses.map(|address| status(client, address))).await;
    (key, counts(answers.into_iter().flatten()))
}

async fn status(client: &Http, address: String) -> Option<SidecarStatus> {
    let host = if address.contains(':') {
        format!("[{address}]")
    } else {
        address
    };
    let url = format!("http://{host}:{ADMIN_PORT}{STATUS_PATH}")
        .parse()
        .ok()?;
    let answer = async {
        let response = client.get(url).await.ok()?;
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES);
        let bytes = body.collect().await.ok()?.to_bytes();
        serde_json::from_slice(&bytes).ok()
    };
    tokio::time::timeout(TIMEOUT, answer).await.ok().flatten()
}

/// Pods that serve have workers beside each other, of which each has counted all that are stored. Of those that say they are
/// active, the one with the highest term is right.
fn counts(answers: impl Iterator<Item = SidecarStatus>) -> Option<WorkerCounts> {
    let answers: Vec<_> = answers.collect();
    let serving = answers.iter().filter(|it| it.state == State::Serving);
    let together = serving
        .map(|it| it.workers)
        .reduce(|one, other| SidecarWorkers {
            awake: one.awake.saturating_add(other.awake),
            stored: one.stored.max(other.stored),
        });
    let active = answers.iter().filter(|it| it.state == State::Active);
    let alone = active.max_by_key(|it| it.term).map(|it| it.workers);
    let workers = together.or(alone)?;
    let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    Some(WorkerCounts {
        awake: count(workers.awake),
        stored: workers.stored.map(count),
    })
}

/// Whether numbers are more than 5 % away from those that are shown.
fn differs(shown: Option<&WorkerCounts>, counts: &WorkerCounts) -> bool {
    let Some(shown) = shown else {
        return true;
    };
    let far = |old: i64, new: i64| old.abs_diff(new).saturating_mul(20) > old.unsigned_abs();
    let stored = match (shown.stored, counts.stored) {
        (Some(old), Some(new)) => far(old, new),
        (None, Some(_)) => true,
        // What is unknown for a while is shown as it was.
        (_, None) => false,
    };
    stored || far(shown.awake, counts.awake)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(awake: i64, stored: Option<i64>) -> WorkerCounts {
        WorkerCounts { awake, stored }
    }

    #[test]
    fn five_percent_make_a_difference() {
        let old = shown(100, Some(1000));
        assert!(differs(None, &old));
        assert!(!differs(Some(&old), &shown(105, Some(950))));
        assert!(differs(Some(&old), &shown(106, Some(1000))));
        assert!(differs(Some(&old), &shown(100, Some(949))));
        assert!(!differs(Some(&old), &shown(100, None)));
        assert!(differs(Some(&shown(0, None)), &shown(1, None)));
        assert!(differs(Some(&shown(0, None)), &shown(0, Some(0))));
        assert!(!differs(Some(&shown(0, Some(0))), &shown(0, Some(0))));
    }

    fn answer(state: State, term: u64, awake: u64) -> SidecarStatus {
        SidecarStatus {
            digest: String::new(),
            state,
            term,
            workers: SidecarWorkers {
                awake,
                stored: None,
            },
        }
    }

    #[test]
    fn pods_that_serve_are_added() {
        let mut answers = [
            answer(State::Serving, 0, 5),
            answer(State::Serving, 0, 6),
            answer(State::Standby, 0, 7),
            answer(State::Active, 3, 8),
        ];
        answers[0].workers.stored = Some(90);
        answers[1].workers.stored = Some(91);
        assert_eq!(counts(answers.into_iter()), Some(shown(11, Some(91))));
    }

    #[test]
    fn the_active_pod_with_the_highest_term_counts() {
        let answers = [
            answer(State::Active, 3, 5),
            answer(State::Active, 4, 6),
            answer(State::Standby, 9, 7),
        ];
        assert_eq!(counts(answers.into_iter()), Some(shown(6, None)));
        assert_eq!(counts([answer(State::Draining, 1, 1)].into_iter()), None);
    }
}
