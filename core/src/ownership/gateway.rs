//! Which of a class's pods gets a request, judged by what each says of itself: the one that is active, or any of those that
//! serve beside each other.

mod choice;
mod lease;

use std::collections::{BTreeMap, BTreeSet};

pub use choice::{MAX_EXCESS, Wish};

use super::{Mechanisms, Millis};
use crate::ids::PodId;
use lease::{Lease, Pulse};

/// What stands for a term with pods that serve beside each other: it is higher than any, and the same for all of them.
pub const SERVING: u64 = u64::MAX;

/// What a pod said last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Nothing, or it cannot be reached.
    Unknown,
    /// It waits to take over.
    Standby,
    /// It runs the workers, since the term in which it began to.
    Active(u64),
    /// It runs some of the workers, beside others, and answers any request.
    Serving,
    /// It finishes what it runs.
    Draining,
}

impl Claim {
    /// Of those who run the workers, alone or with others.
    fn term(self) -> Option<u64> {
        match self {
            Self::Active(term) => Some(term),
            Self::Serving => Some(SERVING),
            Self::Unknown | Self::Standby | Self::Draining => None,
        }
    }
}

/// What follows from something said.
#[derive(Debug, PartialEq, Eq)]
pub struct Step<P> {
    /// Pods of which nothing may reach a client any more.
    pub cut: Vec<P>,
    /// Pods to ask at once what they are now.
    pub ask: Vec<P>,
}

impl<P> Default for Step<P> {
    fn default() -> Self {
        Self {
            cut: Vec::new(),
            ask: Vec::new(),
        }
    }
}

/// One start of a pod's process, as the pod says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Incarnation {
    /// Its id in the store.
    pub id: PodId,
    /// How often the store has renewed its lease: see [`State::renewals`](super::State::renewals). Pods of older versions do
    /// not say it.
    pub renewals: Option<u64>,
}

/// The pods of one class, and their claims. `P` is where a pod is; a process that ends and is started again there has
/// another [`Incarnation`].
///
/// Guarantees that the terms of the pods it calls active only grow, and that it calls none active before those of lower
/// terms have let go or are cut off. So an owner that was paused while another took over is not believed again, and nothing
/// of its reaches a client after something of the next one's.
///
/// One thing makes terms fall: an older copy of the database is restored. A lower term is believed only if every pod that
/// claimed a higher one is gone, has said that it drains, or was started anew; and if the pod that claims the lower one is
/// known to have become active after the higher one was claimed: it said since then that it was a standby, or was started
/// since then, or the store has renewed its lease since then. Whoever claims a higher term takes the shards from pods that
/// are over for good, or that know that they gave them up; one that claims a lower term and is alive in the store is none
/// of those.
///
/// What two pods say can arrive in either order. A pod that is overtaken is therefore asked again before it is cut off:
/// if it has let go, what it still sends was done before the other took over.
///
/// Pods that serve beside each other overtake whoever was active alone, and have no term among themselves: what each may
/// write its fences decide, and what it may say its lease. A request goes to any whose lease is known to have been renewed
/// lately ([`choose`](Self::choose)). One whose renewals are not heard of any more, while others' are for longer than a lease
/// lasts, is taken to have lost its shards to them: it is cut off, and believed again when its lease has been renewed twice
/// since. While no pod's renewals are heard of nobody is cut off, for then the store is away, and nobody can take over.
#[derive(Debug, Clone)]
pub struct Gateway<P> {
    members: BTreeMap<P, Member>,
    /// The term of the pod that was called active last, or might be.
    highest: u64,
    falls: u64,
    now: Millis,
    pulse: Pulse,
    mechanisms: Mechanisms,
}

#[derive(Debug, Clone, Copy)]
struct Member {
    incarnation: Option<PodId>,
    claim: Claim,
    /// The highest term that this incarnation claimed, until it drains.
    claimed: u64,
    /// What is heard next answers a question that was asked after the highest term was heard.
    is_fresh: bool,
    /// If it becomes active, it does so after the highest term was claimed.
    is_later: bool,
    /// How often its lease had been renewed when it claimed a lower term, after the highest was claimed.
    renewals: Option<u64>,
    /// It claims a term that is not believed.
    is_refused: bool,
    lease: Lease,
}

impl Member {
    fn new(incarnation: Option<PodId>) -> Self {
        Self {
            incarnation,
            claim: Claim::Unknown,
            claimed: 0,
            is_fresh: true,
            is_later: false,
            renewals: None,
            is_refused: false,
            lease: Lease::default(),
        }
    }

    /// Whether requests may be sent to it beside others.
    fn serves(&self, now: Millis) -> bool {
        self.claim == Claim::Serving && self.lease.is_fresh(now)
    }

    /// It claims a lower term, and said how often its lease had been renewed. Of the renewals that come after that one may
    /// have been under way.
    fn renewed(&mut self, renewals: u64) {
        let from = *self.renewals.get_or_insert(renewals);
        self.is_later |= renewals >= from + 2;
    }
}

impl<P: Ord + Clone> Default for Gateway<P> {
    fn default() -> Self {
        Self::new(Mechanisms::default())
    }
}

impl<P: Ord + Clone> Gateway<P> {
    /// A class without pods.
    #[must_use]
    pub fn new(mechanisms: Mechanisms) -> Self {
        Self {
            members: BTreeMap::new(),
            highest: 0,
            falls: 0,
            now: 0,
            pulse: Pulse::default(),
            mechanisms,
        }
    }

    /// It is `now` by the clock by which leases are judged, from whenever that counts. To be said before anything else is.
    pub fn set_time(&mut self, now: Millis) {
        self.now = self.now.max(now);
    }

    /// Which pods there are now. Those that are new have said nothing; those that are gone without having drained are
    /// cut off, for nobody would notice if they still ran somewhere.
    pub fn set_pods(&mut self, pods: &BTreeSet<P>) -> Step<P> {
        let mut step = Step::default();
        let gone = self.members.extract_if(.., |pod, _| !pods.contains(pod));
        step.cut.extend(
            gone.filter(|(_, member)| member.claim != Claim::Draining)
                .map(|(pod, _)| pod),
        );
        let is_later = self.highest > 0 && !self.is_claimed_above(0);
        for pod in pods {
            self.members.entry(pod.clone()).or_insert(Member {
                is_later,
                ..Member::new(None)
            });
        }
        if self.members.is_empty() {
            // Whoever comes next may count from another database.
            self.highest = 0;
        }
        self.ask_refused(&mut step);
        step
    }

    /// A pod said something. `incarnation` tells one start of it from the next, where it says so.
    pub fn heard(&mut self, pod: &P, incarnation: Option<Incarnation>, claim: Claim) -> Step<P> {
        let renewals = incarnation.and_then(|it| it.renewals);
        let incarnation = incarnation.map(|it| it.id);
        let mut step = Step::default();
        let Some(member) = self.members.get_mut(pod) else {
            return step;
        };
        let was_fresh = member.is_fresh;
        if member.incarnation.is_some()
            && incarnation.is_some_and(|it| member.incarnation != Some(it))
        {
            if member.claim != Claim::Draining {
                step.cut.push(pod.clone());
            }
            *member = Member {
                is_later: was_fresh,
                ..Member::new(incarnation)
            };
        }
        member.incarnation = incarnation.or(member.incarnation);
        member.is_later |= claim == Claim::Standby && was_fresh;
        if claim == Claim::Standby && !was_fresh && self.highest == SERVING {
            // It may have answered what was asked before.
            step.ask.push(pod.clone());
        }
        if let (Claim::Active(term), Some(renewals)) = (claim, renewals)
            && term < self.highest
            && was_fresh
        {
            member.renewed(renewals);
        }
        member.is_fresh = true;
        member.is_refused = false;
        let claimed = member.claimed;
        if renewals.is_some_and(|renewals| member.lease.hear(renewals, self.now)) {
            self.pulse.beat(self.now);
        }
        let is_over = !member.lease.is_believed();
        match claim {
            Claim::Active(term) if term < self.highest && !self.may_fall(pod, term) => {
                self.refuse(pod, renewals.is_some(), &mut step);
            }
            Claim::Serving if is_over => self.set(pod, Claim::Unknown, claimed),
            Claim::Active(_) | Claim::Serving => self.believe(pod, claim, &mut step),
            Claim::Draining => self.set(pod, claim, 0),
            Claim::Unknown | Claim::Standby => self.set(pod, claim, claimed),
        }
        self.end_leases(&mut step);
        self.ask_refused(&mut step);
        step
    }

    fn set(&mut self, pod: &P, claim: Claim, claimed: u64) {
        if let Some(member) = self.members.get_mut(pod) {
            member.claim = claim;
            member.claimed = claimed;
        }
    }

    /// It insists although it was overtaken. If it says how often its lease was renewed, its next answer tells more.
    fn refuse(&mut self, pod: &P, says_renewals: bool, step: &mut Step<P>) {
        if let Some(member) = self.members.get_mut(pod) {
            member.claim = Claim::Unknown;
            member.is_refused = true;
            step.cut.push(pod.clone());
            if says_renewals && !member.is_later {
                step.ask.push(pod.clone());
            }
        }
    }

    /// Cuts off those that have lost their shards to others, as far as can be told from here.
    fn end_leases(&mut self, step: &mut Step<P>) {
        for (pod, member) in &mut self.members {
            if member.claimed == SERVING && member.lease.is_outlived(self.pulse) {
                member.lease.end();
                member.claimed = 0;
                if member.claim == Claim::Serving {
                    member.claim = Claim::Unknown;
                }
                step.cut.push(pod.clone());
            }
        }
    }

    fn believe(&mut self, pod: &P, claim: Claim, step: &mut Step<P>) {
        let Some(term) = claim.term() else {
            return;
        };
        let is_new = term != self.highest;
        // From pods that serve beside each other to one of a version that cannot is no fall.
        self.falls += u64::from(term < self.highest && self.highest != SERVING);
        // Serving pods have no terms by which to tell that one took over after another was asked.
        let begins =
            claim == Claim::Serving && self.members.get(pod).is_some_and(|it| it.claimed != term);
        self.highest = term;
        for (other, member) in &mut self.members {
            if other == pod {
                member.claim = claim;
                member.claimed = term;
            } else {
                match member.claim {
                    Claim::Active(_) | Claim::Serving if is_new => step.ask.push(other.clone()),
                    Claim::Unknown if is_new => step.cut.push(other.clone()),
                    // What it said counts no more. Of a version that cannot serve, it says nothing else until it is active.
                    Claim::Standby if begins => step.ask.push(other.clone()),
                    _ => {}
                }
            }
            if is_new || begins {
                member.is_fresh = false;
                member.is_later = false;
                member.renewals = None;
            }
        }
    }

    fn may_fall(&self, pod: &P, term: u64) -> bool {
        !self.mechanisms.filters_terms()
            || (self.members.get(pod).is_some_and(|member| member.is_later)
                && !self.is_claimed_above(term))
    }

    /// Whether somebody who is still there has claimed a higher term and has not let go for good.
    fn is_claimed_above(&self, term: u64) -> bool {
        self.members.values().any(|member| member.claimed > term)
    }

    /// Whom to ask again because those that stood against it are gone.
    fn ask_refused(&mut self, step: &mut Step<P>) {
        if self.is_claimed_above(0) {
            return;
        }
        for (pod, member) in &mut self.members {
            if member.is_refused && member.is_later {
                member.is_refused = false;
                step.ask.push(pod.clone());
            }
        }
    }

    /// A pod could not be asked.
    pub fn lost(&mut self, pod: &P) -> Step<P> {
        let mut step = Step::default();
        match self.members.get_mut(pod) {
            None => {}
            // It ends, as it said.
            Some(member) if member.claim == Claim::Draining => {}
            Some(member) => {
                if member.claim.term().is_some_and(|term| term < self.highest) {
                    step.cut.push(pod.clone());
                }
                member.claim = Claim::Unknown;
            }
        }
        step
    }

    /// A request that was sent to a pod because of its claim for `term`, or [`SERVING`], found something else there. Changes
    /// nothing if the pod has said something newer since.
    pub fn refuted(&mut self, pod: &P, term: u64, found: Claim) {
        if let Some(member) = self.members.get_mut(pod)
            && member.claim.term() == Some(term)
        {
            member.claim = found;
        }
    }

    /// The pod that runs everything, and its term. None while an overtaken one may not have let go.
    #[must_use]
    pub fn active(&self) -> Option<(&P, u64)> {
        if self.is_somebody_overtaken() || self.highest == SERVING {
            return None;
        }
        let active = self.members.iter().filter_map(|(pod, member)| {
            let term = member.claim.term()?;
            Some((pod, term))
        });
        active.last()
    }

    /// How many pods serve beside each other, and can be sent requests now.
    #[must_use]
    pub fn serving(&self) -> usize {
        self.serving_members().count()
    }

    fn serving_members(&self) -> impl Iterator<Item = (&P, &Member)> {
        let is_settled = self.highest == SERVING && !self.is_somebody_overtaken();
        let members = self.members.iter();
        members.filter(move |(_, member)| is_settled && member.serves(self.now))
    }

    /// Whether one that ran the workers may not have let go of them.
    fn is_somebody_overtaken(&self) -> bool {
        let mut terms = self.members.values().filter_map(|it| it.claim.term());
        terms.any(|term| term < self.highest)
    }

    /// How often a lower term was believed, because the store had gone back.
    #[must_use]
    pub fn falls(&self) -> u64 {
        self.falls
    }
}

#[cfg(test)]
mod serving_tests;
#[cfg(test)]
mod tests;
