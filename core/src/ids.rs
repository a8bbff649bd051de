//! Names of things: workers, shards, pods and epochs.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

/// A worker's address inside one application: the script it runs and the name it was given.
///
/// Two workers are the same exactly when both parts are equal. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerKey {
    script: Arc<str>,
    name: Arc<str>,
}

/// The longest worker name, in bytes of UTF-8.
pub const MAX_NAME_BYTES: usize = 1024;

/// The name was longer than [`MAX_NAME_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a worker's name may have at most {MAX_NAME_BYTES} bytes of UTF-8, this one has {0}")]
pub struct NameTooLong(pub usize);

impl WorkerKey {
    /// Addresses the worker `name` of `script`, the script's path in the bundle (`"workers/room.js"`).
    ///
    /// # Errors
    /// [`NameTooLong`] for a name of more than [`MAX_NAME_BYTES`] bytes. The empty name is the default worker's.
    pub fn new(script: &str, name: &str) -> Result<Self, NameTooLong> {
        if name.len() > MAX_NAME_BYTES {
            return Err(NameTooLong(name.len()));
        }
        Ok(Self {
            script: script.into(),
            name: name.into(),
        })
    }

    /// The script's path in the bundle.
    #[must_use]
    pub fn script(&self) -> &str {
        &self.script
    }

    /// The name; empty for the default worker.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The worker's stable identity: the first 128 bits of SHA-256 over script, a zero byte, and name.
    #[must_use]
    pub fn id(&self) -> WorkerId {
        let mut hash = Sha256::new();
        hash.update(self.script.as_bytes());
        hash.update([0]);
        hash.update(self.name.as_bytes());
        let digest = hash.finalize();
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        WorkerId(id)
    }
}

/// `script#name`, for people.
impl fmt::Display for WorkerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.script, self.name)
    }
}

impl fmt::Debug for WorkerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// 128 bits that identify a worker inside one application. Never changes for a [`WorkerKey`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub [u8; 16]);

impl WorkerId {
    /// The shard that owns this worker when there are `shards` of them (a power of two).
    #[must_use]
    pub fn shard(self, shards: u32) -> ShardId {
        debug_assert!(shards.is_power_of_two());
        let [a, b, c, d, ..] = self.0;
        ShardId(u32::from_be_bytes([a, b, c, d]) & (shards - 1))
    }
}

impl fmt::Debug for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The unit of ownership: all workers whose hash falls on it are owned together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u32);

/// How many shards an application has. Fixed for the life of its data.
pub const SHARDS: u32 = 4096;

/// Grows by one each time a shard changes hands; every write carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u64);

/// One start of one process. Never reused, so a restarted pod is never taken for its predecessor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodId(pub u128);

/// The right to write a shard: who claims to own it, in which epoch. The store accepts a write only while both hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fence {
    /// The process that claims ownership.
    pub pod: PodId,
    /// The shard.
    pub shard: ShardId,
    /// The epoch in which the pod got the shard.
    pub epoch: Epoch,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_is_script_and_name() {
        let id = |script, name| WorkerKey::new(script, name).expect("short name").id();
        assert_eq!(id("a.js", "x"), id("a.js", "x"));
        assert_ne!(id("a.js", "x"), id("b.js", "x"));
        assert_ne!(id("a.js", "x"), id("a.js", "y"));
        assert_ne!(id("a.js", "bc"), id("a.jsb", "c"));
    }

    #[test]
    fn names_end_at_the_limit() {
        assert!(WorkerKey::new("a.js", &"n".repeat(MAX_NAME_BYTES)).is_ok());
        assert_eq!(
            WorkerKey::new("a.js", &"n".repeat(MAX_NAME_BYTES + 1)),
            Err(NameTooLong(MAX_NAME_BYTES + 1))
        );
    }

    #[test]
    fn shards_are_below_their_number() {
        for n in 0..1000 {
            let id = WorkerKey::new("a.js", &n.to_string())
                .expect("short name")
                .id();
            assert!(id.shard(SHARDS).0 < SHARDS);
        }
    }
}
