//! Which of a class's pods is the active one, judged by what each says of itself.

use std::collections::{BTreeMap, BTreeSet};

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

/// The pods of one class, and their claims.
///
/// Guarantees that the terms of the pods it calls active only grow, as long as the class has any pod: an owner that
/// was paused while another took over is not believed again.
#[derive(Debug)]
pub struct Ownership<P> {
    claims: BTreeMap<P, Claim>,
    /// The highest term anybody claimed.
    highest: u64,
}

impl<P> Default for Ownership<P> {
    fn default() -> Self {
        Self {
            claims: BTreeMap::new(),
            highest: 0,
        }
    }
}

impl<P: Ord + Clone> Ownership<P> {
    /// Which pods there are now. Those that are new have said nothing.
    ///
    /// Returns those that are gone without having drained: nobody would notice if they still ran somewhere and were
    /// overtaken, so nothing of theirs may reach a client any more.
    pub fn set_pods(&mut self, pods: &BTreeSet<P>) -> Vec<P> {
        let gone = self
            .claims
            .extract_if(.., |pod, _| !pods.contains(pod))
            .filter(|(_, claim)| *claim != Claim::Draining)
            .map(|(pod, _)| pod)
            .collect();
        for pod in pods {
            self.claims.entry(pod.clone()).or_insert(Claim::Unknown);
        }
        if self.claims.is_empty() {
            // Whoever comes next may count from another database.
            self.highest = 0;
        }
        gone
    }

    /// A pod said something.
    ///
    /// Returns the pods that have been overtaken without having drained: nothing of theirs may reach a client any
    /// more. A pod that drained first is not among them, for it had let go before the next one took over.
    pub fn heard(&mut self, pod: &P, claim: Claim) -> Vec<P> {
        let Some(known) = self.claims.get_mut(pod) else {
            return Vec::new();
        };
        *known = claim;
        let Claim::Active(term) = claim else {
            return Vec::new();
        };
        if term <= self.highest {
            return Vec::new();
        }
        self.highest = term;
        self.claims
            .iter()
            .filter(|(other, claim)| *other != pod && **claim != Claim::Draining)
            .map(|(other, _)| other.clone())
            .collect()
    }

    /// A pod could not be asked.
    pub fn lost(&mut self, pod: &P) {
        if let Some(claim) = self.claims.get_mut(pod)
            && *claim != Claim::Draining
        {
            *claim = Claim::Unknown;
        }
    }

    /// A request that was sent to a pod because of its claim for `term` found something else there. Changes nothing
    /// if the pod has said something newer since.
    pub fn refuted(&mut self, pod: &P, term: u64, found: Claim) {
        if let Some(claim) = self.claims.get_mut(pod)
            && *claim == Claim::Active(term)
        {
            *claim = found;
        }
    }

    /// The pod to send requests to, and its term.
    #[must_use]
    pub fn active(&self) -> Option<(&P, u64)> {
        self.claims
            .iter()
            .find(|(_, claim)| **claim == Claim::Active(self.highest))
            .map(|(pod, _)| (pod, self.highest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods(names: &[&'static str]) -> BTreeSet<&'static str> {
        names.iter().copied().collect()
    }

    fn of(names: &[&'static str]) -> Ownership<&'static str> {
        let mut ownership = Ownership::default();
        ownership.set_pods(&pods(names));
        ownership
    }

    #[test]
    fn nobody_is_active_before_somebody_says_so() {
        let mut ownership = of(&["a", "b"]);
        assert_eq!(ownership.active(), None);
        ownership.heard(&"a", Claim::Standby);
        assert_eq!(ownership.active(), None);
        ownership.heard(&"b", Claim::Active(1));
        assert_eq!(ownership.active(), Some((&"b", 1)));
    }

    #[test]
    fn the_higher_term_wins_and_the_lower_never_comes_back() {
        let mut ownership = of(&["a", "b"]);
        ownership.heard(&"a", Claim::Active(4));
        assert_eq!(ownership.heard(&"b", Claim::Active(5)), ["a"]);
        assert_eq!(ownership.active(), Some((&"b", 5)));
        assert!(ownership.heard(&"a", Claim::Active(4)).is_empty());
        assert_eq!(ownership.active(), Some((&"b", 5)));
        ownership.lost(&"b");
        assert_eq!(ownership.active(), None, "a is still the older one");
        ownership.set_pods(&pods(&["a"]));
        ownership.heard(&"a", Claim::Active(4));
        assert_eq!(ownership.active(), None, "even alone");
        ownership.heard(&"a", Claim::Active(6));
        assert_eq!(ownership.active(), Some((&"a", 6)));
    }

    #[test]
    fn a_class_without_pods_starts_afresh() {
        let mut ownership = of(&["a"]);
        ownership.heard(&"a", Claim::Active(9));
        ownership.set_pods(&pods(&[]));
        ownership.set_pods(&pods(&["b"]));
        ownership.heard(&"b", Claim::Active(1));
        assert_eq!(ownership.active(), Some((&"b", 1)));
    }

    #[test]
    fn a_draining_pod_takes_nothing_new_and_keeps_what_it_runs() {
        let mut ownership = of(&["a", "b"]);
        ownership.heard(&"a", Claim::Active(1));
        ownership.heard(&"a", Claim::Draining);
        assert_eq!(ownership.active(), None);
        ownership.lost(&"a");
        assert!(ownership.heard(&"b", Claim::Active(2)).is_empty());
        assert!(ownership.set_pods(&pods(&["b"])).is_empty());
        assert_eq!(ownership.set_pods(&pods(&[])), ["b"], "it did not drain");
    }

    #[test]
    fn a_pod_that_was_lost_may_be_active_again() {
        let mut ownership = of(&["a", "b"]);
        ownership.heard(&"a", Claim::Active(3));
        ownership.lost(&"a");
        assert_eq!(ownership.active(), None);
        assert!(ownership.heard(&"a", Claim::Active(3)).is_empty());
        assert_eq!(ownership.active(), Some((&"a", 3)));
        ownership.lost(&"a");
        assert_eq!(ownership.heard(&"b", Claim::Active(4)), ["a"]);
    }

    #[test]
    fn a_refutation_counts_for_its_own_term_only() {
        let mut ownership = of(&["a"]);
        ownership.heard(&"a", Claim::Active(3));
        ownership.refuted(&"a", 2, Claim::Standby);
        assert_eq!(ownership.active(), Some((&"a", 3)));
        ownership.refuted(&"a", 3, Claim::Standby);
        assert_eq!(ownership.active(), None);
        ownership.heard(&"a", Claim::Active(3));
        assert_eq!(ownership.active(), Some((&"a", 3)), "it insists");
    }

    #[test]
    fn strangers_are_not_heard() {
        let mut ownership = of(&["a"]);
        ownership.heard(&"a", Claim::Active(3));
        assert!(ownership.heard(&"b", Claim::Active(9)).is_empty());
        assert_eq!(ownership.active(), Some((&"a", 3)));
    }
}
