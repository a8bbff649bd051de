//! One loaded copy of a module, apart from its engine: what it has open, what it has written, and what may leave.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

use portside_core::bundle::Bundle;
use portside_core::compatibility::Compatibility;
use portside_core::ids::WorkerKey;
use portside_core::limits::Limits;
use portside_core::migrations::ObjectClass;
use portside_core::variable::Variables;
use portside_exchange::Application;
use tokio::sync::oneshot;

use crate::alarm::{Due, Firing};
use crate::bond::Fate;
use crate::caches::Caches;
use crate::event::{Control, Delivered, Incoming, Stop};
use crate::gate::{Gate, Output};
use crate::hibernation::{SocketEvent, Sockets};
use crate::host::{self, Fabric, Identity, Ledger, Level, Log, LogLine, RequestName};
use crate::inbox::{Inbox, Next};
use crate::link::{CloseReason, Failure, Frame, Kind, LinkEnd, LinkId, Opening, Undelivered};
use crate::object::{ObjectState, Reset};
use crate::port::Port;
use crate::rejection::Rejection;
use crate::request::Exchange;
use crate::storage::Storage;

mod writes;

/// How an instance is made.
pub struct InstanceOptions {
    /// Who it is.
    pub identity: Identity,
    /// Its code.
    pub bundle: Arc<Bundle>,
    /// What it may use.
    pub limits: Arc<Limits>,
    /// Whether events wait while a storage operation is under way.
    pub input_gate: bool,
    /// The server's `env`.
    pub env: Arc<Variables>,
    /// What answers the code's requests for static assets, if there are some.
    pub assets: Option<Arc<dyn Application>>,
    /// What the code was written for.
    pub compatibility: Arc<Compatibility>,
    /// The application's classes of Durable Objects; the code knows them by their places here.
    pub classes: Arc<[ObjectClass]>,
    /// The application's caches.
    pub caches: Arc<Caches>,
    /// Its state, for a worker.
    pub storage: Storage,
    /// Its hibernatable WebSockets, for an object.
    pub sockets: Option<Arc<Sockets>>,
    /// Where its events come from.
    pub inbox: Arc<Inbox>,
    /// Where it opens links.
    pub fabric: Arc<dyn Fabric>,
    /// Its durable state; a server has none.
    pub ledger: Option<Arc<dyn Ledger>>,
    /// Its log.
    pub log: Arc<dyn Log>,
}

static NEXT_INSTANCE: AtomicU64 = AtomicU64::new(0);

/// One loaded copy of a module, apart from its engine.
pub struct Instance {
    /// Tells this instance from its predecessors at the same inbox.
    number: u64,
    identity: Identity,
    bundle: Arc<Bundle>,
    pub(crate) limits: Arc<Limits>,
    env: Arc<Variables>,
    assets: Option<Arc<dyn Application>>,
    compatibility: Arc<Compatibility>,
    classes: Arc<[ObjectClass]>,
    caches: Arc<Caches>,
    pub(crate) inbox: Arc<Inbox>,
    fabric: Arc<dyn Fabric>,
    ledger: Option<Arc<dyn Ledger>>,
    log: Arc<dyn Log>,
    /// By age: what ends them all does so in an order that can be repeated.
    pub(crate) ports: BTreeMap<LinkId, Port>,
    /// Those that may be left, in that order; see [`Port::is_left`].
    pub(crate) left_ports: VecDeque<LinkId>,
    pub(crate) requests: BTreeMap<LinkId, Exchange>,
    /// What it knows of its keys and has written.
    pub storage: Storage,
    /// What only objects have.
    pub(crate) object: Option<ObjectState>,
    pub(crate) sockets: Option<Arc<Sockets>>,
    pub(crate) gate: Gate,
    firing: Firing,
    life: Life,
    /// What callers have that have reached it.
    fate: Arc<Fate>,
    /// Events that waited for the application to listen; they go before the inbox.
    pub(crate) replay: VecDeque<Incoming>,
    /// Who waits for which write, by rising numbers.
    durable_waiters: VecDeque<(u64, oneshot::Sender<()>)>,
    input_gate: bool,
    /// Those that came while the module was evaluated, the last few.
    pub(crate) rejections: VecDeque<Rejection>,
    /// Accepted WebSockets of which the code has heard more than was said.
    pub(crate) heard: Vec<LinkId>,
    /// The request in whose course the present event came, and the last one in whose course this turn wrote.
    request: Option<RequestName>,
    wrote_for: Option<RequestName>,
}

/// Where an instance is in its life.
struct Life {
    /// The module is being evaluated: what needs its handlers waits.
    loading: bool,
    /// Promises given to `waitUntil` and handlers not yet settled.
    holds: usize,
    /// Timers that have not come yet, of an object.
    timers: usize,
    /// `self.terminate()` was called.
    terminating: bool,
    /// Its writes are not accepted any more, for this reason.
    lost: Option<Lost>,
    /// Whether it was asked to end.
    stop: Stop,
}

/// Why an instance's writes are not accepted any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// The right under which its state was loaded is gone.
    #[error("the worker is another process's, or begins anew")]
    NotOwned,
    /// A commit of it was not made, or may not have been.
    #[error(transparent)]
    Commit(#[from] host::Error),
    /// It is an object that begins anew.
    #[error(transparent)]
    Reset(Reset),
}

/// Why an instance that still runs must not go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// `self.terminate()`, and everything before it is durable.
    Terminated,
    /// Its writes are not accepted any more.
    Lost(Lost),
}

impl Instance {
    /// A new instance, nothing of it loaded yet.
    #[must_use]
    pub fn new(options: InstanceOptions) -> Self {
        let InstanceOptions {
            identity,
            bundle,
            limits,
            input_gate,
            env,
            assets,
            compatibility,
            classes,
            caches,
            storage,
            sockets,
            inbox,
            fabric,
            ledger,
            log,
        } = options;
        Self {
            number: NEXT_INSTANCE.fetch_add(1, Ordering::Relaxed),
            identity,
            bundle,
            limits,
            env,
            assets,
            compatibility,
            classes,
            caches,
            inbox,
            fabric,
            ledger,
            log,
            ports: BTreeMap::new(),
            left_ports: VecDeque::new(),
            requests: BTreeMap::new(),
            firing: Firing::new(storage.alarm()),
            storage,
            object: None,
            sockets,
            gate: Gate::default(),
            life: Life {
                loading: true,
                holds: 0,
                timers: 0,
                terminating: false,
                lost: None,
                stop: Stop::No,
            },
            fate: Arc::default(),
            replay: VecDeque::new(),
            durable_waiters: VecDeque::new(),
            input_gate,
            rejections: VecDeque::new(),
            heard: vec![],
            request: None,
            wrote_for: None,
        }
    }

    /// Takes safety mechanisms out.
    #[cfg(feature = "testing")]
    pub fn take_out(&mut self, without: crate::Without) {
        self.gate.without = without;
    }

    /// Which are taken out.
    #[cfg(feature = "testing")]
    pub(crate) fn is_without(&self) -> crate::Without {
        self.gate.without
    }

    // ---- what comes in

    /// The next event for the application. While the instance terminates, or waits for its storage, there is none; while
    /// it loads, only those of ports it has opened: its module may wait for an answer.
    pub fn next_event(&mut self) -> Option<Delivered> {
        self.request = None;
        self.look_whether_it_is_owned();
        loop {
            let wanted = self.wanted();
            let event = match wanted.and_then(|_| self.replay.pop_front()) {
                Some(incoming) => self.deliver(incoming),
                None => match self.inbox.next(wanted) {
                    Next::Control(control) => {
                        self.hear(control);
                        None
                    }
                    Next::Incoming(incoming) => self.admit(incoming),
                    Next::Nothing(stop) => {
                        self.life.stop = stop;
                        return None;
                    }
                },
            };
            if event.is_some() {
                return event;
            }
        }
    }

    /// Asks to be woken by the next event. Returns whether there is one already.
    pub fn register(&self, waker: &Waker) -> bool {
        match self.wanted() {
            None => self.inbox.register(waker, |_| false),
            Some(wanted) => self.inbox.register(waker, wanted) || !self.replay.is_empty(),
        }
    }

    /// Without the right under which it was loaded it is over, though no commit has told it yet.
    fn look_whether_it_is_owned(&mut self) {
        let is_owned = self.ledger.as_ref().is_none_or(|ledger| ledger.is_owned());
        if !is_owned {
            self.lose(Lost::NotOwned);
        }
    }

    /// Which events it takes now; `None` for none.
    fn wanted(&self) -> Option<fn(&Incoming) -> bool> {
        if self.life.lost.is_some()
            || self.life.terminating
            || (self.input_gate && self.storage.is_busy())
        {
            None
        } else if self.life.loading || self.lets_nothing_in() {
            Some(Incoming::is_of_opened_link)
        } else {
            Some(|_| true)
        }
    }

    fn hear(&mut self, control: Control) {
        match control {
            Control::Committed {
                instance,
                seq,
                outcome,
            } if instance == self.number => self.committed(seq, outcome),
            Control::Committed { .. } => {}
            Control::Renewed => self.release_outputs(),
        }
    }

    /// Keeps back what the application does not listen to yet. Of a port that an earlier instance had, or that was closed
    /// here, nobody hears; one that could not be opened fails at once.
    fn admit(&mut self, incoming: Incoming) -> Option<Delivered> {
        match &incoming {
            Incoming::Frame { link, .. } | Incoming::Closed { link, .. } => {
                let link = *link;
                let Some(port) = self.ports.get_mut(&link) else {
                    let is_of_request = self.requests.contains_key(&link);
                    return is_of_request.then(|| self.deliver(incoming)).flatten();
                };
                match port.admit(incoming, &self.inbox) {
                    Some(incoming) => self.deliver(incoming),
                    None => self
                        .look_whether_left(link)
                        .then_some(Delivered::PortLeft { port: link }),
                }
            }
            Incoming::Opened(_) | Incoming::Alarm(_) | Incoming::Hibernatable(_) => {
                self.deliver(incoming)
            }
        }
    }

    fn deliver(&mut self, incoming: Incoming) -> Option<Delivered> {
        match incoming {
            Incoming::Opened(opening) if matches!(opening.kind, Kind::Adopt(_)) => {
                // It is for whoever keeps an object's sockets.
                let failure = Failure::failed("only Durable Objects have hibernatable WebSockets");
                opening.end.refuse(failure);
                None
            }
            Incoming::Opened(opening) => {
                if let Some(bond) = &opening.bond {
                    bond.bind(&self.fate);
                }
                self.opened(opening)
            }
            Incoming::Frame { link, frame } => match frame {
                Frame::Message { data, request, .. } => {
                    self.request = request;
                    Some(Delivered::Message { port: link, data })
                }
                Frame::Failed(failure) => Some(Delivered::PortFailed {
                    port: link,
                    failure,
                }),
                Frame::Socket(delivery) => self.hear_client(link, delivery),
                // Sent only to whoever opened the link: who calls from here reads the answers elsewhere.
                Frame::Head(_)
                | Frame::Chunk { .. }
                | Frame::End
                | Frame::Abort(_)
                | Frame::Resolve(_)
                | Frame::Ran(_) => None,
            },
            Incoming::Closed { link, reason } => {
                if self.ports.remove(&link).is_some() {
                    return Some(Delivered::PortClosed { port: link, reason });
                }
                self.request_aborted(link)
                    .then_some(Delivered::FetchAborted { link })
            }
            Incoming::Hibernatable(event) => {
                // Not of those that an earlier instance has lost.
                let is_heard = event.is_heard();
                let SocketEvent {
                    socket, delivery, ..
                } = event;
                is_heard.then_some(Delivered::Hibernatable { socket, delivery })
            }
            Incoming::Alarm(alarm) => match self.firing.due(alarm, self.storage.alarm()) {
                Due::Fires => Some(Delivered::Alarm(alarm)),
                Due::Waits => None,
                Due::Outdated => {
                    if let Some(ledger) = &self.ledger {
                        ledger.alarm_outdated(alarm);
                    }
                    None
                }
            },
        }
    }

    fn opened(&mut self, opening: Opening) -> Option<Delivered> {
        let Opening {
            kind,
            reconnected,
            end,
            ..
        } = opening;
        let link = end.id;
        Some(match kind {
            Kind::Port => {
                self.ports.insert(link, Port::new(end));
                Delivered::Connected {
                    port: link,
                    reconnected,
                }
            }
            Kind::Fetch(mut request) => {
                let exchange = Exchange::begin(&mut request, end);
                let streamed = exchange.is_streamed();
                self.request.clone_from(&exchange.name);
                self.requests.insert(link, exchange);
                Delivered::Fetch {
                    link,
                    request,
                    streamed,
                }
            }
            Kind::Rpc(push) => {
                self.requests.insert(link, Exchange::of_call(end));
                Delivered::Rpc { link, push: *push }
            }
            Kind::Scheduled(scheduled) => {
                self.requests.insert(link, Exchange::of_call(end));
                Delivered::Scheduled {
                    link,
                    scheduled: *scheduled,
                }
            }
            Kind::Evaluate(expression) => {
                self.requests.insert(link, Exchange::of_call(end));
                Delivered::Evaluate {
                    link,
                    expression: *expression,
                }
            }
            Kind::Adopt(_) => return None,
        })
    }

    // ---- what goes out

    fn is_leased(&self) -> bool {
        self.ledger.as_ref().is_none_or(|ledger| ledger.is_leased())
    }

    /// Sends something out, after the writes before it, while the lease covers the moment. Nothing any more, if its writes are
    /// not accepted.
    pub(crate) fn emit(&mut self, output: Output) {
        if self.is_lost() {
            return;
        }
        let leased = self.is_leased();
        if let Some(output) = self.gate.admit(output, leased) {
            self.perform(output);
        }
    }

    /// Whether a message of so many bytes leaves at once, or may wait for the gate.
    pub(crate) fn gate_has_room(&self, bytes: usize) -> bool {
        self.gate.has_room(bytes, self.is_leased())
    }

    /// Whether an output leaves at once.
    #[must_use]
    pub fn output_is_open(&self) -> bool {
        self.gate.is_open(self.is_leased())
    }

    /// Waits until an output that others send may leave; nothing if it may now.
    pub fn permit(&mut self) -> Option<oneshot::Receiver<()>> {
        if self.output_is_open() {
            return None;
        }
        let (sender, permitted) = oneshot::channel();
        self.leave(move || {
            // Whoever asked may be gone.
            let _ = sender.send(());
        });
        Some(permitted)
    }

    /// Lets something leave by another way than a link, now or when the gate opens, in order with all other outputs. Never,
    /// if the instance ends before that. `step` must not use the instance.
    pub fn leave(&mut self, step: impl FnOnce() + 'static) {
        self.emit(Output::Other(Box::new(step)));
    }

    fn release_outputs(&mut self) {
        let leased = self.is_leased();
        while let Some(output) = self.gate.release(leased) {
            self.perform(output);
        }
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Open { link, to, request } => self.open(link, &to, request),
            Output::Frame { link, frame } => match self.ports.get(&link) {
                Some(port) => {
                    if port.end.send(frame) == Err(Undelivered::Overloaded) {
                        let failure = Failure::overloaded("the worker's inbox is full");
                        let frame = Frame::Failed(failure);
                        self.replay.push_back(Incoming::Frame { link, frame });
                    }
                }
                None => self.answer(link, frame),
            },
            Output::Close { link, reason } => {
                if let Some(port) = self.ports.remove(&link) {
                    port.end.close(reason);
                } else if let Some(exchange) = self.requests.remove(&link) {
                    exchange.end.close(reason);
                }
            }
            Output::Hibernatable { socket, delivery } => {
                if let Some(sockets) = &self.sockets {
                    sockets.send(socket, delivery);
                }
            }
            Output::Other(step) => step(),
        }
    }

    fn open(&mut self, link: LinkId, to: &WorkerKey, request: Option<RequestName>) {
        let opening = Opening {
            request,
            ..Opening::new(Kind::Port, LinkEnd::new(link.other(), self.inbox.clone()))
        };
        let peer = self.fabric.open(to, opening);
        if let Some(port) = self.ports.get_mut(&link) {
            port.end.opened(peer);
        }
    }

    // ---- its life

    /// The module has its handlers: events may come.
    pub fn loaded(&mut self) {
        self.life.loading = false;
        self.log_rejections_but(None);
        if let Some(ledger) = &self.ledger {
            ledger.loaded();
        }
    }

    /// Whether its module is being evaluated.
    #[must_use]
    pub fn is_loading(&self) -> bool {
        self.life.loading
    }

    /// A handler or a `waitUntil` promise begins, or has settled.
    pub fn hold(&mut self, begins: bool) {
        self.life.holds = if begins {
            self.life.holds + 1
        } else {
            self.life.holds.saturating_sub(1)
        };
    }

    /// A timer of an object's is set, or has come, or is cleared.
    pub fn timer(&mut self, is_set: bool) {
        self.life.timers = if is_set {
            self.life.timers + 1
        } else {
            self.life.timers.saturating_sub(1)
        };
    }

    /// Whether an object waits for a timer: it does not sleep, though it may be asked to end.
    #[must_use]
    pub fn has_timers(&self) -> bool {
        self.life.timers > 0
    }

    /// `self.terminate()`: no code of this instance runs after it, and it ends when all is durable.
    pub fn terminate(&mut self) {
        self.life.terminating = true;
    }

    /// Whether `self.terminate()` was called.
    #[must_use]
    pub fn is_terminating(&self) -> bool {
        self.life.terminating
    }

    /// Whether there is a reason to end now.
    #[must_use]
    pub fn ending(&self) -> Option<Ending> {
        if let Some(reason) = &self.life.lost {
            return Some(Ending::Lost(reason.clone()));
        }
        (self.life.terminating && self.is_flushed()).then_some(Ending::Terminated)
    }

    /// Whether it was asked to end, and may now.
    #[must_use]
    pub fn may_stop(&self) -> bool {
        match self.life.stop {
            Stop::No => false,
            Stop::WhenQuiet => self.is_quiet(),
            Stop::WhenSettled => self.is_settled(),
            Stop::WhenFlushed => self.is_flushed(),
        }
    }

    /// Whether it was asked to end in order, and not at once.
    pub(crate) fn lets_listeners_finish(&self) -> bool {
        self.life.stop == Stop::WhenSettled
    }

    /// Whether everything issued is durable and sent.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        self.is_unchanged() && self.storage.is_durable() && !self.gate.holds_any()
    }

    /// Whether its handlers have settled, everything issued is durable and sent, and no answer is under way.
    fn is_settled(&self) -> bool {
        let mut requests = self.requests.values();
        self.life.holds == 0
            && requests.all(|exchange| !exchange.is_under_way())
            && self.replay.is_empty()
            && self.is_flushed()
    }

    /// Whether nothing but pending operations of the event loop could keep it awake.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.life.holds == 0 && self.is_only_held()
    }

    /// The same, handlers and promises given to `waitUntil` aside.
    #[must_use]
    pub fn is_only_held(&self) -> bool {
        self.ports.values().all(Port::is_left)
            && self.requests.is_empty()
            && self.replay.is_empty()
            && self.is_flushed()
    }

    /// A turn begins. Returns whether it was put to sleep while it rested: then nothing of it may run.
    pub(crate) fn is_put_to_sleep(&self) -> bool {
        self.inbox.turn_begins()
    }

    /// It has nothing to do, and may be put to sleep before its time.
    pub(crate) fn rests(&self) {
        self.inbox.rests();
    }

    /// Closes its inbox if nothing is in it: then it may sleep. Returns whether it is closed.
    pub(crate) fn close_inbox(&self) -> bool {
        self.inbox.close_if_empty()
    }

    /// Gives every open port, and everybody waiting to be connected, an error and a close.
    pub fn refuse_all(&mut self, failure: &Failure) {
        for port in std::mem::take(&mut self.ports).into_values() {
            port.end.refuse(failure.clone());
        }
        self.inbox.refuse_all(failure);
    }

    // ---- what it is made of

    /// Who it is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Its code.
    #[must_use]
    pub fn bundle(&self) -> &Arc<Bundle> {
        &self.bundle
    }

    /// What it may use.
    #[must_use]
    pub fn limits(&self) -> &Arc<Limits> {
        &self.limits
    }

    /// The server's variables.
    #[must_use]
    pub fn env(&self) -> &Variables {
        &self.env
    }

    /// What answers requests for static assets, if there are some.
    #[must_use]
    pub fn assets(&self) -> Option<&Arc<dyn Application>> {
        self.assets.as_ref()
    }

    /// What the code was written for.
    #[must_use]
    pub fn compatibility(&self) -> &Compatibility {
        &self.compatibility
    }

    /// The application's classes of Durable Objects.
    #[must_use]
    pub fn classes(&self) -> &[ObjectClass] {
        &self.classes
    }

    /// The application's caches.
    #[must_use]
    pub fn caches(&self) -> &Arc<Caches> {
        &self.caches
    }

    /// Its hibernatable WebSockets, for an object.
    #[must_use]
    pub fn sockets(&self) -> Option<&Arc<Sockets>> {
        self.sockets.as_ref()
    }

    /// What its id comes from, for an object of which that is known.
    #[must_use]
    pub fn object_name(&self) -> Option<Arc<str>> {
        match &self.identity {
            Identity::Object(object) => object.name.clone(),
            Identity::Server | Identity::Worker(_) => None,
        }
    }

    /// Where it opens links.
    #[must_use]
    pub fn fabric(&self) -> &Arc<dyn Fabric> {
        &self.fabric
    }

    /// A line of its log, written in the course of `request` if that is known.
    pub fn log(&self, level: Level, text: &str, request: Option<LinkId>) {
        self.log_for(level, text, self.request_name(request).as_deref());
    }

    pub(crate) fn log_for(&self, level: Level, text: &str, request: Option<&str>) {
        self.log.log(LogLine {
            source: &self.identity,
            level,
            text,
            request,
        });
    }

    /// What `request` is called, else the one in whose course the present event came.
    #[must_use]
    pub fn request_name(&self, request: Option<LinkId>) -> Option<RequestName> {
        match request.and_then(|request| self.requests.get(&request)) {
            Some(exchange) => exchange.name.clone(),
            None => self.request.clone(),
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let reason = if self.life.terminating {
            CloseReason::Terminated
        } else {
            CloseReason::Lost
        };
        for port in self.ports.values() {
            port.end.close(reason);
        }
        for exchange in self.requests.values() {
            exchange.instance_ended(reason);
        }
    }
}
