//! `storage`: the operations on what the instance knows of its keys.

use std::cell::RefCell;
use std::rc::Rc;

use deno_core::{JsBuffer, OpState, ToJsBuffer, op2};
use deno_error::JsErrorBox;
use portside_core::alarm::Alarm;
use portside_core::keys::{self, KeyRange};
use portside_core::write::Value;
use portside_worker::engine::Shared;
use portside_worker::storage::{MAX_UNDURABLE, Operation, Storage};
use serde::Deserialize;

/// First byte of every stored value: structured-clone bytes of V8 follow. Readers refuse what they do not know.
const FORMAT: u8 = 1;

/// Whether a range can hold anything at all.
fn is_empty_range(range: &KeyRange) -> bool {
    use std::ops::Bound::{Excluded, Included};
    match range.bounds() {
        (Included(low) | Excluded(low), Excluded(high)) => low >= high,
        _ => false,
    }
}

fn refuse(refused: &keys::Refused) -> JsErrorBox {
    JsErrorBox::range_error(refused.to_string())
}

/// Refuses what [`op_storage_put`] would of entries of `bytes` in total, so that a call that writes several writes all or
/// none.
#[op2(fast)]
pub(crate) fn op_storage_check_room(
    state: &mut OpState,
    #[number] bytes: usize,
) -> Result<(), JsErrorBox> {
    check_room(&state.borrow::<Shared>().borrow().storage, bytes)
}

fn check_room(storage: &Storage, bytes: usize) -> Result<(), JsErrorBox> {
    if storage.has_room(bytes) {
        return Ok(());
    }
    Err(JsErrorBox::new(
        "ServerlessWorkerOverloadedError",
        format!(
            "more than {MAX_UNDURABLE} bytes would wait to be stored: write less at once, and await storage.put()"
        ),
    ))
}

/// Refuses what `op_storage_put` would, so that a call that writes several entries writes all or none.
#[op2(fast)]
pub(crate) fn op_storage_check(
    #[string] key: &str,
    #[number] value_bytes: usize,
) -> Result<(), JsErrorBox> {
    keys::check_key(key)
        .and_then(|()| keys::check_value(value_bytes))
        .map_err(|refused| refuse(&refused))
}

/// 0: no such key, 1: there is a value, 2: not known, load it first.
#[op2(fast)]
pub(crate) fn op_storage_peek(state: &mut OpState, #[string] key: &str) -> Result<u32, JsErrorBox> {
    keys::check_key(key).map_err(|refused| refuse(&refused))?;
    let instance = state.borrow::<Shared>().borrow();
    Ok(match instance.storage.peek(key) {
        Some(None) => 0,
        Some(Some(_)) => 1,
        None => 2,
    })
}

/// The value's structured-clone bytes.
#[op2]
#[buffer]
pub(crate) fn op_storage_value(
    state: &mut OpState,
    #[string] key: &str,
) -> Result<Vec<u8>, JsErrorBox> {
    match state.borrow::<Shared>().borrow().storage.peek(key) {
        Some(Some(value)) => clone_bytes(value).map(<[u8]>::to_vec),
        _ => Err(JsErrorBox::generic(format!(
            "the value of {key:?} is not loaded"
        ))),
    }
}

fn clone_bytes(value: &Value) -> Result<&[u8], JsErrorBox> {
    match value.split_first() {
        Some((&FORMAT, bytes)) => Ok(bytes),
        _ => Err(JsErrorBox::generic(
            "a stored value has a format this version cannot read",
        )),
    }
}

/// Loads keys, so that peeking them tells.
#[op2]
pub(crate) async fn op_storage_load(
    state: Rc<RefCell<OpState>>,
    #[serde] keys: Vec<String>,
) -> Result<(), JsErrorBox> {
    let instance = state.borrow().borrow::<Shared>().clone();
    let Some(ledger) = instance.borrow().ledger() else {
        return Ok(());
    };
    let reading = ledger.read(keys.clone());
    instance
        .borrow_mut()
        .storage
        .operation_begins(Operation::Read);
    let found = reading.await;
    let storage = &mut instance.borrow_mut().storage;
    storage.operation_ended(Operation::Read);
    storage.learn(keys, found.map_err(JsErrorBox::generic)?);
    Ok(())
}

/// How many of the keys exist in the store, before what this turn writes.
#[op2]
#[number]
pub(crate) async fn op_storage_exist(
    state: Rc<RefCell<OpState>>,
    #[serde] keys: Vec<String>,
) -> Result<usize, JsErrorBox> {
    let instance = state.borrow().borrow::<Shared>().clone();
    let Some(ledger) = instance.borrow().ledger() else {
        return Ok(0);
    };
    let reading = ledger.read(keys);
    instance
        .borrow_mut()
        .storage
        .operation_begins(Operation::ReadBeforeCommit);
    let found = reading.await;
    instance
        .borrow_mut()
        .storage
        .operation_ended(Operation::ReadBeforeCommit);
    Ok(found.map_err(JsErrorBox::generic)?.len())
}

/// Options of `storage.list`, checked in JavaScript.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListOptions {
    prefix: Option<String>,
    start: Option<String>,
    start_after: Option<String>,
    end: Option<String>,
    #[serde(default)]
    reverse: bool,
    limit: Option<usize>,
}

/// The wanted entries in order.
#[op2]
#[serde]
pub(crate) async fn op_storage_list(
    state: Rc<RefCell<OpState>>,
    #[serde] options: ListOptions,
) -> Result<Vec<(String, ToJsBuffer)>, JsErrorBox> {
    let ListOptions {
        prefix,
        start,
        start_after,
        end,
        reverse,
        limit,
    } = options;
    let range = KeyRange {
        prefix,
        start,
        start_after,
        end,
        reverse,
        limit,
    };
    if is_empty_range(&range) {
        return Ok(vec![]);
    }
    let instance = state.borrow().borrow::<Shared>().clone();
    let wide = {
        let instance = instance.borrow();
        let storage = &instance.storage;
        (!storage.is_complete()).then(|| storage.widened(&range))
    };
    let ledger = instance.borrow().ledger();
    let mut stored = vec![];
    if let (Some(wide), Some(ledger)) = (wide, ledger) {
        let reading = ledger.list(wide);
        instance
            .borrow_mut()
            .storage
            .operation_begins(Operation::Read);
        let found = reading.await;
        instance
            .borrow_mut()
            .storage
            .operation_ended(Operation::Read);
        stored = found.map_err(JsErrorBox::generic)?;
    }
    let entries = instance.borrow().storage.select(&range, stored);
    entries
        .into_iter()
        .map(|(key, value)| Ok((key, clone_bytes(&value)?.to_vec().into())))
        .collect()
}

/// Puts structured-clone bytes; returns the write's number.
#[op2]
#[number]
pub(crate) fn op_storage_put(
    state: &mut OpState,
    #[string] key: String,
    #[buffer] value: JsBuffer,
) -> Result<u64, JsErrorBox> {
    keys::check_key(&key).map_err(|refused| refuse(&refused))?;
    keys::check_value(value.len()).map_err(|refused| refuse(&refused))?;
    let mut stored = Vec::with_capacity(value.len() + 1);
    stored.push(FORMAT);
    stored.extend_from_slice(&value);
    let stored: Value = stored.into();
    let mut instance = state.borrow::<Shared>().borrow_mut();
    check_room(&instance.storage, key.len() + stored.len())?;
    Ok(instance.put(key, stored))
}

/// Deletes a key; returns the write's number.
#[op2(fast)]
#[number]
pub(crate) fn op_storage_delete(state: &mut OpState, #[string] key: String) -> u64 {
    state.borrow::<Shared>().borrow_mut().delete(key)
}

/// Deletes every key; returns the write's number.
#[op2(fast)]
#[number]
pub(crate) fn op_storage_clear(state: &mut OpState) -> u64 {
    state.borrow::<Shared>().borrow_mut().clear()
}

/// The newest write that is not durable yet, or 0.
#[op2(fast)]
#[number]
pub(crate) fn op_storage_undurable(state: &mut OpState) -> u64 {
    state.borrow::<Shared>().borrow().undurable()
}

/// Resolves when the writes up to `seq` are durable.
#[op2]
pub(crate) async fn op_storage_durable(
    state: Rc<RefCell<OpState>>,
    #[number] seq: u64,
) -> Result<(), JsErrorBox> {
    let instance = state.borrow().borrow::<Shared>().clone();
    let Some(durable) = instance.borrow_mut().when_durable(seq) else {
        return Ok(());
    };
    instance
        .borrow_mut()
        .storage
        .operation_begins(Operation::Write);
    let outcome = durable.await;
    instance
        .borrow_mut()
        .storage
        .operation_ended(Operation::Write);
    outcome.map_err(|_| JsErrorBox::generic("the write was not accepted"))
}

/// Arms the alarm for `scheduled`, in milliseconds since the Unix epoch; returns the write's number.
#[op2(fast)]
#[number]
pub(crate) fn op_alarm_set(state: &mut OpState, scheduled: f64) -> u64 {
    // JavaScript checked that it is a whole number within Date's range.
    let alarm = Alarm::at(scheduled as i64);
    state.borrow::<Shared>().borrow_mut().set_alarm(Some(alarm))
}

/// Disarms the alarm; returns the write's number.
#[op2(fast)]
#[number]
pub(crate) fn op_alarm_delete(state: &mut OpState) -> u64 {
    state.borrow::<Shared>().borrow_mut().set_alarm(None)
}

/// When the alarm is armed for, or -1.
#[op2(fast)]
pub(crate) fn op_alarm_get(state: &mut OpState) -> f64 {
    let instance = state.borrow::<Shared>().borrow();
    instance
        .armed_alarm()
        .map_or(-1.0, |alarm| alarm.scheduled as f64)
}

/// The alarm's handler ended.
#[op2(fast)]
pub(crate) fn op_alarm_ended(state: &mut OpState, succeeded: bool) {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    let now = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
    state
        .borrow::<Shared>()
        .borrow_mut()
        .alarm_ended(succeeded, now);
}
