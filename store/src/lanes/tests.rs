use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use portside_core::ids::{Epoch, Fence, PodId, ShardId, WorkerId, WorkerKey};
use portside_core::keys::KeyRange;
use portside_core::lane::{MAX_BYTES, MAX_COMMITS};
use portside_core::ownership::Member;
use portside_core::ownership::members::{MapChanges, MapVersion, Membership, Peer};
use portside_core::write::{Value, WriteBatch};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::sync::Semaphore;

use super::*;
use crate::{DueAlarm, Loaded, StoredWorker, WorkerPage};

/// A store whose statements end when the test says so, as it says.
struct Scripted {
    statements: Mutex<Vec<Vec<Commit>>>,
    begun: Semaphore,
    answers: tokio::sync::Mutex<mpsc::UnboundedReceiver<Result<Outcome>>>,
}

/// The lanes of a scripted store, and what answers its statements.
fn scripted() -> (Arc<Scripted>, Lanes, mpsc::UnboundedSender<Result<Outcome>>) {
    let (answer, answers) = mpsc::unbounded_channel();
    let store = Arc::new(Scripted {
        statements: Mutex::default(),
        begun: Semaphore::new(0),
        answers: tokio::sync::Mutex::new(answers),
    });
    let lanes = Lanes::new(&(store.clone() as Arc<dyn Store>));
    (store, lanes, answer)
}

impl Scripted {
    /// Waits until one more statement is in flight.
    async fn begun(&self) {
        self.begun.acquire().await.unwrap().forget();
    }

    /// How many commits each statement had.
    fn sizes(&self) -> Vec<usize> {
        self.statements
            .lock()
            .unwrap()
            .iter()
            .map(Vec::len)
            .collect()
    }
}

#[async_trait]
impl Store for Scripted {
    fn lanes(&self) -> usize {
        2
    }

    async fn commit(&self, commits: &[Commit]) -> Result<Vec<Outcome>> {
        self.statements.lock().unwrap().push(commits.to_vec());
        self.begun.add_permits(1);
        let answer = self.answers.lock().await.recv().await.unwrap();
        answer.map(|outcome| vec![outcome; commits.len()])
    }

    async fn register(&self, _: PodId, _: &str) -> Result<()> {
        unreachable!()
    }
    async fn renew(&self, _: PodId, _: u64, _: bool) -> Result<bool> {
        unreachable!()
    }
    async fn observe(&self) -> Result<Vec<Member>> {
        unreachable!()
    }
    async fn announce(&self, _: PodId, _: &Peer) -> Result<bool> {
        unreachable!()
    }
    async fn members(&self) -> Result<Membership> {
        unreachable!()
    }
    async fn shard_map(&self, _: Option<MapVersion>) -> Result<MapChanges> {
        unreachable!()
    }
    async fn hand_over(&self, _: &[Fence], _: PodId) -> Result<Vec<(ShardId, Epoch)>> {
        unreachable!()
    }
    async fn declare_dead(&self, _: PodId, _: u64) -> Result<bool> {
        unreachable!()
    }
    async fn claim(&self, _: PodId, _: u32) -> Result<Vec<(ShardId, Epoch)>> {
        unreachable!()
    }
    async fn release(&self, _: PodId) -> Result<()> {
        unreachable!()
    }
    async fn advance(&self, _: Fence) -> Result<Option<Epoch>> {
        unreachable!()
    }
    async fn load(&self, _: Fence, _: WorkerId, _: usize, _: usize) -> Result<Option<Loaded>> {
        unreachable!()
    }
    async fn get(&self, _: ShardId, _: WorkerId, _: &[String]) -> Result<BTreeMap<String, Value>> {
        unreachable!()
    }
    async fn list(&self, _: ShardId, _: WorkerId, _: &KeyRange) -> Result<Vec<(String, Value)>> {
        unreachable!()
    }
    async fn owned(&self, _: PodId) -> Result<Vec<(ShardId, Epoch)>> {
        unreachable!()
    }
    async fn release_shards(&self, _: &[Fence]) -> Result<()> {
        unreachable!()
    }
    async fn alarms(
        &self,
        _: &[ShardId],
        _: Option<(i64, WorkerId)>,
        _: i64,
        _: usize,
    ) -> Result<Vec<DueAlarm>> {
        unreachable!()
    }
    async fn workers(&self, _: &WorkerPage) -> Result<Vec<StoredWorker>> {
        unreachable!()
    }
    async fn worker(&self, _: WorkerId) -> Result<Option<StoredWorker>> {
        unreachable!()
    }
    async fn count_workers(&self) -> Result<u64> {
        unreachable!()
    }
    async fn delete_all(&self, _: PodId) -> Result<bool> {
        unreachable!()
    }
}

fn commit(shard: u32, epoch: u64, bytes: usize) -> Commit {
    let mut batch = WriteBatch::default();
    batch.write(String::new(), Some(vec![0; bytes].into()));
    Commit {
        fence: Fence {
            pod: PodId(1),
            shard: ShardId(shard),
            epoch: Epoch(epoch),
        },
        worker: WorkerKey::new("w.js", "").unwrap(),
        batch,
    }
}

#[tokio::test]
async fn what_queues_meanwhile_is_one_statement() {
    let (store, lanes, answer) = scripted();
    let first = lanes.submit(commit(0, 1, 1));
    store.begun().await;
    let queued: Vec<_> = (0..10).map(|_| lanes.submit(commit(4, 1, 1))).collect();
    // The other lane does not wait for this one.
    let other = lanes.submit(commit(1, 1, 1));
    store.begun().await;
    assert_eq!(store.sizes(), [1, 1]);

    for _ in 0..3 {
        answer.send(Ok(Outcome::Committed)).unwrap();
    }
    for pending in queued.into_iter().chain([first, other]) {
        assert_eq!(pending.await.unwrap(), Outcome::Committed);
    }
    assert_eq!(store.sizes(), [1, 1, 10]);
}

#[tokio::test]
async fn statements_are_bounded_by_number_and_bytes() {
    let (store, lanes, answer) = scripted();
    let first = lanes.submit(commit(0, 1, 1));
    store.begun().await;
    let many = (0..MAX_COMMITS + 1).map(|_| lanes.submit(commit(0, 1, 1)));
    let mut pending: Vec<_> = many.collect();
    // The first of these fills up the second statement, the others are too large to share.
    pending.extend((0..2).map(|_| lanes.submit(commit(0, 1, MAX_BYTES))));
    for _ in 0..4 {
        answer.send(Ok(Outcome::Committed)).unwrap();
    }
    for pending in pending.into_iter().chain([first]) {
        pending.await.unwrap();
    }
    assert_eq!(store.sizes(), [1, MAX_COMMITS, 2, 1]);
}

#[tokio::test]
async fn after_an_error_the_epoch_is_lost() {
    let (store, lanes, answer) = scripted();
    let failed = lanes.submit(commit(0, 1, 1));
    store.begun().await;
    let queued = lanes.submit(commit(0, 1, 1));
    let elsewhere = lanes.submit(commit(2, 1, 1));
    answer.send(Err(Error::Database("cut off".into()))).unwrap();
    assert!(failed.await.is_err());
    let error = queued.await.unwrap_err().to_string();
    assert!(error.contains("cut off"), "{error}");

    // Another shard of the same lane goes on, and so does this one in a later epoch.
    answer.send(Ok(Outcome::Committed)).unwrap();
    assert_eq!(elsewhere.await.unwrap(), Outcome::Committed);
    answer.send(Ok(Outcome::Committed)).unwrap();
    let advanced = lanes.submit(commit(0, 2, 1)).await;
    assert_eq!(advanced.unwrap(), Outcome::Committed);
    assert_eq!(store.sizes(), [1, 1, 1]);
}

#[tokio::test]
async fn a_flush_waits_for_what_came_before() {
    let (store, lanes, answer) = scripted();
    lanes.flush().await;
    let first = lanes.submit(commit(0, 1, 1));
    store.begun().await;
    drop(lanes.submit(commit(2, 1, 1)));
    let mut flush = Box::pin(lanes.flush());
    assert!(futures::poll!(&mut flush).is_pending());
    answer.send(Ok(Outcome::Fenced)).unwrap();
    assert_eq!(first.await.unwrap(), Outcome::Fenced);
    store.begun().await;
    assert!(futures::poll!(&mut flush).is_pending());
    answer.send(Ok(Outcome::Committed)).unwrap();
    flush.await;
}

/// Hears of a commit's answer.
type Told = Box<dyn FnOnce(Result<Outcome>) + Send>;

/// The answers to numbered commits, as they come.
type Answers = mpsc::UnboundedReceiver<(u32, Result<Outcome>)>;

/// Where answers to `submit_with` go, each with its number.
fn told() -> (impl Fn(u32) -> Told, Answers) {
    let (tell, told) = mpsc::unbounded_channel();
    let answer = move |number| -> Told {
        let tell = tell.clone();
        Box::new(move |result| tell.send((number, result)).unwrap())
    };
    (answer, told)
}

#[tokio::test]
async fn answers_are_called_in_order_and_may_submit() {
    let (store, lanes, answer) = scripted();
    let lanes = Arc::new(lanes);
    let (tell, mut told) = told();
    let (again, last) = (lanes.clone(), tell(3));
    lanes.submit_with(commit(0, 1, 1), tell(0));
    store.begun().await;
    lanes.submit_with(commit(0, 1, 1), tell(1));
    let second = tell(2);
    lanes.submit_with(commit(2, 1, 1), move |result| {
        again.submit_with(commit(0, 1, 1), last);
        second(result);
    });
    for _ in 0..3 {
        answer.send(Ok(Outcome::Committed)).unwrap();
    }
    for number in 0..4 {
        let (of, result) = told.recv().await.unwrap();
        assert_eq!((of, result.unwrap()), (number, Outcome::Committed));
    }
    assert_eq!(store.sizes(), [1, 2, 1]);
}

#[tokio::test]
async fn after_an_error_everybody_is_told_once() {
    let (store, lanes, answer) = scripted();
    let (tell, mut told) = told();
    lanes.submit_with(commit(0, 1, 5), tell(0));
    store.begun().await;
    lanes.submit_with(commit(0, 1, 7), tell(1));
    answer.send(Err(Error::Database("cut off".into()))).unwrap();
    for number in 0..2 {
        let (of, result) = told.recv().await.unwrap();
        assert!(of == number && result.is_err());
    }
    assert_eq!(lanes.waiting_bytes(), 0);
    drop((lanes, tell));
    assert!(told.recv().await.is_none());
}

#[tokio::test]
async fn a_panicking_answer_harms_no_other() {
    let (_store, lanes, answer) = scripted();
    lanes.submit_with(commit(0, 1, 1), |_| panic!("told"));
    answer.send(Ok(Outcome::Committed)).unwrap();
    answer.send(Ok(Outcome::Committed)).unwrap();
    let next = lanes.submit(commit(0, 1, 1)).await;
    assert_eq!(next.unwrap(), Outcome::Committed);
}

#[tokio::test]
async fn what_waits_is_what_was_not_answered_yet() {
    let (store, lanes, answer) = scripted();
    let first = lanes.submit(commit(0, 1, 100));
    store.begun().await;
    let queued = lanes.submit(commit(0, 1, 20));
    let other_lane = lanes.submit(commit(1, 1, 3));
    store.begun().await;
    assert_eq!((lanes.waiting_commits(), lanes.waiting_bytes()), (3, 123));
    for _ in 0..3 {
        answer.send(Ok(Outcome::Committed)).unwrap();
    }
    for pending in [first, queued, other_lane] {
        pending.await.unwrap();
    }
    assert_eq!((lanes.waiting_commits(), lanes.waiting_bytes()), (0, 0));
}

#[tokio::test]
async fn statements_are_measured_whatever_becomes_of_them() {
    let (store, lanes, answer) = scripted();
    let first = lanes.submit(commit(0, 1, 1));
    store.begun().await;
    let queued: Vec<_> = (0..4).map(|_| lanes.submit(commit(4, 1, 1))).collect();
    answer.send(Err(Error::Database("cut off".into()))).unwrap();
    answer.send(Ok(Outcome::Committed)).unwrap();
    assert!(first.await.is_err());
    for pending in queued {
        pending.await.unwrap();
    }
    let mut registry = Registry::default();
    let statements = lanes.statements().clone();
    registry.register("commits", "Commits", statements.commits);
    registry.register("took", "Time", statements.took);
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    for line in ["commits_sum 5.0", "commits_count 2", "took_count 2"] {
        assert!(text.lines().any(|it| it == line), "{line}:\n{text}");
    }
}

#[test]
fn a_runtime_that_ends_answers_everybody() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let (tell, mut told) = told();
    let lanes = runtime.block_on(async {
        let (store, lanes, _answer) = scripted();
        lanes.submit_with(commit(0, 1, 1), tell(0));
        store.begun().await;
        lanes.submit_with(commit(0, 1, 1), tell(1));
        lanes
    });
    drop(runtime);
    lanes.submit_with(commit(0, 1, 1), tell(2));
    let mut numbers: Vec<_> = std::iter::from_fn(|| told.try_recv().ok())
        .map(|(number, result)| (number, result.is_err()))
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [(0, true), (1, true), (2, true)]);
}

#[tokio::test]
async fn dropped_lanes_finish_what_was_submitted() {
    let (store, lanes, answer) = scripted();
    let pending: Vec<_> = (0..3).map(|_| lanes.submit(commit(0, 1, 1))).collect();
    drop(lanes);
    answer.send(Ok(Outcome::Committed)).unwrap();
    for pending in pending {
        assert_eq!(pending.await.unwrap(), Outcome::Committed);
    }
    assert_eq!(store.sizes(), [3]);
}
