//! Where links are opened, wherever workers are.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use portside_core::ids::{Epoch, SHARDS, ShardId, WorkerKey};
use portside_wire::connection::OpenError;
use portside_wire::frame::{self, Accepted, Refusal};
use portside_worker::event::Incoming;
use portside_worker::host::Fabric;
use portside_worker::later::{Later, Waiting};
use portside_worker::link::{Failure, Kind, Opening, Receive};
use portside_worker::route::Route;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};

use crate::far_call;
use crate::far_port::FarPort;
use crate::instances::Instances;
use crate::later::{Lines, Turn};
use crate::line::Line;
use crate::near_call::{self, Near};
use crate::near_port::NearPort;
use crate::offers::{Offer, Offers};
use crate::places::{Here, NotHere, Place, Places};

/// How long a link waits for a place that can be reached. Longer than it takes to find a pod dead and to take over what it had.
pub(crate) const PATIENCE: Duration = Duration::from_secs(6);

/// How often it is looked whether one has waited for too long.
const LOOK: Duration = Duration::from_millis(500);

/// Opens links to workers, here or in other pods.
///
/// Links that are opened to the same worker one after the other are opened there in that order, and each is taken once or
/// not at all. A port follows its worker when that moves in order.
pub struct Router {
    itself: Weak<Self>,
    here: Arc<dyn Here>,
    places: Arc<dyn Places>,
    lines: Mutex<Lines>,
    offers: Mutex<Offers>,
    instances: Arc<Instances>,
    /// Somebody may be reached who could not be before.
    look: Notify,
    /// Counts how often that was done.
    looks: watch::Sender<u64>,
    opened: [AtomicU64; 2],
    spawner: Handle,
}

/// Where the target of a link was when the link was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// In the pod that opened the link.
    Here,
    /// In another one.
    Elsewhere,
}

impl Router {
    /// A router for a pod whose own workers `here` reaches. Needs a tokio runtime.
    #[must_use]
    pub fn new(here: Arc<dyn Here>, places: Arc<dyn Places>) -> Arc<Self> {
        let router = Arc::new_cyclic(|itself: &Weak<Self>| Self {
            itself: itself.clone(),
            here,
            places,
            lines: Mutex::default(),
            offers: Mutex::default(),
            instances: Arc::default(),
            look: Notify::new(),
            looks: watch::Sender::new(0),
            opened: Default::default(),
            spawner: Handle::current(),
        });
        tokio::spawn(open_what_waits(Arc::downgrade(&router)));
        router
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many links this pod has opened whose target was there. One that was opened again, because its target had moved, counts
    /// again; what other pods have opened to workers here does not count.
    #[must_use]
    pub fn count_opened(&self, target: Target) -> u64 {
        self.opened[target as usize].load(Ordering::Relaxed)
    }

    fn opened(&self, target: Target) {
        self.opened[target as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.spawner.spawn(task);
    }

    pub(crate) fn misdirected(&self, shard: ShardId, epoch: Epoch) {
        self.places.misdirected(shard, epoch);
    }

    fn lock_offers(&self) -> MutexGuard<'_, Offers> {
        self.offers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call is offered to another pod.
    pub(crate) fn offers(&self, turn: Turn, to: &Arc<Line>) {
        self.lock().offers(turn, to);
    }

    /// It has taken or refused it.
    pub(crate) fn settled(&self, turn: Turn) {
        if self.lock().settled(turn) {
            self.look.notify_one();
        }
    }

    /// Opens a link that a worker takes along, which leaves this pod and has heard nothing of it: before all that wait for the
    /// worker's shard, where that is then. It is not opened before [`Router::look`] is called.
    pub fn open_along(&self, to: &WorkerKey, opening: Opening) -> Arc<dyn Receive> {
        let later = Arc::<Later>::default();
        let waiting = Waiting::new(to, opening, later.clone());
        let mut lines = self.lock();
        let turn = lines.turn_along(to.id().shard(SHARDS), Instant::now() + PATIENCE);
        lines.push(turn, waiting);
        later
    }

    /// Has it looked who can be reached.
    pub fn look(&self) {
        self.look.notify_one();
    }

    /// Returns when nothing is left that others wait for, for a pod that has given everything away: what its workers took along
    /// has arrived, and every link that other pods have opened is taken or refused.
    pub async fn nobody_waits(&self) {
        let mut looks = self.looks.subscribe();
        self.look();
        while self.lock().takes_some_along() || !self.lock_offers().is_empty() {
            // The sender is ours.
            let _ = looks.changed().await;
        }
    }

    /// Opens a link where its target is now, or as soon as that can be reached.
    fn open_link(&self, to: &WorkerKey, opening: Opening) -> Option<Arc<dyn Receive>> {
        let shard = to.id().shard(SHARDS);
        let place = self.places.place(shard);
        let (turn, is_free, is_full) = {
            let mut lines = self.lock();
            let turn = lines.next_turn(shard, Instant::now() + PATIENCE);
            (turn, lines.is_free(shard, &place), lines.is_full())
        };
        let later = Arc::<Later>::default();
        let opening = if is_free {
            match self.try_to_open(place, to, opening, turn, &later) {
                Ok(opened) => return opened,
                Err(opening) => opening,
            }
        } else {
            opening
        };
        if is_full {
            let failure = "too many requests wait for workers that cannot be reached now";
            opening.end.refuse(Failure::overloaded(failure));
            return None;
        }
        self.put_in_line(turn, to, opening, later.clone());
        Some(later)
    }

    /// Opens a link in its turn, when its target can be reached.
    pub(crate) fn put_in_line(
        &self,
        turn: Turn,
        to: &WorkerKey,
        opening: Opening,
        later: Arc<Later>,
    ) {
        self.lock().push(turn, Waiting::new(to, opening, later));
        self.look.notify_one();
    }

    /// Returns who is reached, if it is known who that is.
    ///
    /// # Errors
    /// The target cannot be reached now; the opening comes back.
    fn try_to_open(
        &self,
        place: Place,
        to: &WorkerKey,
        opening: Opening,
        turn: Turn,
        later: &Arc<Later>,
    ) -> Result<Option<Arc<dyn Receive>>, Opening> {
        let at = match place {
            Place::Here => {
                let opened = self.here.open(to, opening)?;
                if opened.is_some() {
                    self.opened(Target::Here);
                }
                return Ok(opened);
            }
            Place::Unknown => return Err(opening),
            Place::At(at) => at,
        };
        if matches!(opening.kind, Kind::Evaluate(_)) {
            // It was asked for where its target was. Other processes may know nothing of its kind.
            let failure = "the worker has moved to another pod: ask again";
            opening.end.refuse(Failure::unavailable(failure));
            return Ok(None);
        }
        let opened: Result<Arc<dyn Receive>, _> = if matches!(opening.kind, Kind::Port) {
            FarPort::open(&at, &self.places, to, turn.shard, opening).map(|port| port as _)
        } else if let Some(router) = self.itself.upgrade() {
            let opened = far_call::open(&at, &router, to, opening, turn, later);
            opened.map(|()| later.clone() as _)
        } else {
            return Err(opening);
        };
        match opened {
            Ok(opened) => {
                self.opened(Target::Elsewhere);
                Ok(Some(opened))
            }
            Err((OpenError::Gone, opening)) => Err(opening),
            Err((error @ OpenError::TooMany { .. }, opening)) => {
                opening.end.refuse(Failure::overloaded(error.to_string()));
                Ok(None)
            }
            Err((error, opening)) => {
                opening.end.refuse(Failure::failed(error.to_string()));
                Ok(None)
            }
        }
    }

    /// Opens all that can be opened now.
    fn open_those_that_wait(&self) {
        let shards = self.lock().those_that_wait();
        for shard in shards {
            loop {
                let first = self.lock().take_first(shard);
                let Some((turn, first)) = first else { break };
                if !self.open_first(turn, first) {
                    break;
                }
            }
        }
    }

    /// Opens the first link that waits for a shard. Returns whether to go on.
    fn open_first(&self, turn: Turn, first: Waiting) -> bool {
        let is_port = first.is_port();
        let Waiting { to, opening, later } = first;
        // Not under the lock: it may be refused at once, and whoever hears that may open another.
        let place = self.places.place(turn.shard);
        match self.try_to_open(place, &to, opening, turn, &later) {
            Ok(opened) => {
                if !opened.as_ref().is_some_and(|it| is(it, &later)) {
                    later.reached_by(is_port, opened);
                }
                true
            }
            Err(opening) if Instant::now() >= turn.until => {
                later.reached(None);
                let failure = "the worker cannot be reached: no pod has it now";
                opening.end.refuse(Failure::unavailable(failure));
                true
            }
            Err(opening) => {
                let waiting = Waiting { to, opening, later };
                self.lock().comes_back(turn, waiting);
                false
            }
        }
    }

    /// Another pod has opened a link to a worker that it believes here: it is taken, or refused; and not before it is known
    /// whether the worker is here.
    pub(crate) fn offered(&self, offer: Offer) {
        let first = self.lock_offers().wait_behind_others(offer);
        let waits = first.and_then(|offer| self.answer(offer));
        if let Some(offer) = waits {
            self.lock_offers().put_first(offer);
            // What it waits for may have come before it did.
            self.look.notify_one();
        }
    }

    /// Answers those that can be answered now.
    fn answer_those_that_wait(&self) {
        let shards = self.lock_offers().shards();
        for shard in shards {
            loop {
                let first = self.lock_offers().take_first(shard);
                let Some(first) = first else { break };
                if let Some(waits) = self.answer(first) {
                    self.lock_offers().put_first(waits);
                    break;
                }
            }
        }
    }

    /// Takes or refuses a link; gives it back while it is not known which.
    fn answer(&self, mut offer: Offer) -> Option<Offer> {
        if offer.is_withdrawn() {
            return None;
        }
        let (shard, asked) = (offer.shard(), offer.opening.epoch);
        let may_wait = Instant::now() < offer.until;
        let epoch = match self.places.owned(shard, asked) {
            Ok(epoch) => epoch,
            Err(NotHere::OnItsWay) if may_wait => return Some(offer),
            // Who is told to look elsewhere comes there after what was taken along.
            Err(NotHere::Elsewhere(..)) if may_wait && self.lock().takes_along(shard) => {
                return Some(offer);
            }
            Err(NotHere::OnItsWay) => {
                let failure = "the worker cannot be reached: it does not come to rest, or its pod is not known";
                offer.refuse(Refusal::Failed(Failure::unavailable(failure)));
                return None;
            }
            Err(NotHere::Elsewhere(owner, epoch)) => {
                offer.refuse(Refusal::NotOwner { owner, epoch });
                return None;
            }
        };
        let reached = offer.opening.reached;
        let reached = reached.and_then(|number| self.instances.fate(number));
        if let Some(failure) = reached.as_ref().and_then(|fate| fate.failure()) {
            offer.refuse(Refusal::Failed(failure.clone()));
            return None;
        }
        // Of the rest of the opening nothing is needed twice.
        let kind = std::mem::replace(&mut offer.opening.kind, frame::Kind::Port);
        let near = Near {
            offer: &offer,
            accepted: Accepted { epoch },
            here: &*self.here,
            reached,
            instances: &self.instances,
            spawner: &self.spawner,
        };
        match kind {
            frame::Kind::Port => NearPort::open(&near),
            frame::Kind::Fetch(request) => near_call::fetch(&near, *request),
            frame::Kind::Rpc(push) => near_call::push(&near, *push),
            frame::Kind::Adopt(kept) => near_call::adopt(&near, kept),
            frame::Kind::Scheduled(_) => {
                let failure = Failure::failed("a worker has no handler of that kind");
                offer.refuse(Refusal::Failed(failure));
            }
        }
        None
    }
}

impl Fabric for Router {
    fn open(&self, to: &WorkerKey, opening: Opening) -> Option<Arc<dyn Receive>> {
        if !matches!(opening.kind, Kind::Port) {
            return self.open_link(to, opening);
        }
        let router = self.itself.upgrade()?;
        let route = Route::open(Arc::new(ForRoutes(router)), to, opening)?;
        Some(route)
    }

    fn deliver(&self, to: &WorkerKey, incoming: Incoming) -> Result<(), Failure> {
        self.here.deliver(to, incoming)
    }
}

/// Where a route opens its port, again and again.
struct ForRoutes(Arc<Router>);

impl Fabric for ForRoutes {
    fn open(&self, to: &WorkerKey, opening: Opening) -> Option<Arc<dyn Receive>> {
        self.0.open_link(to, opening)
    }

    fn deliver(&self, to: &WorkerKey, incoming: Incoming) -> Result<(), Failure> {
        self.0.deliver(to, incoming)
    }
}

fn is(one: &Arc<dyn Receive>, later: &Arc<Later>) -> bool {
    std::ptr::addr_eq(Arc::as_ptr(one), Arc::as_ptr(later))
}

async fn open_what_waits(router: Weak<Router>) {
    let Some(mut changes) = router.upgrade().map(|router| router.places.changes()) else {
        return;
    };
    while let Some(router) = router.upgrade() {
        let waits = !router.lock().is_empty() || !router.lock_offers().is_empty();
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = router.look.notified() => {}
            () = sleep(LOOK), if waits => {}
            () = sleep(PATIENCE) => {}
        }
        router.open_those_that_wait();
        router.answer_those_that_wait();
        router.looks.send_modify(|count| *count += 1);
    }
}
