//! Where links are opened, wherever workers are.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use portside_core::ids::{SHARDS, ShardId, WorkerKey};
use portside_wire::connection::{LinkNumber, OpenError};
use portside_wire::driver::Place as Room;
use portside_wire::frame::{self, Accepted, Refusal};
use portside_worker::event::Incoming;
use portside_worker::host::Fabric;
use portside_worker::link::{Failure, Kind, Opening, Receive};
use portside_worker::route::Route;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::far_call;
use crate::far_port::FarPort;
use crate::later::{Later, Lines, Turn, Waiting};
use crate::line::Line;
use crate::near_call::{self, Offer};
use crate::near_port::NearPort;
use crate::places::{Here, Place, Places};

/// How long a link waits for a place that can be reached. Longer than it takes to find a pod dead and to take over what it had.
const PATIENCE: Duration = Duration::from_secs(6);

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
    /// Somebody may be reached who could not be before.
    look: Notify,
    spawner: Handle,
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
            look: Notify::new(),
            spawner: Handle::current(),
        });
        tokio::spawn(open_what_waits(Arc::downgrade(&router)));
        router
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.spawner.spawn(task);
    }

    pub(crate) fn misdirected(&self, shard: ShardId) {
        self.places.misdirected(shard);
    }

    /// A call is offered to another pod.
    pub(crate) fn offers(&self, shard: ShardId, to: &Arc<Line>) {
        self.lock().offers(shard, to);
    }

    /// It has taken or refused it.
    pub(crate) fn settled(&self, shard: ShardId) {
        if self.lock().settled(shard) {
            self.look.notify_one();
        }
    }

    /// Opens a link where its target is now, or as soon as that can be reached. For links that were not heard of where they
    /// were opened first.
    pub fn open_anew(&self, to: &WorkerKey, opening: Opening) -> Option<Arc<dyn Receive>> {
        let shard = to.id().shard(SHARDS);
        let place = self.places.place(shard);
        let (turn, is_free) = {
            let mut lines = self.lock();
            (lines.next_turn(shard), lines.is_free(shard, &place))
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
        let waiting = Waiting {
            to: to.clone(),
            opening,
            later,
            until: Instant::now() + PATIENCE,
        };
        self.lock().push(turn, waiting);
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
            Place::Here => return self.here.open(to, opening),
            Place::Unknown => return Err(opening),
            Place::At(at) => at,
        };
        let opened: Result<Arc<dyn Receive>, _> = if matches!(opening.kind, Kind::Port) {
            FarPort::open(&at, &self.places, to, turn.shard, opening).map(|port| port as _)
        } else if let Some(router) = self.itself.upgrade() {
            let opened = far_call::open(&at, &router, to, opening, turn, later);
            opened.map(|()| later.clone() as _)
        } else {
            return Err(opening);
        };
        match opened {
            Ok(opened) => Ok(Some(opened)),
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
        let Waiting {
            to,
            opening,
            later,
            until,
        } = first;
        // Not under the lock: it may be refused at once, and whoever hears that may open another.
        let place = self.places.place(turn.shard);
        match self.try_to_open(place, &to, opening, turn, &later) {
            Ok(opened) => {
                if !opened.as_ref().is_some_and(|it| is(it, &later)) {
                    later.reached(opened);
                }
                true
            }
            Err(opening) if Instant::now() >= until => {
                later.reached(None);
                let failure = "the worker cannot be reached: no pod has it now";
                opening.end.refuse(Failure::unavailable(failure));
                true
            }
            Err(opening) => {
                let waiting = Waiting {
                    to,
                    opening,
                    later,
                    until,
                };
                self.lock().comes_back(turn, waiting);
                false
            }
        }
    }

    /// Another pod has opened a link to a worker that it believes here: it is taken, or refused.
    pub fn offered(
        &self,
        line: &Arc<Line>,
        link: LinkNumber,
        opening: frame::Opening,
        _room: Room,
    ) {
        let epoch = match self.places.owned(opening.to.id().shard(SHARDS)) {
            Ok(epoch) => epoch,
            Err((owner, epoch)) => {
                return line.refuse(link, Refusal::NotOwner { owner, epoch });
            }
        };
        let instance = None;
        let offer = Offer {
            line,
            link,
            to: opening.to,
            name: opening.name,
            request: opening.request,
            accepted: Accepted { epoch, instance },
            here: &*self.here,
            spawner: &self.spawner,
        };
        match opening.kind {
            frame::Kind::Port => NearPort::open(offer, opening.reconnected),
            frame::Kind::Fetch(request) => near_call::fetch(offer, *request),
            frame::Kind::Rpc(push) => near_call::push(offer, *push),
            frame::Kind::Adopt(kept) => near_call::adopt(offer, kept),
            frame::Kind::Scheduled(_) => {
                let failure = Failure::failed("a worker has no handler of that kind");
                line.refuse(link, Refusal::Failed(failure));
            }
        }
    }
}

impl Fabric for Router {
    fn open(&self, to: &WorkerKey, opening: Opening) -> Option<Arc<dyn Receive>> {
        if !matches!(opening.kind, Kind::Port) {
            return self.open_anew(to, opening);
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
        self.0.open_anew(to, opening)
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
        let waits = !router.lock().is_empty();
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = router.look.notified() => {}
            () = sleep(LOOK), if waits => {}
            () = sleep(PATIENCE) => {}
        }
        router.open_those_that_wait();
    }
}
