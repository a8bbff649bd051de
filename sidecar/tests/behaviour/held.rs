//! A store whose commits a test can hold back, refuse, or stop for ever.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use portside_core::ids::{Epoch, Fence, PodId, ShardId, WorkerId};
use portside_core::keys::KeyRange;
use portside_core::ownership::Member;
use portside_core::ownership::members::{MapChanges, MapVersion, Membership, Peer};
use portside_core::write::Value;
use portside_store::postgres::PURPOSES;
use portside_store::{
    Commit, ConnectionMeasures, DueAlarm, Error, Loaded, Measures, Outcome, Result, Store,
    StoredWorker, WorkerPage,
};
use tokio::sync::watch;

use crate::app::{Setup, TestApp, eventually, open};
use crate::lab::lab;

/// What happens to commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// They are made.
    Open,
    /// They wait until the mode changes.
    Held,
    /// They fail and are not made.
    Failing,
    /// They fail, and advances too, as on a full disk.
    Full,
    /// Nothing is answered any more, as from a process that was killed.
    Dead,
}

/// A SQLite store behind a gate.
pub struct HeldStore {
    inner: Arc<dyn Store>,
    mode: watch::Sender<Mode>,
    /// Claims, and advances, that are still to be carried out without an answer.
    lost_claims: AtomicUsize,
    lost_advances: AtomicUsize,
    /// Answers to advances are held back while this is set.
    slow_advances: watch::Sender<bool>,
    /// Renewals wait while this is set.
    slow_renewals: watch::Sender<bool>,
    /// Lists wait while this is set.
    slow_lists: watch::Sender<bool>,
    /// Loads have read, and are not answered, while this is set.
    slow_loads: watch::Sender<bool>,
    /// How many loads have read.
    loads: AtomicUsize,
    /// How many lists were asked for.
    lists: AtomicUsize,
    /// Loads that are still to be refused, as if the shard were another pod's.
    refused_loads: AtomicUsize,
    /// Loads that are still to fail.
    failing_loads: AtomicUsize,
    /// Every commit that was asked for, in order.
    asked: Mutex<Vec<Commit>>,
    _dir: tempfile::TempDir,
}

/// An application whose workers do the jobs of `user`, on a store that is held up.
pub async fn start_held(user: &str) -> (TestApp, Arc<HeldStore>) {
    let store = HeldStore::new().await;
    let setup = Setup {
        store: Some(store.clone()),
        ..lab(user)
    };
    (setup.start().await, store)
}

impl HeldStore {
    pub async fn new() -> Arc<Self> {
        let dir = tempfile::tempdir().unwrap();
        Arc::new(Self {
            inner: open(dir.path()).await,
            mode: watch::Sender::new(Mode::Open),
            lost_claims: AtomicUsize::new(0),
            lost_advances: AtomicUsize::new(0),
            slow_advances: watch::Sender::new(false),
            slow_renewals: watch::Sender::new(false),
            slow_lists: watch::Sender::new(false),
            slow_loads: watch::Sender::new(false),
            loads: AtomicUsize::new(0),
            lists: AtomicUsize::new(0),
            refused_loads: AtomicUsize::new(0),
            failing_loads: AtomicUsize::new(0),
            asked: Mutex::default(),
            _dir: dir,
        })
    }

    /// The store behind the gate, for others.
    pub fn behind(&self) -> Arc<dyn Store> {
        self.inner.clone()
    }

    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Carries out the next claims and advances, as many as these numbers say, and answers that they failed.
    pub fn lose(&self, claims: usize, advances: usize) {
        self.lost_claims.store(claims, Ordering::SeqCst);
        self.lost_advances.store(advances, Ordering::SeqCst);
    }

    /// How many answers are still to be lost.
    pub fn to_lose(&self) -> usize {
        self.lost_claims.load(Ordering::SeqCst) + self.lost_advances.load(Ordering::SeqCst)
    }

    /// Whether the answers to advances are held back; the advances are carried out.
    pub fn hold_advances(&self, held: bool) {
        self.slow_advances.send_replace(held);
    }

    /// Whether renewals of leases wait.
    pub fn hold_renewals(&self, held: bool) {
        self.slow_renewals.send_replace(held);
    }

    /// Whether lists wait before they read.
    pub fn hold_lists(&self, held: bool) {
        self.slow_lists.send_replace(held);
    }

    /// Whether answers to loads are held back; they have read by then.
    pub fn hold_loads(&self, held: bool) {
        self.slow_loads.send_replace(held);
    }

    /// How many loads have read so far.
    pub fn count_loads(&self) -> usize {
        self.loads.load(Ordering::SeqCst)
    }

    /// How many lists were asked for so far.
    pub fn count_lists(&self) -> usize {
        self.lists.load(Ordering::SeqCst)
    }

    /// Refuses so many loads, as if the shard were another pod's.
    pub fn refuse_loads(&self, loads: usize) {
        self.refused_loads.store(loads, Ordering::SeqCst);
    }

    /// How many loads are still to be refused.
    pub fn loads_to_refuse(&self) -> usize {
        self.refused_loads.load(Ordering::SeqCst)
    }

    /// Fails so many loads, as on a disk with a fault.
    pub fn fail_loads(&self, loads: usize) {
        self.failing_loads.store(loads, Ordering::SeqCst);
    }

    /// How many loads are still to fail.
    pub fn loads_to_fail(&self) -> usize {
        self.failing_loads.load(Ordering::SeqCst)
    }

    /// The store without the gate.
    pub fn inner(&self) -> Arc<dyn Store> {
        self.inner.clone()
    }

    /// The commits asked for so far, and forgets them.
    pub fn take_asked(&self) -> Vec<Commit> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    /// How many commits were asked for since they were last taken.
    pub fn count_asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    /// Returns when a commit was asked for.
    pub async fn is_asked(&self) {
        let asked = eventually(async || !self.asked.lock().unwrap().is_empty());
        assert!(asked.await, "no commit reached the store");
    }

    async fn alive(&self) {
        let mut mode = self.mode.subscribe();
        // The sender lives as long as `self`.
        mode.wait_for(|mode| *mode != Mode::Dead).await.unwrap();
    }
}

/// Whether one more is left to be done.
fn take_one(left: &AtomicUsize) -> bool {
    let one_less = |left: usize| left.checked_sub(1);
    let taken = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less);
    taken.is_ok()
}

fn answer_or_lose<T>(left: &AtomicUsize, answer: Result<T>) -> Result<T> {
    if take_one(left) {
        return Err(Error::Database("the test loses this answer".into()));
    }
    answer
}

#[async_trait]
impl Store for HeldStore {
    fn lanes(&self) -> usize {
        self.inner.lanes()
    }

    /// As if it had connections, as Postgres has.
    fn measures(&self) -> Measures {
        let connections = PURPOSES.map(|purpose| ConnectionMeasures {
            purpose,
            open: 1,
            idle: 1,
            limit: 2,
            asked: 3,
            waited: Duration::from_millis(4),
        });
        Measures {
            connections: connections.into(),
            ..self.inner.measures()
        }
    }

    async fn register(&self, pod: PodId, name: &str) -> Result<()> {
        self.inner.register(pod, name).await
    }

    async fn renew(&self, pod: PodId, number: u64, wants: bool) -> Result<bool> {
        self.alive().await;
        let mut slow = self.slow_renewals.subscribe();
        // The sender lives as long as `self`.
        slow.wait_for(|slow| !slow).await.unwrap();
        self.inner.renew(pod, number, wants).await
    }

    async fn observe(&self) -> Result<Vec<Member>> {
        self.inner.observe().await
    }

    async fn announce(&self, pod: PodId, peer: &Peer) -> Result<bool> {
        self.inner.announce(pod, peer).await
    }

    async fn members(&self) -> Result<Membership> {
        self.inner.members().await
    }

    async fn shard_map(&self, since: Option<MapVersion>) -> Result<MapChanges> {
        self.inner.shard_map(since).await
    }

    async fn declare_dead(&self, pod: PodId, seen: u64) -> Result<bool> {
        self.inner.declare_dead(pod, seen).await
    }

    async fn claim(&self, pod: PodId, limit: u32) -> Result<Vec<(ShardId, Epoch)>> {
        let claimed = self.inner.claim(pod, limit).await;
        answer_or_lose(&self.lost_claims, claimed)
    }

    async fn owned(&self, pod: PodId) -> Result<Vec<(ShardId, Epoch)>> {
        self.inner.owned(pod).await
    }

    async fn release(&self, pod: PodId) -> Result<()> {
        self.inner.release(pod).await
    }

    async fn release_shards(&self, fences: &[Fence]) -> Result<()> {
        self.inner.release_shards(fences).await
    }

    async fn hand_over(&self, fences: &[Fence], to: PodId) -> Result<Vec<(ShardId, Epoch)>> {
        self.inner.hand_over(fences, to).await
    }

    async fn advance(&self, fence: Fence) -> Result<Option<Epoch>> {
        if *self.mode.borrow() == Mode::Full {
            return Err(Error::Database("the test's disk is full".into()));
        }
        let advanced = self.inner.advance(fence).await;
        let mut slow = self.slow_advances.subscribe();
        // The sender lives as long as `self`.
        slow.wait_for(|slow| !slow).await.unwrap();
        answer_or_lose(&self.lost_advances, advanced)
    }

    async fn load(
        &self,
        fence: Fence,
        worker: WorkerId,
        max_keys: usize,
        max_bytes: usize,
    ) -> Result<Option<Loaded>> {
        if take_one(&self.refused_loads) {
            return Ok(None);
        }
        if take_one(&self.failing_loads) {
            return Err(Error::Database("the test fails this load".into()));
        }
        let loaded = self.inner.load(fence, worker, max_keys, max_bytes).await;
        self.loads.fetch_add(1, Ordering::SeqCst);
        let mut slow = self.slow_loads.subscribe();
        // The sender lives as long as `self`.
        slow.wait_for(|slow| !slow).await.unwrap();
        loaded
    }

    async fn get(
        &self,
        shard: ShardId,
        worker: WorkerId,
        keys: &[String],
    ) -> Result<BTreeMap<String, Value>> {
        self.inner.get(shard, worker, keys).await
    }

    async fn list(
        &self,
        shard: ShardId,
        worker: WorkerId,
        range: &KeyRange,
    ) -> Result<Vec<(String, Value)>> {
        self.lists.fetch_add(1, Ordering::SeqCst);
        let mut slow = self.slow_lists.subscribe();
        // The sender lives as long as `self`.
        slow.wait_for(|slow| !slow).await.unwrap();
        self.inner.list(shard, worker, range).await
    }

    async fn commit(&self, commits: &[Commit]) -> Result<Vec<Outcome>> {
        self.asked.lock().unwrap().extend_from_slice(commits);
        let mut mode = self.mode.subscribe();
        let now = mode
            .wait_for(|mode| matches!(mode, Mode::Open | Mode::Failing | Mode::Full))
            .await
            .map(|mode| *mode)
            .unwrap();
        if matches!(now, Mode::Failing | Mode::Full) {
            return Err(Error::Database("the test refuses commits".into()));
        }
        self.inner.commit(commits).await
    }

    async fn workers(&self, page: &WorkerPage) -> Result<Vec<StoredWorker>> {
        self.inner.workers(page).await
    }

    async fn worker(&self, worker: WorkerId) -> Result<Option<StoredWorker>> {
        self.inner.worker(worker).await
    }

    async fn count_workers(&self) -> Result<u64> {
        self.inner.count_workers().await
    }

    async fn delete_all(&self, pod: PodId) -> Result<bool> {
        self.inner.delete_all(pod).await
    }

    async fn alarms(
        &self,
        shards: &[ShardId],
        after: Option<(i64, WorkerId)>,
        until: i64,
        limit: usize,
    ) -> Result<Vec<DueAlarm>> {
        self.inner.alarms(shards, after, until, limit).await
    }
}
