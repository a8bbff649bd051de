//! Which shards the other pods have, as far as one pod knows, and where these are.

use std::collections::{BTreeMap, BTreeSet};

use portside_core::ids::{Epoch, PodId, ShardId};
use portside_core::ownership::members::{MapChanges, MapVersion, Membership};

use crate::network::{MS, Time};

/// A pod that could not be reached is not tried again before.
const REDIAL: Time = 40 * MS;
/// The map is read no more often than this.
const READ_INTERVAL: Time = 20 * MS;

/// A shard in another pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct At {
    pub pod: PodId,
    /// The machine that it is on.
    pub slot: usize,
    /// In which it has the shard.
    pub epoch: Epoch,
}

/// The shard map of one pod.
#[derive(Debug)]
pub(crate) struct Map {
    me: PodId,
    /// By shard; nothing where the owner is not known, or has not what it was known to have.
    owners: Vec<Option<(PodId, Epoch)>>,
    version: Option<MapVersion>,
    /// What it was when the peers were seen.
    met: Option<MapVersion>,
    /// Those of which some pod has said that it has them not, since the map was read.
    astray: BTreeSet<ShardId>,
    /// By shard: the newest epoch in which another pod has believed it here.
    asked: Vec<Epoch>,
    /// On which machines the others are, and from when on they may be tried.
    peers: BTreeMap<PodId, (usize, Time)>,
    /// There is a reason to read.
    look: bool,
    /// Those that were astray when what is being read was asked for, and what was known then.
    reading: Option<(BTreeSet<ShardId>, Option<MapVersion>)>,
    read_at: Time,
    /// The map has named a pod that is not among the peers.
    knows_too_few: bool,
    /// Who is there is being read.
    meets: bool,
}

impl Map {
    pub fn new(me: PodId, shards: u32) -> Self {
        let shards = shards as usize;
        Self {
            me,
            owners: vec![None; shards],
            version: None,
            met: None,
            astray: BTreeSet::new(),
            asked: vec![Epoch(0); shards],
            peers: BTreeMap::new(),
            look: true,
            reading: None,
            read_at: 0,
            knows_too_few: false,
            meets: false,
        }
    }

    /// Takes who is alive. Nothing is done for what is older than what was taken before.
    pub fn meet(&mut self, membership: &Membership) {
        let version = Some(membership.map_version);
        if version < self.met {
            return;
        }
        self.met = version;
        self.look |= version != self.version;
        let before = std::mem::take(&mut self.peers);
        for it in &membership.participants {
            let (pod, peer) = (it.member.pod, it.peer.as_ref());
            let slot = peer.and_then(|peer| peer.address.parse().ok());
            if let Some(slot) = slot.filter(|_| pod != self.me) {
                let tried = before.get(&pod).map_or(0, |(_, tried)| *tried);
                self.peers.insert(pod, (slot, tried));
            }
        }
    }

    /// Whether a pod is alive, and can be sent something.
    pub fn knows(&self, pod: PodId) -> bool {
        self.peers.contains_key(&pod)
    }

    /// Where a shard is that is not this pod's. If that is not known, it is looked for.
    pub fn place(&mut self, shard: ShardId, now: Time) -> Option<At> {
        let owner = self.owners.get(shard.0 as usize).copied().flatten();
        let Some((pod, epoch)) = owner.filter(|(pod, _)| *pod != self.me) else {
            self.look = true;
            return None;
        };
        let Some((slot, tried)) = self.peers.get(&pod) else {
            self.knows_too_few = true;
            self.look = true;
            return None;
        };
        let slot = *slot;
        (*tried <= now).then_some(At { pod, slot, epoch })
    }

    /// The other pod that has a shard, as far as this one knows, and in which epoch.
    pub fn elsewhere(&self, shard: ShardId) -> Option<(PodId, Epoch)> {
        let owner = self.owners.get(shard.0 as usize).copied().flatten();
        owner.filter(|(pod, _)| *pod != self.me)
    }

    /// Another pod believes that this one has a shard in an epoch; whether that is news.
    pub fn is_asked(&mut self, shard: ShardId, epoch: Epoch) -> bool {
        let Some(slot) = self.asked.get_mut(shard.0 as usize) else {
            return false;
        };
        std::mem::replace(slot, epoch.max(*slot)) < epoch
    }

    /// Takes who has which shards, in which epochs.
    pub fn learn(&mut self, assignments: impl Iterator<Item = (ShardId, Option<PodId>, Epoch)>) {
        for (shard, owner, epoch) in assignments {
            let new = owner.map(|owner| (owner, epoch));
            if let Some(slot) = self.owners.get_mut(shard.0 as usize)
                && slot.is_none_or(|(_, known)| known <= epoch)
            {
                *slot = new;
            }
        }
    }

    /// The pod where the shard was known to be, in this epoch, says that it has it not.
    pub fn misdirected(&mut self, shard: ShardId, epoch: Epoch) {
        let slot = self.owners.get_mut(shard.0 as usize);
        if let Some(slot) = slot.filter(|slot| slot.is_none_or(|(_, known)| known <= epoch)) {
            *slot = None;
            self.astray.insert(shard);
        }
        self.look = true;
    }

    /// A pod could not be reached.
    pub fn unreachable(&mut self, pod: PodId, now: Time) {
        if let Some((_, tried)) = self.peers.get_mut(&pod) {
            *tried = now + REDIAL;
        }
    }

    /// The version since which the map is to be read now, if it is.
    pub fn read(&mut self, now: Time) -> Option<Option<MapVersion>> {
        if !self.look || self.reading.is_some() || now < self.read_at {
            return None;
        }
        self.look = false;
        self.reading = Some((std::mem::take(&mut self.astray), self.version));
        Some(self.version)
    }

    /// What was read; nothing if the store did not answer.
    pub fn has_read(&mut self, changes: Option<MapChanges>, now: Time) {
        let Some((astray, since)) = self.reading.take() else {
            return;
        };
        self.read_at = now + READ_INTERVAL;
        let Some(changes) = changes else {
            self.astray.extend(astray);
            self.look = true;
            return;
        };
        let assignments = changes.assignments.into_iter();
        self.learn(assignments.map(|it| (it.shard, it.owner, it.epoch)));
        let is_unknown = |shard: &ShardId| self.owners[shard.0 as usize].is_none();
        if since.is_some() && astray.iter().any(is_unknown) {
            // It has not changed since, and what it was is forgotten: all of it is read.
            self.version = None;
            self.look = true;
        } else {
            self.version = Some(changes.version);
        }
    }

    /// Whether who is there is to be read now.
    pub fn meets(&mut self, now: Time) -> bool {
        let meets = self.knows_too_few && !self.meets && now >= self.read_at;
        if meets {
            (self.knows_too_few, self.meets) = (false, true);
        }
        meets
    }

    /// Who is there was read, or could not be.
    pub fn has_met(&mut self, now: Time) {
        self.meets = false;
        self.read_at = now + READ_INTERVAL;
    }

    /// When something can be done that cannot be done now.
    pub fn next(&self, now: Time) -> Option<Time> {
        let looks = (self.look && self.reading.is_none()) || (self.knows_too_few && !self.meets);
        let reads = looks.then_some(self.read_at);
        let tries = self.peers.values().map(|(_, tried)| *tried);
        reads.into_iter().chain(tries).filter(|at| *at > now).min()
    }
}
