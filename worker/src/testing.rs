//! An engine without JavaScript: its code is a closure. For tests and the simulation.

use std::task::{Context, Poll};

use crate::cell::Actor;
use crate::engine::{Engine, Exceeded, Shared, Uncaught};
use crate::event::Delivered;

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
