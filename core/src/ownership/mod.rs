//! Which pod may write which shard, as machines without I/O.
//!
//! [`State`] is one pod: its lease, what it sees of the others, the shards it claims or hands over, and what it does when the
//! store's answer to a change is lost. [`gateway::Gateway`] decides, from what pods say of themselves, which one gets the requests.
//! Both are driven by events, answer with effects as plain data, and read no clock: whoever drives them carries the
//! effects out, in any order and as late as it happens, and reports every result, also "nobody knows whether it happened".
//! A simulation can drive several pods against a model of the store just as the sidecar drives one against a real one.
//!
//! What must hold is in [`invariants`].

mod claiming;
pub mod gateway;
mod holdings;
pub mod invariants;
mod lease;
mod mechanisms;
pub mod members;
mod membership;
pub mod placement;
mod pod;
mod sharing;
#[cfg(test)]
mod tests;

pub use mechanisms::Mechanisms;
pub use pod::State;

use crate::ids::{Epoch, Fence, PodId, SHARDS, ShardId};
use members::Membership;

/// Milliseconds of a clock that never steps back and that goes on while the machine is suspended. Where it began does
/// not matter: no two pods' clocks are compared.
pub type Millis = u64;

/// Numbers the calls to the store of one pod, so that a late result is known as such.
pub type Call = u64;

/// A lease is renewed this often.
pub const LEASE_RENEWAL_INTERVAL_MS: Millis = 500;
/// A pod stops answering when its lease was not renewed for this long by its own clock.
pub const LEASE_MS: Millis = 2_500;
/// A pod whose lease was not renewed for this long by an observer's clock is declared dead. A quarter more than the lease:
/// no two machines' clocks go equally fast. One whose time is being corrected may go 10 % too fast (NTP's daemons slew by
/// 0.05 to 10 %) while another goes as much too slow, 1.1 / 0.9 = 1.22 times as fast, and both count whole milliseconds.
/// Within this margin the holder has stopped before anybody may take over, whatever hears of whom first.
pub const PATIENCE_MS: Millis = LEASE_MS + LEASE_MS / 4;
/// How often a pod that waits for the shards, or that shares them, looks who is alive.
pub const OBSERVATION_INTERVAL_MS: Millis = 100;
/// So much of the time between two looks counts towards [`PATIENCE_MS`]. While the store does not answer, nobody can renew, and whoever
/// reaches it first when it is back would declare all others dead. What is left of the patience is for those to reach it, too.
pub const MAX_OBSERVATION_GAP_MS: Millis = 1_000;
/// How often a pod whose turn it is asks for shards though nobody came or went and it got none the last time.
pub const CLAIM_INTERVAL_MS: Millis = 2_000;
/// After a call of unknown fate to settle or read shards, how long until the next one.
pub const RETRY_INTERVAL_MS: Millis = 500;
/// Shards that are moved to a new epoch at the same time. Few, so that they do not keep the lease's renewal waiting.
pub const MAX_ADVANCES_IN_FLIGHT: usize = 4;

/// So many shards of one pod are on their way to others at the same time. It bounds how much a pod disturbs when it drains,
/// and how much a pod that others hand shards to gets before it is seen to be too much.
pub const MAX_SHARDS_LEAVING: u32 = 64;
/// How often a pod that shares the shards looks who owns how much, though nobody came or went. Counting costs the store more
/// than a look at who is alive.
pub const MEMBERSHIP_INTERVAL_MS: Millis = 500;

/// While a pod that shares the shards has all of them and sees nobody else, it looks so many times less often: nothing is to be done
/// until somebody comes, who is seen before it wants shards. Most classes have one pod, which is idle.
pub const SOLE_POD_SLOWDOWN: Millis = 20;

/// What this pod owns is not read more often than that because others say that they have given it something.
pub const GIVEN_INTERVAL_MS: Millis = 10;

/// Free shards are left for so long to the pods whose share they are. Then whoever sees them takes them: those pods may be dead,
/// too, and nobody sure of it yet.
pub const SHARED_CLAIM_INTERVAL_MS: Millis = 500;

/// To how many pods an application's shards go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// One pod owns all of them, and others wait.
    Alone,
    /// All pods that want some share them: see [`placement`].
    Shared,
}

/// Intervals, how many shards there are, and whether they are shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How many shards the application has.
    pub shards: u32,
    /// Whether they are shared. All pods of an application agree on that.
    pub sharing: Sharing,
    /// See [`MAX_SHARDS_LEAVING`].
    pub max_shards_leaving: u32,
    /// See [`LEASE_RENEWAL_INTERVAL_MS`].
    pub renewal_interval_ms: Millis,
    /// See [`LEASE_MS`].
    pub lease_ms: Millis,
    /// See [`PATIENCE_MS`].
    pub patience_ms: Millis,
    /// See [`OBSERVATION_INTERVAL_MS`].
    pub observation_interval_ms: Millis,
    /// See [`MEMBERSHIP_INTERVAL_MS`].
    pub membership_interval_ms: Millis,
    /// See [`CLAIM_INTERVAL_MS`], and [`SHARED_CLAIM_INTERVAL_MS`] if shards are shared.
    pub claim_interval_ms: Millis,
    /// See [`RETRY_INTERVAL_MS`].
    pub retry_interval_ms: Millis,
    /// Which safety mechanisms work: all of them, but in tests of the tests.
    pub mechanisms: Mechanisms,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            shards: SHARDS,
            sharing: Sharing::Alone,
            max_shards_leaving: MAX_SHARDS_LEAVING,
            renewal_interval_ms: LEASE_RENEWAL_INTERVAL_MS,
            lease_ms: LEASE_MS,
            patience_ms: PATIENCE_MS,
            observation_interval_ms: OBSERVATION_INTERVAL_MS,
            membership_interval_ms: MEMBERSHIP_INTERVAL_MS,
            claim_interval_ms: CLAIM_INTERVAL_MS,
            retry_interval_ms: RETRY_INTERVAL_MS,
            mechanisms: Mechanisms::default(),
        }
    }
}

impl Settings {
    /// Those of pods that share the shards.
    #[must_use]
    pub fn shared() -> Self {
        Self {
            sharing: Sharing::Shared,
            claim_interval_ms: SHARED_CLAIM_INTERVAL_MS,
            ..Self::default()
        }
    }
}

/// The store failed, or did not answer: what was asked for may have happened, may not have, and may still happen later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FateUnknown;

/// What the store answered.
pub type Reply<T> = Result<T, FateUnknown>;

/// A pod that is alive, as the store has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// Who.
    pub pod: PodId,
    /// The number of its last renewal; 0 before the first.
    pub renewed: u64,
    /// Whether it claims shards when it is its turn, as it said with that renewal.
    pub wants: bool,
}

/// What a pod learns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The time of the last [`Effect::WakeAt`] has come. Too early or once more does no harm.
    Woken,
    /// The process wants to be active: from now on it observes the others and claims shards when it is its turn.
    Wanted,
    /// The result of [`Effect::Renew`]: `false` if the pod was declared dead.
    Renewed(Call, Reply<bool>),
    /// The result of [`Effect::Observe`]: the pods alive.
    Observed(Call, Reply<Vec<Member>>),
    /// The result of [`Effect::ObserveMembership`].
    MembershipObserved(Call, Reply<Membership>),
    /// The result of [`Effect::DeclareDead`]: whether the pod is dead now.
    DeclaredDead(PodId, Reply<bool>),
    /// The result of [`Effect::Claim`]: the shards it took, each in a new epoch.
    Claimed(Call, Reply<Vec<(ShardId, Epoch)>>),
    /// The result of [`Effect::ReadOwned`]: all shards of this pod, as of one moment.
    Owned(Call, Reply<Vec<(ShardId, Epoch)>>),
    /// The result of [`Effect::Advance`]: the new epoch, or none if the fence did not hold.
    Advanced(Call, Fence, Reply<Option<Epoch>>),
    /// The result of [`Effect::ReleaseShards`].
    ShardsReleased(Call, Reply<()>),
    /// An answer to [`Effect::Quiesce`]: nothing of these shards is awake or on its way to the store, and nothing of them will
    /// be under the fences that they have now. More may follow, as they come to rest.
    Quiesced(Call, Vec<ShardId>),
    /// The last answer to [`Effect::Quiesce`]: no more come to rest. Those that did may be fewer than were asked for, or none.
    QuiescenceOver(Call),
    /// The result of [`Effect::HandOver`]: the shards that have moved.
    HandedOver(Call, Reply<Vec<(ShardId, Epoch)>>),
    /// Somebody wants this shard to be another pod's. Nothing follows if [`State::can_move`] says that it cannot be.
    Move(ShardId, PodId),
    /// Another pod says that it has handed shards over to this one. It need not be true: what is this pod's is read, but no more
    /// often than every [`GIVEN_INTERVAL_MS`].
    Given,
    /// The result of [`Effect::Release`].
    Released(Reply<()>),
    /// The store refused this fence.
    Refused(Fence),
    /// A commit under this fence failed, and nobody knows its fate: somebody waits for [`Effect::Settled`].
    CommitFateUnknown(Fence),
    /// The process takes no new work.
    Drain,
    /// The process ends: everything is given up.
    Release,
    /// The process ends, and there is nothing left to give up.
    End,
}

/// What is to be done. Every call to the store has a result, which must be reported once it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Renew the lease.
    Renew {
        /// To be reported with the result, and the renewal's number: greater than in any before.
        call: Call,
        /// What others are to know: see [`Member::wants`].
        wants: bool,
    },
    /// Read who is alive.
    Observe(Call),
    /// Read who is alive and who owns how much.
    ObserveMembership(Call),
    /// Declare a pod dead, unless the number of its last renewal is not `seen` any more.
    DeclareDead {
        /// Whom.
        pod: PodId,
        /// The number that did not change.
        seen: u64,
    },
    /// Claim up to `limit` shards that no live pod owns.
    Claim {
        /// To be reported with the result.
        call: Call,
        /// How many shards are wanted at most.
        limit: u32,
    },
    /// Read which shards this pod owns.
    ReadOwned(Call),
    /// Move a shard to a new epoch.
    Advance(Call, Fence),
    /// Give up these shards and keep the lease.
    ReleaseShards(Call, Vec<Fence>),
    /// Bring shards to rest, which the process chooses unless one is named, to hand them over. Their fences are given until
    /// [`Event::Quiesced`] says which they are; from then on none is, until it is known whose they are. Each is handed over as
    /// soon as it is at rest, and does not wait for the others.
    Quiesce {
        /// To be reported with each answer. The last one must not be long in coming: no others are brought to rest in the place
        /// of these until then.
        call: Call,
        /// How many, at most.
        count: u32,
        /// The pod that is to have them.
        to: PodId,
        /// This one and no other.
        only: Option<ShardId>,
    },
    /// Make another pod the owner of these shards.
    HandOver(Call, Vec<Fence>, PodId),
    /// Give up every shard and the lease.
    Release,
    /// The lease is valid for longer; it would have ended at `expired`. If it is that late already when all can see the new
    /// end, there may be some who found it ended and wait: they are to be told.
    LeaseExtended {
        /// By the clock of the steps.
        expired: Millis,
    },
    /// Send [`Event::Woken`] at this time. Replaces the one before.
    WakeAt(Millis),
    /// Whoever waits for the fate of commits under this fence may go on: under any fence that is given from now on, a load
    /// tells what became of them.
    Settled(Fence),
}

/// What a process may do for the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Nothing: it waits for the shards, or cannot be sure any more that they are its own.
    Standby,
    /// Everything: it owns the shards, or those of them that are its share.
    Active {
        /// Higher than that of whoever was active before. 0 where shards are shared: nobody was active before another.
        term: u64,
    },
    /// Only finish what it has begun.
    Draining,
    /// Nothing, for ever.
    Over,
}

/// Why a shard is not handed over to the pod that somebody wants to have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmovable {
    /// It is not this pod's, or that is in doubt, or this pod only ends.
    NotOwned,
    /// The pod is not alive, as far as this one sees, or it is this one.
    NoSuchPod,
    /// The pod takes none: it drains, still tries its code out, or has older code than others. Given a shard, it would give it back.
    TakesNone,
    /// As many are on their way as may be at the same time.
    TooMany,
}

/// Why a pod has ended for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By its own will.
    Released,
    /// Others have declared it dead.
    DeclaredDead,
    /// The store knows less than it once did: an older copy of the database was restored. A new start begins from there.
    StoreWentBack,
}
