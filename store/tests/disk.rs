//! A disk that is full, and has room again: what fails says so, and nothing else does.
//!
//! A child process (this program again) does it on a file system of its own, in memory and in a mount namespace, which an
//! ordinary user may make on most Linux systems. Where nobody may, nothing is tested here.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // These are tests.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use portside_core::ids::PodId;
use portside_core::keys::KeyRange;
use portside_store::testing::{Owner, put, worker};
use portside_store::{Result, Store};
use tokio::time::timeout;

/// Tells the child where its disk is.
const DISK: &str = "PORTSIDE_TEST_DISK";
const MOUNT: &str = "mount -t tmpfs -o size=16m tmpfs \"$PORTSIDE_TEST_DISK\" && exec \"$@\"";
/// Of a value that a disk without room does not take.
const LARGE: usize = 300_000;
/// No call takes this long, full disk or not.
const BOUND: Duration = Duration::from_secs(10);

/// Runs the test `name` again, with a disk of its own; in there, says where that is.
fn disk(name: &str) -> Option<PathBuf> {
    if let Some(disk) = std::env::var_os(DISK) {
        return Some(disk.into());
    }
    let folder = tempfile::tempdir().unwrap();
    let in_namespace = || {
        let mut command = Command::new("unshare");
        command.args([
            "--user",
            "--map-root-user",
            "--mount",
            "sh",
            "-c",
            MOUNT,
            "sh",
        ]);
        command.env(DISK, folder.path());
        command
    };
    let possible = in_namespace().arg("true").stderr(Stdio::null()).status();
    if !possible.is_ok_and(|status| status.success()) {
        eprintln!("nothing is tested: no file system can be mounted here");
        return None;
    }
    let program = std::env::current_exe().unwrap();
    let child = in_namespace()
        .arg(program)
        .args(["--exact", name, "--nocapture"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "{said}");
    None
}

/// Takes all the room there is.
fn fill(disk: &Path) {
    let mut fill = std::fs::File::create(disk.join("fill")).unwrap();
    let copied = std::io::copy(&mut std::io::repeat(0), &mut fill);
    assert_eq!(copied.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
}

async fn open(disk: &Path) -> Result<Arc<dyn Store>> {
    let url = format!("sqlite:{}", disk.join("state.db").display());
    timeout(BOUND, portside_store::open(&url, "app"))
        .await
        .expect("opening ends")
}

async fn own(store: &Arc<dyn Store>, pod: PodId) -> Owner {
    store.register(pod, "a pod").await.unwrap();
    Owner::claim(store, pod).await
}

/// Writes a value; the error says what is wrong, and which file it concerns.
async fn write(owner: &Owner, name: &str, key: &str, bytes: usize) -> bool {
    let commit = [owner.commit(&worker(name), put(key, vec![1; bytes]))];
    let written = timeout(BOUND, owner.store.commit(&commit)).await;
    match written.expect("a commit ends") {
        Ok(_) => true,
        Err(error) => {
            let error = error.to_string();
            assert!(error.contains("the disk is full"), "{error}");
            assert!(error.contains("state.db"), "{error}");
            false
        }
    }
}

async fn keys(owner: &Owner, name: &str) -> Vec<String> {
    let loaded = timeout(BOUND, owner.load(&worker(name))).await;
    let loaded = loaded.expect("a load ends").expect("it is ours");
    loaded.entries.into_keys().collect()
}

#[tokio::test]
async fn writes_fail_while_the_disk_is_full_and_work_when_it_has_room() {
    let Some(disk) = disk("writes_fail_while_the_disk_is_full_and_work_when_it_has_room") else {
        return;
    };
    let other_file = disk.join("other");
    std::fs::write(&other_file, vec![0; 8 << 20]).unwrap();
    let store = open(&disk).await.unwrap();
    let mut owner = own(&store, PodId(1)).await;
    let mut acknowledged = vec![];
    loop {
        let key = format!("key {:02}", acknowledged.len());
        if !write(&owner, "a", &key, LARGE).await {
            break;
        }
        acknowledged.push(key);
    }
    assert!(acknowledged.len() > 3);
    fill(&disk);
    for _ in 0..3 {
        assert!(!write(&owner, "a", "too much", LARGE).await);
        assert!(!write(&owner, "b", "too much", LARGE).await);
    }
    assert_eq!(keys(&owner, "a").await, acknowledged);
    let range = KeyRange::default();
    let a = worker("a");
    let shard = owner.fence(&a).shard;
    let listed = store.list(shard, a.id(), &range).await.unwrap();
    assert_eq!(listed.len(), acknowledged.len());
    assert!(store.renew(PodId(1), 1, true).await.unwrap());
    assert_eq!(store.observe().await.unwrap()[0].renewed, 1);

    std::fs::remove_file(other_file).unwrap();
    assert!(write(&owner, "b", "small", 10).await);
    let advanced = store.advance(owner.fence(&a)).await.unwrap().unwrap();
    owner.epochs.insert(shard, advanced);
    assert!(write(&owner, "a", "last", LARGE / 2).await);
    acknowledged.push("last".into());
    assert_eq!(keys(&owner, "a").await, acknowledged);
    assert_eq!(keys(&owner, "b").await, ["small"]);
}

#[tokio::test]
async fn a_file_on_a_full_disk_opens_or_the_error_says_so() {
    let Some(disk) = disk("a_file_on_a_full_disk_opens_or_the_error_says_so") else {
        return;
    };
    let store = open(&disk).await.unwrap();
    let owner = own(&store, PodId(1)).await;
    assert!(write(&owner, "a", "key", LARGE).await);
    drop((store, owner));
    fill(&disk);
    let error = match open(&disk).await {
        Ok(store) => {
            store.register(PodId(2), "a pod").await.unwrap();
            store.claim(PodId(2), 1).await.unwrap_err()
        }
        Err(error) => error,
    };
    let error = error.to_string();
    assert!(error.contains("disk"), "{error}");
    assert!(error.contains("room"), "{error}");
    assert!(error.contains("state.db"), "{error}");

    std::fs::remove_file(disk.join("fill")).unwrap();
    let store = open(&disk).await.unwrap();
    let owner = own(&store, PodId(3)).await;
    assert_eq!(keys(&owner, "a").await, ["key"]);
}
