//! Debuggers: isolates that can be inspected by Chrome's DevTools protocol, and who inspects them.
//!
//! V8 and `deno_core` speak the protocol. Here is who there is to speak to, from other threads: an isolate that is paused keeps
//! its own.

use std::collections::{BTreeMap, HashSet};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use deno_core::futures::StreamExt;
use deno_core::futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use deno_core::futures::future::{Either, select};
use deno_core::serde_json::Value;
use deno_core::{
    InspectorMsg, InspectorSessionChannels, InspectorSessionKind, InspectorSessionProxy, JsRuntime,
    serde_json, v8,
};
use portside_core::ids::WorkerKey;
use portside_surface::lifecycle;
use portside_worker::cell::Actor;
use portside_worker::host::Identity;
use tokio::sync::watch;
use uuid::Uuid;

mod exception;

/// What debuggers say when an isolate that waits for one may run.
const GO_ON: &str = r#"{"id":1,"method":"Runtime.runIfWaitingForDebugger"}"#;

/// The version of V8.
pub const V8_VERSION: &str = deno_core::v8::VERSION_STRING;

/// The isolates of a process that can be inspected.
pub struct Inspector {
    targets: Mutex<BTreeMap<u64, Arc<Inspected>>>,
    next: AtomicU64,
    /// Whether each waits for a debugger before it runs code of the application.
    they_wait: AtomicBool,
    /// Those whose isolates can be inspected; nothing for all.
    wanted: Option<Mutex<HashSet<WorkerKey>>>,
}

/// An isolate that can be inspected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its number, which is never used again in this process.
    pub number: u64,
    /// Whose it is: the server's, a worker's, or an object's; and which objects live in it.
    pub title: String,
    /// The URL of its main module.
    pub url: String,
}

/// Has the isolates that begin of one worker be inspectable, until it is dropped.
pub struct Wish<'a> {
    inspector: &'a Inspector,
    worker: WorkerKey,
}

/// What is known of an isolate on other threads.
pub struct Inspected {
    who: String,
    /// Nobody can guess it: for debuggers that may attach to this isolate and to no other.
    secret: String,
    url: String,
    objects: Mutex<BTreeMap<u32, String>>,
    sessions: UnboundedSender<InspectorSessionProxy>,
    debuggers: Arc<AtomicUsize>,
    /// Tells debuggers to go.
    leave: watch::Sender<bool>,
    listeners: Mutex<Vec<Listener>>,
    exceptions: AtomicU64,
}

/// A debugger, for what V8 does not tell it itself.
struct Listener {
    messages: UnboundedSender<InspectorMsg>,
    /// Whether it has asked for what happens at runtime.
    wants: Arc<AtomicBool>,
}

/// A debugger of an isolate. Dropping it detaches it: what it has paused goes on.
pub struct Debugger {
    /// To the isolate. Goes first: once it is gone the isolate looks whether others are there.
    commands: Option<UnboundedSender<String>>,
    messages: UnboundedReceiver<InspectorMsg>,
    debuggers: Arc<AtomicUsize>,
    leave: watch::Receiver<bool>,
    wants: Arc<AtomicBool>,
}

impl Inspector {
    pub(crate) fn new(they_wait: bool) -> Self {
        Self {
            targets: Mutex::default(),
            next: AtomicU64::new(0),
            they_wait: AtomicBool::new(they_wait),
            wanted: None,
        }
    }

    /// Of isolates that are asked for alone.
    pub(crate) fn on_request() -> Self {
        Self {
            wanted: Some(Mutex::default()),
            ..Self::new(false)
        }
    }

    /// From now on the isolates of this worker can be inspected: those that begin before the wish is dropped. Nothing if somebody else
    /// has that wish.
    #[must_use]
    pub fn want(&self, worker: &WorkerKey) -> Option<Wish<'_>> {
        let is_first = self.wishes().is_none_or(|mut it| it.insert(worker.clone()));
        is_first.then(|| Wish {
            inspector: self,
            worker: worker.clone(),
        })
    }

    /// Whether that was asked for.
    #[must_use]
    pub fn is_wanted(&self, worker: &WorkerKey) -> bool {
        self.wishes().is_some_and(|it| it.contains(worker))
    }

    fn wishes(&self) -> Option<MutexGuard<'_, HashSet<WorkerKey>>> {
        let wanted = self.wanted.as_ref()?;
        Some(wanted.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether that one's can be.
    pub(crate) fn takes(&self, who: &Identity) -> bool {
        !self.is_on_request() || matches!(who, Identity::Worker(key) if self.is_wanted(key))
    }

    /// Whether only those can be that are asked for.
    pub(crate) fn is_on_request(&self) -> bool {
        self.wanted.is_some()
    }

    /// The isolate of that one that there is now, by its secret.
    #[must_use]
    pub fn secret_of(&self, who: &Identity) -> Option<String> {
        let who = who.to_string();
        let targets = self.lock();
        let mut targets = targets.values().rev();
        targets.find_map(|it| (it.who == who).then(|| it.secret.clone()))
    }

    /// No isolate waits for a debugger any more, and those that do go on.
    pub fn end_waiting(&self) {
        self.they_wait.store(false, Ordering::SeqCst);
        for target in self.targets() {
            if let Some(debugger) = self.attach(target.number) {
                debugger.send(GO_ON.to_owned());
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Inspected>>> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The isolates that there are now, the oldest first.
    #[must_use]
    pub fn targets(&self) -> Vec<Target> {
        let targets = self.lock();
        let shown = |(number, inspected): (&u64, &Arc<Inspected>)| Target {
            number: *number,
            title: inspected.title(),
            url: inspected.url.clone(),
        };
        targets.iter().map(shown).collect()
    }

    /// Attaches a debugger to an isolate. Nothing if there is none of that number.
    #[must_use]
    pub fn attach(&self, number: u64) -> Option<Debugger> {
        let inspected = self.lock().get(&number)?.clone();
        inspected.attach()
    }

    /// The same, for whoever knows the isolate's secret.
    #[must_use]
    pub fn attach_by(&self, secret: &str) -> Option<Debugger> {
        let has_it = |it: &&Arc<Inspected>| it.secret == secret;
        let inspected = self.lock().values().find(has_it)?.clone();
        inspected.attach()
    }

    /// Sends the debuggers away from that one's isolate, or from all: what they have paused goes on, and nobody attaches to it again.
    pub fn detach(&self, who: Option<&Identity>) {
        let who = who.map(ToString::to_string);
        for inspected in self.lock().values() {
            if who.as_ref().is_none_or(|who| *who == inspected.who) {
                inspected.leave.send_replace(true);
            }
        }
    }

    /// Lets an isolate be inspected that has an inspector, and in which nothing of the application has run yet.
    pub(crate) fn register(
        self: &Arc<Self>,
        runtime: &mut JsRuntime,
        who: &Identity,
        url: String,
    ) -> Registered {
        let inspected = Arc::new(Inspected {
            who: who.to_string(),
            secret: Uuid::new_v4().simple().to_string(),
            url,
            objects: Mutex::default(),
            sessions: runtime.inspector().get_session_sender(),
            debuggers: Arc::default(),
            leave: watch::Sender::new(false),
            listeners: Mutex::default(),
            exceptions: AtomicU64::new(0),
        });
        let (hears, state) = (inspected.clone(), runtime.op_state());
        let hears: Box<lifecycle::Uncaught> = Box::new(move |scope, thrown, text, rejected| {
            hears.uncaught(scope, thrown, text, rejected);
        });
        lifecycle::tell_uncaught(&mut state.borrow_mut(), hears);
        let number = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        self.lock().insert(number, inspected.clone());
        Registered {
            inspector: self.clone(),
            number,
            inspected,
        }
    }
}

impl Drop for Wish<'_> {
    fn drop(&mut self) {
        if let Some(mut wishes) = self.inspector.wishes() {
            wishes.remove(&self.worker);
        }
    }
}

impl Inspected {
    fn attach(&self) -> Option<Debugger> {
        let (commands, rx) = unbounded();
        let (tx, messages) = unbounded();
        let debuggers = self.debuggers.clone();
        debuggers.fetch_add(1, Ordering::SeqCst);
        let wants = Arc::<AtomicBool>::default();
        self.listeners().push(Listener {
            messages: tx.clone(),
            wants: wants.clone(),
        });
        let debugger = Debugger {
            commands: Some(commands),
            messages,
            debuggers,
            leave: self.leave.subscribe(),
            wants,
        };
        let proxy = InspectorSessionProxy {
            channels: InspectorSessionChannels::Regular { tx, rx },
            kind: InspectorSessionKind::NonBlocking {
                wait_for_disconnect: false,
            },
        };
        self.sessions.unbounded_send(proxy).ok()?;
        Some(debugger)
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<u32, String>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listeners(&self) -> MutexGuard<'_, Vec<Listener>> {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells debuggers what nobody has caught. V8 itself leaves out what was thrown, for modules of deno_core's count as of another
    /// origin.
    fn uncaught(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        thrown: v8::Local<'_, v8::Value>,
        text: &str,
        rejected: bool,
    ) {
        let mut listeners = self.listeners();
        listeners.retain(|listener| !listener.messages.is_closed());
        if listeners.is_empty() {
            return;
        }
        let id = self.exceptions.fetch_add(1, Ordering::Relaxed) + 1;
        let event = exception::thrown(scope, thrown, text, rejected, id);
        for listener in listeners.iter() {
            if listener.wants.load(Ordering::Relaxed) {
                let message = InspectorMsg::notification(event.clone());
                // It goes away just now.
                let _ = listener.messages.unbounded_send(message);
            }
        }
    }

    fn title(&self) -> String {
        let objects: Vec<String> = self.objects().values().cloned().collect();
        match &*objects {
            [] => self.who.clone(),
            objects => format!("{} with {}", self.who, objects.join(", ")),
        }
    }
}

/// An isolate, from its first JavaScript to its last.
pub(crate) struct Registered {
    inspector: Arc<Inspector>,
    number: u64,
    inspected: Arc<Inspected>,
}

impl Registered {
    /// How many debuggers are attached, also while it runs.
    pub fn debuggers(&self) -> Arc<AtomicUsize> {
        self.inspected.debuggers.clone()
    }

    /// Whether one is.
    pub fn is_debugged(&self) -> bool {
        self.inspected.debuggers.load(Ordering::SeqCst) > 0
    }

    /// Whether it is to wait for a debugger before it runs code of the application.
    pub fn is_to_wait(&self) -> bool {
        self.inspector.they_wait.load(Ordering::SeqCst)
    }

    /// An object lives in it from now on.
    pub fn has_object(&self, actor: Actor, object: String) {
        self.inspected.objects().insert(actor.0, object);
    }

    /// It does not any more.
    pub fn has_lost_object(&self, actor: Actor) {
        self.inspected.objects().remove(&actor.0);
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.inspector.lock().remove(&self.number);
    }
}

impl Debugger {
    /// Sends a message of the protocol to the isolate. One that is gone takes none.
    pub fn send(&self, message: String) {
        let call: Value = serde_json::from_str(&message).unwrap_or_default();
        match call["method"].as_str() {
            Some("Runtime.enable") => self.wants.store(true, Ordering::Relaxed),
            Some("Runtime.disable") => self.wants.store(false, Ordering::Relaxed),
            _ => {}
        }
        if let Some(commands) = &self.commands {
            let _ = commands.unbounded_send(message);
        }
    }

    /// The next message of the isolate; none once it is gone, or the debugger is to leave. Nothing is lost if this is dropped before.
    pub async fn message(&mut self) -> Option<String> {
        let leave = pin!(self.leave.wait_for(|leave| *leave));
        match select(leave, self.messages.next()).await {
            Either::Left(_) => None,
            Either::Right((message, _)) => Some(message?.content),
        }
    }
}

impl Drop for Debugger {
    fn drop(&mut self) {
        self.debuggers.fetch_sub(1, Ordering::SeqCst);
        self.commands = None;
    }
}
