//! What can be asked, and what is answered.

use std::collections::BTreeMap;

use portside_core::alarm::Alarm;
use portside_core::fold::Written;
use portside_core::ids::{Epoch, Fence, PodId, ShardId, WorkerId, WorkerKey};
use portside_core::keys::KeyRange;
use portside_core::ownership::Member;
use portside_core::ownership::members::{MapChanges, MapVersion, Membership, Peer};
use portside_core::stored::{StoredWorker, WorkerPage};
use portside_core::write::{Commit, Value};

use crate::Row;

/// One call of the store, which is one statement. They mean what the methods of the `Store` trait do.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // The fields are those methods' arguments.
pub enum Statement {
    Register {
        pod: PodId,
        name: String,
    },
    Renew {
        pod: PodId,
        number: u64,
        wants: bool,
    },
    Observe,
    Announce {
        pod: PodId,
        peer: Peer,
    },
    Members,
    ShardMap {
        since: Option<MapVersion>,
    },
    DeclareDead {
        pod: PodId,
        seen: u64,
    },
    Claim {
        pod: PodId,
        limit: u32,
    },
    Owned {
        pod: PodId,
    },
    Release {
        pod: PodId,
    },
    ReleaseShards {
        fences: Vec<Fence>,
    },
    HandOver {
        fences: Vec<Fence>,
        to: PodId,
    },
    Advance {
        fence: Fence,
    },
    Load {
        fence: Fence,
        worker: WorkerId,
        max_keys: usize,
        max_bytes: usize,
    },
    Get {
        shard: ShardId,
        worker: WorkerId,
        keys: Vec<String>,
    },
    List {
        shard: ShardId,
        worker: WorkerId,
        range: KeyRange,
    },
    Commit {
        commits: Vec<Commit>,
    },
    Alarms {
        shards: Vec<ShardId>,
        after: Option<(i64, WorkerId)>,
        until: i64,
        limit: usize,
    },
    Workers {
        page: WorkerPage,
    },
    Worker {
        worker: WorkerId,
    },
    CountWorkers,
    DeleteAll {
        pod: PodId,
    },
}

impl Statement {
    /// Whether it passes over such a row if another statement has it locked.
    pub(crate) fn skips_locked(&self, row: Row) -> bool {
        matches!((self, row), (Self::Claim { .. }, Row::Shard(_)))
    }

    /// How many shards it locks at most.
    pub(crate) fn most_shards(&self) -> usize {
        match self {
            Self::Claim { limit, .. } => *limit as usize,
            _ => usize::MAX,
        }
    }
}

/// A worker's state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loaded {
    /// The first keys in byte order, as far as the limits allowed.
    pub entries: BTreeMap<String, Value>,
    /// Whether `entries` is all there is.
    pub complete: bool,
    /// The armed alarm.
    pub alarm: Option<Alarm>,
}

/// The answer to a [`Statement`].
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// To `Register`, `Release` and `ReleaseShards`.
    Done,
    /// To `Renew` and `Announce`: still alive. To `DeclareDead`: dead now. To `DeleteAll`: deleted.
    Is(bool),
    /// To `Observe`.
    Pods(Vec<Member>),
    /// To `Members`.
    Membership(Membership),
    /// To `ShardMap`.
    Changes(MapChanges),
    /// To `Claim`, `Owned` and `HandOver`.
    Shards(Vec<(ShardId, Epoch)>),
    /// To `Advance`; `None` means fenced.
    Epoch(Option<Epoch>),
    /// To `Load`; `None` means fenced.
    Loaded(Option<Loaded>),
    /// To `Get` and `List`.
    Entries(Vec<(String, Value)>),
    /// To `Commit`, in its order.
    Written(Vec<Written>),
    /// To `Alarms`.
    Alarms(Vec<(WorkerKey, Alarm)>),
    /// To `Workers` and `Worker`.
    Workers(Vec<StoredWorker>),
    /// To `CountWorkers`.
    Count(u64),
}
