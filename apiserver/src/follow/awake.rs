//! Puts together what the pods of a class tell, each in its own order: a worker that has left one pod may be told of by the next
//! one first.

use std::collections::HashMap;
use std::sync::Arc;

use portside_manage::{Before, State, Worker};

use super::ring::{Was, What};
use crate::known::Pod;

/// The workers of a class of which a pod has told that they woke there.
#[derive(Debug, Default)]
pub(super) struct Awake(HashMap<String, (Arc<Pod>, Arc<Worker>)>);

impl Awake {
    /// What has happened, by what a pod tells.
    pub(super) fn told(
        &mut self,
        pod: &Arc<Pod>,
        before: Before,
        worker: Worker,
        gone: bool,
    ) -> What {
        let told = match before {
            Before::Absent => Was::Absent,
            Before::Asleep => Was::Asleep,
            Before::Awake => Was::Awake(Some(pod.name.clone())),
        };
        let worker = Arc::new(worker);
        if worker.state == State::Awake && !gone {
            let here = (Arc::clone(pod), Arc::clone(&worker));
            let was = match self.0.insert(worker.id.clone(), here) {
                Some((other, _)) => Was::Awake(Some(other.name.clone())),
                None => told,
            };
            return What::Change { was, worker, gone };
        }
        if let Some((other, known)) = self.0.get(&worker.id)
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
        self.0.remove(&worker.id);
        What::Change {
            was: told,
            worker,
            gone,
        }
    }

    /// A pod is not followed any more.
    pub(super) fn forget(&mut self, pod: &Pod) {
        self.0.retain(|_, (other, _)| other.uid != pod.uid);
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

    fn seen(what: What) -> (Was, Option<String>, bool) {
        match what {
            What::Change { was, worker, gone } => (was, worker.pod.clone(), gone),
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
        assert!(awake.0.is_empty());
    }

    #[test]
    fn what_is_gone_is_told() {
        let a = pod("a");
        let mut awake = Awake::default();
        let (_, _, gone) = seen(awake.told(&a, Before::Asleep, worker(None), true));
        assert!(gone);
        awake.told(&a, Before::Absent, worker(Some(&a)), false);
        awake.forget(&a);
        assert!(awake.0.is_empty());
    }
}
