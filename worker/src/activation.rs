//! One instance from its start to its end: when its code runs, what that run makes durable, when it sleeps, why it ends.

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::cell::{Actor, Actors, Budget, Cell, Residents};
use crate::engine::{Engine, Exceeded, Shared, Uncaught};
use crate::host::Level;
use crate::instance::{Ending, Instance, Lost};
use crate::link::Failure as LinkFailure;

/// Events handed to the code before timers and finished operations get their turn.
const EVENTS_PER_TURN: usize = 64;

/// Turns between two looks at the limits that take a while to check.
const TURNS_PER_THOROUGH_CHECK: u32 = 32;

/// How an instance ended. Its inbox is open still, but for [`End::Slept`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Idle for long enough, or put to sleep while it was; its inbox is closed and empty.
    Slept,
    /// It called `self.terminate()`.
    Terminated,
    /// It was asked to stop, and did.
    Stopped,
    /// It was ended.
    Failed(Failure),
}

/// Why an instance was ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Its module could not be loaded or evaluated. Everybody who waited was told.
    #[error("could not be loaded: {0}")]
    Load(String),
    /// It went over a limit. What the turn that did so wrote is gone.
    #[error("{0}")]
    Limit(Exceeded),
    /// Something else in the isolate that it lived in went over a limit. What the turn wrote is gone.
    #[error("the isolate that it lived in was ended: {0}")]
    Cell(Exceeded),
    /// Its writes were not accepted.
    #[error(transparent)]
    Lost(#[from] Lost),
}

impl Failure {
    /// As those hear it who call an object: programs go by the texts of Cloudflare's.
    fn of_object(&self) -> LinkFailure {
        match self {
            Self::Lost(Lost::Reset(reset)) => reset.failure.clone(),
            // It goes on elsewhere, or here.
            Self::Lost(Lost::NotOwned) => LinkFailure::unavailable("Network connection lost."),
            Self::Limit(Exceeded::Cpu(_)) | Self::Cell(Exceeded::Cpu(_)) => {
                LinkFailure::reset("Durable Object exceeded its CPU time limit and was reset.")
            }
            Self::Limit(Exceeded::Memory(_)) | Self::Cell(Exceeded::Memory(_)) => {
                let text = "Durable Object's isolate exceeded its memory limit and was reset.";
                LinkFailure::reset(text)
            }
            failure => LinkFailure::reset(failure.to_string()),
        }
    }
}

/// What an instance that has nothing to do is waiting for before it sleeps.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// Another event.
    Idle,
    /// A handler, a promise given to `waitUntil`, or a timer.
    Held,
}

/// What an instance waits for, and until when.
#[derive(Default)]
pub(crate) struct Waits(Option<(Wait, Duration)>);

impl Waits {
    /// Until when it waits; nothing while it has something to do.
    pub fn until(&self) -> Option<Duration> {
        self.0.map(|(_, until)| until)
    }

    /// Looks at `now` what the instance waits for; `idle` says that nothing else keeps it. Then it rests.
    pub fn look(&mut self, instance: &Instance, idle: bool, now: Duration) -> Option<Duration> {
        // A promise that nothing can settle any more keeps it awake no longer than the limit.
        let wait = match (
            idle && !instance.is_terminating() && instance.is_only_held(),
            instance.is_quiet() && !instance.has_timers(),
        ) {
            (false, _) => None,
            (true, true) => Some(Wait::Idle),
            (true, false) => Some(Wait::Held),
        };
        let known = self.0.filter(|(known, _)| Some(*known) == wait);
        self.0 = wait.map(|wait| {
            let limits = instance.limits();
            let limit = match wait {
                Wait::Held => limits.wait_until,
                Wait::Idle => limits.idle,
            };
            known.unwrap_or((wait, now + limit))
        });
        let until = self.until()?;
        if now < until && wait == Some(Wait::Idle) {
            instance.rests();
        }
        Some(until)
    }
}

/// What comes after a poll.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// It is over.
    Ended(End),
    /// Poll it again when it is woken, or at this time, if there is one.
    Waiting(Option<Duration>),
}

/// Whoever is asked to end once its handlers have settled goes on for so long while its event loop has something to do: a
/// listener that waits for its storage or for an answer is no handler, but what it has heard is to be answered. Timers that
/// never end keep it no longer.
const LISTENERS: Duration = Duration::from_secs(1);

/// An instance and its engine. Times are durations since any moment in the past, the same for all of an activation.
pub struct Activation<E: Engine> {
    engine: E,
    instance: Shared,
    /// When the module must be evaluated, until it is.
    load_deadline: Option<Duration>,
    waits: Waits,
    /// Until when it goes on though it might end: see [`LISTENERS`].
    listens: Option<Duration>,
    turns: u32,
    cell: Arc<Cell<E::Stored>>,
    residents: Residents<E>,
}

impl<E: Engine> Activation<E> {
    /// Begins at `now`. `engine` runs the code of `instance`, and has begun to evaluate its module.
    pub fn new(instance: Shared, engine: E, now: Duration) -> Self {
        Self::with_objects(instance, engine, now, Arc::default(), Rc::default())
    }

    /// The same, with objects that live with the instance: those that are sent to `cell`. The engine finds them in `actors`.
    pub fn with_objects(
        instance: Shared,
        engine: E,
        now: Duration,
        cell: Arc<Cell<E::Stored>>,
        actors: Rc<Actors>,
    ) -> Self {
        let load_deadline = Some(now + instance.borrow().limits().start);
        Self {
            engine,
            instance,
            load_deadline,
            waits: Waits::default(),
            listens: None,
            turns: 0,
            residents: Residents::new(cell.clone(), actors),
            cell,
        }
    }

    /// Runs one turn of the code, and says what comes next.
    pub fn poll(&mut self, cx: &mut Context<'_>, now: Duration) -> Progress {
        if self.instance.borrow().is_put_to_sleep() {
            return Progress::Ended(End::Slept);
        }
        let end = match self.turn(cx) {
            Ok(turn) => {
                self.residents.end_turn(&mut self.engine, now);
                self.after(&turn, cx, now)
            }
            Err(end) => Progress::Ended(end),
        };
        if let Progress::Ended(end) = &end {
            self.tell(end);
            self.residents.end_all(&mut self.engine, end);
        }
        end
    }

    /// A turn: events first, then what the event loop has, then one commit of what both wrote. An error is a limit that
    /// was met: of that turn nothing is committed, and what waits behind it is its successor's.
    fn turn(&mut self, cx: &mut Context<'_>) -> Result<Turn, End> {
        self.turns = self.turns.wrapping_add(1);
        self.engine.turn_begins();
        let mut events = 0;
        while events < EVENTS_PER_TURN && !self.engine.should_yield() {
            let event = self.instance.borrow_mut().next_event();
            let Some(event) = event else { break };
            events += 1;
            self.engine.deliver(Actor::OWN, event);
            self.check_limits(false)?;
            if self.instance.borrow().is_terminating() {
                break;
            }
        }
        self.objects_turn()?;
        let mut event_loop = Poll::Pending;
        // After terminate() no code runs any more.
        if !self.instance.borrow().is_terminating() {
            event_loop = self.engine.run(cx);
            self.check_limits(self.turns.is_multiple_of(TURNS_PER_THOROUGH_CHECK))?;
            self.poll_load(cx, &event_loop)?;
        }
        self.instance.borrow_mut().end_turn();
        Ok(Turn { events, event_loop })
    }

    /// The turn of the objects that live here; none of them while the module is evaluated that has their classes.
    fn objects_turn(&mut self) -> Result<(), End> {
        if self.load_deadline.is_some() {
            return Ok(());
        }
        let mut budget = Budget {
            events: 0,
            most: EVENTS_PER_TURN,
        };
        self.residents.move_in(&mut self.engine);
        self.check_limits(false)?;
        let check = |engine: &mut E| match engine.exceeded(false) {
            Some(exceeded) => Err(End::Failed(Failure::Limit(exceeded))),
            None => Ok(()),
        };
        self.residents.deliver(&mut self.engine, &mut budget, check)
    }

    fn check_limits(&mut self, thorough: bool) -> Result<(), End> {
        let Some(exceeded) = self.engine.exceeded(thorough) else {
            return Ok(());
        };
        self.instance.borrow_mut().discard_turn();
        // A module that does it while it is evaluated would only do it again.
        Err(End::Failed(match self.load_deadline {
            Some(_) => Failure::Load(exceeded.to_string()),
            None => Failure::Limit(exceeded),
        }))
    }

    fn poll_load(
        &mut self,
        cx: &mut Context<'_>,
        event_loop: &Poll<Result<(), Uncaught>>,
    ) -> Result<(), End> {
        if self.load_deadline.is_none() {
            return Ok(());
        }
        let failed = |message: &str| Err(End::Failed(Failure::Load(message.to_owned())));
        match self.engine.poll_loaded(cx) {
            Poll::Ready(Ok(())) => {
                self.load_deadline = None;
                self.instance.borrow_mut().loaded();
                cx.waker().wake_by_ref();
                return Ok(());
            }
            Poll::Ready(Err(message)) => return failed(&message),
            Poll::Pending => {}
        }
        match event_loop {
            // The event loop does not know of ports and commits: their answer may be what the module waits for.
            Poll::Ready(Err(Uncaught::Stalled(_))) if !self.instance.borrow().is_only_held() => {
                Ok(())
            }
            Poll::Ready(Err(Uncaught::Stalled(message) | Uncaught::Error(message))) => {
                failed(message)
            }
            _ => Ok(()),
        }
    }

    /// Whether that turn was the last, and when the next one is due.
    fn after(&mut self, turn: &Turn, cx: &mut Context<'_>, now: Duration) -> Progress {
        let loading = self.load_deadline.is_some();
        if let Some(end) = self.ending(loading, turn.event_loop.is_ready(), now) {
            return Progress::Ended(end);
        }
        if let (false, Poll::Ready(Err(uncaught))) = (loading, &turn.event_loop) {
            let (Uncaught::Stalled(message) | Uncaught::Error(message)) = uncaught;
            self.instance.borrow().log(Level::Error, message, None);
        }
        let more = self.instance.borrow().register(cx.waker());
        if more {
            cx.waker().wake_by_ref();
        }
        if let Some(deadline) = self.load_deadline {
            if now >= deadline {
                let message = "its module did not finish evaluating in time";
                return Progress::Ended(End::Failed(Failure::Load(message.to_owned())));
            }
            return Progress::Waiting(Some(deadline));
        }
        if turn.events > 0 {
            self.waits = Waits::default(); // the time counts from the last event
        }
        let progress = self.sleep_when_idle(!more && turn.event_loop.is_ready(), cx, now);
        match (progress, self.listens) {
            (Progress::Waiting(until), Some(listens)) => {
                Progress::Waiting(Some(until.map_or(listens, |until| until.min(listens))))
            }
            (progress, _) => progress,
        }
    }

    /// Whether it was asked to end, and may now. `idle` says that its event loop has nothing to do.
    fn may_stop(&mut self, idle: bool, now: Duration) -> bool {
        let instance = self.instance.borrow();
        if !self.residents.is_empty() || !instance.may_stop() {
            return false;
        }
        // Objects share their event loop, and what they do are requests and handlers.
        if idle || instance.object.is_some() || !instance.lets_listeners_finish() {
            return true;
        }
        now >= *self.listens.get_or_insert(now + LISTENERS)
    }

    fn ending(&mut self, loading: bool, idle: bool, now: Duration) -> Option<End> {
        let may_stop = self.may_stop(idle, now);
        let instance = self.instance.borrow();
        match instance.ending() {
            // Whoever starts it again would only see the same again.
            Some(Ending::Terminated) if loading => {
                let message = "its module called terminate() while it was evaluated";
                Some(End::Failed(Failure::Load(message.to_owned())))
            }
            Some(Ending::Terminated) => Some(End::Terminated),
            Some(Ending::Lost(reason)) => Some(End::Failed(Failure::Lost(reason))),
            None => may_stop.then_some(End::Stopped),
        }
    }

    fn sleep_when_idle(&mut self, idle: bool, cx: &mut Context<'_>, now: Duration) -> Progress {
        let (more, next) = self.residents.register(cx);
        if more {
            cx.waker().wake_by_ref();
        }
        let idle = idle && !more && self.residents.is_empty();
        let until = self.waits.look(&self.instance.borrow(), idle, now);
        match until {
            Some(until) if now < until => Progress::Waiting(Some(until)),
            Some(_) => {
                if self.close() {
                    return Progress::Ended(End::Slept);
                }
                self.waits = Waits::default();
                cx.waker().wake_by_ref();
                Progress::Waiting(None)
            }
            None => Progress::Waiting(next),
        }
    }

    /// Closes inbox and cell, if nothing is in either.
    fn close(&self) -> bool {
        if !self.cell.close_if_empty() {
            return false;
        }
        let is_closed = self.instance.borrow().close_inbox();
        if !is_closed {
            self.cell.reopen();
        }
        is_closed
    }

    /// Tells everybody who waits for the instance.
    fn tell(&self, end: &End) {
        let mut instance = self.instance.borrow_mut();
        instance.ended(end);
    }

    /// Lets go of the engine.
    pub fn into_engine(self) -> E {
        self.engine
    }
}

impl Instance {
    pub(crate) fn ended(&mut self, end: &End) {
        let reason = match end {
            End::Failed(Failure::Load(reason)) => Some(reason.as_str()),
            _ => None,
        };
        self.log_rejections_but(reason);
        if let Some(sockets) = &self.sockets {
            match end {
                End::Failed(_) => sockets.end_all(1006, ""),
                End::Slept | End::Terminated | End::Stopped => sockets.instance_ended(),
            }
        }
        let End::Failed(failure) = end else {
            if *end == End::Stopped && self.inbox.is_leaving() {
                self.leave_ports();
            }
            return;
        };
        let failure_on_links = if self.object.is_some() {
            failure.of_object()
        } else {
            LinkFailure::failed(failure.to_string())
        };
        self.seal_fate(&failure_on_links);
        // Before its requests fail: whoever hears that, and calls anew, is to reach the next instance.
        if let Failure::Lost(Lost::Reset(reset)) = failure {
            self.inbox.refuse_openings(&reset.failure);
        }
        self.fail_requests(&failure_on_links);
        if let Failure::Load(message) = failure {
            self.refuse_all(&LinkFailure::failed(message.clone()));
        }
    }
}

struct Turn {
    events: usize,
    event_loop: Poll<Result<(), Uncaught>>,
}
