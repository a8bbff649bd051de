//! An object's database, as far as it matters here: rows, of which the store gets what each commit has changed.
//!
//! The entries lie in the store as those of real databases do: a log, and now and then the whole, with which the log before it
//! goes. Whoever loads them sees when one of them is missing.

use std::collections::BTreeMap;

use portside_core::write::{Value, WriteBatch};

use crate::checker::{Kind, Wrong, wrong};

/// Rows by their keys; each value is a number.
pub(crate) type Rows = BTreeMap<String, Value>;

/// What the store has of a database.
pub(crate) type Entries = BTreeMap<String, Value>;

/// The key of the whole.
const WHOLE: &str = "all";
/// What the log's keys begin with; the number of the commit follows.
const LOG: &str = "log ";
/// So many commits are in the log at most.
const LOG_COMMITS: u64 = 5;
const VALUE_BYTES: usize = 8;

#[derive(Debug, Default)]
pub(crate) struct Database {
    rows: Rows,
    /// What is in no commit yet.
    changed: BTreeMap<String, Option<Value>>,
    /// The number of the last commit, and of the one that the whole is as of.
    last: u64,
    whole: u64,
}

fn log_key(number: u64) -> String {
    format!("{LOG}{number:010}")
}

impl Database {
    /// From what the store has of it.
    pub fn load<'a>(
        entries: impl IntoIterator<Item = (&'a String, &'a Value)>,
    ) -> Result<Self, Wrong> {
        let mut database = Self::default();
        for (key, value) in entries {
            let broken = || wrong!(Broken, "not an entry of a database: {key}");
            if key == WHOLE {
                let (number, rest) = value.split_first_chunk().ok_or_else(broken)?;
                (database.whole, database.last) =
                    (u64::from_be_bytes(*number), u64::from_be_bytes(*number));
                database.apply(rest).ok_or_else(broken)?;
                continue;
            }
            if *key != log_key(database.last + 1) {
                return Err(wrong!(
                    Gap,
                    "after commit {} of a database comes {key}",
                    database.last
                ));
            }
            database.last += 1;
            database.apply(value).ok_or_else(broken)?;
        }
        Ok(database)
    }

    /// What there is.
    pub fn rows(&self) -> &Rows {
        &self.rows
    }

    pub fn write(&mut self, key: String, value: Option<Value>) {
        match value.clone() {
            Some(value) => self.rows.insert(key.clone(), value),
            None => self.rows.remove(&key),
        };
        self.changed.insert(key, value);
    }

    /// What the store must get.
    pub fn commit_into(&mut self, batch: &mut WriteBatch) {
        if self.changed.is_empty() {
            return;
        }
        self.last += 1;
        let changed = std::mem::take(&mut self.changed);
        if self.last < self.whole + LOG_COMMITS {
            let changed = changed.iter().map(|(key, value)| (key, value.as_ref()));
            return batch.write(log_key(self.last), Some(encode(Vec::new(), changed)));
        }
        for number in self.whole + 1..self.last {
            batch.write(log_key(number), None);
        }
        self.whole = self.last;
        let rows = self.rows.iter().map(|(key, value)| (key, Some(value)));
        let whole = encode(self.last.to_be_bytes().to_vec(), rows);
        batch.write(WHOLE.to_owned(), Some(whole));
    }

    /// Makes the changes of an entry; `None` if it is none.
    fn apply(&mut self, mut entry: &[u8]) -> Option<()> {
        while let Some((&[key, value], rest)) = entry.split_first_chunk() {
            let (key, rest) = rest.split_at_checked(key.into())?;
            let (value, rest) = rest.split_at_checked(value.into())?;
            let key = std::str::from_utf8(key).ok()?.to_owned();
            match value {
                [] => self.rows.remove(&key),
                value => self.rows.insert(key, value.into()),
            };
            entry = rest;
        }
        entry.is_empty().then_some(())
    }
}

/// Each change as the lengths of key and value, and both; a value of no bytes is none.
fn encode<'a>(
    mut entry: Vec<u8>,
    changes: impl Iterator<Item = (&'a String, Option<&'a Value>)>,
) -> Value {
    for (key, value) in changes {
        let value = value.map_or(&[][..], |value| value);
        debug_assert!(value.is_empty() || value.len() == VALUE_BYTES);
        // Keys are as short as values.
        entry.extend([key.len() as u8, value.len() as u8]);
        entry.extend(key.as_bytes());
        entry.extend(value);
    }
    entry.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(number: u64) -> Value {
        number.to_be_bytes().as_slice().into()
    }

    /// What a store has after so many commits, each of which writes a row and deletes the one before.
    fn stored(commits: u64) -> BTreeMap<String, Value> {
        let (mut database, mut stored) = (Database::default(), BTreeMap::new());
        for n in 0..commits {
            database.write(format!("row {n}"), Some(number(n)));
            if n > 0 {
                database.write(format!("row {}", n - 1), None);
            }
            let mut batch = WriteBatch::default();
            database.commit_into(&mut batch);
            for (key, value) in batch.writes {
                match value {
                    Some(value) => stored.insert(key, value),
                    None => stored.remove(&key),
                };
            }
        }
        stored
    }

    #[test]
    fn what_is_committed_is_loaded() {
        for commits in 1..30 {
            let stored = stored(commits);
            assert!(stored.len() as u64 <= LOG_COMMITS, "the log goes");
            let loaded = Database::load(&stored).expect("it is whole");
            let rows = Rows::from([(format!("row {}", commits - 1), number(commits - 1))]);
            assert_eq!(*loaded.rows(), rows);
        }
    }

    #[test]
    fn a_commit_that_is_missing_is_seen() {
        let mut stored = stored(13);
        stored.remove(&log_key(12)).expect("it is in the log");
        let wrong = Database::load(&stored).expect_err("it has a gap");
        assert_eq!(wrong.kind, Kind::Gap);
    }
}
