//! Warms the snapshot up: runs what wakes, messages, writes and alarms of workers run, by the worker crate's own instances, so
//! that the functions they need are compiled in it. Without, each isolate would compile them anew.
//!
//! What the code has left behind on the global object is taken away again. The surface itself keeps nothing of an instance
//! that has ended; what it keeps is part of every isolate.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use deno_core::{JsRuntime, PollEventLoopOptions, v8};
use portside_core::alarm::Alarm;
use portside_core::bundle::{Bundle, Module, ModuleKind};
use portside_core::ids::WorkerKey;
use portside_core::keys::KeyRange;
use portside_core::limits::Limits;
use portside_core::write::{Value, WriteBatch};
use portside_surface::parts::Lookup;
use portside_worker::activation::{Activation, Progress};
use portside_worker::cell::Actor;
use portside_worker::engine::{Engine, Exceeded, Shared, Uncaught};
use portside_worker::event::{Delivered, Incoming};
use portside_worker::host::{
    CommitTicket, Fabric, Identity, Ledger, Log, LogLine, Reading, RequestName,
};
use portside_worker::inbox::Inbox;
use portside_worker::instance::{Instance, InstanceOptions};
use portside_worker::link::{
    CloseReason, Failure, Frame, Kind, LinkEnd, LinkId, Opening, Receive, Rejected,
};
use portside_worker::storage::Storage;

use crate::dispatch::Dispatch;

/// Polls after which an instance has done all there is to do.
const POLLS: usize = 20;

/// How often everything is run: some functions are first needed the second time.
const ROUNDS: usize = 2;

// What starting takes away is kept; of others the name only: looking at one loads its part.
const KEEP_GLOBALS: &str = "{
  const taken = {};
  for (const name of ['Deno', '__bootstrap', 'portsideStart']) taken[name] = Object.getOwnPropertyDescriptor(globalThis, name);
  globalThis.kept = { names: Reflect.ownKeys(globalThis), taken };
}";

const PUT_GLOBALS_BACK: &str = "{
  const { names, taken } = globalThis.kept;
  for (const name of Reflect.ownKeys(globalThis)) if (!names.includes(name)) delete globalThis[name];
  Object.defineProperties(globalThis, taken);
  /(?:)/.exec(''); // RegExp has the last match, for all code to see
}";

/// Runs it all.
///
/// # Panics
/// Something of it failed: then there is no snapshot.
pub fn up(runtime: &mut JsRuntime) {
    // Operations that take long are tasks of it.
    let tokio = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("the system has room for an event loop");
    tokio.block_on(async {
        for _ in 0..ROUNDS {
            run(runtime, include_str!("worker.js")).await;
        }
    });
}

/// Runs one worker of `code`, an expression whose value has the module's default export.
async fn run(runtime: &mut JsRuntime, code: &'static str) {
    let key = WorkerKey::new("worker.js", "a").expect("a worker's key");
    let script = |runtime: &mut JsRuntime, text: &'static str| {
        let name = "file:///server.js"; // workers' scripts are looked for beside it
        runtime.execute_script(name, text).expect("the script runs")
    };
    script(runtime, KEEP_GLOBALS);
    let surroundings = Arc::<Surroundings>::default();
    let limits = Limits::default();
    let inbox = Arc::new(Inbox::new(limits.inbox_messages, limits.inbox_bytes));
    let instance: Shared = Rc::new(RefCell::new(Instance::new(InstanceOptions {
        identity: Identity::Worker(key),
        bundle: bundle(),
        limits: Arc::new(limits),
        input_gate: false,
        env: Arc::new(vec![("NAME".to_owned(), "value".into())]),
        assets: None,
        compatibility: Arc::default(),
        classes: Arc::default(),
        caches: Arc::default(),
        storage: Storage::loaded(BTreeMap::new(), true, Some(Alarm::at(0))),
        sockets: None,
        inbox: inbox.clone(),
        fabric: surroundings.clone(),
        ledger: Some(surroundings.clone()),
        log: surroundings.clone(),
    })));
    runtime
        .op_state()
        .borrow_mut()
        .put::<Shared>(instance.clone());
    let dispatch = Dispatch::start(runtime).expect("the surface starts");
    dispatch.begin(runtime, Some("a"));
    let exports = script(runtime, code);
    let exports = {
        deno_core::scope!(scope, runtime);
        let exports = v8::Local::new(scope, exports);
        let exports = exports.try_cast::<v8::Object>().expect("an object");
        v8::Global::new(scope, exports)
    };
    let engine = Warm {
        runtime,
        dispatch,
        exports,
    };
    let mut warming = Warming {
        activation: Activation::new(instance, engine, Duration::ZERO),
        inbox,
        surroundings,
    };
    warming.settle().await;
    messages(&mut warming).await;
    let Warm { runtime, .. } = warming.activation.into_engine();
    let instance = runtime.op_state().borrow_mut().try_take::<Shared>();
    let lookup = runtime.op_state().borrow_mut().try_take::<Lookup>();
    drop((instance, lookup));
    script(runtime, PUT_GLOBALS_BACK);
}

/// What the instances think they are of.
fn bundle() -> Arc<Bundle> {
    let module = |name: &str| {
        let module = Module {
            kind: ModuleKind::JavaScript,
            code: Arc::default(),
            source_map: None,
        };
        (name.to_owned(), module)
    };
    Arc::new(Bundle {
        main: "server.js".into(),
        modules: ["server.js", "worker.js"].map(module).into(),
    })
}

/// What others ask of a worker.
async fn messages(warming: &mut Warming<'_>) {
    warming.tell(Incoming::Alarm(Alarm::at(0))).await;
    // Serialized strings, as of V8's format: its version, then a one-byte string.
    for text in ["count", "many", "alarm", "other"] {
        let length = u8::try_from(text.len()).expect("a short text");
        let data = [&[0xff, 0x0f, b'"', length], text.as_bytes()].concat();
        let link = LinkId::of_new_link().other();
        let end = LinkEnd::new(link, warming.surroundings.echo.clone());
        let frame = message(&end, data);
        let kind = Kind::Port;
        warming
            .tell(Incoming::Opened(Opening::new(kind, end)))
            .await;
        warming.tell(Incoming::Frame { link, frame }).await;
        let reason = CloseReason::Closed;
        warming.tell(Incoming::Closed { link, reason }).await;
    }
}

/// An instance that is run.
struct Warming<'a> {
    activation: Activation<Warm<'a>>,
    inbox: Arc<Inbox>,
    surroundings: Arc<Surroundings>,
}

impl Warming<'_> {
    /// Lets the instance do all there is to do.
    async fn settle(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..POLLS {
            let progress = self.activation.poll(&mut cx, Duration::ZERO);
            assert!(matches!(progress, Progress::Waiting(_)), "{progress:?}");
            self.surroundings.answer();
            tokio::task::yield_now().await;
        }
    }

    async fn tell(&mut self, incoming: Incoming) {
        let told = self.inbox.receive(incoming);
        assert!(told.is_ok(), "the inbox has room");
        self.settle().await;
    }
}

/// The engine: the runtime that the snapshot is made of.
struct Warm<'a> {
    runtime: &'a mut JsRuntime,
    dispatch: Dispatch,
    exports: v8::Global<v8::Object>,
}

impl Engine for Warm<'_> {
    type Stored = ();

    fn turn_begins(&mut self) {}

    fn deliver(&mut self, actor: Actor, mut event: Delivered) {
        deno_core::scope!(scope, self.runtime);
        self.dispatch.event(scope, actor, &mut event);
        scope.perform_microtask_checkpoint();
    }

    fn run(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Uncaught>> {
        let polled = self
            .runtime
            .poll_event_loop(cx, PollEventLoopOptions::default());
        polled.map_err(|error| panic!("nobody caught {error}"))
    }

    fn poll_loaded(&mut self, _: &mut Context<'_>) -> Poll<Result<(), String>> {
        self.dispatch.set_handlers(self.runtime, &self.exports);
        Poll::Ready(Ok(()))
    }

    fn exceeded(&mut self, _: bool) -> Option<Exceeded> {
        None
    }

    fn should_yield(&self) -> bool {
        false
    }
}

/// Everything around an instance: a store that keeps nothing, a lease that never ends, and somebody at the other end of each
/// link who says back what is said.
#[derive(Default)]
struct Surroundings {
    echo: Arc<Echo>,
    commits: Mutex<Vec<CommitTicket>>,
}

impl Surroundings {
    /// Lets the store and the others answer.
    fn answer(&self) {
        for ticket in taken(&self.commits) {
            ticket.settle(Ok(()));
        }
        let said = taken(&self.echo.said);
        let opened = self.echo.opened.lock();
        let opened = opened.unwrap_or_else(PoisonError::into_inner);
        for (link, data) in said {
            if let Some(end) = opened.iter().find(|end| end.id == link) {
                // One that has closed hears nothing.
                let _ = end.send(message(end, data));
            }
        }
    }
}

fn taken<T>(list: &Mutex<Vec<T>>) -> Vec<T> {
    std::mem::take(&mut *list.lock().unwrap_or_else(PoisonError::into_inner))
}

/// A message to send on `end`.
fn message(end: &LinkEnd, data: Vec<u8>) -> Frame {
    let place = end.credit.take(data.len());
    let request = None;
    Frame::Message {
        data,
        place,
        request,
    }
}

/// The other ends of links that instances have opened, and what was said there.
#[derive(Default)]
struct Echo {
    opened: Mutex<Vec<LinkEnd>>,
    said: Mutex<Vec<(LinkId, Vec<u8>)>>,
}

impl Receive for Echo {
    fn receive(&self, incoming: Incoming) -> Result<(), Rejected> {
        if let Incoming::Frame {
            link,
            frame: Frame::Message { data, .. },
        } = incoming
        {
            let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
            said.push((link, data));
        }
        Ok(())
    }
}

impl Fabric for Surroundings {
    fn open(&self, _: &WorkerKey, opening: Opening) -> Option<Arc<dyn Receive>> {
        let opened = self.echo.opened.lock();
        opened
            .unwrap_or_else(PoisonError::into_inner)
            .push(opening.end);
        Some(self.echo.clone())
    }

    fn deliver(&self, _: &WorkerKey, _: Incoming) -> Result<(), Failure> {
        Ok(()) // nobody has a socket to an object here
    }
}

impl Ledger for Surroundings {
    fn commit(&self, _: WriteBatch, _: Option<RequestName>, ticket: CommitTicket) {
        let commits = self.commits.lock();
        commits.unwrap_or_else(PoisonError::into_inner).push(ticket);
    }
    fn read(&self, _: Vec<String>) -> Reading<BTreeMap<String, Value>> {
        Box::pin(async { Ok(BTreeMap::new()) })
    }
    fn list(&self, _: KeyRange) -> Reading<Vec<(String, Value)>> {
        Box::pin(async { Ok(vec![]) })
    }
    fn is_leased(&self) -> bool {
        true
    }
    fn is_owned(&self) -> bool {
        true
    }
    fn alarm_outdated(&self, alarm: Alarm) {
        panic!("{alarm:?} is not the worker's");
    }
}

impl Log for Surroundings {
    fn log(&self, line: LogLine<'_>) {
        panic!("{} wrote {}", line.source, line.text);
    }
}
