//! Workers as the store has them, for those who look from outside.

use crate::alarm::Alarm;
use crate::ids::{WorkerId, WorkerKey};

/// A worker that has a key or an alarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredWorker {
    /// Which.
    pub worker: WorkerKey,
    /// Its alarm, if one is armed.
    pub alarm: Option<Alarm>,
    /// What it has stored.
    pub size: Size,
    /// Of a Durable Object: what its id comes from, if it has one by a name that it was called by.
    pub object_name: Option<String>,
}

/// How much a worker has stored.
///
/// Of a worker with more than [`Size::MOST_KEYS`] keys only as many are looked at, so that listing workers costs no more than
/// so much for each: `keys` is that number then, and `bytes` are theirs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// Its keys.
    pub keys: u64,
    /// The bytes of these keys and their values.
    pub bytes: u64,
}

impl Size {
    /// How many keys are looked at.
    pub const MOST_KEYS: u64 = 1000;
}

/// Which of the stored workers to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkerPage {
    /// Only those that come after it, whether or not it is stored itself.
    pub after: Option<WorkerId>,
    /// Only those of this script.
    pub script: Option<String>,
    /// At most so many, and never more than [`WorkerPage::MOST`].
    pub limit: usize,
}

impl WorkerPage {
    /// The largest page that there is.
    pub const MOST: usize = 1000;

    /// At most so many it has.
    #[must_use]
    pub fn size(&self) -> usize {
        self.limit.min(Self::MOST)
    }

    /// Whether a worker is one of these, the limit aside, when there are `shards` shards.
    #[must_use]
    pub fn has(&self, worker: &WorkerKey, shards: u32) -> bool {
        let place = |id: WorkerId| (id.shard(shards), id);
        let id = worker.id();
        self.after.is_none_or(|after| place(id) > place(after))
            && self
                .script
                .as_ref()
                .is_none_or(|script| script == worker.script())
    }
}
