//! Opening a file.

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::Duration;

use portside_core::ids::SHARDS;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::thread::Threads;
use super::{PATIENCE, Sqlite, schema};
use crate::outage::Outage;
use crate::{Error, Result, rows};

/// How often, and how long after each other, a file that is in use is tried.
const LOCK_TRIES: u32 = 10;
const BETWEEN_TRIES: Duration = Duration::from_millis(10);

const READERS: usize = 3;
/// More than there are different statements.
const STATEMENTS: usize = 50;

/// What the log beside the file keeps of the disk once all that it has is copied into the file. It is as large as several
/// checkpoints, so that it does not shrink and grow with each of them; a few large commits at once may take more meanwhile.
pub(super) const MAX_LOG_BYTES: i64 = 16 << 20;

/// Pods are of no use to anybody after this process, so they are in its memory, where leases are renewed without a disk:
/// one that is full takes no writes, and nothing else. Hides the file's table of the same name from this connection.
/// The version of the shard map is there for the same reason: who asks for what has changed is one of these pods.
const PODS: &str = "PRAGMA temp_store = memory; CREATE TEMP TABLE pod (
    pod      BLOB PRIMARY KEY,
    pool     INTEGER NOT NULL,
    name     TEXT NOT NULL,
    renewals INTEGER NOT NULL DEFAULT 0,
    wants    INTEGER NOT NULL DEFAULT 0,
    address  TEXT,
    revision INTEGER,
    protocol INTEGER,
    key      BLOB
) STRICT, WITHOUT ROWID;
CREATE TEMP TABLE map (version INTEGER NOT NULL) STRICT;
INSERT INTO map VALUES (0)";

impl Sqlite {
    /// Opens the file, made if missing, and brings its schema up to date.
    ///
    /// # Errors
    /// As [`crate::open()`], and [`Error::Database`] if another store has the file open.
    pub async fn open(path: &Path, app: &str) -> Result<Self> {
        let (path, app) = (path.to_owned(), app.to_owned());
        let opening = tokio::task::spawn_blocking(move || open(&path, &app));
        let opened = opening.await;
        opened.map_err(|error| Error::Database(format!("cannot open the database: {error}")))?
    }
}

fn open(path: &Path, app: &str) -> Result<Sqlite> {
    if path.as_os_str().is_empty() || path.to_string_lossy().contains(":memory:") {
        return Err(Error::Database(
            "sqlite: needs the path of a file, for the data is to last".into(),
        ));
    }
    let lock = lock(path)?;
    let failed = |error: Error| match error {
        Error::Database(why) => Error::Database(format!("cannot open {}: {why}", path.display())),
        other => other,
    };
    let (pool, writer) = open_writer(path, app).map_err(failed)?;
    let reader = || connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(failed);
    let readers = (0..READERS).map(|_| reader()).collect::<Result<_>>()?;
    Ok(Sqlite {
        pool,
        readers: Threads::start("sqlite reader", path, readers, PATIENCE)?,
        loader: Threads::start("sqlite loader", path, vec![reader()?], PATIENCE)?,
        writer: Threads::start("sqlite writer", path, vec![writer], PATIENCE)?,
        outage: Outage::default(),
        read_outage: Outage::default(),
        _lock: lock,
    })
}

fn open_writer(path: &Path, app: &str) -> Result<(i64, Connection)> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let mut writer = connect(path, flags)?;
    writer.pragma_update(None, "journal_mode", "wal")?;
    writer.pragma_update(None, "synchronous", "full")?;
    writer.pragma_update(None, "journal_size_limit", MAX_LOG_BYTES)?;
    writer.pragma_update(None, "foreign_keys", true)?;
    schema::bring_up_to_date(&mut writer)?;
    writer.execute_batch(PODS)?;
    Ok((prepare(&mut writer, app)?, writer))
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection> {
    // Each connection stays on one thread at a time.
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(PATIENCE)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}

/// Takes the file for this process. Not by a lock on the file itself: closing any handle to it would drop SQLite's own.
fn lock(path: &Path) -> Result<File> {
    let mut beside = OsString::from(path);
    beside.push(".lock");
    let shown = path.display();
    if path.is_dir() {
        return Err(Error::Database(format!(
            "{shown} is a folder: a file is wanted, which is made if it is missing"
        )));
    }
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    if let Some(folder) = folder.filter(|folder| !folder.exists()) {
        return Err(Error::Database(format!(
            "there is no folder {} for {shown}: make it, or choose another file",
            folder.display()
        )));
    }
    let failed = |error| Error::Database(format!("cannot lock {shown}: {error}"));
    let file = File::create(&beside).map_err(|error| {
        Error::Database(format!(
            "cannot lock {shown}: {error}; this process must be able to write its folder"
        ))
    })?;
    // A process that starts another one has its locks twice for a moment.
    let mut tries = LOCK_TRIES;
    let locked = loop {
        tries -= 1;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if tries > 0 => std::thread::sleep(BETWEEN_TRIES),
            locked => break locked,
        }
    };
    match locked {
        Ok(()) => Ok(file),
        Err(TryLockError::Error(error)) => Err(failed(error)),
        Err(TryLockError::WouldBlock) => Err(Error::Database(format!(
            "{shown} is in use by another process: stop that one, or choose another file"
        ))),
    }
}

/// Finds or makes the application's pool. Pods that the file has are of earlier versions, and dead, for the lock is ours.
/// Writes nothing if there is nothing to change: the disk may be full.
fn prepare(writer: &mut Connection, app: &str) -> Result<i64> {
    const POOL: &str =
        "INSERT INTO pool (name, shards) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING";
    const FOUND: &str = "SELECT pool, shards FROM pool WHERE name = ?1";
    const FILL: &str = "WITH RECURSIVE n (shard) AS (SELECT 0 UNION ALL SELECT shard + 1 FROM n WHERE shard + 1 < ?2) \
        INSERT INTO shard (pool, shard) SELECT ?1, shard FROM n WHERE true ON CONFLICT DO NOTHING";
    let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute("DELETE FROM main.pod", [])?;
    transaction.execute(POOL, (app, SHARDS))?;
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let (pool, shards) = transaction.query_row(FOUND, [app], read)?;
    rows::check_shards(shards)?;
    transaction.execute(FILL, (pool, SHARDS))?;
    transaction.commit()?;
    Ok(pool)
}
