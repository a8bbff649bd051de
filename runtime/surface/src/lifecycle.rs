//! Staying awake, ending, and the log.

use deno_core::{OpState, op2, v8};

use crate::host::{Identity, Level};
use crate::instance::Instance;
use crate::stack;

/// A handler or a `waitUntil` promise begins (`true`) or has settled.
#[op2(fast)]
pub(crate) fn op_hold(state: &mut OpState, begins: bool) {
    let instance = state.borrow_mut::<Instance>();
    if begins {
        instance.holds += 1;
    } else {
        instance.holds = instance.holds.saturating_sub(1);
    }
}

/// `self.terminate()`: no JavaScript of this instance runs after it.
#[op2(fast, reentrant)]
pub(crate) fn op_terminate(state: &mut OpState, scope: &mut v8::PinScope<'_, '_>) {
    state.borrow_mut::<Instance>().terminating = true;
    scope.terminate_execution();
}

/// A line of the log, at a level of `console`.
#[op2(fast)]
pub(crate) fn op_log(state: &mut OpState, #[string] text: &str, #[smi] level: u32) {
    let level = match level {
        0 => Level::Debug,
        1 => Level::Info,
        2 => Level::Warn,
        _ => Level::Error,
    };
    let instance = state.borrow::<Instance>();
    instance.host.log(
        &instance.identity,
        level,
        &stack::readable(text.trim_end_matches('\n')),
    );
}

/// The worker's name; nothing for the server.
#[op2]
#[string]
pub(crate) fn op_worker_name(state: &mut OpState) -> Option<String> {
    match &state.borrow::<Instance>().identity {
        Identity::Worker(key) => Some(key.name().to_owned()),
        Identity::Server => None,
    }
}
