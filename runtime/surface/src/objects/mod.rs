//! Durable Objects: their ids, their beginning and end, and the answers to their calls.

pub mod database;
mod keys;
mod sql;

pub(crate) use keys::*;
pub(crate) use sql::*;

use deno_core::{JsBuffer, OpState, op2};
use deno_error::JsErrorBox;
use portside_core::migrations::ObjectClass;
use portside_core::objects::ObjectId;
use portside_worker::engine::Shared;
use portside_worker::link::{Failure, LinkId};

use crate::{actors, stack};

/// The class that is declared with this number.
pub(crate) fn class_of(state: &OpState, number: u32) -> Result<ObjectClass, JsErrorBox> {
    let instance = state.borrow::<Shared>().borrow();
    let class = instance.classes().get(number as usize);
    class
        .cloned()
        .ok_or_else(|| JsErrorBox::type_error("there is no such class of Durable Objects"))
}

/// The names of the application's classes, in the order of their numbers.
#[op2]
#[serde]
pub(crate) fn op_object_classes(state: &mut OpState) -> Vec<String> {
    let instance = state.borrow::<Shared>().borrow();
    let names = instance.classes().iter().map(|class| class.name.clone());
    names.collect()
}

/// The id that a name has in a class; a new one for no name.
#[op2]
#[string]
pub(crate) fn op_object_id(
    state: &mut OpState,
    #[smi] class: u32,
    #[string] name: Option<String>,
) -> Result<String, JsErrorBox> {
    let origin = class_of(state, class)?.origin;
    let id = match name {
        Some(name) => ObjectId::of_name(&origin, &name),
        None => ObjectId::of_random(&origin, uuid::Uuid::new_v4().into_bytes()),
    };
    Ok(id.to_string())
}

/// The text of an id, as it is always written, if it is one of the class.
#[op2]
#[string]
pub(crate) fn op_object_id_check(
    state: &mut OpState,
    #[smi] class: u32,
    #[string] text: &str,
) -> Result<String, JsErrorBox> {
    let origin = class_of(state, class)?.origin;
    let id = ObjectId::parse(&origin, text);
    id.map(|id| id.to_string())
        .map_err(|error| JsErrorBox::type_error(error.to_string()))
}

/// Begins, or ends, a section that lets no event reach the object.
#[op2(fast)]
pub(crate) fn op_object_section(state: &mut OpState, #[smi] actor: u32, begins: bool) {
    actors::with(state, actor, |instance| instance.section(begins));
}

/// Ends the object's instance for this reason.
#[op2]
pub(crate) fn op_object_reset(
    state: &mut OpState,
    #[smi] actor: u32,
    #[string] message: String,
    #[buffer] thrown: JsBuffer,
    overloaded: bool,
    retry_alarm: bool,
) {
    let failure = Failure {
        thrown: Some((&*thrown).into()),
        is_overload: overloaded,
        ..Failure::reset(message)
    };
    actors::with(state, actor, |instance| {
        instance.reset(failure, retry_alarm);
    });
}

/// Answers a call with a structured clone.
#[op2]
pub(crate) fn op_object_resolve(
    state: &mut OpState,
    #[smi] actor: u32,
    #[number] call: u64,
    #[buffer] value: JsBuffer,
) {
    actors::with(state, actor, |instance| {
        instance.resolve(LinkId(call), value.to_vec());
    });
}

/// Answers a request or a call with what was thrown, which is a structured clone beside its message.
#[op2]
pub(crate) fn op_respond_thrown(
    state: &mut OpState,
    #[smi] actor: u32,
    #[number] id: u64,
    #[string] message: &str,
    #[buffer] thrown: JsBuffer,
) {
    let failure = Failure {
        thrown: Some((&*thrown).into()),
        ..Failure::failed(stack::readable(message))
    };
    actors::with(state, actor, |instance| {
        instance.respond_failed(LinkId(id), failure);
    });
}
