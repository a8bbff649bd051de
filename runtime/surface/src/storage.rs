//! `storage`: the operations on what the instance knows of its keys.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use deno_core::{JsBuffer, OpState, ToJsBuffer, op2};
use deno_error::JsErrorBox;
use portside_core::alarm::Alarm;
use portside_core::keys::{self, KeyRange};
use portside_core::write::{FORMAT, Value};
use portside_worker::engine::Shared;
use portside_worker::host::Ledger;
use portside_worker::storage::{MAX_UNDURABLE, Storage};
use serde::Deserialize;

use crate::actors;

/// Entries that are read from the store at once.
const PAGE_ROWS: usize = 4096;
/// Bytes of them, give or take the last entry.
const PAGE_BYTES: usize = 16 << 20;

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

/// The structured-clone bytes of keys of which nothing is known, in their order; none where a key is not there. They are
/// those of the moment of the call.
#[op2]
#[serde]
pub(crate) async fn op_storage_load(
    state: Rc<RefCell<OpState>>,
    #[serde] keys: Vec<String>,
) -> Result<Vec<Option<ToJsBuffer>>, JsErrorBox> {
    let instance = state.borrow().borrow::<Shared>().clone();
    let found = read(&instance, &keys).await?;
    let bytes = |key| found.get(key).map(clone_bytes).transpose();
    let values = keys
        .iter()
        .map(|key| Ok(bytes(key)?.map(|bytes| bytes.to_vec().into())))
        .collect();
    instance.borrow_mut().storage.learn(keys, found);
    values
}

/// How many of the keys, of which nothing is known, exist at the moment of the call.
#[op2]
#[number]
pub(crate) async fn op_storage_exist(
    state: Rc<RefCell<OpState>>,
    #[serde] keys: Vec<String>,
) -> Result<usize, JsErrorBox> {
    let instance = state.borrow().borrow::<Shared>().clone();
    Ok(read(&instance, &keys).await?.len())
}

async fn read(instance: &Shared, keys: &[String]) -> Result<BTreeMap<String, Value>, JsErrorBox> {
    let Some(ledger) = instance.borrow().ledger() else {
        return Ok(BTreeMap::new());
    };
    let reading = ledger.read(keys.to_vec());
    let number = instance.borrow_mut().storage.read_begins(keys);
    let found = reading.await;
    instance.borrow_mut().storage.read_ended(number);
    found.map_err(|error| JsErrorBox::generic(error.to_string()))
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
        max_bytes: None,
    };
    if is_empty_range(&range) {
        return Ok(vec![]);
    }
    let instance = state.borrow().borrow::<Shared>().clone();
    let ledger = {
        let instance = instance.borrow();
        let ledger = instance.ledger();
        ledger.filter(|_| !instance.storage.is_complete())
    };
    let stored = match ledger {
        Some(ledger) => {
            let (wide, number) = {
                let storage = &mut instance.borrow_mut().storage;
                (storage.widened(&range), storage.list_begins(&range))
            };
            let most = most_listed(&instance);
            let found = read_pages(&*ledger, wide, most).await;
            let before = instance.borrow_mut().storage.read_ended(number);
            Some((found?, before))
        }
        None => None,
    };
    let entries = instance.borrow().storage.select(&range, stored);
    let bytes = entries.iter().map(entry_bytes).sum();
    check_listed(bytes, most_listed(&instance))?;
    entries
        .into_iter()
        .map(|(key, value)| Ok((key, clone_bytes(&value)?.to_vec().into())))
        .collect()
}

/// Bytes of keys and values that one list may give: an instance could not hold more.
fn most_listed(instance: &Shared) -> usize {
    let instance = instance.borrow();
    let limits = instance.limits();
    limits.heap_bytes.max(limits.external_bytes)
}

fn check_listed(bytes: usize, most: usize) -> Result<(), JsErrorBox> {
    if bytes <= most {
        return Ok(());
    }
    Err(JsErrorBox::range_error(format!(
        "storage.list() would give more than {most} bytes, more than fits into memory: ask for less at once, with limit and startAfter, or with prefix, start and end"
    )))
}

fn entry_bytes((key, value): &(String, Value)) -> usize {
    key.len() + value.len()
}

/// Reads a range page by page, so that never much more than `most` bytes are in memory.
async fn read_pages(
    ledger: &dyn Ledger,
    mut range: KeyRange,
    most: usize,
) -> Result<Vec<(String, Value)>, JsErrorBox> {
    let mut left = range.limit.unwrap_or(usize::MAX);
    let mut found: Vec<(String, Value)> = vec![];
    let mut bytes = 0;
    range.max_bytes = Some(PAGE_BYTES);
    loop {
        let rows = left.min(PAGE_ROWS);
        range.limit = Some(rows);
        let page = ledger.list(range.clone()).await;
        let page = page.map_err(|error| JsErrorBox::generic(error.to_string()))?;
        let page_bytes: usize = page.iter().map(entry_bytes).sum();
        bytes += page_bytes;
        check_listed(bytes, most)?;
        left -= page.len().min(left);
        let is_last = page.len() < rows && page_bytes < PAGE_BYTES;
        found.extend(page);
        match found.last() {
            Some((last, _)) if left > 0 && !is_last => {
                if range.reverse {
                    range.end = Some(last.clone());
                } else {
                    range.start_after = Some(last.clone());
                }
            }
            _ => return Ok(found),
        }
    }
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
    instance.borrow_mut().storage.wait_begins();
    let outcome = durable.await;
    instance.borrow_mut().storage.wait_ended();
    outcome.map_err(|_| JsErrorBox::generic("the write was not accepted"))
}

/// Arms the alarm for `scheduled`, in milliseconds since the Unix epoch; returns the write's number.
#[op2(fast)]
#[number]
pub(crate) fn op_alarm_set(
    state: &mut OpState,
    #[smi] actor: u32,
    scheduled: f64,
) -> Result<u64, JsErrorBox> {
    // JavaScript checked that it is a whole number within Date's range.
    let alarm = Alarm::at(scheduled as i64);
    Ok(actors::get(state, actor)?
        .borrow_mut()
        .set_alarm(Some(alarm)))
}

/// Disarms the alarm; returns the write's number.
#[op2(fast)]
#[number]
pub(crate) fn op_alarm_delete(state: &mut OpState, #[smi] actor: u32) -> Result<u64, JsErrorBox> {
    Ok(actors::get(state, actor)?.borrow_mut().set_alarm(None))
}

/// When the alarm is armed for, or -1.
#[op2(fast)]
pub(crate) fn op_alarm_get(state: &mut OpState, #[smi] actor: u32) -> Result<f64, JsErrorBox> {
    let armed = actors::get(state, actor)?.borrow().armed_alarm();
    Ok(armed.map_or(-1.0, |alarm| alarm.scheduled as f64))
}

/// The alarm's handler ended.
#[op2(fast)]
pub(crate) fn op_alarm_ended(state: &mut OpState, #[smi] actor: u32, succeeded: bool) {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    let now = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
    actors::with(state, actor, |instance| {
        instance.alarm_ended(succeeded, now)
    });
}
