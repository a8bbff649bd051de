//! One instance from its start to its end.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use deno_core::error::CoreError;
use deno_core::{JsRuntime, ModuleId, PollEventLoopOptions};
use portside_surface::event::{Event, PortFailure};
use portside_surface::host::Level;
use portside_surface::inbox::Inbox;
use portside_surface::instance::{Ending, Instance, InstanceOptions};
use portside_surface::stack;
use tokio::time::{Instant, Sleep};

use crate::dispatch::Dispatch;
use crate::engine::Start;
use crate::isolate::Isolate;
use crate::loader::BundleLoader;
use crate::watchdog::Slot;

/// Events handed to JavaScript before timers and finished operations get their turn.
const EVENTS_PER_SLICE: usize = 64;

/// Slices between two looks at the memory that is outside of the heap.
const SLICES_PER_MEMORY_CHECK: u32 = 32;

/// After a slice of this length there is a look in any case: much can have been allocated in it.
const LONG_SLICE: Duration = Duration::from_millis(2);

/// How deno_core begins its complaint about a module that waits with nothing left in its event loop.
const STALLED: &str = "Top-level await promise never resolved";

/// How an instance ended. Its inbox is open still, but for [`End::Slept`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Idle for long enough; its inbox is closed and empty.
    Slept,
    /// It called `self.terminate()`.
    Terminated,
    /// It was told to stop, and did.
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
    /// It went over a limit.
    #[error("{0}")]
    Limit(String),
    /// Its writes were not accepted.
    #[error("{0}")]
    Lost(String),
}

enum Evaluation {
    Running(
        ModuleId,
        Pin<Box<dyn Future<Output = Result<(), CoreError>>>>,
    ),
    Done,
}

/// What an instance that has nothing to do is waiting for before it sleeps.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// Another event.
    Idle,
    /// A handler, or a promise given to `waitUntil`.
    Held,
}

struct Running {
    isolate: Isolate,
    dispatch: Option<Dispatch>,
    evaluation: Evaluation,
    slot: Arc<Slot>,
    inbox: Arc<Inbox>,
    cpu_limit: Duration,
    idle_limit: Duration,
    wait_until_limit: Duration,
    /// While loading: when it must be done. Then: when it goes to sleep, if armed.
    timer: Pin<Box<Sleep>>,
    waiting: Option<Wait>,
    stops: u8,
    slices: u32,
}

/// Runs an instance to its end.
pub async fn run(start: Start, slot: Arc<Slot>) -> End {
    let mut running = match Running::start(start, slot) {
        Ok(running) => running,
        Err(message) => return End::Failed(Failure::Load(message)),
    };
    let end = poll_fn(|cx| running.poll(cx)).await;
    running.finish(&end);
    end
}

impl Running {
    fn start(start: Start, slot: Arc<Slot>) -> Result<Self, String> {
        let Start { options, module } = start;
        let InstanceOptions {
            bundle,
            limits,
            inbox,
            ..
        } = &options;
        let (limits, inbox) = (limits.clone(), inbox.clone());
        let mut isolate = Isolate::new(bundle.clone(), &limits);
        slot.begin(isolate.handle(), limits.cpu);
        let loaded = isolate.with(|runtime| {
            runtime.op_state().borrow_mut().put(Instance::new(options));
            let dispatch = Dispatch::start(runtime)?;
            match load(runtime, &module) {
                Ok(id) => Ok((dispatch, id, runtime.mod_evaluate(id))),
                Err(message) => {
                    drop(dispatch);
                    Err(message)
                }
            }
        });
        slot.finish();
        let (dispatch, id, evaluated) = match loaded {
            Ok(loaded) => loaded,
            Err(message) => {
                refuse_all(&mut isolate, &message);
                return Err(message);
            }
        };
        Ok(Self {
            isolate,
            dispatch: Some(dispatch),
            evaluation: Evaluation::Running(id, Box::pin(evaluated)),
            slot,
            inbox,
            cpu_limit: limits.cpu,
            idle_limit: limits.idle,
            wait_until_limit: limits.wait_until,
            timer: Box::pin(tokio::time::sleep(limits.start)),
            waiting: None,
            stops: 0,
            slices: 0,
        })
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        self.slot.begin(self.isolate.handle(), self.cpu_limit);
        let began = Instant::now();
        let (events, event_loop) = self.slice(cx);
        let overran = self.slot.finish();
        self.slices = self.slices.wrapping_add(1);
        let look_at_memory = self.isolate.heap_is_exhausted()
            || self.slices.is_multiple_of(SLICES_PER_MEMORY_CHECK)
            || began.elapsed() > LONG_SLICE;
        if let Some(end) = self.ending(overran, look_at_memory, &event_loop) {
            return Poll::Ready(end);
        }
        let more = self.with_instance(|instance| instance.register(cx.waker()));
        if more {
            cx.waker().wake_by_ref();
        }
        if events > 0 {
            self.waiting = None; // the time counts from the last event
        }
        let idle = !more && event_loop.is_ready();
        self.poll_timer(cx, idle)
    }

    /// Runs JavaScript: events first, then what the event loop has. Returns how many events there were.
    fn slice(&mut self, cx: &mut Context<'_>) -> (usize, Poll<Result<(), String>>) {
        let Self {
            isolate,
            dispatch,
            evaluation,
            stops,
            ..
        } = self;
        let Some(dispatch) = dispatch else {
            return (0, Poll::Pending);
        };
        isolate.with(|runtime| {
            let state = runtime.op_state();
            let mut events = 0;
            while events < EVENTS_PER_SLICE {
                let event = state.borrow_mut().borrow_mut::<Instance>().next_event();
                events += usize::from(event.is_some());
                match event {
                    None => break,
                    Some(Event::Committed { seq, outcome, .. }) => {
                        state
                            .borrow_mut()
                            .borrow_mut::<Instance>()
                            .committed(seq, outcome);
                    }
                    Some(Event::Stop) => *stops = stops.saturating_add(1),
                    Some(event) => dispatch.event(runtime, event),
                }
            }
            if state.borrow().borrow::<Instance>().is_terminating() {
                state.borrow_mut().borrow_mut::<Instance>().end_turn();
                return (events, Poll::Pending); // no more JavaScript: its writes are on their way
            }
            let polled = runtime.poll_event_loop(cx, PollEventLoopOptions::default());
            let mut outcome = polled.map_err(shown);
            if let Evaluation::Running(id, evaluated) = evaluation
                && let Poll::Ready(done) = evaluated.as_mut().poll(cx)
            {
                match done.and_then(|()| runtime.get_module_namespace(*id)) {
                    Ok(namespace) => {
                        dispatch.set_handlers(runtime, &namespace);
                        state.borrow_mut().borrow_mut::<Instance>().loaded();
                        *evaluation = Evaluation::Done;
                        cx.waker().wake_by_ref();
                    }
                    Err(error) => outcome = Poll::Ready(Err(shown(error))),
                }
            }
            state.borrow_mut().borrow_mut::<Instance>().end_turn();
            (events, outcome)
        })
    }

    fn with_instance<R>(&mut self, f: impl FnOnce(&mut Instance) -> R) -> R {
        // OpState is plain memory: no need to enter the isolate for it.
        let state = self.isolate.op_state();
        let mut state = state.borrow_mut();
        f(state.borrow_mut::<Instance>())
    }

    fn is_loading(&self) -> bool {
        matches!(self.evaluation, Evaluation::Running(..))
    }

    /// Whether this slice was the last.
    fn ending(
        &mut self,
        overran: bool,
        look_at_memory: bool,
        event_loop: &Poll<Result<(), String>>,
    ) -> Option<End> {
        let limit = |message: String| Some(End::Failed(Failure::Limit(message)));
        if overran {
            return limit(format!(
                "one event used more than {:?} of CPU time",
                self.cpu_limit
            ));
        }
        if look_at_memory && let Some(memory) = self.isolate.exhausted() {
            return limit(format!("{memory} went over its limit"));
        }
        let stopping = self.stops;
        let (ending, flushed, quiet, alone, terminating) = self.with_instance(|instance| {
            (
                instance.ending(),
                instance.is_flushed(),
                instance.is_quiet(),
                instance.is_only_held(),
                instance.is_terminating(),
            )
        });
        match ending {
            // Whoever starts it again would only see the same again.
            Some(Ending::Terminated) if self.is_loading() => {
                let message = "its module called terminate() while it was evaluated";
                return Some(End::Failed(Failure::Load(message.to_owned())));
            }
            Some(Ending::Terminated) => return Some(End::Terminated),
            Some(Ending::Lost(reason)) => return Some(End::Failed(Failure::Lost(reason))),
            None => {}
        }
        if (stopping == 1 && quiet) || (stopping > 1 && flushed) {
            return Some(End::Stopped);
        }
        if terminating {
            return None;
        }
        match event_loop {
            // The event loop does not know of ports and commits: their answer may be what it waits for.
            Poll::Ready(Err(message))
                if self.is_loading() && !alone && message.starts_with(STALLED) =>
            {
                None
            }
            Poll::Ready(Err(message)) if self.is_loading() => {
                Some(End::Failed(Failure::Load(message.clone())))
            }
            Poll::Ready(Err(message)) => {
                self.log_error(message);
                None
            }
            _ => None,
        }
    }

    fn log_error(&mut self, message: &str) {
        self.with_instance(|instance| {
            instance
                .host()
                .log(instance.identity(), Level::Error, message)
        });
    }

    /// The limits on loading and on idleness.
    fn poll_timer(&mut self, cx: &mut Context<'_>, idle: bool) -> Poll<End> {
        if self.is_loading() {
            return self.timer.as_mut().poll(cx).map(|()| {
                End::Failed(Failure::Load(
                    "its module did not finish evaluating in time".to_owned(),
                ))
            });
        }
        let sleeps_after = self.with_instance(|instance| {
            // A promise that nothing can settle any more keeps it awake no longer than the limit.
            match (idle && instance.is_only_held(), instance.is_quiet()) {
                (false, _) => None,
                (true, true) => Some(Wait::Idle),
                (true, false) => Some(Wait::Held),
            }
        });
        if self.waiting != sleeps_after {
            self.waiting = sleeps_after;
            let limit = match sleeps_after {
                Some(Wait::Held) => self.wait_until_limit,
                _ => self.idle_limit,
            };
            self.timer.as_mut().reset(Instant::now() + limit);
        }
        if sleeps_after.is_none() {
            return Poll::Pending;
        }
        match self.timer.as_mut().poll(cx) {
            Poll::Ready(()) if self.inbox.close_if_empty() => Poll::Ready(End::Slept),
            Poll::Ready(()) => {
                self.waiting = None;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Pending => Poll::Pending,
        }
    }

    /// Tells everybody, then lets go of the isolate.
    fn finish(mut self, end: &End) {
        if let End::Failed(Failure::Load(message)) = end {
            refuse_all(&mut self.isolate, message);
        }
        let (dispatch, evaluation) = (
            self.dispatch.take(),
            std::mem::replace(&mut self.evaluation, Evaluation::Done),
        );
        self.isolate.with(move |_| drop((dispatch, evaluation)));
    }
}

fn refuse_all(isolate: &mut Isolate, message: &str) {
    let failure = PortFailure::failed(message.to_owned());
    isolate
        .op_state()
        .borrow_mut()
        .borrow_mut::<Instance>()
        .refuse_all(&failure);
}

/// An error of the application's code, for its developer.
fn shown(error: CoreError) -> String {
    stack::readable(&error.to_string()).into_owned()
}

/// Loads a module and all it imports; everything is in memory, so this does not wait.
fn load(runtime: &mut JsRuntime, module: &str) -> Result<ModuleId, String> {
    let url = BundleLoader::url(module).map_err(|error| error.to_string())?;
    let mut loading = Box::pin(runtime.load_main_es_module(&url));
    let mut cx = Context::from_waker(std::task::Waker::noop());
    match loading.as_mut().poll(&mut cx) {
        Poll::Ready(loaded) => loaded.map_err(shown),
        Poll::Pending => Err("its modules are not all in the bundle".to_owned()),
    }
}
