//! The durable truth: workers' keys, values and alarms, and who may write them.
//!
//! One trait, [`Store`]; two implementations, [`sqlite`] and [`postgres`], which [`open`] chooses by URL; one conformance
//! suite that runs on both. Writers go through [`lanes`], which share statements and keep the order.

#[cfg(test)]
mod fold;
pub mod lanes;
mod measures;
mod open;
mod outage;
pub mod postgres;
mod range;
mod rows;
pub mod sqlite;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use measures::{ConnectionMeasures, Measures};
pub use open::open;

use std::collections::BTreeMap;

use async_trait::async_trait;
use portside_core::alarm::Alarm;
use portside_core::ids::{Epoch, Fence, PodId, ShardId, WorkerId, WorkerKey};
use portside_core::keys::KeyRange;
use portside_core::ownership::Member;
use portside_core::ownership::members::{MapChanges, MapVersion, Membership, Peer};
pub use portside_core::stored::{Size, StoredWorker, WorkerPage};
use portside_core::write::Value;
pub use portside_core::write::{Commit, Outcome};

/// A worker's state as found on wake.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loaded {
    /// The first keys in byte order, as far as the limits allowed.
    pub entries: BTreeMap<String, Value>,
    /// Whether `entries` is all there is.
    pub complete: bool,
    /// The armed alarm.
    pub alarm: Option<Alarm>,
}

/// An armed alarm and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueAlarm {
    /// The worker to wake.
    pub worker: WorkerKey,
    /// Its alarm.
    pub alarm: Alarm,
}

/// Why the store could not answer.
///
/// Nothing is known about a commit that failed so: it may or may not be durable, or become so later. The next step is
/// [`Store::advance`], after which the answer to a load is final.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The database refused or could not be reached. The message has no credentials.
    #[error("storage: {0}")]
    Database(String),
    /// The database holds something this version cannot read.
    #[error("storage: {0}")]
    Incompatible(String),
}

/// `Result` of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Durable state of one application (a pool of shards).
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// How many statements of [`Store::commit`] are worth having in flight at a time, at least 1.
    fn lanes(&self) -> usize;

    /// Registers a process start. Registering a pod that is already registered changes nothing.
    async fn register(&self, pod: PodId, name: &str) -> Result<()>;

    /// Renews the pod's lease, durably. `number` is greater than in every earlier call for this pod, those that failed
    /// included. `wants` is for others to know: see [`Member::wants`]; nobody wants anything before the first renewal.
    /// `false` means that the pod was declared dead and must stop.
    async fn renew(&self, pod: PodId, number: u64, wants: bool) -> Result<bool>;

    /// The live pods, for observers that judge death by an unchanged number.
    async fn observe(&self) -> Result<Vec<Member>>;

    /// Tells the other pods how to reach this one and what it runs, in the place of what it said before. `false` means that
    /// the pod was declared dead and must stop.
    async fn announce(&self, pod: PodId, peer: &Peer) -> Result<bool>;

    /// The live pods, what they have announced, and how many shards each owns, all as of one moment after the call began.
    async fn members(&self) -> Result<Membership>;

    /// What has changed in the shard map since a version, or all of it: also if the version is later than the map's own, which
    /// then is that of an older copy of the database.
    ///
    /// Processes of versions that do not share shards change owners without a new version of the map. While one is among
    /// the members, which is one without a [`Peer`], ask for the whole map.
    async fn shard_map(&self, since: Option<MapVersion>) -> Result<MapChanges>;

    /// Declares a pod dead if `seen` is still the number of its last renewal. Returns whether it is dead now. Final.
    async fn declare_dead(&self, pod: PodId, seen: u64) -> Result<bool>;

    /// Takes up to `limit` shards that no live pod owns, each in a new epoch. None for a pod that is not live itself.
    ///
    /// A shard that somebody is writing at that moment may be passed over: ask again later.
    async fn claim(&self, pod: PodId, limit: u32) -> Result<Vec<(ShardId, Epoch)>>;

    /// The shards that the pod owns, each with its epoch, as of one moment after the call began.
    ///
    /// For use after the answer to a [`Store::claim`] or [`Store::advance`] was lost: what it did is in here, unless it
    /// is still to happen.
    async fn owned(&self, pod: PodId) -> Result<Vec<(ShardId, Epoch)>>;

    /// Gives up every shard of the pod and its lease.
    async fn release(&self, pod: PodId) -> Result<()>;

    /// Gives up these shards and keeps the pod's lease. A fence that no longer holds is passed over, so that a call that
    /// is carried out late takes nothing that was claimed again since.
    async fn release_shards(&self, fences: &[Fence]) -> Result<()>;

    /// Makes another pod the owner of these shards, each in a new epoch, and says which they were: all those whose fences hold, or
    /// none if `to` is not alive. They have an owner at every moment.
    ///
    /// Waits for commits under way in them, and refuses those that come later: whoever hands a shard over has brought all
    /// that it writes there to an end. A call that is carried out late takes nothing that has moved since.
    async fn hand_over(&self, fences: &[Fence], to: PodId) -> Result<Vec<(ShardId, Epoch)>>;

    /// Moves an owned shard on to a new epoch of the same pod. `None` means fenced.
    ///
    /// For use after a commit failed with an [`Error`]: waits for what is still being written in the old epoch, and from
    /// then on refuses what arrives late.
    async fn advance(&self, fence: Fence) -> Result<Option<Epoch>>;

    /// Reads a worker's state, up to `max_keys` keys and about `max_bytes` bytes of keys and values: the
    /// entry that reaches `max_bytes` is the last one. `None` means fenced.
    ///
    /// Never ask before the claim has returned: only then is all that earlier owners wrote sure to be seen.
    async fn load(
        &self,
        fence: Fence,
        worker: WorkerId,
        max_keys: usize,
        max_bytes: usize,
    ) -> Result<Option<Loaded>>;

    /// Reads keys, all as of one moment; absent ones are left out. Not fenced.
    async fn get(
        &self,
        shard: ShardId,
        worker: WorkerId,
        keys: &[String],
    ) -> Result<BTreeMap<String, Value>>;

    /// Reads a range in the range's order, its limit honoured. Not fenced.
    async fn list(
        &self,
        shard: ShardId,
        worker: WorkerId,
        range: &KeyRange,
    ) -> Result<Vec<(String, Value)>>;

    /// Makes many workers' batches durable with one statement and one flush. Each commit is whole or refused; the
    /// outcomes are in the order of the commits. Commits of one worker in one call are applied in their order; of
    /// calls in flight at the same time nothing is promised, see [`lanes`].
    async fn commit(&self, commits: &[Commit]) -> Result<Vec<Outcome>>;

    /// Alarms of the given shards that are due at or before `until` (milliseconds since the Unix epoch), earliest first
    /// and those of one moment by the worker's id, at most `limit` of them. With `after`, only those that come later in
    /// this order than an alarm due then of that worker: the next page. Not fenced.
    async fn alarms(
        &self,
        shards: &[ShardId],
        after: Option<(i64, WorkerId)>,
        until: i64,
        limit: usize,
    ) -> Result<Vec<DueAlarm>>;

    /// The workers that have a key or an alarm, in the order of their shards and then of their ids, which never changes: a page
    /// that goes on after the last worker of the one before lists each worker once that is there all the time. Not fenced.
    async fn workers(&self, page: &WorkerPage) -> Result<Vec<StoredWorker>>;

    /// One of them. Not fenced.
    async fn worker(&self, worker: WorkerId) -> Result<Option<StoredWorker>>;

    /// How many workers have a key or an alarm. Reads as many index entries as there are: not for every request.
    async fn count_workers(&self) -> Result<u64>;

    /// What it has counted of itself.
    fn measures(&self) -> Measures {
        Measures::default()
    }

    /// Deletes the application: every key, worker, shard and pod of it, at once or not at all. `false`, and nothing is
    /// deleted, unless `pod` owns every shard. Of no use to anybody afterwards, this store included.
    async fn delete_all(&self, pod: PodId) -> Result<bool>;
}
