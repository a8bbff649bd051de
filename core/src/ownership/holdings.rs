//! The shards a pod owns as far as it knows, and which of them are in doubt.

use std::collections::BTreeSet;

use crate::ids::{Epoch, ShardId};

/// What a pod knows of its right to one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    /// It is not this pod's.
    No,
    /// It is this pod's, in the epoch that is known.
    Sure,
    /// It is being handed over to another pod: its own still, or that one's already.
    Leaving,
    /// A commit in the known epoch may have happened or may still: the shard must be moved to a new one.
    Unsettled,
    /// The store refused the known epoch: whose it is must be read.
    Refused,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    /// The highest epoch that the store ever told this pod for the shard; 0 for none.
    epoch: u64,
    hold: Hold,
}

/// What a whole reading of the store said that cannot be if the store only moves forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WentBack;

/// All shards. Epochs in it only grow.
#[derive(Debug, Clone)]
pub(super) struct Holdings {
    slots: Vec<Slot>,
    held: u32,
    /// The shards that are unsettled.
    pub(super) unsettled: BTreeSet<ShardId>,
    revision: u64,
}

impl Holdings {
    pub(super) fn new(shards: u32) -> Self {
        let none = Slot {
            epoch: 0,
            hold: Hold::No,
        };
        Self {
            slots: vec![none; shards as usize],
            held: 0,
            unsettled: BTreeSet::new(),
            revision: 0,
        }
    }

    fn slot(&self, shard: ShardId) -> Option<Slot> {
        self.slots.get(shard.0 as usize).copied()
    }

    pub(super) fn hold(&self, shard: ShardId) -> Hold {
        self.slot(shard).map_or(Hold::No, |slot| slot.hold)
    }

    /// The epoch of a shard that is held, in doubt or not.
    pub(super) fn epoch(&self, shard: ShardId) -> Option<Epoch> {
        let slot = self.slot(shard).filter(|slot| slot.hold != Hold::No)?;
        Some(Epoch(slot.epoch))
    }

    /// The epoch in which the shard may be written.
    pub(super) fn sure(&self, shard: ShardId) -> Option<Epoch> {
        let slot = self.slot(shard).filter(|slot| slot.hold == Hold::Sure)?;
        Some(Epoch(slot.epoch))
    }

    /// All that are held, in doubt or not.
    pub(super) fn all(&self) -> impl Iterator<Item = (ShardId, Epoch)> {
        let held = self.slots.iter().zip(0..);
        held.filter(|(slot, _)| slot.hold != Hold::No)
            .map(|(slot, shard)| (ShardId(shard), Epoch(slot.epoch)))
    }

    pub(super) fn is_complete(&self) -> bool {
        self.held as usize == self.slots.len()
    }

    /// How many are held, in doubt or not.
    pub(super) fn count(&self) -> u32 {
        self.held
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Changes whenever a fence does.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    fn put(&mut self, shard: ShardId, epoch: u64, hold: Hold) {
        let Some(slot) = self.slots.get_mut(shard.0 as usize) else {
            return;
        };
        debug_assert!(epoch >= slot.epoch, "{shard:?}: epochs only grow");
        let count = |is: bool| u32::from(is);
        self.held = self.held + count(hold != Hold::No) - count(slot.hold != Hold::No);
        if hold == Hold::Unsettled {
            self.unsettled.insert(shard);
        } else {
            self.unsettled.remove(&shard);
        }
        *slot = Slot { epoch, hold };
        self.revision += 1;
    }

    /// The store said, at whatever time, that the shard was this pod's in this epoch. Returns whether that is news.
    pub(super) fn learn(&mut self, shard: ShardId, epoch: Epoch) -> bool {
        let news = self.slot(shard).is_some_and(|slot| epoch.0 > slot.epoch);
        if news {
            self.put(shard, epoch.0, Hold::Sure);
        }
        news
    }

    /// Puts a shard that is held in this epoch into doubt, or more of it. Returns whether that changed anything.
    pub(super) fn doubt(&mut self, shard: ShardId, epoch: Epoch, doubt: Hold) -> bool {
        let changes = self.epoch(shard) == Some(epoch)
            && match self.hold(shard) {
                Hold::Sure | Hold::Leaving => true,
                // The epoch is over in any case: what it is now remains to be read.
                Hold::Unsettled => doubt == Hold::Refused,
                Hold::Refused | Hold::No => false,
            };
        if changes {
            self.put(shard, epoch.0, doubt);
        }
        changes
    }

    /// Begins to hand a shard over that is held for sure: no fence of it is given from now on. Returns its epoch.
    pub(super) fn leave(&mut self, shard: ShardId) -> Option<Epoch> {
        let epoch = self.sure(shard)?;
        self.put(shard, epoch.0, Hold::Leaving);
        Some(epoch)
    }

    /// Whether the shard is being handed over in this epoch.
    pub(super) fn is_leaving(&self, shard: ShardId, epoch: Epoch) -> bool {
        self.hold(shard) == Hold::Leaving && self.epoch(shard) == Some(epoch)
    }

    /// The shard that was being handed over did not move.
    pub(super) fn stay(&mut self, shard: ShardId, epoch: Epoch) {
        if self.is_leaving(shard, epoch) {
            self.put(shard, epoch.0, Hold::Sure);
        }
    }

    /// No longer this pod's.
    pub(super) fn drop(&mut self, shard: ShardId) {
        if let Some(slot) = self.slot(shard).filter(|slot| slot.hold != Hold::No) {
            self.put(shard, slot.epoch, Hold::No);
        }
    }

    pub(super) fn drop_all(&mut self) {
        for shard in (0..).map(ShardId).take(self.slots.len()) {
            self.drop(shard);
        }
    }

    /// Takes what a claim that was sent after everything known was known has taken.
    pub(super) fn claimed(&mut self, claimed: &[(ShardId, Epoch)]) -> Result<(), WentBack> {
        let mut result = Ok(());
        for &(shard, epoch) in claimed {
            if !self.learn(shard, epoch) {
                result = Err(WentBack);
            }
        }
        result
    }

    /// Takes a reading of all shards of this pod that was sent after everything known was known: what is missing in it is
    /// not this pod's.
    pub(super) fn read(&mut self, owned: &[(ShardId, Epoch)]) -> Result<(), WentBack> {
        let mut read = vec![0; self.slots.len()];
        for &(shard, epoch) in owned {
            if let Some(place) = read.get_mut(shard.0 as usize) {
                *place = epoch.0;
            }
        }
        let mut result = Ok(());
        for (shard, epoch) in (0..).map(ShardId).zip(read) {
            let Some(slot) = self.slot(shard) else {
                continue;
            };
            match (epoch, slot.hold) {
                (0, _) => self.drop(shard),
                (epoch, _) if epoch < slot.epoch => result = Err(WentBack),
                (epoch, _) if epoch > slot.epoch => self.put(shard, epoch, Hold::Sure),
                // Given up, and yet as it was: that may still be carried out, but not in a new epoch.
                (epoch, Hold::No) => self.put(shard, epoch, Hold::Unsettled),
                // Refused, and yet as it was: a new epoch is right in any case.
                (epoch, Hold::Refused) => self.put(shard, epoch, Hold::Unsettled),
                (_, Hold::Sure | Hold::Leaving | Hold::Unsettled) => {}
            }
        }
        result
    }
}
