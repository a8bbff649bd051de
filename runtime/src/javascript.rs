//! The engine of an instance: its isolate, and the module evaluated in it.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use deno_core::error::CoreError;
use deno_core::{JsRuntime, ModuleId, PollEventLoopOptions};
use portside_core::bundle::{Bundle, is_made_up};
use portside_surface::objects::database::{self, Stored};
use portside_surface::parts::{EVENTS_OF_MOST_CODE, Parts};
use portside_surface::{lifecycle, stack};
use portside_worker::activation::{Activation, End, Failure, Progress};
use portside_worker::cell::{Actor, Actors};
use portside_worker::engine::{Engine, Exceeded, Shared, Uncaught};
use portside_worker::event::Delivered;
use portside_worker::host::Identity;
use portside_worker::instance::Instance;
use portside_worker::link::Failure as LinkFailure;
use tokio::time::Instant;

use crate::code::has_run_enough;
use crate::dispatch::Dispatch;
use crate::inspector::{Inspector, Registered};
use crate::isolate::Isolate;
use crate::loader::BundleLoader;
use crate::measures::Gauge;
use crate::pool::Start;
use crate::ready::{Ready, Recipe, Use, load};
use crate::script::Script;
use crate::thread::Here;
use crate::trim::Trimmer;
use crate::watchdog::{Slot, Watched};

/// After a stretch of JavaScript of this length others on its thread have their turn, and memory outside of the heap is
/// looked at: much can have been allocated in it.
const LONG_STRETCH: Duration = Duration::from_millis(2);

/// How deno_core begins its complaint about a module that waits with nothing left in its event loop.
const STALLED: &str = "Top-level await promise never resolved";

enum Evaluation {
    Running(
        ModuleId,
        Pin<Box<dyn Future<Output = Result<(), CoreError>>>>,
    ),
    Done,
}

/// An isolate with one module in it.
pub struct JavaScript {
    isolate: Isolate,
    loader: Rc<BundleLoader>,
    script: Arc<Script>,
    /// How many it has run.
    events: usize,
    dispatch: Option<Dispatch>,
    evaluation: Evaluation,
    instance: Shared,
    /// The objects that live here.
    actors: Rc<Actors>,
    slot: Arc<Slot>,
    watched: Arc<Watched>,
    /// When the present turn began.
    began: Instant,
    /// Whose code it is, for what is logged while it runs.
    span: tracing::Span,
    trimmer: Arc<Trimmer>,
    /// If it can be inspected.
    registered: Option<Registered>,
}

/// Runs an instance to its end. `begun` is called once it has its isolate, or cannot have one.
pub async fn run(
    start: Start,
    script: Arc<Script>,
    here: Rc<Here>,
    inspector: Option<Arc<Inspector>>,
    begun: impl FnOnce(Option<Gauge>),
) -> End {
    let Start {
        options,
        module,
        cell,
        is_trial,
    } = start;
    let recipe = Recipe {
        who: options.identity.clone(),
        bundle: options.bundle.clone(),
        module,
        script,
        limits: options.limits.clone(),
        inspector,
    };
    let instance = Shared::new(Instance::new(options).into());
    let origin = Instant::now();
    let started = JavaScript::start(instance.clone(), &recipe, &here, is_trial);
    let gauge = |engine: &JavaScript| Gauge::new(&engine.isolate.usage());
    begun(started.as_ref().ok().map(gauge));
    let engine = match started {
        Ok(engine) => engine,
        Err(message) => {
            let failure = LinkFailure::failed(message.clone());
            instance.borrow_mut().refuse_all(&failure);
            return End::Failed(Failure::Load(message));
        }
    };
    let actors = engine.actors.clone();
    let mut activation = Activation::with_objects(instance, engine, origin.elapsed(), cell, actors);
    let mut timer = Box::pin(tokio::time::sleep(Duration::ZERO));
    let end = poll_fn(|cx| {
        loop {
            let deadline = match activation.poll(cx, origin.elapsed()) {
                Progress::Ended(end) => return Poll::Ready(end),
                Progress::Waiting(None) => return Poll::Pending,
                Progress::Waiting(Some(deadline)) => origin + deadline,
            };
            if timer.deadline() != deadline {
                timer.as_mut().reset(deadline);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await;
    activation.into_engine().discard();
    end
}

impl JavaScript {
    fn start(
        instance: Shared,
        recipe: &Recipe,
        here: &Here,
        is_trial: bool,
    ) -> Result<Self, String> {
        let span = tracing::debug_span!("instance", who = %recipe.who);
        let ready = match here.take_ready(recipe) {
            Some(ready) => ready,
            None => Ready::new(recipe, &here.slot)?,
        };
        let Ready {
            mut isolate,
            loader,
            dispatch,
            module,
        } = ready;
        let script = recipe.script.clone();
        let limit = recipe.limits.cpu;
        let registered = registered(&mut isolate, recipe);
        let watched = Watched::new(recipe.who.clone(), isolate.usage(), limit, script.clone());
        let debuggers = registered.as_ref().map(Registered::debuggers);
        let watched = watched.debugged_by(debuggers);
        let watched = Arc::new(watched);
        let name = match &recipe.who {
            Identity::Worker(key) => Some(key.name()),
            Identity::Server | Identity::Object(_) => None,
        };
        let actors = Rc::<Actors>::default();
        isolate.with(|runtime| {
            let state = runtime.op_state();
            lifecycle::begin(&mut state.borrow_mut(), instance.clone(), actors.clone());
            drop(state);
            dispatch.begin(runtime, name);
        });
        if registered.as_ref().is_some_and(Registered::is_to_wait) && !is_trial {
            isolate.with(|runtime| wait_for_debugger(runtime, &recipe.bundle));
        }
        here.slot.begin(&watched);
        let evaluated = isolate.with(|runtime| runtime.mod_evaluate(module));
        here.slot.finish();
        Ok(Self {
            isolate,
            loader,
            script,
            events: 0,
            dispatch: Some(dispatch),
            evaluation: Evaluation::Running(module, Box::pin(evaluated)),
            instance,
            actors,
            slot: here.slot.clone(),
            watched,
            began: Instant::now(),
            span,
            trimmer: here.trimmer(),
            registered,
        })
    }

    /// Runs a stretch of JavaScript, which the watchdog ends at its limit of CPU time.
    fn stretch<R>(&mut self, f: impl FnOnce(&mut JsRuntime, &Dispatch) -> R) -> Option<R> {
        let dispatch = self.dispatch.as_ref()?;
        let _entered = self.span.enter();
        self.slot.begin(&self.watched);
        let result = self.isolate.with(|runtime| f(runtime, dispatch));
        self.slot.finish();
        Some(result)
    }

    /// Gives away what is compiled, for instances that come, if that is worth it.
    fn keep_code(&mut self, ends: bool) {
        // What a limit ended may compile nothing any more.
        let was_ended = self.isolate.is_exhausted() || self.watched.is_ended();
        if was_ended || !has_run_enough(self.events, ends) {
            return;
        }
        let events = self.events;
        let loader = self
            .script
            .code
            .is_wanted_of(events)
            .then(|| self.loader.clone());
        self.isolate.with(|runtime| {
            let state = runtime.op_state();
            deno_core::scope!(scope, runtime);
            if let Some(loader) = loader {
                loader.keep_code(scope);
            }
            if let Some(parts) = state.borrow().try_borrow::<Parts>() {
                parts.keep_code(scope, events);
            }
        });
    }

    /// Lets go of everything that holds on to the isolate, and then of the isolate.
    fn discard(mut self) {
        self.keep_code(true);
        let (dispatch, evaluation) = (
            self.dispatch.take(),
            std::mem::replace(&mut self.evaluation, Evaluation::Done),
        );
        self.isolate.with(move |_| drop((dispatch, evaluation)));
    }
}

impl Engine for JavaScript {
    type Stored = Stored;

    fn deliver(&mut self, actor: Actor, mut event: Delivered) {
        let instance = match actor {
            Actor::OWN => self.instance.clone(),
            actor => match self.actors.get(actor) {
                Some(instance) => instance,
                None => return,
            },
        };
        self.stretch(|runtime, dispatch| {
            let request_id = || instance.borrow().request_name(None);
            tracing::debug!(
                event = event.name(),
                request_id = request_id().as_deref(),
                "runs"
            );
            deno_core::scope!(scope, runtime);
            dispatch.event(scope, actor, &mut event);
            // After terminate() nothing runs any more, queued microtasks included.
            if !instance.borrow().is_terminating() {
                scope.perform_microtask_checkpoint();
            }
        });
        self.events += 1;
        if self.events == EVENTS_OF_MOST_CODE {
            self.keep_code(false);
        }
    }

    fn begin_object(
        &mut self,
        actor: Actor,
        instance: &Shared,
        stored: Stored,
    ) -> Result<(), String> {
        let (object, (class, storage)) = {
            let instance = instance.borrow();
            let Identity::Object(object) = instance.identity() else {
                return Err("only Durable Objects live with others".to_owned());
            };
            let classes = instance.classes();
            let class = classes
                .iter()
                .position(|class| *class.name == *object.class);
            let class = class.ok_or("the application has no such class any more")?;
            (object.clone(), (class, classes[class].storage))
        };
        let begun = self.stretch(|runtime, dispatch| {
            let state = runtime.op_state();
            database::open(&mut state.borrow_mut(), actor, instance, stored)?;
            drop(state);
            deno_core::scope!(scope, runtime);
            dispatch.begin_object(scope, actor, &object, class, storage);
            scope.perform_microtask_checkpoint();
            Ok(())
        });
        if let Some(registered) = &self.registered {
            registered.has_object(actor, object.to_string());
        }
        begun.unwrap_or(Ok(()))
    }

    fn end_object(&mut self, actor: Actor) {
        self.stretch(|runtime, dispatch| {
            let state = runtime.op_state();
            database::close(&mut state.borrow_mut(), actor);
            drop(state);
            deno_core::scope!(scope, runtime);
            dispatch.end_object(scope, actor);
        });
        if let Some(registered) = &self.registered {
            registered.has_lost_object(actor);
        }
        self.trimmer.ended();
        if self.actors.is_empty() {
            // Nobody waits for it now, and it may be long until somebody allocates.
            self.isolate
                .with(|runtime| runtime.v8_isolate().low_memory_notification());
        }
    }

    fn run(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Uncaught>> {
        let options = PollEventLoopOptions::default();
        let polled = self.stretch(|runtime, _| runtime.poll_event_loop(cx, options));
        let is_debugged = self
            .registered
            .as_ref()
            .is_some_and(Registered::is_debugged);
        if is_debugged && matches!(polled, Some(Poll::Ready(Ok(())))) {
            // It does not fall asleep under a debugger, whose next message, or whose end, wakes it.
            return Poll::Pending;
        }
        polled.unwrap_or(Poll::Pending).map_err(|error| {
            let message = shown(error);
            if message.starts_with(STALLED) {
                Uncaught::Stalled(message)
            } else {
                Uncaught::Error(message)
            }
        })
    }

    fn poll_loaded(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        let Evaluation::Running(id, evaluated) = &mut self.evaluation else {
            return Poll::Ready(Ok(()));
        };
        let id = *id;
        let done = self.isolate.with(|_| evaluated.as_mut().poll(cx));
        let evaluated = std::task::ready!(done);
        let handlers = self.stretch(|runtime, dispatch| {
            evaluated
                .and_then(|()| runtime.get_module_namespace(id))
                .map(|namespace| dispatch.set_handlers(runtime, &namespace))
        });
        if let Some(Err(error)) = handlers {
            return Poll::Ready(Err(shown(error)));
        }
        let evaluation = std::mem::replace(&mut self.evaluation, Evaluation::Done);
        self.isolate.with(move |_| drop(evaluation));
        Poll::Ready(Ok(()))
    }

    fn exceeded(&mut self, thorough: bool) -> Option<Exceeded> {
        if let Some(exceeded) = self.watched.exceeded() {
            return Some(Exceeded::Cpu(exceeded));
        }
        let look = thorough || self.isolate.is_exhausted() || self.should_yield();
        let memory = look.then(|| self.isolate.exhausted()).flatten()?;
        Some(Exceeded::Memory(format!("{memory} went over its limit")))
    }

    fn turn_begins(&mut self) {
        self.began = Instant::now();
    }

    fn should_yield(&self) -> bool {
        self.began.elapsed() > LONG_STRETCH
    }
}

/// Lets an isolate be inspected, if that is wanted.
fn registered(isolate: &mut Isolate, recipe: &Recipe) -> Option<Registered> {
    let inspector = recipe.inspector.as_ref()?;
    let url = BundleLoader::url(&recipe.module).ok()?;
    let registered = isolate.with(|runtime| inspector.register(runtime, &recipe.who, url.into()));
    Some(registered)
}

/// Waits for a debugger until it says that the isolate may run, which is held up then at the first statement of the application:
/// what the bundler has put before that is run.
fn wait_for_debugger(runtime: &mut JsRuntime, bundle: &Bundle) {
    let made_up = bundle.modules.keys().filter(|path| is_made_up(path));
    for path in made_up {
        // It has no effects but its exports. What fails now fails again, where that is told.
        if let Ok(module) = load(runtime, path, Use::Dependency) {
            drop(runtime.mod_evaluate(module));
        }
    }
    let inspector = runtime.inspector();
    inspector.wait_for_session_and_break_on_next_statement();
}

/// An error of the application's code, for its developer.
pub fn shown(error: CoreError) -> String {
    stack::readable(&error.to_string()).into_owned()
}
