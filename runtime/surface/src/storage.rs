//! `storage`: what the instance knows of its keys, and the operations on them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use deno_core::{JsBuffer, OpState, ToJsBuffer, op2};
use deno_error::JsErrorBox;
use portside_core::alarm::Alarm;
use portside_core::ids::WorkerKey;
use portside_core::keys::{self, KeyRange};
use portside_core::write::{Value, WriteBatch};
use serde::Deserialize;

use crate::host::{Host, Identity};
use crate::instance::Instance;

/// First byte of every stored value: structured-clone bytes of V8 follow. Readers refuse what they do not know.
const FORMAT: u8 = 1;

/// Bytes of keys and values that are remembered at most once all are durable; then the store is asked again.
const MAX_CACHED: usize = 64 << 20;

/// Bytes of keys and values that may wait to be durable; beyond them `put` throws, for the store does not keep up.
const MAX_UNDURABLE: usize = 64 << 20;

/// A worker's keys as far as they are known. As the only writer, the instance never has to ask twice.
#[derive(Default)]
pub struct Storage {
    known: BTreeMap<String, Option<Value>>,
    known_bytes: usize,
    complete: bool,
    /// Bytes put and not durable yet, this turn's included.
    undurable_bytes: usize,
    /// The armed alarm.
    pub(crate) alarm: Option<Alarm>,
    /// This turn's writes.
    pub(crate) pending: WriteBatch,
    /// Operations whose outcome JavaScript does not have yet, for the input gate.
    pub(crate) operations: usize,
    /// Those of them that have ended: the event loop hands their outcomes over next.
    pub(crate) ended_operations: usize,
    /// Reads that must see the store as it is before the next commit.
    pub(crate) reads_before_commit: usize,
}

impl Storage {
    /// What was found on wake; `complete` says that there are no other keys.
    #[must_use]
    pub fn loaded(entries: BTreeMap<String, Value>, complete: bool, alarm: Option<Alarm>) -> Self {
        let mut storage = Self {
            complete,
            alarm,
            ..Self::default()
        };
        for (key, value) in entries {
            storage.insert(key, Some(value));
        }
        storage
    }

    fn insert(&mut self, key: String, value: Option<Value>) {
        let key_bytes = key.len();
        let bytes =
            |value: &Option<Value>| key_bytes + value.as_ref().map_or(0, |value| value.len());
        self.known_bytes += bytes(&value);
        if let Some(old) = self.known.insert(key, value) {
            self.known_bytes -= bytes(&old);
        }
    }

    /// A commit of this many bytes is durable; `all` says that no other is on its way. Then, and if no read could bring
    /// back something older, a worker that knows too much forgets what the store knows as well.
    pub(crate) fn durable(&mut self, bytes: usize, all: bool) {
        self.undurable_bytes -= bytes;
        if all && self.operations == self.ended_operations && self.known_bytes > MAX_CACHED {
            self.known.clear();
            self.known_bytes = 0;
            self.complete = false;
        }
    }

    /// The value, if the key is known to be there or not to be.
    fn peek(&self, key: &str) -> Option<Option<&Value>> {
        match self.known.get(key) {
            Some(value) => Some(value.as_ref()),
            None => self.complete.then_some(None),
        }
    }

    fn set(&mut self, key: String, value: Option<Value>) {
        if self.complete && value.is_none() {
            if let Some(old) = self.known.remove(&key) {
                self.known_bytes -= key.len() + old.map_or(0, |value| value.len());
            }
        } else {
            self.insert(key, value);
        }
    }

    fn clear(&mut self) {
        self.known.clear();
        self.known_bytes = 0;
        self.complete = true;
    }

    /// Remembers what was read. What the instance wrote meanwhile is newer.
    fn learn(&mut self, keys: Vec<String>, mut found: BTreeMap<String, Value>) {
        if self.complete {
            return;
        }
        for key in keys {
            if !self.known.contains_key(&key) {
                let value = found.remove(&key);
                self.insert(key, value);
            }
        }
    }

    /// The wanted entries, from `stored` rows (empty when everything is known) and what is known.
    fn select(&self, range: &KeyRange, stored: Vec<(String, Value)>) -> Vec<(String, Value)> {
        let mut merged: BTreeMap<&str, &Value> = if self.complete {
            BTreeMap::new()
        } else {
            stored.iter().map(|(k, v)| (k.as_str(), v)).collect()
        };
        for (key, value) in self.known.range::<str, _>(range.bounds()) {
            match value {
                Some(value) if range.contains(key) => merged.insert(key, value),
                _ => merged.remove(key.as_str()),
            };
        }
        let limit = range.limit.unwrap_or(usize::MAX);
        let owned = |(key, value): (&str, &Value)| (key.to_owned(), value.clone());
        if range.reverse {
            merged.into_iter().rev().take(limit).map(owned).collect()
        } else {
            merged.into_iter().take(limit).map(owned).collect()
        }
    }

    /// The range to ask the store for, so that enough is left when known deletions are taken out.
    fn widened(&self, range: &KeyRange) -> KeyRange {
        let deleted = self.known.values().filter(|value| value.is_none()).count();
        KeyRange {
            limit: range.limit.map(|limit| limit + deleted),
            ..range.clone()
        }
    }
}

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

fn worker_of(state: &Rc<RefCell<OpState>>) -> Option<(WorkerKey, Arc<dyn Host>)> {
    let state = state.borrow();
    let instance = state.borrow::<Instance>();
    match &instance.identity {
        Identity::Worker(key) => Some((key.clone(), instance.host.clone())),
        Identity::Server => None,
    }
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
    Ok(match state.borrow::<Instance>().storage.peek(key) {
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
    match state.borrow::<Instance>().storage.peek(key) {
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
    let Some((worker, host)) = worker_of(&state) else {
        return Ok(());
    };
    let reading = host.read(&worker, keys.clone());
    with_storage(&state, |storage| storage.operations += 1);
    let found = reading.await;
    with_storage(&state, |storage| {
        storage.ended_operations += 1;
        storage.learn(keys, found.map_err(JsErrorBox::generic)?);
        Ok(())
    })
}

/// How many of the keys exist in the store, before what this turn writes.
#[op2]
#[number]
pub(crate) async fn op_storage_exist(
    state: Rc<RefCell<OpState>>,
    #[serde] keys: Vec<String>,
) -> Result<usize, JsErrorBox> {
    let Some((worker, host)) = worker_of(&state) else {
        return Ok(0);
    };
    let reading = host.read(&worker, keys);
    with_storage(&state, |storage| {
        storage.operations += 1;
        storage.reads_before_commit += 1;
    });
    let found = reading.await;
    with_storage(&state, |storage| {
        storage.ended_operations += 1;
        storage.reads_before_commit -= 1;
    });
    Ok(found.map_err(JsErrorBox::generic)?.len())
}

fn with_storage<R>(state: &Rc<RefCell<OpState>>, f: impl FnOnce(&mut Storage) -> R) -> R {
    f(&mut state.borrow_mut().borrow_mut::<Instance>().storage)
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
    let reading = {
        let state_ref = state.borrow();
        let storage = &state_ref.borrow::<Instance>().storage;
        (!storage.complete).then(|| storage.widened(&range))
    };
    let mut stored = vec![];
    if let (Some(wide), Some((worker, host))) = (reading, worker_of(&state)) {
        let reading = host.list(&worker, wide);
        with_storage(&state, |storage| storage.operations += 1);
        let found = reading.await;
        with_storage(&state, |storage| storage.ended_operations += 1);
        stored = found.map_err(JsErrorBox::generic)?;
    }
    let state = state.borrow();
    let entries = state.borrow::<Instance>().storage.select(&range, stored);
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
    let instance = state.borrow_mut::<Instance>();
    let bytes = key.len() + stored.len();
    if instance.storage.undurable_bytes + bytes > MAX_UNDURABLE {
        return Err(JsErrorBox::new(
            "ServerlessWorkerOverloadedError",
            format!(
                "more than {MAX_UNDURABLE} bytes wait to be stored: await storage.put() now and then"
            ),
        ));
    }
    instance.storage.undurable_bytes += bytes;
    instance.turn_bytes += bytes;
    instance.storage.set(key.clone(), Some(stored.clone()));
    Ok(instance.write(|batch| batch.write(key, Some(stored))))
}

/// Deletes a key; returns the write's number.
#[op2(fast)]
#[number]
pub(crate) fn op_storage_delete(state: &mut OpState, #[string] key: String) -> u64 {
    let instance = state.borrow_mut::<Instance>();
    instance.storage.set(key.clone(), None);
    instance.write(|batch| batch.write(key, None))
}

/// Deletes every key; returns the write's number.
#[op2(fast)]
#[number]
pub(crate) fn op_storage_clear(state: &mut OpState) -> u64 {
    let instance = state.borrow_mut::<Instance>();
    instance.storage.clear();
    instance.write(WriteBatch::clear)
}

/// The newest write that is not durable yet, or 0.
#[op2(fast)]
#[number]
pub(crate) fn op_storage_undurable(state: &mut OpState) -> u64 {
    state.borrow::<Instance>().undurable()
}

/// Resolves when the writes up to `seq` are durable.
#[op2]
pub(crate) async fn op_storage_durable(
    state: Rc<RefCell<OpState>>,
    #[number] seq: u64,
) -> Result<(), JsErrorBox> {
    let Some(durable) = state
        .borrow_mut()
        .borrow_mut::<Instance>()
        .when_durable(seq)
    else {
        return Ok(());
    };
    with_storage(&state, |storage| storage.operations += 1);
    let outcome = durable.await;
    with_storage(&state, |storage| storage.ended_operations += 1);
    outcome.map_err(|_| JsErrorBox::generic("the write was not accepted"))
}

/// Arms the alarm for `scheduled`, in milliseconds since the Unix epoch; returns the write's number.
#[op2(fast)]
#[number]
pub(crate) fn op_alarm_set(state: &mut OpState, scheduled: f64) -> u64 {
    // JavaScript checked that it is a whole number within Date's range.
    let alarm = Alarm::at(scheduled as i64);
    state.borrow_mut::<Instance>().set_alarm(Some(alarm))
}

/// Disarms the alarm; returns the write's number.
#[op2(fast)]
#[number]
pub(crate) fn op_alarm_delete(state: &mut OpState) -> u64 {
    state.borrow_mut::<Instance>().set_alarm(None)
}

/// When the alarm is armed for, or -1.
#[op2(fast)]
pub(crate) fn op_alarm_get(state: &mut OpState) -> f64 {
    state
        .borrow::<Instance>()
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
    state.borrow_mut::<Instance>().alarm_ended(succeeded, now);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        text.as_bytes().into()
    }

    fn keys_of(entries: &[(String, Value)]) -> Vec<&str> {
        entries.iter().map(|(key, _)| key.as_str()).collect()
    }

    #[test]
    fn what_was_written_is_newer_than_what_was_read() {
        let mut storage = Storage::loaded(BTreeMap::new(), false, None);
        assert_eq!(storage.peek("a"), None);
        storage.set("a".into(), Some(value("new")));
        storage.learn(
            vec!["a".into(), "b".into()],
            BTreeMap::from([("a".into(), value("old"))]),
        );
        assert_eq!(storage.peek("a"), Some(Some(&value("new"))));
        assert_eq!(storage.peek("b"), Some(None));
        storage.clear();
        storage.learn(
            vec!["a".into()],
            BTreeMap::from([("a".into(), value("old"))]),
        );
        assert_eq!(storage.peek("a"), Some(None));
    }

    #[test]
    fn a_worker_that_knows_too_much_forgets_what_is_durable() {
        let mut storage = Storage::loaded(BTreeMap::new(), true, None);
        let large: Value = vec![0; MAX_CACHED].into();
        storage.set("a".into(), Some(large));
        storage.undurable_bytes = 10;
        storage.durable(5, false);
        assert!(storage.peek("a").is_some(), "something is on its way");
        storage.operations = 1;
        storage.durable(5, true);
        assert!(storage.peek("a").is_some(), "a read is under way");
        storage.operations = 0;
        storage.durable(0, true);
        assert_eq!(storage.peek("a"), None, "ask the store");
        storage.set("b".into(), Some(value("b")));
        storage.set("b".into(), None);
        assert_eq!(storage.known_bytes, 1);
    }

    #[test]
    fn lists_merge_the_store_with_what_is_known() {
        let mut storage = Storage::loaded(BTreeMap::new(), false, None);
        storage.set("b".into(), None);
        storage.set("c".into(), Some(value("c2")));
        let stored: Vec<_> = ["a", "b", "c", "d"]
            .iter()
            .map(|key| ((*key).to_owned(), value(key)))
            .collect();
        let range = KeyRange {
            limit: Some(3),
            ..KeyRange::default()
        };
        assert_eq!(storage.widened(&range).limit, Some(4));
        assert_eq!(
            keys_of(&storage.select(&range, stored.clone())),
            ["a", "c", "d"]
        );
        let reverse = KeyRange {
            reverse: true,
            limit: Some(2),
            ..KeyRange::default()
        };
        assert_eq!(keys_of(&storage.select(&reverse, stored)), ["d", "c"]);
    }
}
