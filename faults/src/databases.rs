//! The databases of objects as the store has them, read without the runtime that wrote them.

use anyhow::Result;
use portside_core::ids::{SHARDS, WorkerKey};
use portside_core::keys::KeyRange;
use portside_core::migrations::Origin;
use portside_core::objects::{NAME_KEY, ObjectId};
use portside_core::write::Value;
use portside_objectdb::{Database, DurableDatabase, Limits, Policy, Value as Field};
use portside_store::Store;

use crate::history::{Action, Entry, History, Operation};
use crate::load::is_book;

/// A store that nobody has open.
#[derive(Debug)]
pub struct Stored {
    /// As for `--store`.
    pub url: String,
    /// Whose state it is.
    pub app: String,
}

/// Checks the databases of a round's objects and of those that they told, notes in each history what is wrong, and says how
/// many there are. Every entry that was read in the end must be in a database that SQLite's `integrity_check` finds whole.
///
/// # Errors
/// The store does not answer.
pub async fn check(stored: &Stored, histories: &mut [History]) -> Result<usize> {
    let store = portside_store::open(&stored.url, &stored.app).await?;
    let mut count = 0;
    for history in histories {
        let class = if is_book(&history.worker) {
            "Book"
        } else {
            "List"
        };
        let last = history
            .operations
            .iter()
            .rev()
            .find_map(Operation::contents);
        let read = last.map(|contents| contents.first.clone());
        let entries = entries(&*store, class, &history.worker).await?;
        count += usize::from(!entries.is_empty());
        history.damage = damage(&entries, &read.unwrap_or_default());
        for operation in &history.operations {
            let Action::Relay(value) = operation.action else {
                continue;
            };
            let name = format!("{} {value}", history.worker);
            let entries = self::entries(&*store, "Mirror", &name).await?;
            count += usize::from(!entries.is_empty());
            let damage = damage(&entries, &[]).map(|why| format!("the mirror of {value}: {why}"));
            history.damage = history.damage.take().or(damage);
        }
    }
    Ok(count)
}

/// What the store has of an object, in the order of keys.
async fn entries(store: &dyn Store, class: &str, name: &str) -> Result<Vec<(String, Value)>> {
    let class = Origin {
        tag: String::new(),
        name: class.to_owned(),
    };
    let object: WorkerKey = ObjectId::of_name(&class, name).address(&class);
    let id = object.id();
    let mut entries = store
        .list(id.shard(SHARDS), id, &KeyRange::default())
        .await?;
    entries.retain(|(key, _)| key != NAME_KEY);
    Ok(entries)
}

/// What is wrong with a database that must have what was `read`.
fn damage(entries: &[(String, Value)], read: &[Entry]) -> Option<String> {
    if entries.is_empty() {
        return (!read.is_empty()).then(|| "the store has nothing of it".to_owned());
    }
    let entries = entries.iter().map(|(key, value)| (&key[..], &value[..]));
    let loaded = DurableDatabase::load(entries, Policy::default(), Limits::default());
    let checked = loaded.and_then(|loaded| {
        loaded.database().check()?;
        missing(loaded.database(), read)
    });
    match checked {
        Ok(None) => None,
        Ok(Some(value)) => Some(format!("{value} was read, and is not in the database")),
        Err(error) => Some(error.to_string()),
    }
}

/// The first value of the list that the database does not have in its place.
fn missing(database: &Database, read: &[Entry]) -> Result<Option<u32>, portside_objectdb::Error> {
    if read.is_empty() {
        return Ok(None);
    }
    let mut rows = database.exec("SELECT entry FROM entries ORDER BY n", &[])?;
    for entry in read {
        let row = rows.next().transpose()?;
        let value = match row.as_deref() {
            Some([Field::Text(text)]) => text.split_once('~').map(|(value, _)| value),
            _ => None,
        };
        if value != Some(&entry.value.to_string()) {
            return Ok(Some(entry.value));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use portside_core::write::WriteBatch;

    use super::*;

    /// What a store has of a list with these entries.
    fn list(values: &[u32]) -> Vec<(String, Value)> {
        let none: [(&str, &[u8]); 0] = [];
        let mut durable =
            DurableDatabase::load(none, Policy::default(), Limits::default()).unwrap();
        let sql = "CREATE TABLE entries (n INTEGER PRIMARY KEY, entry TEXT); CREATE INDEX by_entry ON entries (entry)";
        durable.database().exec(sql, &[]).unwrap();
        for value in values {
            let entry = Field::Text(format!("{value}~a"));
            let sql = "INSERT INTO entries (entry) VALUES (?)";
            durable.database().exec(sql, &[entry]).unwrap();
        }
        let mut batch = WriteBatch::default();
        durable.commit_into(&mut batch).unwrap();
        let writes = batch.writes.into_iter();
        writes.map(|(key, value)| (key, value.unwrap())).collect()
    }

    fn read(values: &[u32]) -> Vec<Entry> {
        let entries = values.iter();
        entries
            .map(|value| Entry {
                value: *value,
                by: 0,
            })
            .collect()
    }

    #[test]
    fn a_database_has_what_was_read() {
        let entries = list(&[3, 1, 2]);
        assert_eq!(damage(&entries, &read(&[3, 1, 2])), None);
        // Its alarm may have appended since.
        assert_eq!(damage(&entries, &read(&[3])), None);
        let lacks = |value: u32| Some(format!("{value} was read, and is not in the database"));
        assert_eq!(damage(&entries, &read(&[3, 1, 2, 4])), lacks(4));
        assert_eq!(damage(&entries, &read(&[1])), lacks(1));
        assert_eq!(damage(&[], &read(&[])), None);
        let nothing = Some("the store has nothing of it".to_owned());
        assert_eq!(damage(&[], &read(&[1])), nothing);
    }

    #[test]
    fn an_index_without_its_rows_is_damage() {
        let mut entries = list(&[30, 31, 32]);
        let (_, value) = &mut entries[0];
        let mut bytes = value.to_vec();
        // An entry's text is in the table, and once more in the index, which comes after it.
        let text = bytes.windows(4).rposition(|text| text == b"31~a").unwrap();
        bytes[text + 1] = b'7';
        *value = bytes.into();
        let found = damage(&entries, &read(&[30, 31, 32])).unwrap();
        assert!(found.contains("the database is damaged"), "{found}");
    }
}
