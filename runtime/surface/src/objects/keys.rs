//! `ctx.storage`: keys and values in the object's database.

use std::cell::RefCell;
use std::rc::Rc;

use deno_core::{JsBuffer, OpState, ToJsBuffer, op2};
use deno_error::JsErrorBox;
use portside_core::keys::KeyRange;
use serde::Deserialize;

use super::database::{self, Savepoint};
use crate::actors;

/// The structured clone that a key has; nothing if it is not there.
#[op2]
#[serde]
pub(crate) fn op_object_get(
    state: &mut OpState,
    #[smi] actor: u32,
    #[string] key: &str,
) -> Result<Option<ToJsBuffer>, JsErrorBox> {
    let value = database::with(state, actor, |own| own.database().get(key))?;
    Ok(value.map(ToJsBuffer::from))
}

/// Puts a structured clone.
#[op2]
pub(crate) fn op_object_put(
    state: &mut OpState,
    #[smi] actor: u32,
    #[string] key: &str,
    #[buffer] value: JsBuffer,
) -> Result<(), JsErrorBox> {
    database::with(state, actor, |own| own.database().put(key, &value))
}

/// Deletes a key; returns whether it was there.
#[op2(fast)]
pub(crate) fn op_object_delete(
    state: &mut OpState,
    #[smi] actor: u32,
    #[string] key: &str,
) -> Result<bool, JsErrorBox> {
    database::with(state, actor, |own| own.database().delete(key))
}

/// Deletes everything, tables too.
#[op2(fast)]
pub(crate) fn op_object_clear(state: &mut OpState, #[smi] actor: u32) -> Result<(), JsErrorBox> {
    database::with(state, actor, |own| own.database().delete_all())
}

/// Options of `list`, checked in JavaScript.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Options {
    prefix: Option<String>,
    start: Option<String>,
    start_after: Option<String>,
    end: Option<String>,
    reverse: bool,
    limit: Option<f64>,
}

/// The wanted entries in order.
#[op2]
#[serde]
pub(crate) fn op_object_list(
    state: &mut OpState,
    #[smi] actor: u32,
    #[serde] options: Options,
) -> Result<Vec<(String, ToJsBuffer)>, JsErrorBox> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a positive number, and more than fits is no limit"
    )]
    let limit = options.limit.map(|limit| limit as usize);
    let range = KeyRange {
        prefix: options.prefix,
        start: options.start,
        start_after: options.start_after,
        end: options.end,
        reverse: options.reverse,
        limit,
        max_bytes: None,
    };
    let entries = database::with(state, actor, |own| own.database().list(&range))?;
    let entries = entries.into_iter();
    Ok(entries.map(|(key, value)| (key, value.into())).collect())
}

/// Begins a part of the transaction (0), keeps it (1), or undoes it (2).
#[op2(fast)]
pub(crate) fn op_object_savepoint(
    state: &mut OpState,
    #[smi] actor: u32,
    #[smi] step: u32,
) -> Result<(), JsErrorBox> {
    let step = match step {
        0 => Savepoint::Begin,
        1 => Savepoint::Release,
        _ => Savepoint::RollBack,
    };
    database::with(state, actor, |own| own.savepoint(step))
}

/// Ends the transaction that the writes before began: what comes is undone without them. They are committed with the turn.
#[op2(fast)]
pub(crate) fn op_object_end_transaction(
    state: &mut OpState,
    #[smi] actor: u32,
) -> Result<(), JsErrorBox> {
    database::with(state, actor, |own| own.database().end_transaction())
}

/// A text that grows with each commit.
#[op2]
#[string]
pub(crate) fn op_object_bookmark(
    state: &mut OpState,
    #[smi] actor: u32,
) -> Result<String, JsErrorBox> {
    database::with(state, actor, |own| Ok(format!("{:016x}", own.bookmark())))
}

/// Resolves when everything that is written is durable.
#[op2]
pub(crate) async fn op_object_durable(
    state: Rc<RefCell<OpState>>,
    #[smi] actor: u32,
) -> Result<(), JsErrorBox> {
    let durable = {
        let instance = actors::get(&state.borrow(), actor)?;
        let mut instance = instance.borrow_mut();
        let newest = instance.undurable();
        instance.when_durable(newest)
    };
    match durable {
        Some(durable) => durable.await.map_err(|_| actors::gone()),
        None => Ok(()),
    }
}
