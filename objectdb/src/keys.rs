//! The object's keys and values: a table of its database that its SQL cannot name.

use portside_core::keys::KeyRange;

use crate::database::{Database, Inner};
use crate::error::Error;
use crate::value::Value;

/// As Durable Objects write it.
const TABLE: &str = "\
    CREATE TABLE IF NOT EXISTS _cf_KV (
        key TEXT PRIMARY KEY,
        value BLOB
      ) WITHOUT ROWID";

/// A key and its value.
pub type Entry = (String, Vec<u8>);

/// How many entries one page of a listing has, and from how many bytes on it has no more.
const PAGE: (usize, usize) = (128, 64 << 10);

impl Inner {
    /// Whether there is a table of keys, without making one.
    fn has_keys(&self) -> Result<bool, Error> {
        if let Some(has_keys) = self.has_keys.get() {
            return Ok(has_keys);
        }
        let sql = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = '_cf_KV'";
        let has_keys = self.row_once(sql)?.is_some();
        self.has_keys.set(Some(has_keys));
        Ok(has_keys)
    }
}

impl Database {
    /// The value of a key.
    ///
    /// # Errors
    /// [`Error::Reset`].
    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        self.0.must_be_there()?;
        if !self.0.has_keys()? {
            return Ok(None);
        }
        let sql = "SELECT value FROM _cf_KV WHERE key = ?";
        self.0.with_own(sql, |statement| {
            statement.bind_text(1, key.as_bytes())?;
            Ok(statement.step()?.then(|| statement.blob(0)))
        })
    }

    /// Gives a key a value.
    ///
    /// # Errors
    /// Both are longer than a row may be, 2 MiB; or [`Error::Reset`].
    pub fn put(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        self.0.begin()?;
        if !self.0.has_keys()? {
            self.0.row_once(TABLE)?;
            self.0.has_keys.set(Some(true));
        }
        let sql =
            "INSERT INTO _cf_KV VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value";
        self.0.with_own(sql, |statement| {
            statement.bind_text(1, key.as_bytes())?;
            statement.bind_blob(2, value)?;
            statement.step().map(drop)
        })
    }

    /// Takes a key away. Returns whether it was there.
    ///
    /// # Errors
    /// [`Error::Reset`].
    pub fn delete(&self, key: &str) -> Result<bool, Error> {
        self.0.must_be_there()?;
        if !self.0.has_keys()? {
            return Ok(false);
        }
        self.0.begin()?;
        let sql = "DELETE FROM _cf_KV WHERE key = ? RETURNING 1";
        self.0.with_own(sql, |statement| {
            statement.bind_text(1, key.as_bytes())?;
            let was_there = statement.step()?;
            while was_there && statement.step()? {}
            Ok(was_there)
        })
    }

    /// The entries that a range wants, in the order of the keys' bytes, as many as its limits allow.
    ///
    /// # Errors
    /// [`Error::Reset`].
    pub fn list(&self, range: &KeyRange) -> Result<Vec<Entry>, Error> {
        self.0.must_be_there()?;
        let (from, to) = bounds(range);
        if !self.0.has_keys()? {
            return Ok(vec![]);
        }
        let sql = match (to.is_some(), range.reverse) {
            (false, false) => "SELECT key, value FROM _cf_KV WHERE key >= ? ORDER BY key",
            (false, true) => "SELECT key, value FROM _cf_KV WHERE key >= ? ORDER BY key DESC",
            (true, false) => {
                "SELECT key, value FROM _cf_KV WHERE key >= ? AND key < ? ORDER BY key"
            }
            (true, true) => {
                "SELECT key, value FROM _cf_KV WHERE key >= ? AND key < ? ORDER BY key DESC"
            }
        };
        let most = range.limit.unwrap_or(usize::MAX);
        let most_bytes = range.max_bytes.unwrap_or(usize::MAX);
        self.0.with_own(sql, |statement| {
            statement.bind_text(1, &from)?;
            if let Some(to) = &to {
                statement.bind_text(2, to)?;
            }
            let (mut entries, mut bytes) = (vec![], 0);
            while entries.len() < most && bytes < most_bytes && statement.step()? {
                let Value::Text(key) = statement.value(0) else {
                    continue;
                };
                if range.contains(&key) {
                    let value = statement.blob(1);
                    bytes += key.len() + value.len();
                    entries.push((key, value));
                }
            }
            Ok(entries)
        })
    }
}

/// The first key that a range can have, and the one before which its last is.
fn bounds(range: &KeyRange) -> (Vec<u8>, Option<Vec<u8>>) {
    let options = [&range.prefix, &range.start, &range.start_after];
    let from = options.into_iter().flatten().max();
    let end = range.end.as_ref().map(|end| end.clone().into_bytes());
    let after_prefix = range.prefix.as_deref().and_then(after);
    let to = [end, after_prefix].into_iter().flatten().min();
    (from.cloned().unwrap_or_default().into_bytes(), to)
}

/// What is after all texts with a prefix: no byte of UTF-8 is the highest one.
fn after(prefix: &str) -> Option<Vec<u8>> {
    let mut after = prefix.as_bytes().to_vec();
    *after.last_mut()? += 1;
    Some(after)
}

/// Entries that are read page by page: a page has what there is when it is read.
#[derive(Debug)]
pub struct Listing {
    /// What is to be read after this page.
    rest: Option<KeyRange>,
    page: std::vec::IntoIter<Entry>,
}

impl Listing {
    /// Of a range, as long as `next` is called with its database.
    #[must_use]
    pub fn new(range: KeyRange) -> Self {
        Self {
            rest: Some(range),
            page: vec![].into_iter(),
        }
    }

    /// The next entry; nothing at the end.
    ///
    /// # Errors
    /// [`Error::Reset`].
    pub fn next(&mut self, database: &Database) -> Result<Option<Entry>, Error> {
        if self.page.len() == 0
            && let Some(rest) = self.rest.take()
        {
            self.read(database, rest)?;
        }
        Ok(self.page.next())
    }

    fn read(&mut self, database: &Database, mut rest: KeyRange) -> Result<(), Error> {
        let (entries, bytes) = PAGE;
        let limit = rest.limit.unwrap_or(usize::MAX);
        let page = database.list(&KeyRange {
            limit: Some(limit.min(entries)),
            max_bytes: Some(bytes),
            ..rest.clone()
        })?;
        let left = limit - page.len();
        if let Some((last, _)) = page.last()
            && left > 0
        {
            rest.limit = rest.limit.map(|_| left);
            let bound = match rest.reverse {
                true => &mut rest.end,
                false => &mut rest.start_after,
            };
            *bound = Some(last.clone());
            self.rest = Some(rest);
        }
        self.page = page.into_iter();
        Ok(())
    }
}
