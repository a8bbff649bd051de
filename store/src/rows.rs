//! What both databases' rows have in common.

use portside_core::alarm::Alarm;
use portside_core::ids::{Epoch, ShardId, WorkerKey};
use portside_core::objects;
use portside_core::ownership::members::MapVersion;

use crate::{DueAlarm, Error, Loaded, Result, Size, StoredWorker};

/// Steps of the schema that this version does not know, or knows otherwise, are another version's work.
pub(crate) fn unknown_step(number: i64) -> Error {
    Error::Incompatible(format!(
        "the database's schema has a step {number} that this version does not know; \
         use the version that wrote it, or a newer one"
    ))
}

pub(crate) fn check_shards(found: i64) -> Result<()> {
    use portside_core::ids::SHARDS;
    if found == i64::from(SHARDS) {
        return Ok(());
    }
    Err(Error::Incompatible(format!(
        "the database has {found} shards for this application, this version works with {SHARDS}"
    )))
}

pub(crate) fn utf8(bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes)
        .map_err(|_| Error::Incompatible("a key or name in the database is not UTF-8".into()))
}

fn unsigned<T: TryFrom<i64>>(column: &str, stored: i64) -> Result<T> {
    T::try_from(stored).map_err(|_| {
        Error::Incompatible(format!("{column} {stored} in the database is out of range"))
    })
}

/// Reads columns by name, whichever the database.
pub(crate) trait Columns {
    /// An integer of 64 bits.
    fn int(&self, column: &str) -> Result<Option<i64>>;
    /// Bytes.
    fn bytes(&self, column: &str) -> Result<Option<Vec<u8>>>;

    fn epoch(&self) -> Result<Epoch> {
        Ok(Epoch(unsigned("epoch", self.int("epoch")?.unwrap_or(-1))?))
    }

    fn alarm(&self) -> Result<Option<Alarm>> {
        let (Some(scheduled), Some(due)) = (self.int("scheduled")?, self.int("due")?) else {
            return Ok(None);
        };
        let retries = unsigned("retries", self.int("retries")?.unwrap_or(0))?;
        Ok(Some(Alarm {
            scheduled,
            retries,
            due,
        }))
    }

    fn worker(&self) -> Result<WorkerKey> {
        let text = |column| utf8(self.bytes(column)?.unwrap_or_default());
        WorkerKey::new(&text("script")?, &text("name")?)
            .map_err(|error| Error::Incompatible(error.to_string()))
    }

    fn due_alarm(&self) -> Result<Option<DueAlarm>> {
        let worker = self.worker()?;
        Ok(self.alarm()?.map(|alarm| DueAlarm { worker, alarm }))
    }

    fn stored_worker(&self) -> Result<StoredWorker> {
        let number = |column: &str| unsigned(column, self.int(column)?.unwrap_or(0));
        let worker = self.worker()?;
        let object_name = match objects::class_of(&worker) {
            Some(_) => self.bytes("label")?.map(utf8).transpose()?,
            None => None,
        };
        Ok(StoredWorker {
            worker,
            object_name,
            alarm: self.alarm()?,
            size: Size {
                keys: number("keys")?,
                bytes: number("bytes")?,
            },
        })
    }

    fn entry(&self) -> Result<Option<(String, portside_core::write::Value)>> {
        let Some(key) = self.bytes("key")? else {
            return Ok(None);
        };
        let value = self.bytes("value")?.unwrap_or_default();
        Ok(Some((utf8(key)?, value.into())))
    }
}

pub(crate) fn claimed(row: &impl Columns) -> Result<(ShardId, Epoch)> {
    let shard = unsigned("shard", row.int("shard")?.unwrap_or(-1))?;
    Ok((ShardId(shard), row.epoch()?))
}

/// What the rows of a `load` statement come to, read one by one.
#[derive(Debug, Default)]
pub(crate) struct Loading {
    /// And how many entries the statement found. None of it before the first row.
    loaded: Option<(Loaded, i64)>,
}

impl Loading {
    pub fn add(&mut self, row: &impl Columns) -> Result<()> {
        if self.loaded.is_none() {
            let alarm = row.alarm()?;
            let found = row.int("found")?.unwrap_or(0);
            let loaded = Loaded {
                alarm,
                ..Loaded::default()
            };
            self.loaded = Some((loaded, found));
        }
        if let Some((loaded, _)) = &mut self.loaded {
            loaded.entries.extend(row.entry()?);
        }
        Ok(())
    }

    /// No row means fenced.
    pub fn end(self) -> Option<Loaded> {
        let (loaded, found) = self.loaded?;
        Some(Loaded {
            complete: i64::try_from(loaded.entries.len()).is_ok_and(|read| read == found),
            ..loaded
        })
    }
}

/// As `LIMIT` wants it.
pub(crate) fn limit(wanted: usize) -> i64 {
    // One less, so that a statement may ask for one more.
    i64::try_from(wanted)
        .unwrap_or(i64::MAX - 1)
        .min(i64::MAX - 1)
}

/// The bits of a stored epoch. An epoch that cannot be stored cannot hold either.
pub(crate) fn epoch(epoch: Epoch) -> i64 {
    i64::try_from(epoch.0).unwrap_or(-1)
}

/// As a statement that reads the shard map wants it: below every version for the whole map.
pub(crate) fn since(version: Option<MapVersion>) -> i64 {
    version.map_or(-1, |version| i64::try_from(version.0).unwrap_or(i64::MAX))
}

pub(crate) fn fingerprint(bytes: &[u8]) -> Result<[u8; 32]> {
    bytes.try_into().map_err(|_| {
        let count = bytes.len();
        Error::Incompatible(format!(
            "a key's fingerprint in the database has {count} bytes, not 32"
        ))
    })
}
