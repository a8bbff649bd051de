//! What pods that share an application's shards know of each other, as the store has it.

use super::Member;
use super::placement::{Distribution, Standing};
use crate::ids::{Epoch, PodId, ShardId};

/// Which code and configuration a pod runs. A greater number is newer, whatever the code: going back to an earlier one is
/// a new revision, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Revision(pub u64);

/// SHA-256 of the public key that a pod has made at its start: others talk only to whoever has the other half of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyFingerprint(pub [u8; 32]);

/// How others reach a pod, and what they find there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Host and port at which it hears other pods.
    pub address: String,
    /// What it runs.
    pub revision: Revision,
    /// The newest version of the protocol between pods that it speaks.
    pub protocol: u32,
    /// Whom to expect there.
    pub key: KeyFingerprint,
}

/// Grows whenever shards are claimed, handed over or given up. Of no meaning outside of one application's store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MapVersion(pub u64);

/// One live pod, as the others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Participant {
    /// Who, and what it said with its last renewal.
    pub member: Member,
    /// What people call it: in a cluster the name of its Kubernetes pod. One that has died may have had the same.
    pub name: String,
    /// What it has announced; nothing yet, or it is a process of a version that does not share shards.
    pub peer: Option<Peer>,
    /// How many shards it owns.
    pub owns: u32,
}

/// Who is alive and owns how much, all as of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The version of the shard map at that moment.
    pub map_version: MapVersion,
    /// How many shards no live pod owns.
    pub free: u32,
    /// The live pods, in no order.
    pub participants: Vec<Participant>,
}

impl Membership {
    /// What decides about placement, of `shards` shards in all.
    #[must_use]
    pub fn distribution(&self, shards: u32) -> Distribution {
        let standing = |it: &Participant| Standing {
            pod: it.member.pod,
            revision: it.peer.as_ref().map(|peer| peer.revision),
            wants: it.member.wants,
            owns: it.owns,
        };
        Distribution {
            shards,
            free: self.free,
            pods: self.participants.iter().map(standing).collect(),
        }
    }
}

/// Who owns a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Assignment {
    /// The shard.
    pub shard: ShardId,
    /// The pod that owns it, which may have ended since: then the shard is free, as one without an owner is.
    pub owner: Option<PodId>,
    /// The epoch that began when that was decided, or a later one of the same owner.
    pub epoch: Epoch,
}

/// What has changed in the shard map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapChanges {
    /// The map is as of this version, once they are made.
    pub version: MapVersion,
    /// Every shard whose owner has changed since the version that was asked for; others may be among them.
    pub assignments: Vec<Assignment>,
}
