//! How many workers there are, and how many pods serve, asked of the pods themselves.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use portside_crds::names::ADMIN_PORT;
use portside_crds::routes::ClassKey;
use portside_crds::sidecar::{STATUS_PATH, SidecarStatus, SidecarWorkers, State};
use portside_crds::status::WorkerCounts;

use super::queue::{class_of, key_of};
use super::{Context, deletion_cost, rollout};

/// How often pods are asked.
const EVERY: Duration = Duration::from_secs(30);

/// How often those of a class are that has other ready pods than half a minute ago: shards move then.
const AFTER_CHANGES: Duration = Duration::from_secs(5);

/// After how long small changes of how many workers there are are shown as well.
const AFTER_ALL: Duration = Duration::from_secs(10 * 60);

/// How long a pod may take to answer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The most bytes of an answer.
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// Classes that are asked at once.
const AT_ONCE: usize = 16;

/// What a class's pods say of themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sample {
    /// The numbers of their workers, if any pod runs them.
    pub workers: Option<WorkerCounts>,
    /// How many of them run workers.
    pub serving: i32,
}

/// The numbers that statuses show. Those of workers change all the time, and each change of a status is a write: they follow when
/// the true ones have gone far from them, and otherwise now and then.
#[derive(Default)]
pub(crate) struct Samples(Mutex<HashMap<ClassKey, Shown>>);

#[derive(Debug)]
struct Shown {
    sample: Sample,
    /// Since when these numbers of workers are.
    since: Instant,
}

impl Samples {
    /// What a class's status is to show.
    pub(crate) fn get(&self, key: &ClassKey) -> Option<Sample> {
        self.lock().get(key).map(|shown| shown.sample.clone())
    }

    /// Forgets a class.
    pub(crate) fn forget(&self, key: &ClassKey) {
        self.lock().remove(key);
    }

    /// Whether this is to be shown, too.
    fn show(&self, key: &ClassKey, new: Sample, now: Instant) -> bool {
        let mut all = self.lock();
        let shown = all.get(key);
        let next = next(shown, new, now);
        let is_news = shown.map(|shown| &shown.sample) != Some(&next.sample);
        all.insert(key.clone(), next);
        is_news
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ClassKey, Shown>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What follows what is shown. Who serves is shown at once.
fn next(shown: Option<&Shown>, new: Sample, now: Instant) -> Shown {
    let Some(shown) = shown else {
        return Shown {
            sample: new,
            since: now,
        };
    };
    let before = shown.sample.workers.as_ref();
    let workers = new
        .workers
        .filter(|workers| is_due(before, workers, now.duration_since(shown.since)));
    Shown {
        since: workers.as_ref().map_or(shown.since, |_| now),
        sample: Sample {
            // What is unknown for a while is shown as it was.
            workers: match (workers, before) {
                (Some(workers), before) => Some(WorkerCounts {
                    stored: workers.stored.or(before.and_then(|before| before.stored)),
                    ..workers
                }),
                (None, before) => before.cloned(),
            },
            serving: new.serving,
        },
    }
}

/// A ready pod, and what it says.
pub(super) type Answer = (Arc<Pod>, Option<SidecarStatus>);

/// Asks the pods of all classes again and again. A class whose numbers changed is looked at again.
pub(crate) async fn run(context: Arc<Context>) {
    adopt(&context);
    let client: Http = Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .build_http();
    let mut ticks = tokio::time::interval(AFTER_CHANGES);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut turns = Turns::default();
    loop {
        ticks.tick().await;
        let mut classes: HashMap<ClassKey, Vec<Arc<Pod>>> = HashMap::new();
        let ready = |pod: &Pod| rollout::is_sidecar(pod) && rollout::is_ready(pod);
        for pod in context.caches.pods.state_filter(ready) {
            if let Some(key) = class_of(&pod.metadata) {
                classes.entry(key).or_default().push(pod);
            }
        }
        turns.choose(&mut classes, Instant::now());
        let asked = futures::stream::iter(classes).map(|(key, pods)| ask(&client, key, pods));
        let mut answers = asked.buffer_unordered(AT_ONCE);
        while let Some((key, answers)) = answers.next().await {
            deletion_cost::write(&context, &key, &answers).await;
            let said = answers.into_iter().filter_map(|(_, said)| said);
            if context.samples.show(&key, sample(said), Instant::now()) {
                context.queue.push(key);
            }
        }
    }
}

/// Which classes are asked when.
#[derive(Default)]
struct Turns(HashMap<ClassKey, Turn>);

struct Turn {
    pods: BTreeSet<Option<String>>,
    changed: Instant,
    asked: Instant,
}

impl Turns {
    /// Leaves those whose turn it is. What is not among them is forgotten.
    fn choose(&mut self, classes: &mut HashMap<ClassKey, Vec<Arc<Pod>>>, now: Instant) {
        self.0.retain(|key, _| classes.contains_key(key));
        classes.retain(|key, pods| {
            let pods: BTreeSet<_> = pods.iter().map(|pod| pod.uid()).collect();
            let turn = self.0.entry(key.clone()).or_insert_with(|| Turn {
                pods: BTreeSet::new(),
                changed: now,
                asked: now,
            });
            if turn.pods != pods {
                (turn.pods, turn.changed) = (pods, now);
            }
            let is_due = now - turn.changed < EVERY || now - turn.asked >= EVERY;
            if is_due {
                turn.asked = now;
            }
            is_due
        });
    }
}

/// Begins with what statuses show already.
fn adopt(context: &Context) {
    for class in context.caches.classes.state() {
        if let Ok(class) = &class.0
            && let Some(status) = &class.status
            && let Some(serving) = status.serving_replicas
        {
            let workers = status.workers.clone();
            let sample = Sample { workers, serving };
            let key = key_of(&class.metadata);
            context.samples.show(&key, sample, Instant::now());
        }
    }
}

type Http = Client<HttpConnector, Empty<Bytes>>;

/// What each of a class's pods says.
async fn ask(client: &Http, key: ClassKey, pods: Vec<Arc<Pod>>) -> (ClassKey, Vec<Answer>) {
    let answers = pods.into_iter().map(async |pod| {
        let said = status(client, &pod).await;
        (pod, said)
    });
    (key, futures::future::join_all(answers).await)
}

async fn status(client: &Http, pod: &Pod) -> Option<SidecarStatus> {
    let address = pod.status.as_ref()?.pod_ip.clone()?;
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
fn sample(answers: impl Iterator<Item = SidecarStatus>) -> Sample {
    let answers: Vec<_> = answers.collect();
    let serving = || answers.iter().filter(|it| it.state == State::Serving);
    let together = serving()
        .map(|it| it.workers)
        .reduce(|one, other| SidecarWorkers {
            awake: one.awake.saturating_add(other.awake),
            stored: one.stored.max(other.stored),
        });
    let active = answers.iter().filter(|it| it.state == State::Active);
    let alone = active.max_by_key(|it| it.term).map(|it| it.workers);
    let beside = i32::try_from(serving().count()).unwrap_or(i32::MAX);
    let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    Sample {
        serving: beside.max(i32::from(alone.is_some())),
        workers: together.or(alone).map(|workers| WorkerCounts {
            awake: count(workers.awake),
            stored: workers.stored.map(count),
        }),
    }
}

/// Whether numbers are to be shown in place of those that are since so long ago.
fn is_due(shown: Option<&WorkerCounts>, counts: &WorkerCounts, ago: Duration) -> bool {
    let Some(shown) = shown else {
        return true;
    };
    let stored = |is_other: fn(i64, i64) -> bool| match (shown.stored, counts.stored) {
        (Some(old), Some(new)) => is_other(old, new),
        (None, Some(_)) => true,
        (_, None) => false,
    };
    let differ =
        |is_other: fn(i64, i64) -> bool| stored(is_other) || is_other(shown.awake, counts.awake);
    let is_new = shown.stored.is_none() && counts.stored.is_some();
    is_new || ago >= EVERY && differ(is_far) || ago >= AFTER_ALL && differ(|old, new| old != new)
}

/// Whether a number is more than 5 %, and more than 10, away from another, or there is something where there was nothing.
fn is_far(old: i64, new: i64) -> bool {
    let apart = old.abs_diff(new);
    (old == 0) != (new == 0) || apart > 10 && apart.saturating_mul(20) > old.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(awake: i64, stored: Option<i64>) -> WorkerCounts {
        WorkerCounts { awake, stored }
    }

    #[test]
    fn numbers_follow_when_they_are_far_off_and_otherwise_now_and_then() {
        let old = shown(1000, Some(1000));
        let due = |new: WorkerCounts, seconds: u64| {
            is_due(Some(&old), &new, Duration::from_secs(seconds))
        };
        assert!(is_due(None, &old, Duration::ZERO));
        assert!(due(shown(1051, Some(1000)), 30) && due(shown(1000, Some(949)), 30));
        assert!(
            !due(shown(1051, Some(1000)), 29),
            "one write in half a minute"
        );
        assert!(!due(shown(1050, Some(950)), 599) && due(shown(1050, Some(950)), 600));
        assert!(due(shown(0, Some(1000)), 30));
        assert!(!due(old.clone(), 9999) && !due(shown(1000, None), 9999));
        let few = |new: WorkerCounts, seconds: u64| {
            is_due(Some(&shown(3, Some(0))), &new, Duration::from_secs(seconds))
        };
        assert!(!few(shown(13, Some(0)), 30) && few(shown(14, Some(0)), 30));
        assert!(few(shown(3, Some(1)), 30) && few(shown(4, Some(0)), 600));
        assert!(is_due(
            Some(&shown(0, None)),
            &shown(0, Some(0)),
            Duration::ZERO
        ));
    }

    /// A status is a write, and each has the class looked at again.
    #[test]
    fn restless_workers_cause_few_writes() {
        let key = ClassKey {
            namespace: "team-a".to_owned(),
            name: "chat".to_owned(),
        };
        let begin = Instant::now();
        let writes = |awake: fn(u64) -> i64| {
            let samples = Samples::default();
            let news = (0..3600).step_by(5).filter(|second| {
                let sample = Sample {
                    workers: Some(shown(awake(*second), Some(100))),
                    serving: 1,
                };
                samples.show(&key, sample, begin + Duration::from_secs(*second))
            });
            news.count()
        };
        let few = writes(|second| 5 + i64::from(second % 2 == 0));
        assert!(few <= 7, "{few}");
        let many = writes(|second| if second % 10 == 0 { 1000 } else { 2000 });
        assert!((2..=121).contains(&many), "{many}");
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
        assert_eq!(
            sample(answers.into_iter()),
            Sample {
                workers: Some(shown(11, Some(91))),
                serving: 2
            }
        );
    }

    #[test]
    fn the_active_pod_with_the_highest_term_counts() {
        let answers = [
            answer(State::Active, 3, 5),
            answer(State::Active, 4, 6),
            answer(State::Standby, 9, 7),
        ];
        let alone = Sample {
            workers: Some(shown(6, None)),
            serving: 1,
        };
        assert_eq!(sample(answers.into_iter()), alone);
        let nobody = Sample {
            workers: None,
            serving: 0,
        };
        let draining = sample([answer(State::Draining, 1, 1)].into_iter());
        assert_eq!(draining, nobody);
        // Who serves is news at once, what is not known any more stays.
        let since = Instant::now();
        let before = next(None, alone.clone(), since);
        let after = |new| next(Some(&before), new, since + EVERY).sample;
        assert_eq!(after(nobody).workers, alone.workers);
        assert_eq!(after(draining).serving, 0);
    }

    #[test]
    fn pods_are_asked_more_often_after_changes() {
        let key = ClassKey {
            namespace: "team-a".to_owned(),
            name: "chat".to_owned(),
        };
        let begin = Instant::now();
        let mut turns = Turns::default();
        let mut is_asked = |uids: &[&str], second: u64| {
            let pod = |uid: &&str| {
                let mut pod = Pod::default();
                pod.metadata.uid = Some((*uid).to_owned());
                Arc::new(pod)
            };
            let pods = uids.iter().map(pod).collect();
            let mut classes = HashMap::from([(key.clone(), pods)]);
            turns.choose(&mut classes, begin + Duration::from_secs(second));
            !classes.is_empty()
        };
        let asked: Vec<u64> = (0..=100)
            .step_by(5)
            .filter(|second| is_asked(&["a"], *second))
            .collect();
        assert_eq!(asked, [0, 5, 10, 15, 20, 25, 55, 85]);
        assert!(is_asked(&["a", "b"], 105) && is_asked(&["a", "b"], 110));
    }
}
