use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::channel;

use futures::FutureExt;
use tempfile::TempDir;

use super::*;
use crate::testing::{Owner, put, worker};

/// A store and who owns all of it.
struct Fixture {
    store: Arc<Sqlite>,
    owner: Owner,
    path: PathBuf,
    folder: TempDir,
}

impl Fixture {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let store = Arc::new(Sqlite::open(&path, "app").await.unwrap());
        store.register(PodId(1), "a pod").await.unwrap();
        let owner = Owner::claim(&(store.clone() as Arc<dyn Store>), PodId(1)).await;
        Self {
            store,
            owner,
            path,
            folder,
        }
    }

    /// Has the writer's connection changed.
    async fn set(&self, pragma: &'static str, value: i64) {
        let set = move |it: &mut Connection| Ok(it.pragma_update(None, pragma, value)?);
        self.store.writer.call(set).await.unwrap();
    }

    /// Why a commit of one key fails.
    async fn refusal(&self, value: &[u8]) -> String {
        let commit = self.owner.commit(&worker("a"), put("k", value));
        let failed = self.store.commit(&[commit]).await;
        failed.unwrap_err().to_string()
    }

    fn log(&self) -> PathBuf {
        let mut log = self.path.clone().into_os_string();
        log.push("-wal");
        log.into()
    }

    /// How many transactions are in the log.
    fn logged(&self) -> usize {
        let log = std::fs::read(self.log()).unwrap();
        let page = u32::from_be_bytes(log[8..12].try_into().unwrap());
        // Of a transaction, the last frame alone has the number of pages then.
        let frames = log[32..].chunks(24 + page as usize);
        frames.filter(|frame| frame[4..8] != [0; 4]).count()
    }
}

#[tokio::test]
async fn a_call_is_one_transaction() {
    let fixture = Fixture::open().await;
    let before = fixture.logged();
    let commits: Vec<Commit> = (0..100)
        .map(|n| fixture.owner.commit(&worker(&n.to_string()), put("k", b"")))
        .collect();
    fixture.store.commit(&commits).await.unwrap();
    assert_eq!(fixture.logged(), before + 1);
}

/// A commit that was large once does not take its disk for good.
#[tokio::test]
async fn a_log_that_grew_is_cut_down_again() {
    let fixture = Fixture::open().await;
    let size = || std::fs::metadata(fixture.log()).unwrap().len();
    let limit = open::MAX_LOG_BYTES.unsigned_abs();
    let large = vec![1; usize::try_from(limit).unwrap()];
    fixture.owner.write(&worker("a"), put("k", large)).await;
    assert!(size() > limit, "{}", size());
    // The log begins anew with the commit after the one that has all of it copied into the file.
    for _ in 0..3 {
        fixture.owner.write(&worker("a"), put("k", b"v")).await;
    }
    assert!(size() <= limit, "{}", size());
}

#[tokio::test]
async fn long_lists_hold_up_neither_loads_nor_commits() {
    let fixture = Fixture::open().await;
    let (release, released) = channel::<()>();
    let released = Arc::new(std::sync::Mutex::new(released));
    let lists: Vec<_> = (0..10)
        .map(|_| {
            let released = released.clone();
            let mut list = Box::pin(fixture.store.readers.call(move |_| {
                let _ = released.lock().unwrap().recv();
                Ok(())
            }));
            assert!(list.as_mut().now_or_never().is_none());
            list
        })
        .collect();
    fixture.owner.write(&worker("a"), put("k", b"v")).await;
    let loaded = fixture.owner.load(&worker("a")).await.unwrap();
    assert_eq!(loaded.entries.len(), 1);
    drop(release);
    for list in lists {
        list.await.unwrap();
    }
}

/// So that it is said once, however many workers are woken.
#[tokio::test]
async fn reads_that_fail_are_an_outage_which_writes_do_not_end() {
    let fixture = Fixture::open().await;
    let rename = |it: &mut Connection| Ok(it.execute_batch("ALTER TABLE kv RENAME TO gone")?);
    fixture.store.writer.call(rename).await.unwrap();
    let (store, owner) = (&fixture.store, &fixture.owner);
    let key = worker("a");
    let fence = owner.commit(&key, put("k", b"v")).fence;
    let loaded = store.load(fence, key.id(), 1, 1).await;
    assert!(loaded.is_err() && store.read_outage.is_failing());
    assert!(store.renew(PodId(1), 1, false).await.unwrap());
    assert!(store.read_outage.is_failing() && !store.outage.is_failing());
}

/// Only this thread's reads count, and the loader has one thread.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_load_reads_no_values_beyond_its_limit() {
    const VALUE: usize = 1 << 20;
    async fn bytes_read(store: &Sqlite) -> usize {
        let read = |_: &mut Connection| {
            let io = std::fs::read_to_string("/proc/thread-self/io").unwrap();
            let line = io.lines().find_map(|line| line.strip_prefix("rchar: "));
            Ok(line.unwrap().parse().unwrap())
        };
        store.loader.call(read).await.unwrap()
    }
    let fixture = Fixture::open().await;
    let worker = worker("a");
    for n in 10..40 {
        let batch = put(&n.to_string(), vec![1; VALUE]);
        fixture.owner.write(&worker, batch).await;
    }
    let before = bytes_read(&fixture.store).await;
    let fence = fixture.owner.fence(&worker);
    let loaded = fixture
        .store
        .load(fence, worker.id(), 1_024, VALUE + VALUE / 2)
        .await;
    let loaded = loaded.unwrap().unwrap();
    assert_eq!(loaded.entries.len(), 2);
    assert!(!loaded.complete);
    let read = bytes_read(&fixture.store).await - before;
    assert!((2 * VALUE..3 * VALUE).contains(&read), "{read}");
}

#[tokio::test]
async fn a_full_disk_is_an_error_that_says_so_and_passes() {
    let fixture = Fixture::open().await;
    fixture.set("max_page_count", 1).await; // As many as there are.
    let error = fixture.refusal(&vec![0; 1 << 20]).await;
    assert!(error.contains("the disk is full"), "{error}");
    assert!(error.contains("make room"), "{error}");
    assert!(error.contains("state.db"), "{error}");
    fixture.set("max_page_count", 1 << 30).await;
    fixture.owner.write(&worker("a"), put("k", b"v")).await;
}

/// Whichever statement of a transaction is the one that finds no room: nothing of it is written, and what fits is.
#[tokio::test]
async fn a_transaction_may_fail_anywhere() {
    let fixture = Fixture::open().await;
    let names: Vec<String> = (0..5).map(|n| format!("worker {n}")).collect();
    let commits: Vec<Commit> = names
        .iter()
        .map(|name| fixture.owner.commit(&worker(name), put("k", [1; 20_000])))
        .collect();
    let pages =
        |it: &mut Connection| Ok(it.pragma_query_value(None, "page_count", |row| row.get(0))?);
    let pages: i64 = fixture.store.writer.call(pages).await.unwrap();
    let mut failures = 0;
    for most in pages.. {
        fixture.set("max_page_count", most).await;
        match fixture.store.commit(&commits).await {
            Ok(outcomes) => {
                assert_eq!(outcomes, [Outcome::Committed; 5]);
                break;
            }
            Err(error) => assert!(error.to_string().contains("full"), "{error}"),
        }
        failures += 1;
        for name in &names {
            let loaded = fixture.owner.load(&worker(name)).await.unwrap();
            assert_eq!(loaded.entries.len(), 0);
        }
        fixture
            .owner
            .write(&worker("small"), put("k", [most as u8]))
            .await;
    }
    assert!(failures > 10, "{failures}");
}

#[tokio::test]
async fn a_locked_file_is_an_error_that_says_so_and_passes() {
    let fixture = Fixture::open().await;
    fixture.set("busy_timeout", 1).await;
    let shell = Connection::open(&fixture.path).unwrap();
    shell.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = fixture.refusal(b"v").await;
    assert!(error.contains("locked"), "{error}");
    assert!(error.contains("another program"), "{error}");
    shell.execute_batch("ROLLBACK").unwrap();
    fixture.owner.write(&worker("a"), put("k", b"v")).await;
}

#[tokio::test]
async fn what_may_not_be_written_is_an_error_that_says_so() {
    let fixture = Fixture::open().await;
    fixture.set("query_only", 1).await;
    let error = fixture.refusal(b"v").await;
    assert!(error.contains("readonly"), "{error}");
    assert!(error.contains("let this process write"), "{error}");
}

#[tokio::test]
async fn a_damaged_file_is_an_error_that_says_so() {
    let fixture = Fixture::open().await;
    fixture.owner.write(&worker("a"), put("k", b"v")).await;
    let Fixture {
        store,
        owner,
        path,
        folder,
    } = fixture;
    drop((store, owner));
    let mut bytes = std::fs::read(&path).unwrap();
    // All but the first page, which has the schema.
    bytes[4096..].fill(0xee);
    std::fs::write(&path, bytes).unwrap();
    let error = Sqlite::open(&path, "app").await.unwrap_err().to_string();
    assert!(error.contains("damaged"), "{error}");
    assert!(error.contains("state.db"), "{error}");
    drop(folder);
}
