//! An instance of the worker crate, and when it wants to be polled.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use portside_core::bundle::Bundle;
use portside_core::ids::WorkerKey;
use portside_core::limits::Limits;
use portside_worker::Without;
use portside_worker::activation::{Activation, End, Progress};
use portside_worker::cell::Cell;
use portside_worker::engine::{Engine, Shared};
use portside_worker::hibernation::Sockets;
use portside_worker::host::{Identity, Ledger};
use portside_worker::inbox::Inbox;
use portside_worker::instance::{Instance, InstanceOptions};
use portside_worker::storage::Storage;
use portside_worker::testing::Scripted;

use crate::cell::Isolate;
use crate::code::Code;
use crate::database::Entries;
use crate::host::{Host, Woken};
use crate::mechanism::Mechanism;

/// An instance that runs. u64s are microseconds of its machine's clock.
pub(crate) struct Running {
    pub inbox: Arc<Inbox>,
    /// Where objects are sent that are to live with it.
    pub cell: Arc<Cell<Entries>>,
    activation: Box<dyn Poll>,
    woken: Arc<Woken>,
    waker: Waker,
    /// When it wants to be polled though nobody wakes it.
    pub until: Option<u64>,
}

/// What an instance is made of.
pub(crate) struct Parts {
    pub identity: Identity,
    pub storage: Storage,
    pub sockets: Option<Arc<Sockets>>,
    pub ledger: Option<Arc<dyn Ledger>>,
    pub inbox: Arc<Inbox>,
    /// Without events for this long it sleeps.
    pub idle: Duration,
}

/// An activation, whatever its engine.
trait Poll {
    fn poll(&mut self, cx: &mut Context<'_>, now: Duration) -> Progress;
}

impl<E: Engine> Poll for Activation<E> {
    fn poll(&mut self, cx: &mut Context<'_>, now: Duration) -> Progress {
        Activation::poll(self, cx, now)
    }
}

/// As instances are made in `host`.
pub(crate) fn options(host: &Arc<Host>, parts: Parts) -> InstanceOptions {
    InstanceOptions {
        identity: parts.identity,
        bundle: Arc::new(Bundle {
            main: "server.js".to_owned(),
            modules: BTreeMap::new(),
        }),
        limits: Arc::new(Limits {
            idle: parts.idle,
            ..Limits::default()
        }),
        input_gate: false,
        compatibility: Arc::default(),
        classes: Arc::default(),
        caches: Arc::default(),
        env: Arc::default(),
        assets: None,
        storage: parts.storage,
        sockets: parts.sockets,
        inbox: parts.inbox,
        fabric: host.clone(),
        ledger: parts.ledger,
        log: host.clone(),
    }
}

fn taken_out(without: Option<Mechanism>) -> Without {
    Without {
        output_gate: without == Some(Mechanism::OutputGate),
        lease_in_gate: without == Some(Mechanism::LeaseInGate),
        discarding_killed_turns: without == Some(Mechanism::DiscardKilledTurn),
        ending_residents: without == Some(Mechanism::EndResidents),
    }
}

fn instance(host: &Arc<Host>, parts: Parts, without: Without) -> Shared {
    let mut instance = Instance::new(options(host, parts));
    instance.take_out(without);
    Rc::new(RefCell::new(instance))
}

impl Running {
    /// A server or a worker in an isolate of its own.
    pub fn new(
        host: &Arc<Host>,
        parts: Parts,
        code: Code,
        now: u64,
        without: Option<Mechanism>,
    ) -> Self {
        let inbox = parts.inbox.clone();
        let instance = instance(host, parts, taken_out(without));
        let engine = Scripted::new(instance.clone(), code);
        let activation = Activation::new(instance, engine, Duration::from_micros(now));
        Self::of(inbox, Arc::default(), Box::new(activation))
    }

    /// A server whose isolate is that of objects, too: of `keys`.
    pub fn with_objects(
        host: &Arc<Host>,
        parts: Parts,
        keys: Vec<WorkerKey>,
        now: u64,
        without: Option<Mechanism>,
    ) -> Self {
        let (inbox, without) = (parts.inbox.clone(), taken_out(without));
        let instance = instance(host, parts, without);
        let engine = Isolate::new(host.clone(), keys, instance.clone(), without);
        let (cell, now) = (Arc::<Cell<Entries>>::default(), Duration::from_micros(now));
        let actors = Rc::default();
        let activation = Activation::with_objects(instance, engine, now, cell.clone(), actors);
        Self::of(inbox, cell, Box::new(activation))
    }

    fn of(inbox: Arc<Inbox>, cell: Arc<Cell<Entries>>, activation: Box<dyn Poll>) -> Self {
        let (woken, waker) = Woken::new();
        Self {
            inbox,
            cell,
            activation,
            woken,
            waker,
            until: None,
        }
    }

    /// Runs a turn if there is a reason to: whether it ran, and its end if that was the last.
    pub fn poll(&mut self, now: u64) -> (bool, Option<End>) {
        let is_due = self.until.is_some_and(|until| until <= now);
        if !self.woken.take() && !is_due {
            return (false, None);
        }
        let mut context = Context::from_waker(&self.waker);
        match self
            .activation
            .poll(&mut context, Duration::from_micros(now))
        {
            Progress::Ended(end) => (true, Some(end)),
            Progress::Waiting(until) => {
                self.until = until.map(|it| it.as_micros() as u64);
                (true, None)
            }
        }
    }
}
