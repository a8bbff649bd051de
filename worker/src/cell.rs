//! Objects that live in the isolate of another instance.
//!
//! The isolate is that of a server, and all of its objects are of classes that the server's module exports. Each is an
//! [`Instance`] with an inbox, a gate and a life of its own; a limit that ends the isolate ends all of them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use futures::task::ArcWake;

use crate::activation::{End, Failure, Waits};
use crate::engine::{Engine, Shared};
use crate::instance::{Ending, Instance, InstanceOptions};

/// Which of the instances in an isolate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Actor(pub u32);

impl Actor {
    /// The isolate's own instance.
    pub const OWN: Self = Self(0);
}

/// An object that is to live in an isolate.
pub struct Arrival<S> {
    /// Who, with what, connected to what.
    pub options: InstanceOptions,
    /// Its database, as the store has it.
    pub stored: S,
    /// Called once after it is gone.
    pub ended: Box<dyn FnOnce(End) + Send>,
}

/// Where objects are sent that are to live in one isolate.
pub struct Cell<S>(Mutex<Door<S>>);

struct Door<S> {
    arrivals: Vec<Arrival<S>>,
    is_closed: bool,
    waker: Option<Waker>,
}

impl<S> Default for Cell<S> {
    fn default() -> Self {
        Self(Mutex::new(Door {
            arrivals: vec![],
            is_closed: false,
            waker: None,
        }))
    }
}

impl<S> Cell<S> {
    fn lock(&self) -> MutexGuard<'_, Door<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends an object to live here.
    ///
    /// # Errors
    /// The isolate is gone; the object comes back.
    pub fn admit(&self, arrival: Arrival<S>) -> Result<(), Box<Arrival<S>>> {
        let mut door = self.lock();
        if door.is_closed {
            return Err(arrival.into());
        }
        door.arrivals.push(arrival);
        let waker = door.waker.take();
        drop(door);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Closes it for good unless somebody is there. Returns whether it is closed.
    pub(crate) fn close_if_empty(&self) -> bool {
        let mut door = self.lock();
        door.is_closed = door.arrivals.is_empty();
        door.is_closed
    }

    pub(crate) fn reopen(&self) {
        self.lock().is_closed = false;
    }

    fn close(&self) -> Vec<Arrival<S>> {
        let mut door = self.lock();
        door.is_closed = true;
        std::mem::take(&mut door.arrivals)
    }

    fn take(&self) -> Vec<Arrival<S>> {
        std::mem::take(&mut self.lock().arrivals)
    }

    /// Asks to be woken by the next arrival. Returns whether there is one already.
    fn register(&self, waker: &Waker) -> bool {
        let mut door = self.lock();
        if door.arrivals.is_empty() {
            door.waker = Some(waker.clone());
        }
        !door.arrivals.is_empty()
    }
}

/// The objects of an isolate as its engine reaches them, and which of them it has reached in this turn.
#[derive(Default)]
pub struct Actors {
    all: RefCell<HashMap<Actor, Shared>>,
    touched: RefCell<Vec<Actor>>,
}

impl Actors {
    /// An object that is here still.
    #[must_use]
    pub fn get(&self, actor: Actor) -> Option<Shared> {
        let found = self.all.borrow().get(&actor).cloned();
        if found.is_some() {
            self.touch(actor);
        }
        found
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.borrow().is_empty()
    }

    fn touch(&self, actor: Actor) {
        let mut touched = self.touched.borrow_mut();
        if touched.last() != Some(&actor) {
            touched.push(actor);
        }
    }

    fn take_touched(&self) -> BTreeSet<Actor> {
        self.touched.take().into_iter().collect()
    }
}

/// Which objects have something to do.
#[derive(Default)]
struct Ready(Mutex<ReadyState>);

#[derive(Default)]
struct ReadyState {
    /// In the order in which they became ready: each has its turn.
    queue: VecDeque<Actor>,
    queued: HashSet<Actor>,
    waker: Option<Waker>,
}

impl Ready {
    fn lock(&self) -> MutexGuard<'_, ReadyState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, actor: Actor) {
        let mut state = self.lock();
        if state.queued.insert(actor) {
            state.queue.push_back(actor);
        }
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn take_first(&self) -> Option<Actor> {
        let mut state = self.lock();
        let first = state.queue.pop_front()?;
        state.queued.remove(&first);
        Some(first)
    }

    /// Asks to be woken. Returns whether one is ready already.
    fn register(&self, waker: &Waker) -> bool {
        let mut state = self.lock();
        if state.queue.is_empty() {
            state.waker = Some(waker.clone());
        }
        !state.queue.is_empty()
    }
}

struct ActorWaker {
    actor: Actor,
    ready: Arc<Ready>,
}

impl ArcWake for ActorWaker {
    fn wake_by_ref(arc_self: &Arc<Self>) {
        arc_self.ready.add(arc_self.actor);
    }
}

/// An object that lives here.
struct Resident {
    instance: Shared,
    waker: Waker,
    /// What it waits for, and until when.
    waits: Waits,
    ended: Box<dyn FnOnce(End) + Send>,
}

/// The objects that live in one isolate.
pub(crate) struct Residents<E: Engine> {
    cell: Arc<Cell<E::Stored>>,
    actors: Rc<Actors>,
    all: BTreeMap<Actor, Resident>,
    ready: Arc<Ready>,
    deadlines: BTreeSet<(Duration, Actor)>,
    last: u32,
}

/// Events that one object is given before the next one has its turn.
const EVENTS_OF_ONE: usize = 8;

/// What has been given to the code so far in a turn, and how much may be.
pub(crate) struct Budget {
    pub events: usize,
    pub most: usize,
}

impl<E: Engine> Residents<E> {
    /// Those that are sent to `cell`, and that an engine finds in `actors`.
    pub fn new(cell: Arc<Cell<E::Stored>>, actors: Rc<Actors>) -> Self {
        Self {
            cell,
            actors,
            all: BTreeMap::new(),
            ready: Arc::default(),
            deadlines: BTreeSet::new(),
            last: Actor::OWN.0,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Those who were sent here begin.
    pub fn move_in(&mut self, engine: &mut E) {
        for arrival in self.cell.take() {
            self.last += 1;
            let actor = Actor(self.last);
            let ready = self.ready.clone();
            let instance = Shared::new(Instance::new(arrival.options).into());
            self.actors.all.borrow_mut().insert(actor, instance.clone());
            let waker = futures::task::waker(Arc::new(ActorWaker { actor, ready }));
            let resident = Resident {
                instance: instance.clone(),
                waker,
                waits: Waits::default(),
                ended: arrival.ended,
            };
            self.all.insert(actor, resident);
            self.ready.add(actor);
            self.actors.touch(actor);
            match engine.begin_object(actor, &instance, arrival.stored) {
                Ok(()) if instance.borrow().ending().is_none() => instance.borrow_mut().loaded(),
                Ok(()) => {}
                Err(message) => self.end(engine, actor, End::Failed(Failure::Load(message))),
            }
        }
    }

    /// Gives those that are ready their events, each a few at a time, as far as the budget goes. `check` says why nothing may run any more.
    pub fn deliver(
        &mut self,
        engine: &mut E,
        budget: &mut Budget,
        mut check: impl FnMut(&mut E) -> Result<(), End>,
    ) -> Result<(), End> {
        let mut unfinished = vec![];
        while budget.events < budget.most && !engine.should_yield() {
            let Some(actor) = self.ready.take_first() else {
                break;
            };
            let Some(resident) = self.all.get(&actor) else {
                continue;
            };
            self.actors.touch(actor);
            let instance = resident.instance.clone();
            if instance.borrow().is_put_to_sleep() {
                self.end(engine, actor, End::Slept);
                continue;
            }
            let mut events = 0;
            loop {
                let event = instance.borrow_mut().next_event();
                let Some(event) = event else { break };
                self.forget_wait(actor); // the time counts from the last event
                budget.events += 1;
                events += 1;
                engine.deliver(actor, event);
                check(engine)?;
                let is_over = events >= EVENTS_OF_ONE || budget.events >= budget.most;
                if is_over || engine.should_yield() {
                    unfinished.push(actor);
                    break;
                }
            }
        }
        unfinished
            .into_iter()
            .for_each(|actor| self.ready.add(actor));
        Ok(())
    }

    /// What the turn wrote goes to the store; those that are over end, and the others wait for what comes.
    pub fn end_turn(&mut self, engine: &mut E, now: Duration) {
        for actor in self.actors.take_touched() {
            let Some(resident) = self.all.get(&actor) else {
                continue;
            };
            let instance = resident.instance.clone();
            instance.borrow_mut().end_turn();
            if let Some(end) = ending(&instance) {
                self.end(engine, actor, end);
                continue;
            }
            if instance.borrow().register(&resident.waker) {
                self.ready.add(actor);
            }
            self.wait(actor, now);
        }
        while let Some((_, actor)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now) {
            self.deadlines.pop_first();
            let is_over = |resident: &Resident| resident.instance.borrow().close_inbox();
            if self.all.get(&actor).is_some_and(is_over) {
                self.end(engine, actor, End::Slept);
            }
        }
    }

    fn forget_wait(&mut self, actor: Actor) {
        let Some(resident) = self.all.get_mut(&actor) else {
            return;
        };
        if let Some(until) = std::mem::take(&mut resident.waits).until() {
            self.deadlines.remove(&(until, actor));
        }
    }

    /// Notes until when it waits, if it has nothing to do.
    fn wait(&mut self, actor: Actor, now: Duration) {
        let Some(resident) = self.all.get_mut(&actor) else {
            return;
        };
        let before = resident.waits.until();
        let until = resident.waits.look(&resident.instance.borrow(), true, now);
        if before == until {
            return;
        }
        if let Some(before) = before {
            self.deadlines.remove(&(before, actor));
        }
        if let Some(until) = until {
            self.deadlines.insert((until, actor));
        }
    }

    /// Asks to be woken by what comes. Returns whether something has come already, and when to look again.
    pub fn register(&self, cx: &Context<'_>) -> (bool, Option<Duration>) {
        let more = self.ready.register(cx.waker()) | self.cell.register(cx.waker());
        (more, self.deadlines.first().map(|(at, _)| *at))
    }

    fn end(&mut self, engine: &mut E, actor: Actor, end: End) {
        let Some(resident) = self.all.remove(&actor) else {
            return;
        };
        self.actors.all.borrow_mut().remove(&actor);
        if let Some(until) = resident.waits.until() {
            self.deadlines.remove(&(until, actor));
        }
        engine.end_object(actor);
        resident.instance.borrow_mut().ended(&end);
        drop(resident.instance);
        (resident.ended)(end);
    }

    /// The isolate ends, and all of them with it; and who was about to come.
    pub fn end_all(&mut self, engine: &mut E, end: &End) {
        let end = match end {
            End::Failed(Failure::Limit(reason)) => &End::Failed(Failure::Cell(reason.clone())),
            end => end,
        };
        while let Some((actor, resident)) = self.all.first_key_value() {
            let actor = *actor;
            #[cfg(feature = "testing")]
            if resident.instance.borrow().is_without().ending_residents {
                self.all.remove(&actor);
                continue;
            }
            resident.instance.borrow_mut().discard_turn();
            self.end(engine, actor, end.clone());
        }
        for arrival in self.cell.close() {
            (arrival.ended)(end.clone());
        }
    }
}

fn ending(instance: &Shared) -> Option<End> {
    let instance = instance.borrow();
    match instance.ending() {
        Some(Ending::Lost(reason)) => Some(End::Failed(Failure::Lost(reason))),
        Some(Ending::Terminated) => Some(End::Terminated),
        None => instance.may_stop().then_some(End::Stopped),
    }
}
