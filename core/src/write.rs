//! What one turn of a worker's event loop wants to make durable.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::alarm::AlarmChange;
use crate::ids::{Fence, WorkerKey};

/// A stored value: serialized bytes, format prefix included. Cloning is cheap.
pub type Value = Arc<[u8]>;

/// First byte of every stored value: structured-clone bytes of V8 follow. Readers refuse what they do not know.
pub const FORMAT: u8 = 1;

/// The writes of one turn, folded to their final state. Committed whole or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteBatch {
    /// Remove every key first (`storage.deleteAll`).
    pub clear: bool,
    /// Then put (`Some`) or delete (`None`) these.
    pub writes: BTreeMap<String, Option<Value>>,
    /// And change the alarm so.
    pub alarm: AlarmChange,
}

impl WriteBatch {
    /// Whether committing this would change nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.clear && self.writes.is_empty() && self.alarm == AlarmChange::Keep
    }

    /// How many bytes of keys and values it has.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let writes = self.writes.iter();
        writes
            .map(|(key, value)| key.len() + value.as_ref().map_or(0, |value| value.len()))
            .sum()
    }

    /// Adds one put or delete.
    pub fn write(&mut self, key: String, value: Option<Value>) {
        self.writes.insert(key, value);
    }

    /// Removes everything, earlier writes of this turn included. The alarm is not touched.
    pub fn clear(&mut self) {
        self.clear = true;
        self.writes.clear();
    }
}

/// One worker's batch on its way into the store.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The right to write.
    pub fence: Fence,
    /// Who writes. Its name is stored beside the id, so that a sleeping worker can be woken by its alarm.
    pub worker: WorkerKey,
    /// What to write.
    pub batch: WriteBatch,
}

/// What became of a [`Commit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Durable.
    Committed,
    /// Refused: the fence no longer holds. Nothing of it was written.
    Fenced,
}
