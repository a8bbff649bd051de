//! The host side of one instance: everything its JavaScript can reach.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

use portside_core::alarm::{self, Alarm, AlarmChange};
use portside_core::bundle::Bundle;
use portside_core::limits::Limits;
use portside_core::write::WriteBatch;
use portside_exchange::{Delivery, Message};

use tokio::sync::oneshot;

use crate::event::{CloseReason, Event, PortFailure, PortId, RequestId, SocketId};
use crate::host::{CommitTicket, Host, Identity};
use crate::http::Exchange;
use crate::inbox::Inbox;
use crate::output::{Gate, Output};
use crate::ports::{Port, Undelivered};
use crate::sockets::OpenSocket;
use crate::storage::Storage;

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
    pub env: Arc<Vec<(String, String)>>,
    /// Its state, for a worker.
    pub storage: Storage,
    /// Where its events come from.
    pub inbox: Arc<Inbox>,
    /// Its surroundings.
    pub host: Arc<dyn Host>,
}

static NEXT_INSTANCE: AtomicU64 = AtomicU64::new(0);

/// One loaded copy of a module, from the host's side. Lives in the isolate's `OpState`.
pub struct Instance {
    /// Tells this instance from its predecessors at the same inbox.
    number: u64,
    pub(crate) identity: Identity,
    pub(crate) bundle: Arc<Bundle>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) env: Arc<Vec<(String, String)>>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) ports: HashMap<PortId, Port>,
    pub(crate) exchanges: HashMap<RequestId, Exchange>,
    pub(crate) sockets: HashMap<SocketId, OpenSocket>,
    pub(crate) storage: Storage,
    /// Events that waited for JavaScript to listen; they go before the inbox.
    pub(crate) replay: VecDeque<Event>,
    /// Promises given to `waitUntil` and handlers not yet settled.
    pub(crate) holds: usize,
    /// `self.terminate()` was called.
    pub(crate) terminating: bool,
    gate: Gate,
    /// Who waits for which write, by rising numbers.
    durable_waiters: VecDeque<(u64, oneshot::Sender<()>)>,
    /// The module is being evaluated: what needs its handlers waits.
    loading: bool,
    input_gate: bool,
    /// Bytes put in this turn.
    pub(crate) turn_bytes: usize,
    /// Bytes put by each commit that is on its way.
    commits_in_flight: VecDeque<usize>,
    lost: Option<String>,
    /// The alarm found on wake. It may have been what woke the instance, so it fires even if the module's evaluation
    /// replaces it.
    found: Option<Alarm>,
    firing: Option<Alarm>,
    /// The alarm was set or deleted since `firing` fired.
    changed_while_firing: bool,
    /// Came due while another was firing.
    due_next: Option<Alarm>,
}

/// Why an instance that still runs must not go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// `self.terminate()`, and everything before it is durable.
    Terminated,
    /// Its writes are not accepted any more.
    Lost(String),
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
            storage,
            inbox,
            host,
        } = options;
        let found = storage.alarm;
        Self {
            number: NEXT_INSTANCE.fetch_add(1, Ordering::Relaxed),
            identity,
            bundle,
            limits,
            env,
            inbox,
            host,
            ports: HashMap::new(),
            exchanges: HashMap::new(),
            sockets: HashMap::new(),
            storage,
            replay: VecDeque::new(),
            holds: 0,
            terminating: false,
            gate: Gate::default(),
            durable_waiters: VecDeque::new(),
            loading: true,
            input_gate,
            turn_bytes: 0,
            commits_in_flight: VecDeque::new(),
            lost: None,
            found,
            firing: None,
            changed_while_firing: false,
            due_next: None,
        }
    }

    /// The next event. While the instance terminates, or waits for its storage, control events only; while it loads,
    /// those of ports it has opened as well: its module may wait for an answer.
    pub fn next_event(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.inbox.pop_control() {
                match event {
                    Event::Committed { instance, .. } if instance != self.number => continue,
                    event => return Some(event),
                }
            }
            let wanted = self.wanted()?;
            let replayed = self.replay.pop_front();
            let event = match replayed {
                Some(event) => Some(event),
                None => {
                    let event = self.inbox.pop_first(wanted)?;
                    self.admit(event)
                }
            };
            if let Some(Event::PortClosed { port, .. }) = event {
                self.ports.remove(&port);
            }
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

    /// The module has its handlers: events may come.
    pub fn loaded(&mut self) {
        self.loading = false;
    }

    /// Which events it takes now, control events aside; `None` for none.
    fn wanted(&self) -> Option<fn(&Event) -> bool> {
        if self.terminating || (self.input_gate && self.storage.operations > 0) {
            None
        } else if self.loading {
            Some(Event::is_of_opened_port)
        } else {
            Some(|_| true)
        }
    }

    fn admit(&mut self, event: Event) -> Option<Event> {
        match event {
            Event::Message { port, .. }
            | Event::PortClosed { port, .. }
            | Event::PortFailed { port, .. } => {
                // A port of an earlier instance, or closed here: nobody listens. One never opened here fails at once.
                match self.ports.get_mut(&port) {
                    Some(open) => open.admit(event),
                    None => matches!(event, Event::PortFailed { .. } | Event::PortClosed { .. })
                        .then_some(event),
                }
            }
            Event::Connect(end) => {
                let id = end.id;
                self.ports.insert(id, Port::new(end));
                // JavaScript needs only the id; the end stays here.
                Some(Event::Opened { port: id })
            }
            event => Some(event),
        }
    }

    /// Sends something out, after the writes before it.
    pub(crate) fn emit(&mut self, output: Output) {
        if let Some(output) = self.gate.admit(output) {
            self.perform(output);
        }
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Message { port, data } => {
                let Some(open) = self.ports.get(&port) else {
                    return;
                };
                if open.end.send(data) == Err(Undelivered::Overloaded) {
                    let failure = PortFailure::overloaded("the worker's inbox is full");
                    let _ = self.inbox.push(Event::PortFailed { port, failure });
                }
            }
            Output::ClosePort { port } => {
                if let Some(open) = self.ports.remove(&port) {
                    open.end.close(CloseReason::Closed);
                }
            }
            Output::Socket { socket, message } => self.send_to_client(socket, message),
        }
    }

    fn send_to_client(&mut self, socket: SocketId, message: Message) {
        let Some(open) = self.sockets.get(&socket) else {
            return;
        };
        let last = matches!(message, Message::Close { .. });
        open.send(message);
        if last {
            self.sockets.remove(&socket);
        } else if open.waiting() > self.limits.socket_buffer_bytes {
            // What waits goes with the connection; the application hears that it is over.
            let gone = Message::Close {
                code: 1013,
                reason: "the client does not keep up".to_owned(),
            };
            open.send(gone.clone());
            self.sockets.remove(&socket);
            let _ = self.inbox.push(Event::Socket {
                socket,
                delivery: Delivery::unlimited(gone),
            });
        }
    }

    /// Adds to the turn's batch; returns the number whose durability JavaScript may await.
    pub(crate) fn write(&mut self, change: impl FnOnce(&mut WriteBatch)) -> u64 {
        let first_of_turn = self.storage.pending.is_empty();
        change(&mut self.storage.pending);
        self.gate.write(first_of_turn)
    }

    /// Resolves when the writes up to `seq` are durable; nothing if they are.
    pub(crate) fn when_durable(&mut self, seq: u64) -> Option<oneshot::Receiver<()>> {
        if self.gate.is_durable(seq) {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        self.durable_waiters.push_back((seq, sender));
        Some(receiver)
    }

    /// The newest write, or zero if all are durable.
    pub(crate) fn undurable(&self) -> u64 {
        if self.gate.is_clear() {
            0
        } else {
            self.gate.issued()
        }
    }

    /// Ends a turn: what it wrote goes to the store as one batch.
    pub fn end_turn(&mut self) {
        self.storage.operations -= std::mem::take(&mut self.storage.ended_operations);
        let Identity::Worker(key) = &self.identity else {
            return;
        };
        if self.storage.reads_before_commit > 0
            || self.storage.pending.is_empty()
            || self.lost.is_some()
        {
            return;
        }
        let batch = std::mem::take(&mut self.storage.pending);
        self.commits_in_flight
            .push_back(std::mem::take(&mut self.turn_bytes));
        let ticket = CommitTicket::new(self.inbox.clone(), self.number, self.gate.issued());
        self.host.commit(key, batch, ticket);
    }

    /// A commit ended: what waited for it leaves, or the instance is lost.
    pub fn committed(&mut self, seq: u64, outcome: Result<(), String>) {
        let bytes = self.commits_in_flight.pop_front().unwrap_or(0);
        match outcome {
            Ok(()) => {
                self.gate.settle(seq);
                self.storage.durable(bytes, self.gate.is_clear());
                while let Some(output) = self.gate.release() {
                    self.perform(output);
                }
                while self
                    .durable_waiters
                    .front()
                    .is_some_and(|(needed, _)| *needed <= seq)
                {
                    if let Some((_, waiter)) = self.durable_waiters.pop_front() {
                        // Nobody may be waiting any more.
                        let _ = waiter.send(());
                    }
                }
            }
            Err(reason) => self.lost = Some(reason),
        }
    }

    /// Whether an alarm that is due goes to its handler: it does unless it was changed meanwhile. One that is due while
    /// another fires waits for that to end.
    pub fn alarm_fires(&mut self, alarm: Alarm) -> bool {
        if self.firing.is_some() {
            self.due_next = Some(alarm);
            return false;
        }
        let found = self.found.take();
        let fires = self.storage.alarm == Some(alarm) || found == Some(alarm);
        if fires {
            self.changed_while_firing = self.storage.alarm != Some(alarm);
            self.firing = Some(alarm);
        }
        fires
    }

    /// The handler of the firing alarm ended at `now`, in milliseconds since the Unix epoch.
    pub(crate) fn alarm_ended(&mut self, succeeded: bool, now: i64) {
        let Some(fired) = self.firing.take() else {
            return;
        };
        if !self.changed_while_firing {
            let next = alarm::apply(
                self.storage.alarm,
                alarm::after_delivery(fired, succeeded, now),
            );
            self.set_alarm(next);
        }
        if let Some(next) = self.due_next.take() {
            self.replay.push_back(Event::Alarm(next));
        }
    }

    /// Arms or disarms the alarm; returns the write's number.
    pub(crate) fn set_alarm(&mut self, next: Option<Alarm>) -> u64 {
        self.storage.alarm = next;
        self.changed_while_firing = true;
        if !self.loading || next.is_none() {
            self.found = None;
        }
        self.write(|batch| batch.alarm = next.map_or(AlarmChange::Clear, AlarmChange::Set))
    }

    /// The armed alarm, not counting the one that is being delivered.
    pub(crate) fn armed_alarm(&self) -> Option<Alarm> {
        self.storage
            .alarm
            .filter(|armed| self.changed_while_firing || Some(*armed) != self.firing)
    }

    /// Whether there is a reason to end now.
    #[must_use]
    pub fn ending(&self) -> Option<Ending> {
        if let Some(reason) = &self.lost {
            return Some(Ending::Lost(reason.clone()));
        }
        (self.terminating && self.is_flushed()).then_some(Ending::Terminated)
    }

    /// Whether everything issued is durable and sent.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        self.storage.pending.is_empty()
            && self.commits_in_flight.is_empty()
            && !self.gate.holds_any()
    }

    /// Whether nothing but pending operations of the event loop could keep it awake.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.holds == 0 && self.is_only_held()
    }

    /// The same, handlers and promises given to `waitUntil` aside.
    #[must_use]
    pub fn is_only_held(&self) -> bool {
        self.ports.is_empty()
            && self.exchanges.is_empty()
            && self.sockets.is_empty()
            && self.replay.is_empty()
            && self.is_flushed()
    }

    /// Starts to work on a request.
    pub fn begin_exchange(&mut self, id: RequestId, exchange: Exchange) {
        self.exchanges.insert(id, exchange);
    }

    /// Whether `self.terminate()` was called.
    #[must_use]
    pub fn is_terminating(&self) -> bool {
        self.terminating
    }

    /// Who it is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Its surroundings.
    #[must_use]
    pub fn host(&self) -> &Arc<dyn Host> {
        &self.host
    }

    /// Gives every open port, and everybody waiting to be connected, an error and a close.
    pub fn refuse_all(&mut self, failure: &PortFailure) {
        for (_, port) in self.ports.drain() {
            port.end.refuse(failure);
        }
        self.inbox.refuse_all(failure);
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let reason = if self.terminating {
            CloseReason::Terminated
        } else {
            CloseReason::Lost
        };
        for port in self.ports.values() {
            port.end.close(reason);
        }
        for socket in self.sockets.values() {
            socket.send(Message::Close {
                code: 1012,
                reason: "the application's instance ended".to_owned(),
            });
        }
    }
}
