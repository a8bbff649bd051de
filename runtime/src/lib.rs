//! V8: isolates on threads, their limits, and the modules they run.
//!
//! An [`Engine`] starts instances; each instance is one `deno_core` isolate, pinned to a thread and entered only while it
//! is polled. Everything reaches it through its inbox, everything it does leaves through its
//! [`Host`](portside_surface::host::Host). This is the only crate, with `surface` below it, that links V8.

mod dispatch;
mod engine;
mod instance;
mod isolate;
mod loader;
mod memory;
mod thread;
mod trim;
mod watchdog;

pub use engine::{Engine, Place, Start};
pub use instance::{End, Failure};
pub use portside_surface as surface;
