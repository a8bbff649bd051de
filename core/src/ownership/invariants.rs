//! What must hold, whatever is lost, late, or comes twice: predicates for tests, simulations and `debug_assert!`.

use std::collections::HashMap;

use super::{Millis, Role, Sharing, State};
use crate::ids::{Epoch, Fence, PodId, ShardId};

/// What is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// See [`one_owner_per_epoch`].
    #[error("{first:?} and {second:?} both believe that they own {shard:?} in {epoch:?}")]
    TwoOwners {
        /// The shard.
        shard: ShardId,
        /// The epoch.
        epoch: Epoch,
        /// One pod.
        first: PodId,
        /// The other.
        second: PodId,
    },
    /// See [`epochs_grow`].
    #[error("{shard:?} went from {from:?} to {to:?}")]
    EpochFell {
        /// The shard.
        shard: ShardId,
        /// What was known.
        from: Epoch,
        /// What is believed now.
        to: Epoch,
    },
    /// See [`over_is_over`].
    #[error("a pod that is over gives the fence {0:?}")]
    FenceAfterEnd(Fence),
    /// See [`active_owns_all`].
    #[error("a pod is active without every shard and a valid lease")]
    ActiveWithoutRight,
    /// See [`leaving_is_at_rest`].
    #[error("{0:?} is given, although the shard is being handed over under it")]
    FenceOfWhatLeaves(Fence),
    /// See [`few_are_leaving`].
    #[error("{0} shards are on their way to other pods at the same time")]
    TooManyLeaving(usize),
    /// See [`settled_is_past`].
    #[error("{given:?} is given, although a commit under {settled:?} may still happen")]
    SettledInTheSameEpoch {
        /// What was said to be settled.
        settled: Fence,
        /// What is given.
        given: Fence,
    },
    /// See [`dead_after_its_lease`].
    #[error("{0:?} is dead for the store although its lease is valid")]
    DeadWithinItsLease(PodId),
    /// See [`terms_grow`].
    #[error("the active pod's term went from {from} to {to}")]
    TermFell {
        /// Of the active pod before.
        from: u64,
        /// Of the active pod now.
        to: u64,
    },
}

/// At most one pod believes that it owns a shard in an epoch.
///
/// # Errors
/// Two do.
pub fn one_owner_per_epoch<'s>(pods: impl IntoIterator<Item = &'s State>) -> Result<(), Violation> {
    let mut owners = HashMap::new();
    for pod in pods {
        for (shard, epoch) in pod.held() {
            if let Some(first) = owners.insert((shard, epoch), pod.pod())
                && first != pod.pod()
            {
                return Err(Violation::TwoOwners {
                    shard,
                    epoch,
                    first,
                    second: pod.pod(),
                });
            }
        }
    }
    Ok(())
}

/// From one moment to a later one, the epochs that a pod believes to own only grow.
///
/// # Errors
/// One fell.
pub fn epochs_grow(
    before: impl IntoIterator<Item = (ShardId, Epoch)>,
    after: &State,
) -> Result<(), Violation> {
    let after: HashMap<ShardId, Epoch> = after.held().collect();
    for (shard, from) in before {
        if let Some(&to) = after.get(&shard)
            && to < from
        {
            return Err(Violation::EpochFell { shard, from, to });
        }
    }
    Ok(())
}

/// A pod that is over, because it was declared dead or by its own will, gives no fence.
///
/// # Errors
/// It does.
pub fn over_is_over(pod: &State) -> Result<(), Violation> {
    if pod.role() != Role::Over {
        return Ok(());
    }
    let given = pod.held().find_map(|(shard, _)| pod.fence(shard));
    given.map_or(Ok(()), |fence| Err(Violation::FenceAfterEnd(fence)))
}

/// An active pod owns every shard, unless they are shared, and its lease is valid at the time of the step.
///
/// # Errors
/// One of both is not so.
pub fn active_owns_all(pod: &State, now: Millis) -> Result<(), Violation> {
    let is_active = matches!(pod.role(), Role::Active { .. });
    let has_shards = pod.owns_all() || pod.settings.sharing == Sharing::Shared;
    if is_active && !(has_shards && now < pod.lease_valid_until()) {
        return Err(Violation::ActiveWithoutRight);
    }
    Ok(())
}

/// While a shard is being handed over, its fence is not given: nothing can be written that its next owner does not find.
///
/// # Errors
/// It is given.
pub fn leaving_is_at_rest(pod: &State) -> Result<(), Violation> {
    let given = pod.leaving().find(|fence| pod.still_holds(*fence));
    given.map_or(Ok(()), |fence| Err(Violation::FenceOfWhatLeaves(fence)))
}

/// No more shards than the settings allow are on their way to other pods.
///
/// # Errors
/// There are more.
pub fn few_are_leaving(pod: &State) -> Result<(), Violation> {
    let leaving = pod.leaving().count();
    match leaving > pod.settings.max_shards_leaving as usize {
        true => Err(Violation::TooManyLeaving(leaving)),
        false => Ok(()),
    }
}

/// Once a commit of unknown fate is said to be settled, no fence of its epoch or an earlier one is given any more.
///
/// # Errors
/// One is.
pub fn settled_is_past(pod: &State, settled: Fence) -> Result<(), Violation> {
    match pod.fence(settled.shard) {
        Some(given) if given.epoch <= settled.epoch => {
            Err(Violation::SettledInTheSameEpoch { settled, given })
        }
        _ => Ok(()),
    }
}

/// When the store takes a pod for dead, the pod's lease has expired by its own clock, which says `now`, unless the pod is
/// over by itself. What it says to clients until then is true.
///
/// # Errors
/// The lease is valid.
pub fn dead_after_its_lease(dead: &State, now: Millis) -> Result<(), Violation> {
    if dead.ended().is_none() && now < dead.lease_valid_until() {
        return Err(Violation::DeadWithinItsLease(dead.pod()));
    }
    Ok(())
}

/// The term of the pod that gets the requests never falls, unless the store itself went back (`reset`).
///
/// # Errors
/// It fell.
pub fn terms_grow(before: Option<u64>, now: Option<u64>, reset: bool) -> Result<(), Violation> {
    match (before, now) {
        (Some(from), Some(to)) if to < from && !reset => Err(Violation::TermFell { from, to }),
        _ => Ok(()),
    }
}

/// What must hold in one pod after each step.
///
/// # Errors
/// What does not.
pub fn holds_in(pod: &State, now: Millis) -> Result<(), Violation> {
    over_is_over(pod)?;
    if pod.settings.mechanisms.takes_fences_back() {
        leaving_is_at_rest(pod)?;
    }
    few_are_leaving(pod)?;
    active_owns_all(pod, now)
}
