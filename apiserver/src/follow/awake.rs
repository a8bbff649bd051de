//! Puts together what the pods of a class tell, each in its own order: a worker that has left one pod may be told of by the next
//! one first.

use std::collections::HashMap;
use std::sync::Arc;

use portside_manage::{Before, State, Worker};

use super::ring::{Was, What};
use crate::known::Pod;

/// What the workers that are awake in one pod may take: some hundred thousand. A pod that tells of more makes them up.
const MOST: usize = 64 << 20;
/// What one takes beside its texts.
const EACH: usize = size_of::<Worker>() + 128;

/// The workers of a class of which a pod has told that they woke there.
#[derive(Debug, Default)]
pub(super) struct Awake {
    workers: HashMap<String, (Arc<Pod>, Arc<Worker>)>,
    /// What those of each pod take, by its uid.
    taken: HashMap<String, usize>,
}

impl Awake {
    /// What has happened, by what a pod tells; nothing if it tells of more workers than can be awake in it.
    pub(super) fn told(
        &mut self,
        pod: &Arc<Pod>,
        before: Before,
        worker: Worker,
        gone: bool,
    ) -> Option<What> {
        let taken = self.taken.get(&pod.uid).copied().unwrap_or_default();
        let wakes = worker.state == State::Awake && !gone;
        if wakes && taken + EACH + worker.text() > MOST {
            return None;
        }
        Some(self.happened(pod, before, worker, gone))
    }

    fn happened(&mut self, pod: &Arc<Pod>, before: Before, worker: Worker, gone: bool) -> What {
        let told = match before {
            Before::Absent => Was::Absent,
            Before::Asleep => Was::Asleep,
            Before::Awake => Was::Awake(Some(pod.name.clone())),
        };
        let worker = Arc::new(worker);
        if worker.state == State::Awake && !gone {
            let here = (Arc::clone(pod), Arc::clone(&worker));
            let other = self.remove(&worker.id);
            let was = other.map_or(told, |it| Was::Awake(Some(it.name.clone())));
            *self.taken.entry(pod.uid.clone()).or_default() += EACH + worker.text();
            self.workers.insert(worker.id.clone(), here);
            return What::Change { was, worker, gone };
        }
        if let Some((other, known)) = self.workers.get(&worker.id)
            && other.uid != pod.uid
        {
            // It woke elsewhere meanwhile, and that has been told.
            let worker = Arc::clone(known);
            let gone = false;
            return What::Change {
                was: told,
                worker,
                gone,
            };
        }
        self.remove(&worker.id);
        What::Change {
            was: told,
            worker,
            gone,
        }
    }

    /// Forgets a worker; returns the pod in which it was awake.
    fn remove(&mut self, id: &str) -> Option<Arc<Pod>> {
        let (pod, worker) = self.workers.remove(id)?;
        if let Some(taken) = self.taken.get_mut(&pod.uid) {
            *taken = taken.saturating_sub(EACH + worker.text());
        }
        Some(pod)
    }

    /// A pod is not followed any more.
    pub(super) fn forget(&mut self, pod: &Pod) {
        self.workers.retain(|_, (other, _)| other.uid != pod.uid);
        self.taken.remove(&pod.uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn pod(name: &str) -> Arc<Pod> {
        Arc::new(Pod {
            namespace: "ns".into(),
            name: name.into(),
            uid: format!("uid-{name}"),
            address: ([127, 0, 0, 1], 1).into(),
            ready: true,
        })
    }

    fn worker(pod: Option<&Arc<Pod>>) -> Worker {
        Worker {
            state: pod.map_or(State::Asleep, |_| State::Awake),
            pod: pod.map(|it| it.name.clone()),
            ..sample::worker()
        }
    }

    fn seen(what: Option<What>) -> (Was, Option<String>, bool) {
        match what {
            Some(What::Change { was, worker, gone }) => (was, worker.pod.clone(), gone),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_worker_that_moves_is_awake_where_it_woke_last() {
        let (a, b) = (pod("a"), pod("b"));
        let mut awake = Awake::default();
        let woke = awake.told(&a, Before::Asleep, worker(Some(&a)), false);
        assert_eq!(seen(woke), (Was::Asleep, Some("a".into()), false));
        // The second pod is heard before the first.
        let moved = awake.told(&b, Before::Asleep, worker(Some(&b)), false);
        let was_a = Was::Awake(Some("a".into()));
        assert_eq!(seen(moved), (was_a.clone(), Some("b".into()), false));
        let late = awake.told(&a, Before::Awake, worker(None), false);
        assert_eq!(seen(late), (was_a, Some("b".into()), false));
        let slept = awake.told(&b, Before::Awake, worker(None), false);
        let was_b = Was::Awake(Some("b".into()));
        assert_eq!(seen(slept), (was_b, None, false));
        assert!(awake.workers.is_empty());
        assert!(awake.taken.values().all(|it| *it == 0));
    }

    #[test]
    fn what_is_gone_is_told() {
        let a = pod("a");
        let mut awake = Awake::default();
        let (_, _, gone) = seen(awake.told(&a, Before::Asleep, worker(None), true));
        assert!(gone);
        awake.told(&a, Before::Absent, worker(Some(&a)), false);
        awake.forget(&a);
        assert!(awake.workers.is_empty() && awake.taken.is_empty());
    }

    #[test]
    fn a_pod_that_makes_workers_up_fills_its_own_share() {
        let (a, b) = (pod("a"), pod("b"));
        let mut awake = Awake::default();
        let mut tell = |pod: &Arc<Pod>, number: usize| {
            let mut worker = worker(Some(pod));
            worker.id = format!("{number:032x}");
            worker.address = "a".repeat(Worker::MOST_TEXT / 2);
            awake.told(pod, Before::Absent, worker, false).is_some()
        };
        let most = MOST / (Worker::MOST_TEXT / 2);
        let taken = (0..most * 2).filter(|it| tell(&a, *it)).count();
        assert!((most / 2..most).contains(&taken), "{taken}");
        assert!(tell(&b, 0), "those of another pod are its own");
        assert!(tell(&a, most * 2), "one has left");
        awake.forget(&a);
        assert!(
            awake
                .told(&a, Before::Absent, worker(Some(&a)), false)
                .is_some()
        );
    }
}
