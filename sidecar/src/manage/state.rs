//! What a worker has stored, read and changed from outside.
//!
//! Of a worker its keys; of a Durable Object those of its `ctx.storage`, and its SQL.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures::FutureExt;
use portside_core::alarm::AlarmChange;
use portside_core::ids::{SHARDS, WorkerId, WorkerKey};
use portside_core::keys::{self, KeyRange};
use portside_core::objects::class_of;
use portside_core::write::{FORMAT, WriteBatch};
use portside_manage::json::{from_json, number, to_json};
use portside_manage::{Entries, Entry, Rows};
use portside_objectdb::{Database, DurableDatabase, Interrupt, Limits, Value as Field};
use portside_runtime::surface::objects::database::Stored;
use serde_json::{Value as Json, json};
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::app::App;
use crate::changes::{Change, Unchanged};
use crate::objects;

/// Bytes of the values of a page, give or take the last one.
const PAGE_BYTES: usize = 4 << 20;
/// How often an object is read anew that writes meanwhile.
const TRIES: usize = 5;
/// Rows of an answer, and how long the statement may take.
const MOST_ROWS: usize = 1000;
const STATEMENT: Duration = Duration::from_secs(5);

impl App {
    /// A page of keys.
    ///
    /// # Errors
    /// They cannot be read.
    pub(super) async fn worker_entries(
        &self,
        key: &WorkerKey,
        mut range: KeyRange,
    ) -> Result<Entries, Unchanged> {
        let limit = range.limit.unwrap_or(usize::MAX);
        // One more shows whether there are more.
        range.limit = Some(limit.saturating_add(1));
        range.max_bytes = Some(PAGE_BYTES);
        let wanted = range.limit;
        let mut found = match class_of(key) {
            Some(_) => self.with_database(key, move |it| list(it, &range)).await?,
            None => {
                let id = key.id();
                let listed = self
                    .store()
                    .list(id.shard(SHARDS), id, &range)
                    .await?
                    .into_iter();
                listed.map(|(key, value)| (key, value.to_vec())).collect()
            }
        };
        let bytes: usize = found
            .iter()
            .map(|(key, value)| key.len() + value.len())
            .sum();
        let is_cut = Some(found.len()) == wanted || bytes >= PAGE_BYTES;
        found.truncate(limit);
        let next = found.last().filter(|_| is_cut).map(|(key, _)| key.clone());
        let is_object = class_of(key).is_some();
        let entry = |(key, value): (String, Vec<u8>)| shown(key, &value, is_object);
        Ok(Entries {
            items: found.into_iter().map(entry).collect(),
            next,
        })
    }

    /// One key; nothing if it is not there.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) async fn worker_entry(
        &self,
        key: &WorkerKey,
        name: String,
    ) -> Result<Option<Entry>, Unchanged> {
        let wanted = name.clone();
        let value = match class_of(key) {
            Some(_) => {
                let get = move |it: &Database| it.get(&wanted).map_err(|error| error.to_string());
                self.with_database(key, get).await?
            }
            None => {
                let id = key.id();
                let found = self.store().get(id.shard(SHARDS), id, &[wanted]).await?;
                found.into_values().next().map(|value| value.to_vec())
            }
        };
        let is_object = class_of(key).is_some();
        Ok(value.map(|value| shown(name, &value, is_object)))
    }

    /// Puts a key, or deletes it.
    ///
    /// # Errors
    /// It is unchanged.
    pub(super) async fn put_worker_entry(
        &self,
        key: &WorkerKey,
        name: String,
        value: Option<Json>,
    ) -> Result<(), Unchanged> {
        keys::check_key(&name).map_err(Unchanged::refused)?;
        let value = value.map(|value| from_json(&value)).transpose();
        let value = value.map_err(Unchanged::refused)?;
        let bytes = value.as_ref().map_or(0, Vec::len);
        keys::check_value(bytes).map_err(Unchanged::refused)?;
        if class_of(key).is_some() {
            let write = move |it: &Database| match &value {
                Some(value) => it.put(&name, value),
                None => it.delete(&name).map(drop),
            };
            return self.put(key, of_database(key.id(), write)).await;
        }
        let mut batch = WriteBatch::default();
        let value = value.map(|value| [&[FORMAT], value.as_slice()].concat().into());
        batch.write(name, value);
        let change = |_, _| async { Ok(batch) }.boxed();
        self.put(key, Box::new(change)).await
    }

    /// Deletes everything of a worker, its alarm too.
    ///
    /// # Errors
    /// It is unchanged.
    pub(super) async fn delete_worker(&self, key: &WorkerKey) -> Result<(), Unchanged> {
        let batch = WriteBatch {
            clear: true,
            alarm: AlarmChange::Clear,
            ..WriteBatch::default()
        };
        let change = |_, _| async { Ok(batch) }.boxed();
        self.put(key, Box::new(change)).await
    }

    async fn put(&self, key: &WorkerKey, change: Change) -> Result<(), Unchanged> {
        self.change(key, change).await?;
        self.events().stored(key);
        Ok(())
    }

    /// Rows of an object's database.
    ///
    /// # Errors
    /// It has none, or not such; or the statement is wrong.
    pub(super) async fn worker_rows(
        &self,
        key: &WorkerKey,
        query: String,
    ) -> Result<Rows, Unchanged> {
        if class_of(key).is_none() {
            let why = "a worker has no database: only Durable Objects have SQL";
            return Err(Unchanged::refused(why));
        }
        self.with_database(key, move |it| rows(it, &query)).await
    }

    /// What somebody reads of an object's database, as it is stored, in a copy of it: what is changed there is lost.
    async fn with_database<T: Send + 'static>(
        &self,
        key: &WorkerKey,
        read: impl FnOnce(&Database) -> Result<T, String> + Send + 'static,
    ) -> Result<T, Unchanged> {
        for _ in 0..TRIES {
            let before = self.version(key.id()).await?;
            let loaded = objects::read(self, key.id()).await;
            if self.version(key.id()).await? != before {
                // It has written meanwhile, and what was read may be of two moments.
                continue;
            }
            let Stored { journal, pages, .. } = loaded?;
            let (tell, told) = oneshot::channel::<Interrupt>();
            let reading = tokio::task::spawn_blocking(move || {
                let database = DurableDatabase::open(journal, pages, Limits::default());
                let database = database.map_err(|error| error.to_string())?;
                // If nobody is there to hear it the process ends.
                let _ = tell.send(database.database().interrupt_handle());
                read(database.database())
            });
            // Also if whoever asked goes away: a statement may have no end.
            tokio::spawn(async move {
                if let Ok(interrupt) = told.await {
                    sleep(STATEMENT).await;
                    interrupt.interrupt();
                }
            });
            let read = reading.await;
            let read = read.map_err(Unchanged::refused)?;
            return read.map_err(Unchanged::Refused);
        }
        let busy = "the object writes so often that it cannot be read as of one moment: put it to sleep, or try again";
        Err(Unchanged::refused(busy))
    }

    /// What is another after each commit of an object: the last entries of its journal.
    async fn version(&self, id: WorkerId) -> Result<Vec<(String, Vec<u8>)>, Unchanged> {
        let last = KeyRange {
            reverse: true,
            limit: Some(2),
            ..KeyRange::default()
        };
        let read = self
            .store()
            .list(id.shard(SHARDS), id, &last)
            .await?
            .into_iter();
        Ok(read.map(|(key, value)| (key, value.to_vec())).collect())
    }
}

/// What is to be written of an object for this to be done in its database.
fn of_database(
    id: WorkerId,
    write: impl FnOnce(&Database) -> Result<(), portside_objectdb::Error> + Send + 'static,
) -> Change {
    Box::new(move |app: Arc<App>, _| {
        async move {
            let Stored { journal, pages, .. } = objects::read(&app, id).await?;
            let writing = tokio::task::spawn_blocking(move || {
                let mut database = DurableDatabase::open(journal, pages, Limits::default())?;
                write(database.database())?;
                let mut batch = WriteBatch::default();
                database.commit_into(&mut batch)?;
                Ok(batch)
            });
            let written: Result<_, portside_objectdb::Error> =
                writing.await.map_err(Unchanged::refused)?;
            written.map_err(Unchanged::refused)
        }
        .boxed()
    })
}

fn list(database: &Database, range: &KeyRange) -> Result<Vec<(String, Vec<u8>)>, String> {
    let mut listing = portside_objectdb::Listing::new(range.clone());
    let (mut found, mut bytes) = (Vec::new(), 0);
    while bytes < range.max_bytes.unwrap_or(usize::MAX)
        && let Some((key, value)) = listing.next(database).map_err(|error| error.to_string())?
    {
        bytes += key.len() + value.len();
        found.push((key, value));
    }
    Ok(found)
}

fn rows(database: &Database, query: &str) -> Result<Rows, String> {
    let cursor = database.exec(query, &[]);
    let mut cursor = cursor.map_err(|error| error.to_string())?;
    let mut rows = Rows {
        columns: cursor.column_names().to_vec(),
        ..Rows::default()
    };
    for row in cursor.by_ref() {
        if rows.rows.len() == MOST_ROWS {
            rows.truncated = true;
            break;
        }
        let row = row.map_err(|error| error.to_string())?;
        rows.rows.push(row.into_iter().map(field).collect());
    }
    Ok(rows)
}

fn field(field: Field) -> Json {
    const SAFE: std::ops::RangeInclusive<i64> = -(1 << 53) + 1..=(1 << 53) - 1;
    match field {
        Field::Null => Json::Null,
        Field::Integer(it) if SAFE.contains(&it) => it.into(),
        Field::Integer(it) => json!({"$bigint": it.to_string()}),
        Field::Real(it) => number(it),
        Field::Text(it) => it.into(),
        Field::Blob(it) => json!({"$bytes": BASE64_STANDARD.encode(it), "type": "ArrayBuffer"}),
    }
}

/// What a worker stores begins with a byte that an object's values do not have.
fn shown(key: String, value: &[u8], is_object: bool) -> Entry {
    let clone = match value.split_first() {
        _ if is_object => Some(value),
        Some((&FORMAT, clone)) => Some(clone),
        _ => None,
    };
    let shown = clone.map(to_json);
    let (value_shown, unreadable) = match shown {
        Some(Ok(value)) => (value, None),
        Some(Err(why)) => (Json::Null, Some(why.to_string())),
        None => (
            Json::Null,
            Some("it was written by another version".to_owned()),
        ),
    };
    Entry {
        key,
        value: value_shown,
        unreadable,
        bytes: value.len() as u64,
    }
}
