//! What an instance's code is run by.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::cell::Actor;
use crate::event::Delivered;
use crate::instance::Instance;

/// An instance as its engine and its activation share it. Neither keeps it borrowed while the other runs.
pub type Shared = Rc<RefCell<Instance>>;

/// Which limit code went over, and how, for the developer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Exceeded {
    /// That of CPU time.
    #[error("{0}")]
    Cpu(String),
    /// That of memory.
    #[error("{0}")]
    Memory(String),
}

/// Runs one instance's code, and knows nothing of inboxes, gates and stores. The code does what it does by calling the
/// [`Instance`] that was given to the engine when it was made.
pub trait Engine {
    /// An object's database as the store has it, before it is opened.
    type Stored: Send;

    /// A turn begins.
    fn turn_begins(&mut self);

    /// Hands an event to the code of an instance, the engine's own or an object that lives with it, and runs all that it
    /// causes at once.
    fn deliver(&mut self, actor: Actor, event: Delivered);

    /// An object begins to live here: opens its database, gives that to the instance, and constructs the object.
    ///
    /// # Errors
    /// It cannot live here, for this reason, which is for the developer.
    fn begin_object(
        &mut self,
        actor: Actor,
        instance: &Shared,
        stored: Self::Stored,
    ) -> Result<(), String> {
        let _ = (actor, instance, stored);
        Err("nothing but its own instance can live here".to_owned())
    }

    /// An object is gone: nothing of it may run any more.
    fn end_object(&mut self, actor: Actor) {
        let _ = actor;
    }

    /// Lets what the code waits for go on: finished operations, timers. `Ready(Ok)` means that it waits for nothing.
    ///
    /// An error is what nobody caught; the code goes on all the same.
    fn run(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Uncaught>>;

    /// Whether the module is evaluated, and its handlers are known. Asked after each [`Engine::run`] until it is.
    ///
    /// # Errors
    /// It cannot be, for this reason, which is for the developer.
    fn poll_loaded(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>>;

    /// Why nothing of the code may run any more, if a limit was met. Asked after each call above; `thorough` asks for the
    /// limits too that take a while to check.
    fn exceeded(&mut self, thorough: bool) -> Option<Exceeded>;

    /// Whether the code has kept its thread for so long in this turn that others should have it now.
    fn should_yield(&self) -> bool;
}

/// What nobody caught.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uncaught {
    /// The module waits for something at its top level, and the event loop has nothing that could bring it.
    Stalled(String),
    /// An error.
    Error(String),
}
