//! Staying awake, ending, and the log.

use std::cell::RefCell;
use std::rc::Rc;

use deno_core::{OpState, op2, v8};
use deno_error::JsErrorBox;
use deno_web::StartTime;
use portside_worker::cell::Actors;
use portside_worker::engine::Shared;
use portside_worker::host::Level;

use crate::ports::request_of;
use crate::{actors, stack};

/// The isolate is this instance's from now on, and that of the objects that live with it; the origin of its time is now.
pub fn begin(state: &mut OpState, instance: Shared, objects: Rc<Actors>) {
    state.put(instance);
    state.put(objects);
    state.put(StartTime::default());
}

/// A debugger may be attached to the isolate.
struct Inspected;

/// A debugger may be attached to the isolate: it is to hear what is written to the console.
pub fn is_inspected(state: &mut OpState) {
    state.put(Inspected);
}

/// Is told what nobody has caught: what was thrown, how it reads, and whether a promise was rejected with it.
pub type Uncaught = dyn Fn(&mut v8::PinScope<'_, '_>, v8::Local<'_, v8::Value>, &str, bool);

/// Whom to tell.
struct HearsUncaught(Box<Uncaught>);

/// Has the isolate's debuggers hear what nobody catches.
pub fn tell_uncaught(state: &mut OpState, hears: Box<Uncaught>) {
    state.put(HearsUncaught(hears));
}

/// Whether a debugger may be attached.
#[op2(fast)]
pub(crate) fn op_inspected(state: &OpState) -> bool {
    state.has::<Inspected>()
}

/// Nobody has caught what was thrown, or what a promise was rejected with.
#[op2(fast)]
pub(crate) fn op_uncaught(
    state: &OpState,
    scope: &mut v8::PinScope<'_, '_>,
    thrown: v8::Local<'_, v8::Value>,
    #[string] text: &str,
    is_rejection: bool,
) {
    if let Some(HearsUncaught(hears)) = state.try_borrow() {
        hears(scope, thrown, text, is_rejection);
    }
}

/// A handler or a `waitUntil` promise begins (`true`) or has settled.
#[op2(fast)]
pub(crate) fn op_hold(state: &mut OpState, #[smi] actor: u32, begins: bool) {
    actors::with(state, actor, |instance| instance.hold(begins));
}

/// A timer of an object's is set (`true`), or has come, or is cleared.
#[op2(fast)]
pub(crate) fn op_timer(state: &mut OpState, #[smi] actor: u32, is_set: bool) {
    actors::with(state, actor, |instance| instance.timer(is_set));
}

/// `self.terminate()`: no JavaScript of this instance runs after it.
#[op2(fast, reentrant)]
pub(crate) fn op_terminate(state: &mut OpState, scope: &mut v8::PinScope<'_, '_>) {
    state.borrow::<Shared>().borrow_mut().terminate();
    scope.terminate_execution();
}

/// A line of the log, at a level of `console`, in the course of a request (-1 for none).
#[op2(fast)]
pub(crate) fn op_log(
    state: &mut OpState,
    #[smi] actor: u32,
    #[string] text: &str,
    #[smi] level: u32,
    #[number] request: i64,
) {
    let level = match level {
        0 => Level::Debug,
        1 => Level::Info,
        2 => Level::Warn,
        _ => Level::Error,
    };
    let text = stack::readable(text.trim_end_matches('\n'));
    actors::with(state, actor, |instance| {
        instance.log(level, &text, request_of(request));
    });
}

/// Logs a rejection that nobody handled, which may be that of the module's evaluation.
#[op2(fast)]
pub(crate) fn op_log_rejection(
    state: &mut OpState,
    scope: &mut v8::PinScope<'_, '_>,
    #[smi] actor: u32,
    reason: v8::Local<'_, v8::Value>,
    #[string] error: &str,
    #[number] request: i64,
) {
    let is_loading = state.borrow::<Shared>().borrow().is_loading();
    let thrown = if is_loading {
        let message = v8::Exception::create_message(scope, reason).get(scope);
        message.to_rust_string_lossy(scope)
    } else {
        String::new()
    };
    let error = stack::readable(error.trim_end_matches('\n'));
    actors::with(state, actor, |instance| {
        instance.log_rejection(&error, &thrown, request_of(request));
    });
}

/// Whether something that leaves the instance by other ways than its links may leave now. Else [`op_output_permit`] waits
/// for that.
#[op2(fast)]
pub(crate) fn op_output_is_open(state: &mut OpState, #[smi] actor: u32) -> bool {
    actors::with(state, actor, |instance| instance.output_is_open()).unwrap_or(false)
}

/// Resolves when everything written before the call is durable, and the lease covers the moment.
#[op2]
pub(crate) async fn op_output_permit(
    state: Rc<RefCell<OpState>>,
    #[smi] actor: u32,
) -> Result<(), JsErrorBox> {
    let permit = actors::get(&state.borrow(), actor)?.borrow_mut().permit();
    match permit {
        Some(permit) => permit.await.map_err(|_| actors::gone()),
        None => Ok(()),
    }
}
