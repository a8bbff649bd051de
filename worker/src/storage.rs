//! What an instance knows of its keys, and what it has written and is not durable yet.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use portside_core::alarm::{Alarm, AlarmChange};
use portside_core::keys::KeyRange;
use portside_core::write::{Value, WriteBatch};

use crate::host::RequestName;
use crate::reads::{Before, ReadNumber, Reads};

/// Bytes that are remembered at most once all are durable; then the store is asked again.
const MAX_CACHED: usize = 64 << 20;

/// What remembering a key costs beside its bytes and its value's: also a key that is known not to be there takes memory.
const ENTRY_BYTES: usize = 64;

/// Bytes of keys and values that may wait to be durable; beyond them a write is refused, for the store does not keep up.
pub const MAX_UNDURABLE: usize = 64 << 20;

/// What a turn writes.
#[derive(Default)]
struct Written {
    batch: WriteBatch,
    bytes: usize,
    /// The reads that must not see it.
    waits_for: BTreeSet<ReadNumber>,
}

/// A turn that has ended, and what is told of its commit.
struct Turn {
    written: Written,
    seq: u64,
    request: Option<RequestName>,
}

/// A worker's keys as far as they are known. As the only writer, the instance never has to ask twice.
#[derive(Default)]
pub struct Storage {
    known: BTreeMap<String, Option<Value>>,
    known_bytes: usize,
    complete: bool,
    /// The armed alarm.
    alarm: Option<Alarm>,
    /// What this turn has written.
    pending: Written,
    /// Turns that have ended and are not committed yet, in order.
    ended: VecDeque<Turn>,
    /// Bytes put by each commit that is on its way, in order.
    in_flight: VecDeque<usize>,
    /// Bytes put by all of these.
    undurable_bytes: usize,
    operations: Operations,
    /// Reads, and what they are about.
    reading: Operations,
    reads: Reads,
}

/// Operations whose outcome the application waits for. One that has ended counts until the end of the turn, in which the
/// application gets its outcome.
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
        self.undurable_bytes + bytes <= MAX_UNDURABLE
    }

    /// Bytes of keys and values that are not durable.
    pub(crate) fn undurable_bytes(&self) -> usize {
        self.undurable_bytes
    }

    /// Puts a value; part of this turn's batch.
    pub(crate) fn put(&mut self, key: String, value: Value) {
        let bytes = key.len() + value.len();
        self.pending.bytes += bytes;
        self.undurable_bytes += bytes;
        self.write(key, Some(value));
    }

    /// Deletes a key; part of this turn's batch.
    pub(crate) fn delete(&mut self, key: String) {
        self.write(key, None);
    }

    fn write(&mut self, key: String, value: Option<Value>) {
        let known = self.known.get(&key);
        self.reads
            .key_changes(&key, known, &mut self.pending.waits_for);
        self.set(key.clone(), value.clone());
        self.pending.batch.write(key, value);
    }

    /// Deletes every key; part of this turn's batch.
    pub(crate) fn clear(&mut self) {
        self.reads
            .all_change(&self.known, &mut self.pending.waits_for);
        self.forget();
        self.complete = true;
        self.pending.batch.clear();
    }

    /// Arms or disarms the alarm; part of this turn's batch.
    pub(crate) fn set_alarm(&mut self, alarm: Option<Alarm>) {
        self.alarm = alarm;
        self.pending.batch.alarm = alarm.map_or(AlarmChange::Clear, AlarmChange::Set);
    }

    /// The armed alarm.
    #[must_use]
    pub fn alarm(&self) -> Option<Alarm> {
        self.alarm
    }

    /// Adds to this turn's batch what is not known here: an object's database knows it.
    pub(crate) fn add<R>(&mut self, write: impl FnOnce(&mut WriteBatch) -> R) -> R {
        let batch = &mut self.pending.batch;
        let before = bytes_of(batch);
        let result = write(batch);
        let bytes = bytes_of(batch).saturating_sub(before); // it may have cleared the batch
        self.pending.bytes += bytes;
        self.undurable_bytes += bytes;
        result
    }

    /// Whether this turn has written nothing.
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        self.pending.batch.is_empty()
    }

    /// Whether nothing is written that is not durable.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.is_unchanged() && self.ended.is_empty() && self.in_flight.is_empty()
    }

    /// Ends a turn, whose writes have the number `seq`, if it `has_written`. They are to be committed when
    /// [`Storage::next_commit`] gives them; there may be none, if what was written changes nothing.
    pub(crate) fn end_turn(&mut self, has_written: bool, seq: u64, request: Option<RequestName>) {
        self.operations.turn_ends();
        self.reading.turn_ends();
        if !has_written {
            self.forget_what_is_too_much();
            return;
        }
        let written = std::mem::take(&mut self.pending);
        self.ended.push_back(Turn {
            written,
            seq,
            request,
        });
    }

    /// The next turn to commit, with its number and the request it wrote for. None yet while a read must see the store as
    /// it was before, unless `anyway` says that nobody waits for any read.
    pub(crate) fn next_commit(
        &mut self,
        anyway: bool,
    ) -> Option<(WriteBatch, u64, Option<RequestName>)> {
        let turn = self
            .ended
            .pop_front_if(|turn| anyway || turn.written.waits_for.is_empty())?;
        self.in_flight.push_back(turn.written.bytes);
        Some((turn.written.batch, turn.seq, turn.request))
    }

    /// Whether one commit is on its way, and no other.
    pub(crate) fn has_one_in_flight(&self) -> bool {
        self.in_flight.len() == 1
    }

    /// Forgets what this turn wrote. The rest of what is known may build on it: the instance must end.
    pub(crate) fn discard_turn(&mut self) {
        self.undurable_bytes -= std::mem::take(&mut self.pending).bytes;
    }

    /// The oldest commit on its way is durable.
    pub(crate) fn committed(&mut self) {
        self.undurable_bytes -= self.in_flight.pop_front().unwrap_or(0);
        self.forget_what_is_too_much();
    }

    /// A worker that knows too much forgets what the store knows as well. Not while a write is not durable, or while a read
    /// could bring back what was older.
    fn forget_what_is_too_much(&mut self) {
        if self.known_bytes > MAX_CACHED && self.is_durable() && self.reading.begun == 0 {
            self.forget();
            self.complete = false;
        }
    }

    /// The application begins to wait for a write. While it waits for anything, an input gate lets nothing in.
    pub fn wait_begins(&mut self) {
        self.operations.begun += 1;
    }

    /// The wait has ended; the application hears of it before the end of the turn.
    pub fn wait_ended(&mut self) {
        self.operations.ended += 1;
    }

    /// The store is asked for keys of which nothing is known. The application waits for the answer, which is of now: what
    /// is written of these keys from now on is not committed before the read has ended.
    pub fn read_begins(&mut self, keys: &[String]) -> ReadNumber {
        self.operations.begun += 1;
        self.reading.begun += 1;
        self.reads.of_keys(keys)
    }

    /// The store is asked for a range, in the same way.
    pub fn list_begins(&mut self, range: &KeyRange) -> ReadNumber {
        self.operations.begun += 1;
        self.reading.begun += 1;
        self.reads.of_range(range)
    }

    /// A read has ended; the application gets the outcome before the end of the turn. Gives what [`Storage::select`] wants
    /// to know of a range.
    pub fn read_ended(&mut self, number: ReadNumber) -> Before {
        self.operations.ended += 1;
        self.reading.ended += 1;
        self.pending.waits_for.remove(&number);
        for turn in &mut self.ended {
            turn.written.waits_for.remove(&number);
        }
        self.reads.end(number)
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

    /// The wanted entries: of `stored` rows and what is known, or `before`, where that was written since the rows were asked
    /// for. Without rows when everything is known.
    #[must_use]
    pub fn select(
        &self,
        range: &KeyRange,
        stored: Option<(Vec<(String, Value)>, Before)>,
    ) -> Vec<(String, Value)> {
        let known = self.known.range::<str, _>(range.bounds());
        let known = known.filter(|(key, _)| range.contains(key));
        let limit = range.limit.unwrap_or(usize::MAX);
        let owned = |(key, value): (&str, &Value)| (key.to_owned(), value.clone());
        let Some((stored, before)) = stored else {
            let there = known.filter_map(|(key, value)| Some((key.as_str(), value.as_ref()?)));
            return if range.reverse {
                there.rev().take(limit).map(owned).collect()
            } else {
                there.take(limit).map(owned).collect()
            };
        };
        let mut merged: BTreeMap<&str, &Value> =
            stored.iter().map(|(k, v)| (k.as_str(), v)).collect();
        let unchanged = known.filter(|(key, _)| !before.contains_key(*key));
        let changed = before
            .iter()
            .filter_map(|(key, known)| Some((key, known.as_ref()?)));
        for (key, value) in unchanged.chain(changed) {
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
            limit: range.limit.map(|limit| limit.saturating_add(deleted)),
            ..range.clone()
        }
    }
}

fn bytes_of(batch: &WriteBatch) -> usize {
    let writes = batch.writes.iter();
    let sizes =
        writes.map(|(key, value)| key.len() + value.as_ref().map_or(0, |value| value.len()));
    sizes.sum()
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

    /// Ends a turn; whether there is something to commit.
    fn ends_turn(storage: &mut Storage) -> bool {
        let has_written = !storage.is_unchanged();
        storage.end_turn(has_written, 1, None);
        storage.next_commit(false).is_some()
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
            assert!(ends_turn(&mut storage));
        }
        storage.committed();
        assert!(storage.peek("a").is_some(), "something is on its way");
        let read = storage.read_begins(&["z".into()]);
        storage.committed();
        assert!(storage.peek("a").is_some(), "a read is under way");
        storage.read_ended(read);
        assert!(
            storage.peek("a").is_some(),
            "its outcome is not looked at yet"
        );
        assert!(!ends_turn(&mut storage));
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
            storage.wait_begins();
            assert!(ends_turn(&mut storage));
            storage.committed();
            storage.wait_ended();
            assert!(!ends_turn(&mut storage));
            assert!(storage.known_bytes <= MAX_CACHED, "{}", storage.known_bytes);
        }
    }

    #[test]
    fn a_worker_that_only_reads_forgets_as_well() {
        let mut storage = Storage::loaded(BTreeMap::new(), false, None);
        let keys = 2 * MAX_CACHED / (ENTRY_BYTES + 1_000);
        for number in 0..keys {
            let keys = vec![format!("{number:01000}")];
            let read = storage.read_begins(&keys);
            storage.read_ended(read);
            storage.learn(keys, BTreeMap::new());
            assert!(!ends_turn(&mut storage));
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
            keys_of(&storage.select(&range, Some((stored.clone(), Before::new())))),
            ["a", "c", "d"]
        );
        let reverse = KeyRange {
            reverse: true,
            limit: Some(2),
            ..KeyRange::default()
        };
        assert_eq!(
            keys_of(&storage.select(&reverse, Some((stored, Before::new())))),
            ["d", "c"]
        );
        let all = KeyRange {
            limit: Some(usize::MAX),
            ..KeyRange::default()
        };
        assert_eq!(storage.widened(&all).limit, Some(usize::MAX));
    }

    #[test]
    fn what_is_not_durable_is_bounded() {
        let mut storage = Storage::loaded(BTreeMap::new(), true, None);
        let half: Value = vec![0; MAX_UNDURABLE / 2].into();
        storage.put("a".into(), half.clone());
        assert!(ends_turn(&mut storage));
        assert!(storage.has_room(MAX_UNDURABLE / 2 - 1));
        assert!(!storage.has_room(MAX_UNDURABLE / 2));
        storage.committed();
        assert!(storage.has_room(MAX_UNDURABLE));
        storage.put("b".into(), half);
        storage.discard_turn();
        assert!(storage.has_room(MAX_UNDURABLE));
        assert!(!ends_turn(&mut storage));
    }

    fn commits(storage: &mut Storage, seq: u64) -> Vec<u64> {
        let has_written = !storage.is_unchanged();
        storage.end_turn(has_written, seq, None);
        std::iter::from_fn(|| storage.next_commit(false))
            .map(|(_, seq, _)| seq)
            .collect()
    }

    #[test]
    fn a_turn_is_not_committed_before_the_reads_that_must_not_see_it() {
        let mut storage = Storage::loaded(BTreeMap::new(), false, None);
        let first = storage.read_begins(&["a".into(), "b".into()]);
        storage.put("c".into(), value("c"));
        assert_eq!(commits(&mut storage, 1), [1], "of another key");
        storage.delete("a".into());
        assert_eq!(commits(&mut storage, 2), []);
        let later = storage.list_begins(&KeyRange::default());
        storage.put("d".into(), value("d"));
        assert_eq!(commits(&mut storage, 3), [], "behind the one before");
        storage.read_ended(first);
        assert!(storage.is_busy(), "its outcome is on its way");
        assert_eq!(commits(&mut storage, 3), [2], "no read holds others up");
        assert!(!storage.is_durable());
        storage.read_ended(later);
        assert_eq!(commits(&mut storage, 3), [3]);
        assert!(!storage.is_busy());
    }

    #[test]
    fn a_list_is_of_the_moment_when_it_was_asked_for() {
        let mut storage = Storage::loaded(BTreeMap::new(), false, None);
        for key in ["changed", "deleted"] {
            storage.put(key.into(), value("old"));
        }
        storage.delete("missing".into());
        let range = KeyRange::default();
        let list = storage.list_begins(&range);
        storage.put("changed".into(), value("new"));
        storage.put("stored".into(), value("new"));
        storage.clear();
        storage.put("missing".into(), value("new"));
        storage.put("unknown".into(), value("new"));
        let before = storage.read_ended(list);
        let stored = vec![
            ("deleted".into(), value("older")),
            ("missing".into(), value("older")),
            ("stored".into(), value("old")),
        ];
        let found = storage.select(&range, Some((stored, before)));
        assert_eq!(keys_of(&found), ["changed", "deleted", "stored"]);
        assert!(found.iter().all(|(_, found)| *found == value("old")));
    }
}
