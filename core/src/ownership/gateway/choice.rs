//! To which pod a request goes.

use super::{Gateway, Member, SERVING};
use crate::ids::PodId;

/// How many requests more than another pod one may have that is preferred because it owns what the request will use. What is
/// owned elsewhere costs a round trip between pods; a pod that is busier by more than this costs more.
pub const MAX_EXCESS: usize = 16;

/// What a request would rather have. Neither keeps it from a pod if there is no other.
#[derive(Debug, Clone)]
pub struct Wish<P> {
    /// Who owns what it will use.
    pub owner: Option<PodId>,
    /// Where it has failed, the last one at the end.
    pub avoided: Vec<P>,
}

impl<P> Default for Wish<P> {
    fn default() -> Self {
        Self {
            owner: None,
            avoided: Vec::new(),
        }
    }
}

impl<P: Ord + Clone> Gateway<P> {
    /// The pod to send a request to, and its term, which is [`SERVING`] where several serve. None while none can be.
    ///
    /// The active pod, if there is one. Of pods that serve beside each other the one that is wished for, unless it has more
    /// than [`MAX_EXCESS`] requests above the other choice: of two that `random` names, evenly distributed if it is, the one
    /// with fewer requests by `load`.
    #[must_use]
    pub fn choose(
        &self,
        wish: &Wish<P>,
        load: impl Fn(&P) -> usize,
        random: u64,
    ) -> Option<(&P, u64)> {
        if let Some(active) = self.active() {
            return Some(active);
        }
        // One that has not been tried, or one that is not the last that was, or that one.
        let last = wish.avoided.len().saturating_sub(1);
        let mut avoided = [&wish.avoided[..], &wish.avoided[last..], &[]].into_iter();
        let pod = avoided.find_map(|avoided| {
            let others = self.serving_members();
            let others = others.filter(|(pod, _)| !avoided.contains(pod));
            choose_of(others, wish, &load, random)
        })?;
        Some((pod, SERVING))
    }

    /// Whether a request could still be sent to a pod for the claim for which it was chosen.
    #[must_use]
    pub fn is_right(&self, pod: &P, term: u64) -> bool {
        if term == SERVING {
            let mut serving = self.serving_members();
            serving.any(|(serving, _)| serving == pod)
        } else {
            self.active() == Some((pod, term))
        }
    }
}

fn choose_of<'a, P: Ord>(
    serving: impl Iterator<Item = (&'a P, &'a Member)>,
    wish: &Wish<P>,
    load: impl Fn(&P) -> usize,
    random: u64,
) -> Option<&'a P> {
    let serving: Vec<_> = serving.collect();
    let count = u64::try_from(serving.len()).ok().filter(|it| *it > 0)?;
    let (one, another) = (random >> 32, random & u64::from(u32::MAX));
    let first = one % count;
    // Any but the first, if there is another.
    let second = match count {
        1 => first,
        _ => (first + 1 + another % (count - 1)) % count,
    };
    let least = [first, second]
        .into_iter()
        .filter_map(|index| serving.get(usize::try_from(index).ok()?))
        .map(|(pod, _)| (load(pod), *pod))
        .min_by_key(|(load, _)| *load)?;
    let owner = serving
        .iter()
        .find(|(_, member)| wish.owner.is_some() && member.incarnation == wish.owner)
        .filter(|(pod, _)| load(pod) <= least.0.saturating_add(MAX_EXCESS));
    Some(owner.map_or(least.1, |(pod, _)| pod))
}
