//! Reads of the store under way. Each gives what was there when it was asked for, so that the commits of what is written
//! after it wait until it has ended.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use portside_core::keys::KeyRange;
use portside_core::write::Value;

/// A read under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReadNumber(u64);

/// What was known of keys before they were written in the course of a read; `None` for nothing.
pub type Before = BTreeMap<String, Option<Option<Value>>>;

/// The reads under way, and what they are about.
#[derive(Default)]
pub(crate) struct Reads {
    next: u64,
    named: BTreeMap<ReadNumber, Vec<String>>,
    by_key: HashMap<String, BTreeSet<ReadNumber>>,
    lists: BTreeMap<ReadNumber, List>,
}

struct List {
    range: KeyRange,
    before: Before,
}

impl Reads {
    fn number(&mut self) -> ReadNumber {
        self.next += 1;
        ReadNumber(self.next)
    }

    /// A read of keys begins.
    pub fn of_keys(&mut self, keys: &[String]) -> ReadNumber {
        let number = self.number();
        for key in keys {
            self.by_key.entry(key.clone()).or_default().insert(number);
        }
        self.named.insert(number, keys.to_vec());
        number
    }

    /// A read of a range begins.
    pub fn of_range(&mut self, range: &KeyRange) -> ReadNumber {
        let number = self.number();
        let list = List {
            range: range.clone(),
            before: Before::new(),
        };
        self.lists.insert(number, list);
        number
    }

    /// It has ended. Gives what was known of the range's keys that were written meanwhile.
    pub fn end(&mut self, number: ReadNumber) -> Before {
        for key in self.named.remove(&number).unwrap_or_default() {
            if let Some(reads) = self.by_key.get_mut(&key) {
                reads.remove(&number);
                if reads.is_empty() {
                    self.by_key.remove(&key);
                }
            }
        }
        let list = self.lists.remove(&number);
        list.map_or_else(Before::new, |list| list.before)
    }

    /// A key, of which `known` was known, is written: adds the reads that must not see it to `waits_for`.
    pub fn key_changes(
        &mut self,
        key: &str,
        known: Option<&Option<Value>>,
        waits_for: &mut BTreeSet<ReadNumber>,
    ) {
        waits_for.extend(self.by_key.get(key).into_iter().flatten());
        for (number, list) in &mut self.lists {
            if list.range.contains(key) {
                waits_for.insert(*number);
                if !list.before.contains_key(key) {
                    list.before.insert(key.to_owned(), known.cloned());
                }
            }
        }
    }

    /// All keys, of which `known` were known, are deleted.
    pub fn all_change(
        &mut self,
        known: &BTreeMap<String, Option<Value>>,
        waits_for: &mut BTreeSet<ReadNumber>,
    ) {
        waits_for.extend(self.named.keys());
        for (number, list) in &mut self.lists {
            waits_for.insert(*number);
            for (key, value) in known.range::<str, _>(list.range.bounds()) {
                if list.range.contains(key) && !list.before.contains_key(key) {
                    list.before.insert(key.clone(), Some(value.clone()));
                }
            }
        }
    }
}
