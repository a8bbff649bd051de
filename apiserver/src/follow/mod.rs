//! What happens to workers, as long as somebody wants to know: it is followed at each pod, and put in one order.
//!
//! Whoever has listed a scope and watches it from the list's number on is told everything that has happened since, each thing
//! once, or that something was missed ([`What::Gap`], [`Expired`]) and they have to list again.

mod awake;
mod held;
mod left_out;
mod lines;
mod pod;
mod ring;
mod scope;

pub use held::Held;
pub use ring::{Expired, Happened, News, Was, What, start_of};
pub use scope::Scope;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portside_manage::{Before, Worker};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::known::{Classes, Known, Pod};
use crate::metrics::Metrics;
use crate::object::Class;
use crate::pods::Pods;
use crate::status::no_pod;
use awake::Awake;
use left_out::{LeftOut, Why};
use ring::Ring;
use scope::Interests;

/// How long a list waits until its pods are followed.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often it is looked whether anybody still wants to know.
const LOOK: Duration = Duration::from_secs(10);

/// What happens to workers.
pub struct Follows {
    pods: Arc<Pods>,
    known: watch::Receiver<Arc<Classes>>,
    metrics: Metrics,
    state: Mutex<State>,
    /// The number of the last event, for those who wait for the next.
    last: watch::Sender<u64>,
    /// Counts, for those who wait until pods are followed.
    settled: watch::Sender<u64>,
    /// A pod is heard of whose class may have been left out by lists.
    heard: Notify,
}

struct State {
    ring: Ring,
    interests: Interests,
    /// By their uids.
    classes: HashMap<Uuid, Followed>,
    left_out: LeftOut,
}

/// A class whose pods are followed.
struct Followed {
    class: Arc<Class>,
    awake: Awake,
    /// By their uids.
    pods: HashMap<String, Follow>,
}

/// A pod that is followed, or is to be.
struct Follow {
    pod: Arc<Pod>,
    task: AbortHandle,
    /// It was tried.
    tried: bool,
    /// What happens there is told now.
    begun: bool,
    /// It has been told before.
    told: bool,
    /// It has ended in order, and told of all of its workers.
    ended: bool,
    /// Somebody has looked before this pod was followed.
    owed: bool,
}

impl Follows {
    /// Nothing is followed yet. `start_ms` is the time at which this process began.
    #[must_use]
    pub fn new(
        pods: Arc<Pods>,
        known: watch::Receiver<Arc<Classes>>,
        metrics: Metrics,
        start_ms: u64,
    ) -> Arc<Self> {
        let ring = Ring::new(start_ms);
        Arc::new(Self {
            pods,
            known,
            metrics,
            last: watch::Sender::new(ring.last()),
            settled: watch::Sender::new(0),
            heard: Notify::new(),
            state: Mutex::new(State {
                ring,
                interests: Interests::default(),
                classes: HashMap::new(),
                left_out: LeftOut::new(),
            }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what is followed as classes and pods are. Does not end.
    pub async fn run(self: Arc<Self>) {
        tokio::select! {
            () = self.keep_up() => {}
            () = self.ask_left_out() => {}
        }
    }

    async fn keep_up(self: &Arc<Self>) {
        let mut known = self.known.clone();
        loop {
            let classes = known.borrow_and_update().clone();
            self.keep(&classes);
            tokio::select! {
                changed = known.changed() => if changed.is_err() { return },
                () = sleep(LOOK) => {}
            }
        }
    }

    fn keep(self: &Arc<Self>, classes: &Classes) {
        self.pods.keep(classes);
        let mut state = self.lock();
        state.interests.lapse();
        self.arrange(&mut state, classes, true);
    }

    /// Follows a scope from now on, and for some minutes. Returns the number of the last event before what is looked at now.
    pub async fn begin(self: &Arc<Self>, scope: &Scope) -> u64 {
        self.mark(scope);
        // Pods that do not answer keep nobody waiting for long.
        let mut settled = self.settled.subscribe();
        let all_tried = async {
            while self.waits_for_pods(scope) {
                if settled.changed().await.is_err() {
                    return;
                }
            }
        };
        let _ = timeout(PATIENCE, all_tried).await;
        let mut state = self.lock();
        let in_scope = state.classes.values_mut().filter(|it| scope.has(&it.class));
        for follow in in_scope.flat_map(|it| it.pods.values_mut()) {
            follow.owed = true;
        }
        state.ring.last()
    }

    /// Somebody wants to know what happens in a scope.
    fn mark(self: &Arc<Self>, scope: &Scope) {
        let classes = self.known.borrow().clone();
        let mut state = self.lock();
        let State {
            ring, interests, ..
        } = &mut *state;
        let late = interests.since(scope).is_some();
        interests.mark(scope, || ring.begin());
        self.arrange(&mut state, &classes, late);
    }

    fn waits_for_pods(&self, scope: &Scope) -> bool {
        let state = self.lock();
        let mut in_scope = state.classes.values().filter(|it| scope.has(&it.class));
        in_scope.any(|it| it.pods.values().any(|pod| !pod.tried))
    }

    /// Reads a `resourceVersion` after which everything in a scope is known.
    ///
    /// # Errors
    ///
    /// Not everything is.
    pub fn version(&self, scope: &Scope, text: &str) -> Result<u64, Expired> {
        let state = self.lock();
        let version = state.ring.parse(text)?;
        let since = state.interests.since(scope).ok_or(Expired)?;
        if version < since {
            return Err(Expired);
        }
        let after = state.ring.after(version, 1, |it| scope.has(it));
        after.map(|_| version)
    }

    /// Whether a `resourceVersion` is of this process.
    pub fn counts(&self, version: u64) -> bool {
        self.lock().ring.counts(version)
    }

    /// The time at which this process started, in milliseconds.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.lock().ring.start()
    }

    /// At most `limit` events of a scope after one.
    ///
    /// # Errors
    ///
    /// Some of them are not known any more.
    pub fn after(&self, scope: &Scope, version: u64, limit: usize) -> Result<News, Expired> {
        self.lock().ring.after(version, limit, |it| scope.has(it))
    }

    /// The number of the last event, as it grows.
    #[must_use]
    pub fn last(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }

    /// Begins and ends to follow. `late`: whether somebody may have looked before.
    fn arrange(self: &Arc<Self>, state: &mut State, classes: &Classes, late: bool) {
        let State {
            ring,
            interests,
            classes: followed,
            left_out,
        } = state;
        let known: HashMap<Uuid, &Known> = classes.of(None).map(|it| (it.class.uid, it)).collect();
        followed.retain(|uid, it| {
            let is_there = known.contains_key(uid);
            if !is_there {
                ring.push(&it.class, What::Gap);
            }
            let stays = is_there && interests.have(&it.class);
            if !stays {
                it.pods.values().for_each(|pod| pod.task.abort());
            }
            stays
        });
        for (uid, known) in known {
            if !interests.have(&known.class) {
                continue;
            }
            let is_new = !followed.contains_key(&uid);
            if is_new && late {
                let new = (Arc::clone(&known.class), Why::New);
                left_out.entry(uid).or_insert(new);
            }
            let it = followed.entry(uid).or_insert_with(|| Followed {
                class: Arc::clone(&known.class),
                awake: Awake::default(),
                pods: HashMap::new(),
            });
            if it.leave(&known.pods) {
                ring.push(&it.class, What::Gap);
                self.metrics.missed();
            }
            for pod in &known.pods {
                if !it.pods.contains_key(&pod.uid) {
                    let follow = self.follow(&known.class, pod, late || !is_new);
                    it.pods.insert(pod.uid.clone(), follow);
                }
            }
        }
        let pods = followed.values().map(|it| it.pods.len()).sum();
        self.metrics.followed(pods);
        self.publish(ring);
    }

    /// Wakes those who wait.
    fn publish(&self, ring: &Ring) {
        let last = ring.last();
        self.last
            .send_if_modified(|it| std::mem::replace(it, last) != last);
        self.settled.send_modify(|it| *it += 1);
    }

    /// What to say of classes in a scope of which some pods, or all, are not heard of.
    #[must_use]
    pub fn silent(&self, scope: &Scope) -> Vec<String> {
        let state = self.lock();
        let in_scope = state.classes.values().filter(|it| scope.has(&it.class));
        let mut all: Vec<String> = in_scope.flat_map(Followed::silent).collect();
        all.sort();
        all
    }

    fn follow(self: &Arc<Self>, class: &Arc<Class>, pod: &Arc<Pod>, owed: bool) -> Follow {
        let following = pod::follow(Arc::clone(self), Arc::clone(class), Arc::clone(pod));
        Follow {
            pod: Arc::clone(pod),
            task: tokio::spawn(following).abort_handle(),
            tried: false,
            begun: false,
            told: false,
            ended: false,
            owed,
        }
    }

    /// Changes what is known of a pod, if it is still followed.
    fn change<T>(
        &self,
        class: &Class,
        pod: &Pod,
        change: impl FnOnce(&mut Follow, &mut Awake, &mut Ring) -> T,
    ) -> Option<T> {
        let mut state = self.lock();
        let State { ring, classes, .. } = &mut *state;
        let followed = classes.get_mut(&class.uid)?;
        let follow = followed.pods.get_mut(&pod.uid)?;
        if follow.pod.address != pod.address {
            return None; // It is followed elsewhere by now.
        }
        let changed = change(follow, &mut followed.awake, ring);
        self.publish(ring);
        Some(changed)
    }

    /// A pod was tried, and is not followed now.
    fn tried(&self, class: &Class, pod: &Pod) {
        self.change(class, pod, |follow, _, _| {
            (follow.tried, follow.begun) = (true, false);
        });
    }

    /// What happens at a pod is told from now on. Whether somebody has looked before.
    fn begun(&self, class: &Class, pod: &Pod) -> bool {
        let owed = self.change(class, pod, |follow, _, _| {
            (follow.tried, follow.begun, follow.told) = (true, true, true);
            std::mem::replace(&mut follow.owed, true)
        });
        self.is_heard(class);
        owed.unwrap_or_default()
    }

    /// What happens at a pod is told again, and nothing was missed.
    fn resumed(&self, class: &Class, pod: &Pod) {
        self.change(class, pod, |follow, _, _| follow.begun = true);
        self.is_heard(class);
    }

    /// A pod has ended in order.
    fn ended(&self, class: &Class, pod: &Pod) {
        self.change(class, pod, |follow, awake, _| {
            follow.ended = true;
            awake.forget(pod);
        });
    }

    /// Something was missed at a pod. Whoever has looked before has to look anew.
    fn missed(&self, class: &Arc<Class>, pod: &Pod) {
        self.metrics.missed();
        self.change(class, pod, |follow, awake, ring| {
            follow.owed = false;
            awake.forget(pod);
            ring.push(class, What::Gap);
        });
    }

    /// A pod is tried again at once; lists wait for that.
    fn untried(&self, class: &Class, pod: &Pod) {
        self.change(class, pod, |follow, _, _| {
            (follow.tried, follow.begun) = (false, false);
        });
    }

    /// A worker changed. Whether that can be.
    fn told(
        &self,
        class: &Arc<Class>,
        pod: &Arc<Pod>,
        (before, worker, gone): (Before, Worker, bool),
    ) -> bool {
        if !worker.can_be() {
            return false;
        }
        self.metrics.happened();
        let told = self.change(class, pod, |follow, awake, ring| {
            follow.ended = false;
            let what = awake.told(pod, before, worker, gone);
            let what = what.map(|it| ring.push(class, it));
            what.is_some()
        });
        told.unwrap_or(true)
    }
}

impl Followed {
    fn silent(&self) -> Vec<String> {
        let Class {
            namespace, name, ..
        } = &*self.class;
        if !self.pods.values().any(|it| it.begun) {
            return vec![no_pod(namespace, name)];
        }
        let silent = self.pods.values().filter(|it| !it.begun && !it.ended);
        let text = |it: &Follow| {
            let pod = &it.pod.name;
            format!(
                "pod {namespace}/{pod} of class {name} does not answer: workers that are awake there are shown as asleep, or not at all"
            )
        };
        silent.map(text).collect()
    }

    /// Forgets pods that are gone, or are elsewhere now. Whether that leaves something untold.
    fn leave(&mut self, there: &[Arc<Pod>]) -> bool {
        let mut untold = false;
        let awake = &mut self.awake;
        self.pods.retain(|uid, follow| {
            let here = |it: &Arc<Pod>| it.uid == *uid && it.address == follow.pod.address;
            let is_there = there.iter().any(here);
            if !is_there {
                follow.task.abort();
                awake.forget(&follow.pod);
                untold |= !follow.ended && (follow.told || follow.owed);
            }
            is_there
        });
        untold
    }
}
