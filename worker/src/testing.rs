//! An engine without JavaScript: its code is a closure. For tests and the simulation.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use portside_core::bundle::Bundle;

use crate::cell::Actor;
use crate::engine::{Engine, Exceeded, Shared, Uncaught};
use crate::event::{Delivered, Incoming};
use crate::host::{Fabric, Identity, Log};
use crate::inbox::Inbox;
use crate::instance::InstanceOptions;
use crate::link::{Frame, Receive, Rejected};
use crate::storage::Storage;

/// An instance that has stored nothing, nor has where to, with everything else as it is by default.
pub fn options(
    identity: Identity,
    inbox: &Arc<Inbox>,
    fabric: Arc<dyn Fabric>,
    log: Arc<dyn Log>,
) -> InstanceOptions {
    InstanceOptions {
        identity,
        bundle: Arc::new(Bundle {
            main: "server.js".into(),
            modules: BTreeMap::new(),
        }),
        limits: Arc::default(),
        input_gate: false,
        env: Arc::default(),
        assets: None,
        compatibility: Arc::default(),
        classes: Arc::default(),
        caches: Arc::default(),
        storage: Storage::loaded(BTreeMap::new(), true, None),
        sockets: None,
        inbox: inbox.clone(),
        fabric,
        ledger: None,
        log,
    }
}

/// The code of an instance: gets each event, and the instance to act on. An error says that it met a limit and was killed.
pub trait Code: FnMut(&Shared, Delivered) -> Result<(), String> {}
impl<F: FnMut(&Shared, Delivered) -> Result<(), String>> Code for F {}

/// Runs a closure for each event. It has no event loop: what it waits for are events.
pub struct Scripted<F> {
    instance: Shared,
    code: F,
    killed: Option<String>,
}

impl<F: Code> Scripted<F> {
    /// An engine for this instance.
    pub fn new(instance: Shared, code: F) -> Self {
        Self {
            instance,
            code,
            killed: None,
        }
    }
}

impl<F: Code> Engine for Scripted<F> {
    type Stored = ();

    fn turn_begins(&mut self) {}

    fn deliver(&mut self, _: Actor, event: Delivered) {
        self.killed = (self.code)(&self.instance, event).err();
    }

    fn run(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Uncaught>> {
        Poll::Ready(Ok(()))
    }

    fn poll_loaded(&mut self, _: &mut Context<'_>) -> Poll<Result<(), String>> {
        Poll::Ready(Ok(()))
    }

    fn exceeded(&mut self, _: bool) -> Option<Exceeded> {
        self.killed.clone().map(Exceeded::Cpu)
    }

    fn should_yield(&self) -> bool {
        false
    }
}

/// Whoever opens a port: notes what it hears.
#[derive(Default)]
pub struct Opener(Mutex<Vec<String>>);

impl Opener {
    /// What it has heard so far: the texts of messages and failures, and how the port was closed.
    pub fn heard(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Receive for Opener {
    fn receive(&self, incoming: Incoming) -> Result<(), Rejected> {
        let text = match incoming {
            Incoming::Frame { frame, .. } => match frame {
                Frame::Message { data, .. } => String::from_utf8_lossy(&data).into_owned(),
                Frame::Failed(failure) => failure.message,
                _ => "?".to_owned(),
            },
            Incoming::Closed { reason, .. } => format!("closed: {}", reason.code()),
            _ => "?".to_owned(),
        };
        self.heard().push(text);
        Ok(())
    }
}
