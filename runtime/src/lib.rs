//! V8: isolates on threads, their limits, and the modules they run.
//!
//! An [`IsolatePool`] starts instances; each is one `deno_core` isolate, pinned to a thread and entered only while it is
//! polled: the [`Engine`](portside_worker::engine::Engine) of a [`portside_worker`] instance. This is the only crate, with
//! `surface` below it, that links V8.

mod code;
mod demand;
mod dispatch;
mod history;
mod inspector;
mod isolate;
mod javascript;
mod loader;
mod measures;
mod memory;
mod pool;
mod ready;
mod script;
mod thread;
mod trim;
mod watchdog;

pub use inspector::{Debugger, Inspector, Target, V8_VERSION, Wish};
pub use measures::{Gauge, Measures, Reading};
pub use pool::{Expected, IsolatePool, Place, Start};
pub use portside_surface as surface;
pub use trim::trim_memory;
pub use watchdog::Unstoppable;
