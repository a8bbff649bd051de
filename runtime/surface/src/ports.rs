//! Ports: messages between a server, or a worker, and a worker.

use deno_core::{OpState, op2, v8};
use deno_error::JsErrorBox;
use portside_core::ids::WorkerKey;
use portside_worker::engine::Shared;
use portside_worker::instance::Instance;
use portside_worker::link::LinkId;

use crate::{actors, resolve};

/// Opens a port to `name` of the script `script`, in the course of a request (-1 for none).
#[op2(fast)]
#[number]
pub(crate) fn op_port_open(
    state: &mut OpState,
    #[smi] actor: u32,
    #[string] script: &str,
    #[string] name: &str,
    #[number] request: i64,
) -> Result<u64, JsErrorBox> {
    let key =
        WorkerKey::new(script, name).map_err(|error| JsErrorBox::type_error(error.to_string()))?;
    let instance = actors::get(state, actor)?;
    let port = instance.borrow_mut().open_port(key, request_of(request));
    Ok(port.0)
}

/// Finds the script a constructor call means; see [`resolve::worker_script`].
#[op2]
#[string]
pub(crate) fn op_worker_script(
    state: &mut OpState,
    scope: &mut v8::PinScope<'_, '_>,
    #[string] specifier: &str,
) -> Result<String, JsErrorBox> {
    let bundle = state.borrow::<Shared>().borrow().bundle().clone();
    let referrer = resolve::calling_module(scope);
    resolve::worker_script(&bundle, referrer.as_deref(), specifier).map_err(JsErrorBox::type_error)
}

/// Sends a structured clone, in the course of a request (-1 for none). `false` means that the port's queue is full.
#[op2(fast)]
pub(crate) fn op_port_post(
    state: &mut OpState,
    #[smi] actor: u32,
    #[number] port: u64,
    #[buffer] data: &[u8],
    #[number] request: i64,
) -> Result<bool, JsErrorBox> {
    let instance = actors::get(state, actor)?;
    let posted = instance
        .borrow_mut()
        .post(LinkId(port), data, request_of(request));
    posted.map_err(|error| JsErrorBox::new("DOMExceptionDataCloneError", error.to_string()))
}

/// A request's number as JavaScript gives it.
pub(crate) fn request_of(number: i64) -> Option<LinkId> {
    u64::try_from(number).ok().map(LinkId)
}

/// Closes a port. What was sent before still arrives.
#[op2(fast)]
pub(crate) fn op_port_close(state: &mut OpState, #[smi] actor: u32, #[number] port: u64) {
    actors::with(state, actor, |instance| instance.close_port(LinkId(port)));
}

/// JavaScript listens on a port.
#[op2(fast)]
pub(crate) fn op_port_start(state: &mut OpState, #[smi] actor: u32, #[number] port: u64) {
    actors::with(state, actor, |instance| instance.start_port(LinkId(port)));
}

/// The `connect` handler of a port has settled; returns whether the port is left.
#[op2(fast)]
pub(crate) fn op_port_settled(state: &mut OpState, #[smi] actor: u32, #[number] port: u64) -> bool {
    let settled = |instance: &mut Instance| instance.port_settled(LinkId(port));
    actors::with(state, actor, settled).unwrap_or(false)
}

/// Drops what a port was sent and nobody listened to: its close, which came behind that, is heard.
#[op2(fast)]
pub(crate) fn op_port_let_go(state: &mut OpState, #[smi] actor: u32, #[number] port: u64) {
    actors::with(state, actor, |instance| instance.let_port_go(LinkId(port)));
}
