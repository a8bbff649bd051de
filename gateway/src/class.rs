//! One class: its pods, which of them get requests, and the requests that wait until one does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portside_core::ids::PodId;
use portside_core::ownership::gateway::{self, Claim, Gateway, Incarnation, SERVING, Step};
use portside_crds::routes::ClassKey;
use portside_crds::sidecar::State as PodState;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::affinity::{Affinity, Path};
use crate::metrics::{Counted, Metrics};
use crate::pod::{InFlight, Kind, Pod};
use crate::poll;
use crate::pool::Pool;
use crate::refusal::Refusal;
use crate::share::{Share, is_fair};
use crate::topology::{ClassFacts, Endpoint, Stopped};

/// Requests of one class that may wait at once. Fewer when others wait, too, so that classes without a pod cannot take
/// everybody's places: for each that a class takes, some are left to all others.
pub const MAX_HELD_PER_CLASS: usize = 1024;
/// Requests of all classes together that may wait at once.
pub const MAX_HELD: usize = 8 * MAX_HELD_PER_CLASS;

/// WebSockets of a class that are opened again at once.
pub(crate) const REOPENING: usize = 512;

/// A class with a route.
pub(crate) struct Class {
    pub(crate) key: ClassKey,
    pub(crate) uid: String,
    /// What its requests may keep of their bodies.
    pub(crate) replays: Arc<Share>,
    reopening: Semaphore,
    state: Mutex<State>,
}

struct State {
    admission: Result<(), Refusal>,
    request_timeout: Duration,
    /// From when the time counts by which leases are judged.
    since: Instant,
    ownership: Gateway<Endpoint>,
    members: BTreeMap<Endpoint, Member>,
    affinity: Affinity,
    /// By ticket: who came first leaves first.
    waiting: BTreeMap<u64, Waiting>,
    tickets: u64,
}

struct Waiting {
    wish: Wish,
    answer: oneshot::Sender<Result<Target, Refusal>>,
}

/// What a request would have of a pod.
#[derive(Clone)]
pub(crate) struct Wish {
    pub(crate) path: Path,
    pub(crate) kind: Kind,
    /// Where it has failed; it goes there only if there is no other.
    pub(crate) avoided: Vec<Endpoint>,
}

impl Wish {
    /// It has failed there. Once it is sent to a pod again, all others have been tried, too.
    pub(crate) fn avoid(&mut self, pod: &Endpoint) {
        if self.avoided.contains(pod) {
            self.avoided.clear();
        }
        self.avoided.push(pod.clone());
    }
}

struct Member {
    pod: Arc<Pod>,
    /// Cancelled when another pod takes over without this one having let go.
    overtaken: CancellationToken,
    /// Ends the questions to the pod.
    _questions: DropGuard,
}

/// Where to send a request.
pub(crate) struct Target {
    pub(crate) pod: Arc<Pod>,
    /// The term for which the pod is active, or [`SERVING`].
    pub(crate) term: u64,
    /// To be kept until the response has ended.
    pub(crate) in_flight: InFlight,
    /// Cancelled when nothing of this pod's may reach a client any more.
    pub(crate) overtaken: CancellationToken,
    /// How long the pod may take to begin a response.
    pub(crate) timeout: Duration,
}

/// What all waiting requests share.
pub(crate) struct Hold {
    slots: Semaphore,
    metrics: Metrics,
    /// The gateway ends: waiting is over.
    closing: CancellationToken,
}

impl Hold {
    pub(crate) fn new(metrics: Metrics, closing: CancellationToken) -> Self {
        Self {
            slots: Semaphore::new(MAX_HELD),
            metrics,
            closing,
        }
    }
}

impl Class {
    pub(crate) fn new(key: ClassKey, uid: String, replays: Arc<Share>) -> Self {
        Self {
            key,
            uid,
            replays,
            reopening: Semaphore::new(REOPENING),
            state: Mutex::new(State {
                admission: Ok(()),
                request_timeout: Duration::ZERO,
                since: Instant::now(),
                ownership: Gateway::default(),
                members: BTreeMap::new(),
                affinity: Affinity::default(),
                waiting: BTreeMap::new(),
                tickets: 0,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = u64::try_from(state.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        state.ownership.set_time(now);
        state
    }

    /// Takes what the cluster says of it now, and asks new pods what they are.
    pub(crate) fn update(self: &Arc<Self>, facts: &ClassFacts, metrics: &Metrics) {
        let mut state = self.state();
        state.request_timeout = facts.request_timeout;
        let step = state.ownership.set_pods(&facts.endpoints);
        state.follow(&step);
        state
            .members
            .retain(|endpoint, _| facts.endpoints.contains(endpoint));
        for endpoint in &facts.endpoints {
            if !state.members.contains_key(endpoint) {
                let member = self.join(endpoint, metrics);
                state.members.insert(endpoint.clone(), member);
            }
        }
        match facts.stopped {
            Some(Stopped::Suspended) => state.refuse(Refusal::Suspended),
            Some(Stopped::ScaledToZero) => state.refuse(Refusal::ScaledToZero),
            None => {
                state.admission = Ok(());
                state.release();
            }
        }
    }

    /// It is no more, or has no route any more.
    pub(crate) fn end(&self) {
        let mut state = self.state();
        state.members.clear();
        state.refuse(Refusal::NoRoute);
    }

    fn join(self: &Arc<Self>, endpoint: &Endpoint, metrics: &Metrics) -> Member {
        let pod = Arc::new(Pod::new(endpoint.clone(), metrics));
        let admin = Arc::new(Pool::new(endpoint.admin, &metrics.connections));
        let questions = CancellationToken::new();
        let asking = poll::run(Arc::clone(self), Arc::clone(&pod), admin);
        tokio::spawn(questions.clone().run_until_cancelled_owned(asking));
        Member {
            pod,
            overtaken: CancellationToken::new(),
            _questions: questions.drop_guard(),
        }
    }

    /// A pod said what it is.
    pub(crate) fn heard(
        &self,
        endpoint: &Endpoint,
        incarnation: Option<Incarnation>,
        claim: Claim,
    ) {
        let mut state = self.state();
        let before = state.in_charge();
        let falls = state.ownership.falls();
        let step = state.ownership.heard(endpoint, incarnation, claim);
        if state.ownership.falls() > falls {
            tracing::warn!(class = %self.key, pod = endpoint.pod, ?claim, "a lower term: an older database was restored");
        }
        state.follow(&step);
        if claim == Claim::Draining
            && let Some(member) = state.members.get(endpoint)
        {
            // It is about to end them, perhaps just when one is used.
            member.pod.http.clear();
        }
        let (active, serving) = state.in_charge();
        if before != (active, serving) {
            tracing::info!(class = %self.key, pod = endpoint.pod, ?claim, active, serving, "ownership");
        }
        state.release();
    }

    /// A pod could not be asked.
    pub(crate) fn lost(&self, endpoint: &Endpoint) {
        let mut state = self.state();
        let step = state.ownership.lost(endpoint);
        state.follow(&step);
        state.release();
    }

    /// A pod answered a request by saying that it has not run it.
    pub(crate) fn refuted(&self, target: &Target, found: PodState) {
        let claim = match found {
            PodState::Draining => Claim::Draining,
            // One that says active and refuses is not to be trusted either.
            PodState::Standby | PodState::Active | PodState::Serving => Claim::Standby,
        };
        let endpoint = &target.pod.endpoint;
        let mut state = self.state();
        state.ownership.refuted(endpoint, target.term, claim);
        state.release();
        target.pod.doubt();
    }

    /// Whether a request that failed there would be sent there again.
    pub(crate) fn would_repeat(&self, target: &Target) -> bool {
        let state = self.state();
        let endpoint = &target.pod.endpoint;
        state.ownership.is_right(endpoint, target.term)
            && (target.term != SERVING || state.ownership.serving() == 1)
    }

    /// What a request for `path` would have, before it was sent anywhere.
    pub(crate) fn wish(&self, path: &str, kind: Kind) -> Wish {
        Wish {
            path: self.state().affinity.path(path),
            kind,
            avoided: Vec::new(),
        }
    }

    /// A request has used what `owner` owns.
    pub(crate) fn learn(&self, path: Path, owner: PodId) {
        self.state().affinity.learn(path, owner);
    }

    /// Whether there is a pod that answers requests now.
    pub(crate) fn is_served(&self) -> bool {
        let (active, serving) = self.state().in_charge();
        active.is_some() || serving > 0
    }

    /// Waits for one of the places of WebSockets that are opened again.
    pub(crate) async fn reopens(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.reopening.acquire().await.ok()
    }

    /// A place in the order in which requests leave, kept however often one has to wait.
    pub(crate) fn ticket(&self) -> u64 {
        let mut state = self.state();
        state.tickets += 1;
        state.tickets
    }

    /// A pod that answers requests, at once or as soon as there is one.
    ///
    /// # Errors
    /// There is none until `deadline`, there will be none, or too many wait already.
    pub(crate) async fn target(
        &self,
        ticket: u64,
        wish: &Wish,
        deadline: Instant,
        hold: &Hold,
    ) -> Result<Target, Refusal> {
        let answer = match self.wait(ticket, wish, hold.slots.available_permits())? {
            Admitted::At(target) => return Ok(target),
            Admitted::Later(answer) => answer,
        };
        let _slot = hold.slots.try_acquire().map_err(|_| Refusal::Overloaded)?;
        let _held = Counted::new(&hold.metrics.held);
        let since = Instant::now();
        let answer = tokio::select! {
            answer = answer => answer.unwrap_or(Err(Refusal::NoRoute)),
            () = sleep_until(deadline) => Err(Refusal::Starting),
            () = hold.closing.cancelled() => Err(Refusal::Starting),
        };
        hold.metrics.waited(since.elapsed());
        answer
    }

    /// `left` are the places for requests of all classes.
    fn wait(&self, ticket: u64, wish: &Wish, left: usize) -> Result<Admitted, Refusal> {
        let mut state = self.state();
        state.admission?;
        if let Some(target) = state.target(wish) {
            return Ok(Admitted::At(target));
        }
        let is_full = |waiting: usize| {
            waiting >= MAX_HELD_PER_CLASS || !is_fair(waiting + 1, left.saturating_sub(1))
        };
        if is_full(state.waiting.len()) {
            state.waiting.retain(|_, it| !it.answer.is_closed());
            if is_full(state.waiting.len()) {
                return Err(Refusal::Overloaded);
            }
        }
        let (sender, answer) = oneshot::channel();
        let waiting = Waiting {
            wish: wish.clone(),
            answer: sender,
        };
        state.waiting.insert(ticket, waiting);
        Ok(Admitted::Later(answer))
    }
}

enum Admitted {
    At(Target),
    Later(oneshot::Receiver<Result<Target, Refusal>>),
}

impl State {
    /// The active pod's term, and how many pods serve beside each other.
    fn in_charge(&self) -> (Option<u64>, usize) {
        let active = self.ownership.active().map(|(_, term)| term);
        (active, self.ownership.serving())
    }

    fn target(&mut self, wish: &Wish) -> Option<Target> {
        let load = |endpoint: &Endpoint| {
            let member = self.members.get(endpoint);
            member.map_or(0, |member| member.pod.load(wish.kind))
        };
        let wished = gateway::Wish {
            owner: self.affinity.owner(wish.path),
            avoided: wish.avoided.clone(),
        };
        let (endpoint, term) = self.ownership.choose(&wished, load, fastrand::u64(..))?;
        let member = self.members.get(endpoint)?;
        Some(Target {
            pod: Arc::clone(&member.pod),
            term,
            in_flight: InFlight::new(&member.pod, wish.kind),
            overtaken: member.overtaken.clone(),
            timeout: self.request_timeout,
        })
    }

    fn follow(&mut self, step: &Step<Endpoint>) {
        for endpoint in &step.cut {
            if let Some(member) = self.members.get_mut(endpoint) {
                std::mem::take(&mut member.overtaken).cancel();
            }
        }
        for endpoint in &step.ask {
            if let Some(member) = self.members.get(endpoint) {
                member.pod.doubt();
            }
        }
    }

    /// Lets all that wait go, if there is a pod for them.
    fn release(&mut self) {
        if self.admission.is_err() {
            return;
        }
        while let Some((ticket, waiting)) = self.waiting.pop_first() {
            let Some(target) = self.target(&waiting.wish) else {
                self.waiting.insert(ticket, waiting);
                return;
            };
            // A client that went away does not take it.
            let _ = waiting.answer.send(Ok(target));
        }
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.admission = Err(refusal);
        for waiting in std::mem::take(&mut self.waiting).into_values() {
            let _ = waiting.answer.send(Err(refusal));
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::share::Room;
    use prometheus_client::registry::Registry;

    fn any(class: &Class) -> Wish {
        class.wish("/", Kind::Request)
    }

    pub(crate) fn class() -> (Arc<Class>, Endpoint, Metrics) {
        let metrics = Metrics::register(&mut Registry::default());
        let key = ClassKey {
            namespace: "shop".into(),
            name: "chat".into(),
        };
        let class = Arc::new(Class::new(key, "1".into(), Room::new(0).share()));
        // Nobody answers there.
        let nowhere = ([127, 0, 0, 1], 1).into();
        let endpoint = Endpoint {
            pod: "a".into(),
            http: nowhere,
            admin: nowhere,
        };
        let facts = ClassFacts {
            uid: "1".into(),
            stopped: None,
            request_timeout: Duration::ZERO,
            endpoints: [endpoint.clone()].into(),
        };
        class.update(&facts, &metrics);
        (class, endpoint, metrics)
    }

    #[tokio::test]
    async fn who_came_first_leaves_first() {
        let (class, endpoint, metrics) = class();
        let hold = Arc::new(Hold::new(metrics.clone(), CancellationToken::new()));
        let tickets: Vec<u64> = (0..4).map(|_| class.ticket()).collect();
        let left = Arc::new(Mutex::new(Vec::new()));
        let waiting: Vec<_> = [2, 0, 3, 1]
            .map(|place: usize| {
                let (class, hold, left) = (class.clone(), hold.clone(), left.clone());
                let ticket = tickets[place];
                tokio::spawn(async move {
                    let deadline = Instant::now() + Duration::from_secs(60);
                    let target = class.target(ticket, &any(&class), deadline, &hold).await;
                    assert_eq!(target.map(|target| target.term), Ok(7));
                    left.lock().unwrap().push(ticket);
                })
            })
            .into();
        while metrics.held.get() < 4 {
            tokio::task::yield_now().await;
        }
        class.heard(&endpoint, None, Claim::Active(7));
        for waiting in waiting {
            waiting.await.unwrap();
        }
        assert_eq!(*left.lock().unwrap(), tickets);
    }

    #[tokio::test]
    async fn only_so_many_wait() {
        let (class, ..) = class();
        let mut waiting: Vec<_> = (0..MAX_HELD_PER_CLASS)
            .map(|_| class.wait(class.ticket(), &any(&class), MAX_HELD))
            .map(|waiting| waiting.ok().unwrap())
            .collect();
        assert!(matches!(
            class.wait(class.ticket(), &any(&class), MAX_HELD),
            Err(Refusal::Overloaded)
        ));
        waiting.pop();
        assert!(
            class.wait(class.ticket(), &any(&class), MAX_HELD).is_ok(),
            "one has gone away"
        );
    }

    #[tokio::test]
    async fn classes_without_a_pod_leave_places_to_others() {
        let (first, _, metrics) = class();
        let hold = Hold::new(metrics, CancellationToken::new());
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut dead = vec![first];
        dead.extend((1..MAX_HELD / MAX_HELD_PER_CLASS).map(|_| class().0));
        let wish = any(&dead[0]);
        let mut waiting = Vec::new();
        for class in dead.iter().cycle().take(MAX_HELD) {
            let mut target = Box::pin(class.target(class.ticket(), &wish, deadline, &hold));
            if target.as_mut().now_or_never().is_none() {
                waiting.push(target);
            }
        }
        assert!(waiting.len() > MAX_HELD / 2);
        let (other, ..) = class();
        let mut target = Box::pin(other.target(other.ticket(), &wish, deadline, &hold));
        assert!(target.as_mut().now_or_never().is_none(), "it may wait");
    }
}
