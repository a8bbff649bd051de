//! Which of a class's pods is the active one, judged by what each says of itself.

use std::collections::{BTreeMap, BTreeSet};

use super::Mechanisms;
use crate::ids::PodId;

/// What a pod said last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Nothing, or it cannot be reached.
    Unknown,
    /// It waits to take over.
    Standby,
    /// It runs the workers, since the term in which it began to.
    Active(u64),
    /// It finishes what it runs.
    Draining,
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
#[derive(Debug, Clone)]
pub struct Gateway<P> {
    members: BTreeMap<P, Member>,
    /// The term of the pod that was called active last, or might be.
    highest: u64,
    falls: u64,
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
        }
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
            mechanisms,
        }
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
        if let (Claim::Active(term), Some(renewals)) = (claim, renewals)
            && term < self.highest
            && was_fresh
        {
            member.renewed(renewals);
        }
        member.is_fresh = true;
        member.is_refused = false;
        let claimed = member.claimed;
        match claim {
            Claim::Active(term) if term < self.highest && !self.may_fall(pod, term) => {
                self.refuse(pod, renewals.is_some(), &mut step);
            }
            Claim::Active(term) => self.believe(pod, term, &mut step),
            Claim::Draining => self.set(pod, claim, 0),
            Claim::Unknown | Claim::Standby => self.set(pod, claim, claimed),
        }
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

    fn believe(&mut self, pod: &P, term: u64, step: &mut Step<P>) {
        let is_new = term != self.highest;
        self.falls += u64::from(term < self.highest);
        self.highest = term;
        for (other, member) in &mut self.members {
            if other == pod {
                member.claim = Claim::Active(term);
                member.claimed = term;
            } else if is_new {
                match member.claim {
                    Claim::Active(_) => step.ask.push(other.clone()),
                    Claim::Unknown => step.cut.push(other.clone()),
                    Claim::Standby | Claim::Draining => {}
                }
            }
            if is_new {
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
                if matches!(member.claim, Claim::Active(term) if term < self.highest) {
                    step.cut.push(pod.clone());
                }
                member.claim = Claim::Unknown;
            }
        }
        step
    }

    /// A request that was sent to a pod because of its claim for `term` found something else there. Changes nothing
    /// if the pod has said something newer since.
    pub fn refuted(&mut self, pod: &P, term: u64, found: Claim) {
        if let Some(member) = self.members.get_mut(pod)
            && member.claim == Claim::Active(term)
        {
            member.claim = found;
        }
    }

    /// The pod to send requests to, and its term. None while an overtaken one may not have let go.
    #[must_use]
    pub fn active(&self) -> Option<(&P, u64)> {
        let mut active = None;
        for (pod, member) in &self.members {
            match member.claim {
                Claim::Active(term) if term == self.highest => active = Some((pod, term)),
                Claim::Active(_) => return None,
                Claim::Unknown | Claim::Standby | Claim::Draining => {}
            }
        }
        active
    }

    /// How often a lower term was believed, because the store had gone back.
    #[must_use]
    pub fn falls(&self) -> u64 {
        self.falls
    }
}

#[cfg(test)]
mod tests;
