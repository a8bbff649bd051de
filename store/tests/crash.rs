//! Invariant: what was acknowledged is there after a crash, and no batch is there in part.
//!
//! A child process (this program again, told so by the environment) writes as fast as it can and prints what has been
//! acknowledged. It is killed at any moment; then its predecessors' rights are taken over, as a new pod does, and its
//! workers are compared with what they must be. `PORTSIDE_CRASH_ROUNDS` says how often, 5 times if unset.

#![allow(clippy::unwrap_used)] // These are tests.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;
use std::time::Duration;

use portside_core::alarm::{Alarm, AlarmChange};
use portside_core::ids::{PodId, SHARDS, WorkerKey};
use portside_core::write::{Value, WriteBatch};
use portside_store::lanes::Lanes;
use portside_store::testing::{Owner, PostgresServer};
use portside_store::{Loaded, Outcome};
use uuid::Uuid;

/// Tells the child which database is its own.
const CHILD: &str = "PORTSIDE_CRASH_URL";
const APP: &str = "crash";
const WORKERS: usize = 12;
/// Each worker has this many commits under way.
const AHEAD: u64 = 3;
/// A worker keeps the log of this many batches.
const LOG: u64 = 10;
/// Every so many batches, all of a worker is cleared first.
const CLEARED: u64 = 17;

fn worker(index: usize) -> WorkerKey {
    WorkerKey::new("w.js", &index.to_string()).unwrap()
}

fn value(turn: u64) -> Value {
    turn.to_string().as_bytes().into()
}

/// The batch that takes a worker from turn `turn - 1` to `turn`.
fn batch(turn: u64) -> WriteBatch {
    let mut batch = WriteBatch::default();
    if turn.is_multiple_of(CLEARED) {
        batch.clear();
    } else if turn > LOG {
        batch.write(format!("log {}", turn - LOG), None);
    }
    for key in ["a", "b", "c"] {
        batch.write(key.into(), Some(value(turn)));
    }
    batch.write(format!("log {turn}"), Some(vec![7; 300].into()));
    batch.alarm = AlarmChange::Set(Alarm::at(turn.cast_signed()));
    batch
}

/// A worker's state after turn `turn`.
fn expected(turn: u64) -> Loaded {
    let mut loaded = Loaded {
        complete: true,
        ..Loaded::default()
    };
    if turn == 0 {
        return loaded;
    }
    for key in ["a", "b", "c"] {
        loaded.entries.insert(key.into(), value(turn));
    }
    let cleared = turn - turn % CLEARED;
    for logged in (turn + 1).saturating_sub(LOG).max(cleared).max(1)..=turn {
        let entry = (format!("log {logged}"), vec![7; 300].into());
        loaded.entries.extend([entry]);
    }
    loaded.alarm = Some(Alarm::at(turn.cast_signed()));
    loaded
}

fn turn(loaded: &Loaded) -> u64 {
    let read = loaded.entries.get("a");
    read.map_or(0, |read| str::from_utf8(read).unwrap().parse().unwrap())
}

/// Takes over whatever anybody owned.
async fn take_over(url: &str) -> Owner {
    let store = portside_store::open(url, APP).await.unwrap();
    for other in store.observe().await.unwrap() {
        assert!(store.declare_dead(other.pod, other.renewed).await.unwrap());
    }
    let pod = PodId(Uuid::new_v4().as_u128());
    store.register(pod, "crash test").await.unwrap();
    let mut owner = Owner::claim(&store, pod).await;
    // The dead one's last statement may still hold some.
    while owner.epochs.len() < SHARDS as usize {
        let more = store.claim(pod, u32::MAX).await.unwrap();
        owner.epochs.extend(more);
    }
    owner
}

/// The child: writes until it is killed or the database goes.
async fn write_until_killed(url: &str) {
    let owner = take_over(url).await;
    let lanes = Lanes::new(&owner.store);
    let workers = (0..WORKERS).map(async |index| {
        let it = worker(index);
        let mut submitted = turn(&owner.load(&it).await.unwrap());
        let mut acknowledged = submitted;
        let mut pending = std::collections::VecDeque::new();
        loop {
            while submitted < acknowledged + AHEAD {
                submitted += 1;
                pending.push_back(lanes.submit(owner.commit(&it, batch(submitted))));
            }
            match pending.pop_front().unwrap().await {
                Ok(Outcome::Committed) => acknowledged += 1,
                Ok(Outcome::Fenced) => panic!("nobody else is there"),
                Err(_) => return,
            }
            let line = format!("ack {index} {acknowledged}\n");
            std::io::stdout().write_all(line.as_bytes()).unwrap();
        }
    });
    futures::future::join_all(workers).await;
}

/// What a child has acknowledged, as far as it could say so; and that it has begun to.
fn read_acknowledged(child: &mut Child) -> (Receiver<()>, JoinHandle<BTreeMap<usize, u64>>) {
    let output = BufReader::new(child.stdout.take().unwrap());
    let (begun, begins) = std::sync::mpsc::sync_channel(1);
    let reading = std::thread::spawn(move || {
        let mut acknowledged = BTreeMap::new();
        for line in output.split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            let words: Vec<&str> = line.split(' ').collect();
            if let ["ack", index, turn] = words[..] {
                acknowledged.insert(index.parse().unwrap(), turn.parse().unwrap());
                let _ = begun.try_send(());
            }
        }
        acknowledged
    });
    (begins, reading)
}

/// A number nobody can foresee, below `below`.
fn random(below: u64) -> u64 {
    let (bits, _) = Uuid::new_v4().as_u64_pair();
    (bits >> 16) % below
}

fn rounds() -> u64 {
    std::env::var("PORTSIDE_CRASH_ROUNDS").map_or(5, |rounds| rounds.parse().unwrap())
}

/// Runs `rounds()` children of the test `name`, ends each by `crash`, and checks what is left.
fn survive(name: &str, url: &str, crash: impl Fn(&mut Child)) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut known: BTreeMap<usize, u64> = BTreeMap::new();
    let mut total = 0;
    for round in 0..rounds() {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(CHILD, url)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (begins, acknowledged) = read_acknowledged(&mut child);
        // Sometimes before it writes: opening and taking over must survive too.
        if round % 5 != 4 {
            begins.recv_timeout(Duration::from_secs(60)).unwrap();
        }
        std::thread::sleep(Duration::from_millis(random(400)));
        crash(&mut child);
        child.wait().unwrap();
        for (index, turn) in acknowledged.join().unwrap() {
            let before = known.insert(index, turn).unwrap_or(0);
            total += turn - before;
        }
        runtime.block_on(async {
            let owner = take_over(url).await;
            for index in 0..WORKERS {
                let loaded = owner.load(&worker(index)).await.unwrap();
                let found = turn(&loaded);
                let least = known.get(&index).copied().unwrap_or(0);
                assert!(
                    found >= least,
                    "round {round}: acknowledged {least}, found {found}"
                );
                assert_eq!(loaded, expected(found), "round {round}");
                known.insert(index, found);
            }
            owner.store.release(owner.pod).await.unwrap();
        });
    }
    assert!(total > 0, "nothing was written before any crash");
    eprintln!("{name}: {} rounds, {total} batches acknowledged", rounds());
}

fn kill(child: &mut Child) {
    child.kill().unwrap();
}

/// In the child, does its work and returns true.
fn is_child() -> bool {
    let Ok(url) = std::env::var(CHILD) else {
        return false;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(write_until_killed(&url));
    true
}

#[test]
fn sqlite_survives_kill() {
    if is_child() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("state.db").display());
    survive("sqlite_survives_kill", &url, kill);
}

#[test]
fn postgres_survives_kill_of_the_client() {
    if is_child() {
        return;
    }
    let server = PostgresServer::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let url = runtime.block_on(server.database());
    survive("postgres_survives_kill_of_the_client", &url, kill);
}

#[test]
fn postgres_survives_crash_of_the_server() {
    if is_child() {
        return;
    }
    let server = PostgresServer::start();
    if !server.is_own() {
        // Somebody else's server is not ours to crash.
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let url = runtime.block_on(server.database());
    survive("postgres_survives_crash_of_the_server", &url, |child| {
        server.crash();
        kill(child);
    });
}

/// Otherwise somebody declares a pod dead that believes in its lease.
#[test]
fn postgres_forgets_no_renewal_in_a_crash() {
    let server = PostgresServer::start();
    if !server.is_own() {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let url = server.database().await;
        let store = portside_store::open(&url, APP).await.unwrap();
        let pod = PodId(1);
        store.register(pod, "crash test").await.unwrap();
        for number in 1..=7 {
            if number == 7 {
                // Takes all before it to the disk.
                store.register(PodId(2), "crash test").await.unwrap();
            }
            assert!(store.renew(pod, number, true).await.unwrap());
        }
        let seen = store.observe().await.unwrap();
        server.crash();
        let again = portside_store::open(&url, APP).await.unwrap();
        assert_eq!(again.observe().await.unwrap(), seen);
        let seen = seen.iter().find(|it| it.pod == pod).unwrap().renewed;
        assert!(again.renew(pod, 8, true).await.unwrap());
        assert!(!again.declare_dead(pod, seen).await.unwrap());
    });
}
