//! What an instance knows of its keys, and what it has written and is not durable yet.

use std::collections::{BTreeMap, VecDeque};

use portside_core::alarm::{Alarm, AlarmChange};
use portside_core::keys::KeyRange;
use portside_core::write::{Value, WriteBatch};

/// Bytes that are remembered at most once all are durable; then the store is asked again.
const MAX_CACHED: usize = 64 << 20;

/// What remembering a key costs beside its bytes and its value's: also a key that is known not to be there takes memory.
const ENTRY_BYTES: usize = 64;

/// Bytes of keys and values that may wait to be durable; beyond them a write is refused, for the store does not keep up.
pub const MAX_UNDURABLE: usize = 64 << 20;

/// A worker's keys as far as they are known. As the only writer, the instance never has to ask twice.
#[derive(Default)]
pub struct Storage {
    known: BTreeMap<String, Option<Value>>,
    known_bytes: usize,
    complete: bool,
    /// The armed alarm.
    alarm: Option<Alarm>,
    /// This turn's writes, and their bytes.
    pending: WriteBatch,
    pending_bytes: usize,
    /// Bytes put by each commit that is on its way, in order.
    in_flight: VecDeque<usize>,
    in_flight_bytes: usize,
    operations: Operations,
    reads: Operations,
    reads_before_commit: usize,
}

/// Something whose outcome the application waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// The store is read.
    Read,
    /// The store is read as it was before this turn, whose commit waits for that.
    ReadBeforeCommit,
    /// A write is becoming durable.
    Write,
}

/// Operations under way. One that has ended counts until the end of the turn, in which the application gets its outcome.
#[derive(Default)]
struct Operations {
    begun: usize,
    ended: usize,
}

impl Operations {
    fn turn_ends(&mut self) {
        self.begun -= std::mem::take(&mut self.ended);
    }
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

    /// Whether another `bytes` of keys and values may wait to be durable.
    #[must_use]
    pub fn has_room(&self, bytes: usize) -> bool {
        self.in_flight_bytes + self.pending_bytes + bytes <= MAX_UNDURABLE
    }

    /// Puts a value; part of this turn's batch.
    pub(crate) fn put(&mut self, key: String, value: Value) {
        self.pending_bytes += key.len() + value.len();
        self.set(key.clone(), Some(value.clone()));
        self.pending.write(key, Some(value));
    }

    /// Deletes a key; part of this turn's batch.
    pub(crate) fn delete(&mut self, key: String) {
        self.set(key.clone(), None);
        self.pending.write(key, None);
    }

    /// Deletes every key; part of this turn's batch.
    pub(crate) fn clear(&mut self) {
        self.forget();
        self.complete = true;
        self.pending.clear();
    }

    /// Arms or disarms the alarm; part of this turn's batch.
    pub(crate) fn set_alarm(&mut self, alarm: Option<Alarm>) {
        self.alarm = alarm;
        self.pending.alarm = alarm.map_or(AlarmChange::Clear, AlarmChange::Set);
    }

    /// The armed alarm.
    #[must_use]
    pub fn alarm(&self) -> Option<Alarm> {
        self.alarm
    }

    /// Whether this turn has written nothing.
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whether nothing is written that is not durable.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.pending.is_empty() && self.in_flight.is_empty()
    }

    /// Ends a turn: what it wrote, to be committed. Nothing yet while a read must see the store as it was before.
    pub(crate) fn take_turn(&mut self) -> Option<WriteBatch> {
        self.operations.turn_ends();
        self.reads.turn_ends();
        if self.reads_before_commit > 0 || self.pending.is_empty() {
            self.forget_what_is_too_much();
            return None;
        }
        let bytes = std::mem::take(&mut self.pending_bytes);
        self.in_flight.push_back(bytes);
        self.in_flight_bytes += bytes;
        Some(std::mem::take(&mut self.pending))
    }

    /// Forgets what this turn wrote. The rest of what is known may build on it: the instance must end.
    pub(crate) fn discard_turn(&mut self) {
        self.pending = WriteBatch::default();
        self.pending_bytes = 0;
    }

    /// The oldest commit on its way is durable.
    pub(crate) fn committed(&mut self) {
        self.in_flight_bytes -= self.in_flight.pop_front().unwrap_or(0);
        self.forget_what_is_too_much();
    }

    /// A worker that knows too much forgets what the store knows as well. Not while a write is not durable, or while a read
    /// could bring back what was older.
    fn forget_what_is_too_much(&mut self) {
        if self.known_bytes > MAX_CACHED && self.is_durable() && self.reads.begun == 0 {
            self.forget();
            self.complete = false;
        }
    }

    /// An operation begins. While there are any, an input gate lets nothing in.
    pub fn operation_begins(&mut self, operation: Operation) {
        self.operations.begun += 1;
        if operation != Operation::Write {
            self.reads.begun += 1;
        }
        self.reads_before_commit += usize::from(operation == Operation::ReadBeforeCommit);
    }

    /// It has ended; the application gets the outcome before the end of the turn.
    pub fn operation_ended(&mut self, operation: Operation) {
        self.operations.ended += 1;
        if operation != Operation::Write {
            self.reads.ended += 1;
        }
        self.reads_before_commit -= usize::from(operation == Operation::ReadBeforeCommit);
    }

    /// Whether the application waits for the outcome of an operation.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.operations.begun > 0
    }

    /// Whether every key is known.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    fn forget(&mut self) {
        self.known.clear();
        self.known_bytes = 0;
    }

    fn insert(&mut self, key: String, value: Option<Value>) {
        let key_bytes = key.len();
        self.known_bytes += entry_bytes(key_bytes, value.as_ref());
        if let Some(old) = self.known.insert(key, value) {
            self.known_bytes -= entry_bytes(key_bytes, old.as_ref());
        }
    }

    /// The value, if the key is known to be there or not to be.
    #[must_use]
    pub fn peek(&self, key: &str) -> Option<Option<&Value>> {
        match self.known.get(key) {
            Some(value) => Some(value.as_ref()),
            None => self.complete.then_some(None),
        }
    }

    fn set(&mut self, key: String, value: Option<Value>) {
        if self.complete && value.is_none() {
            if let Some(old) = self.known.remove(&key) {
                self.known_bytes -= entry_bytes(key.len(), old.as_ref());
            }
        } else {
            self.insert(key, value);
        }
    }

    /// Remembers what was read. What the instance wrote meanwhile is newer.
    pub fn learn(&mut self, keys: Vec<String>, mut found: BTreeMap<String, Value>) {
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
    #[must_use]
    pub fn select(&self, range: &KeyRange, stored: Vec<(String, Value)>) -> Vec<(String, Value)> {
        let known = self.known.range::<str, _>(range.bounds());
        let known = known.filter(|(key, _)| range.contains(key));
        let limit = range.limit.unwrap_or(usize::MAX);
        let owned = |(key, value): (&str, &Value)| (key.to_owned(), value.clone());
        if self.complete {
            let there = known.filter_map(|(key, value)| Some((key.as_str(), value.as_ref()?)));
            return if range.reverse {
                there.rev().take(limit).map(owned).collect()
            } else {
                there.take(limit).map(owned).collect()
            };
        }
        let mut merged: BTreeMap<&str, &Value> =
            stored.iter().map(|(k, v)| (k.as_str(), v)).collect();
        for (key, value) in known {
            match value {
                Some(value) => merged.insert(key, value),
                None => merged.remove(key.as_str()),
            };
        }
        if range.reverse {
            merged.into_iter().rev().take(limit).map(owned).collect()
        } else {
            merged.into_iter().take(limit).map(owned).collect()
        }
    }

    /// The range to ask the store for, so that enough is left when known deletions are taken out.
    #[must_use]
    pub fn widened(&self, range: &KeyRange) -> KeyRange {
        let known = self.known.range::<str, _>(range.bounds());
        let deleted = known.filter(|(_, value)| value.is_none()).count();
        KeyRange {
            limit: range.limit.map(|limit| limit + deleted),
            ..range.clone()
        }
    }
}

fn entry_bytes(key_bytes: usize, value: Option<&Value>) -> usize {
    ENTRY_BYTES + key_bytes + value.map_or(0, |value| value.len())
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
        for key in ["x", "y"] {
            storage.put(key.into(), value("1"));
            assert!(storage.take_turn().is_some());
        }
        storage.committed();
        assert!(storage.peek("a").is_some(), "something is on its way");
        storage.operation_begins(Operation::Read);
        storage.committed();
        assert!(storage.peek("a").is_some(), "a read is under way");
        storage.operation_ended(Operation::Read);
        assert!(
            storage.peek("a").is_some(),
            "its outcome is not looked at yet"
        );
        assert!(storage.take_turn().is_none());
        assert_eq!(storage.peek("a"), None, "ask the store");
        storage.set("b".into(), Some(value("b")));
        storage.set("b".into(), None);
        assert_eq!(storage.known_bytes, ENTRY_BYTES + 1);
    }

    #[test]
    fn a_worker_that_waits_for_each_write_forgets_as_well() {
        let mut storage = Storage::loaded(BTreeMap::new(), true, None);
        let part: Value = vec![0; MAX_CACHED / 4].into();
        for number in 0..20 {
            storage.put(format!("key-{number}"), part.clone());
            storage.operation_begins(Operation::Write);
            assert!(storage.take_turn().is_some());
            storage.committed();
            storage.operation_ended(Operation::Write);
            assert!(storage.take_turn().is_none());
            assert!(storage.known_bytes <= MAX_CACHED, "{}", storage.known_bytes);
        }
    }

    #[test]
    fn a_worker_that_only_reads_forgets_as_well() {
        let mut storage = Storage::loaded(BTreeMap::new(), false, None);
        let keys = 2 * MAX_CACHED / (ENTRY_BYTES + 1_000);
        for number in 0..keys {
            storage.operation_begins(Operation::Read);
            storage.operation_ended(Operation::Read);
            storage.learn(vec![format!("{number:01000}")], BTreeMap::new());
            assert!(storage.take_turn().is_none());
        }
        assert!(storage.known_bytes <= MAX_CACHED, "{}", storage.known_bytes);
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

    #[test]
    fn what_is_not_durable_is_bounded() {
        let mut storage = Storage::loaded(BTreeMap::new(), true, None);
        let half: Value = vec![0; MAX_UNDURABLE / 2].into();
        storage.put("a".into(), half.clone());
        assert!(storage.take_turn().is_some());
        assert!(storage.has_room(MAX_UNDURABLE / 2 - 1));
        assert!(!storage.has_room(MAX_UNDURABLE / 2));
        storage.committed();
        assert!(storage.has_room(MAX_UNDURABLE));
        storage.put("b".into(), half);
        storage.discard_turn();
        assert!(storage.has_room(MAX_UNDURABLE));
        assert!(storage.take_turn().is_none());
    }

    #[test]
    fn a_turn_is_not_committed_before_the_reads_that_must_not_see_it() {
        let mut storage = Storage::loaded(BTreeMap::new(), false, None);
        storage.operation_begins(Operation::ReadBeforeCommit);
        storage.delete("a".into());
        assert!(storage.take_turn().is_none());
        storage.operation_ended(Operation::ReadBeforeCommit);
        assert!(storage.is_busy(), "its outcome is on its way");
        assert!(storage.take_turn().is_some());
        assert!(!storage.is_busy());
    }
}
