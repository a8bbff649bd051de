//! An instance of the worker crate, and when it wants to be polled.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use portside_core::bundle::Bundle;
use portside_core::limits::Limits;
use portside_worker::Without;
use portside_worker::activation::{Activation, End, Progress};
use portside_worker::engine::Shared;
use portside_worker::host::{Identity, Ledger};
use portside_worker::inbox::Inbox;
use portside_worker::instance::{Instance, InstanceOptions};
use portside_worker::storage::Storage;
use portside_worker::testing::Scripted;

use crate::code::Code;
use crate::host::{Host, Woken};
use crate::mechanism::Mechanism;

/// An instance that runs. u64s are microseconds of its machine's clock.
pub(crate) struct Running {
    pub inbox: Arc<Inbox>,
    activation: Activation<Scripted<Code>>,
    woken: Arc<Woken>,
    waker: Waker,
    /// When it wants to be polled though nobody wakes it.
    pub until: Option<u64>,
}

/// What an instance is made of.
pub(crate) struct Parts {
    pub identity: Identity,
    pub code: Code,
    pub storage: Storage,
    pub ledger: Option<Arc<dyn Ledger>>,
    pub inbox: Arc<Inbox>,
    /// Without events for this long it sleeps.
    pub idle: Duration,
}

impl Running {
    pub fn new(host: &Arc<Host>, parts: Parts, now: u64, without: Option<Mechanism>) -> Self {
        let inbox = parts.inbox;
        let mut instance = Instance::new(InstanceOptions {
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
            env: Arc::default(),
            storage: parts.storage,
            sockets: None,
            inbox: inbox.clone(),
            fabric: host.clone(),
            ledger: parts.ledger,
            log: host.clone(),
        });
        instance.take_out(Without {
            output_gate: without == Some(Mechanism::OutputGate),
            lease_in_gate: without == Some(Mechanism::LeaseInGate),
            discarding_killed_turns: without == Some(Mechanism::DiscardKilledTurn),
        });
        let instance: Shared = Rc::new(RefCell::new(instance));
        let engine = Scripted::new(instance.clone(), parts.code);
        let (woken, waker) = Woken::new();
        Self {
            inbox,
            activation: Activation::new(instance, engine, Duration::from_micros(now)),
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
