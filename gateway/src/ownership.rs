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

/// What follows from something said.
#[derive(Debug, PartialEq, Eq)]
pub struct Step<P> {
    /// Pods of which nothing may reach a client any more.
    pub cut: Vec<P>,
    /// Pods to ask at once what they are now.
    pub ask: Vec<P>,
}

/// The pods of one class, and their claims.
///
/// Guarantees that the terms of the pods it calls active only grow, as long as the class has any pod, and that it calls
/// none active before those of lower terms have let go or are cut off. So an owner that was paused while another took
/// over is not believed again, and nothing of its reaches a client after something of the next one's.
///
/// What two pods say can arrive in either order. A pod that is overtaken is therefore asked again before it is cut off:
/// if it has let go, what it still sends was done before the other took over.
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

impl<P> Default for Step<P> {
    fn default() -> Self {
        Self {
            cut: Vec::new(),
            ask: Vec::new(),
        }
    }
}

impl<P: Ord + Clone> Ownership<P> {
    /// Which pods there are now. Those that are new have said nothing; those that are gone without having drained are
    /// cut off, for nobody would notice if they still ran somewhere.
    pub fn set_pods(&mut self, pods: &BTreeSet<P>) -> Step<P> {
        let cut = self
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
        let ask = Vec::new();
        Step { cut, ask }
    }

    /// A pod said something.
    pub fn heard(&mut self, pod: &P, claim: Claim) -> Step<P> {
        let mut step = Step::default();
        let Some(known) = self.claims.get_mut(pod) else {
            return step;
        };
        match claim {
            Claim::Active(term) if term < self.highest => {
                // It insists although it was overtaken.
                *known = Claim::Unknown;
                step.cut.push(pod.clone());
            }
            Claim::Active(term) if term > self.highest => {
                *known = claim;
                self.highest = term;
                for (other, claim) in &self.claims {
                    match claim {
                        Claim::Active(_) if other != pod => step.ask.push(other.clone()),
                        Claim::Unknown => step.cut.push(other.clone()),
                        Claim::Active(_) | Claim::Standby | Claim::Draining => {}
                    }
                }
            }
            _ => *known = claim,
        }
        step
    }

    /// A pod could not be asked.
    pub fn lost(&mut self, pod: &P) -> Step<P> {
        let mut step = Step::default();
        match self.claims.get_mut(pod) {
            // It ends, as it said.
            None | Some(Claim::Draining) => {}
            Some(known) => {
                if matches!(known, Claim::Active(term) if *term < self.highest) {
                    step.cut.push(pod.clone());
                }
                *known = Claim::Unknown;
            }
        }
        step
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

    /// The pod to send requests to, and its term. None while an overtaken one may not have let go.
    #[must_use]
    pub fn active(&self) -> Option<(&P, u64)> {
        let mut active = None;
        for (pod, claim) in &self.claims {
            match claim {
                Claim::Active(term) if *term == self.highest => active = Some((pod, *term)),
                Claim::Active(_) => return None,
                Claim::Unknown | Claim::Standby | Claim::Draining => {}
            }
        }
        active
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

    fn nothing() -> Step<&'static str> {
        Step::default()
    }

    fn cut(pod: &'static str) -> Step<&'static str> {
        Step {
            cut: vec![pod],
            ask: vec![],
        }
    }

    fn ask(pod: &'static str) -> Step<&'static str> {
        Step {
            cut: vec![],
            ask: vec![pod],
        }
    }

    #[test]
    fn nobody_is_active_before_somebody_says_so() {
        let mut ownership = of(&["a", "b"]);
        ownership.heard(&"a", Claim::Standby);
        ownership.heard(&"b", Claim::Standby);
        assert_eq!(ownership.active(), None);
        assert_eq!(ownership.heard(&"b", Claim::Active(1)), nothing());
        assert_eq!(ownership.active(), Some((&"b", 1)));
    }

    #[test]
    fn an_overtaken_pod_is_asked_and_cut_off_if_it_insists() {
        let mut ownership = of(&["a", "b"]);
        ownership.heard(&"a", Claim::Active(4));
        ownership.heard(&"b", Claim::Standby);
        assert_eq!(ownership.heard(&"b", Claim::Active(5)), ask("a"));
        assert_eq!(ownership.active(), None, "a may not have let go");
        assert_eq!(ownership.heard(&"a", Claim::Active(4)), cut("a"));
        assert_eq!(ownership.active(), Some((&"b", 5)));
    }

    #[test]
    fn an_overtaken_pod_that_cannot_be_asked_is_cut_off() {
        let mut ownership = of(&["a", "b"]);
        ownership.heard(&"a", Claim::Active(4));
        ownership.heard(&"b", Claim::Active(5));
        assert_eq!(ownership.lost(&"a"), cut("a"));
        assert_eq!(ownership.active(), Some((&"b", 5)));
    }

    #[test]
    fn an_overtaken_pod_that_has_let_go_may_finish() {
        for let_go in [Claim::Draining, Claim::Standby] {
            let mut ownership = of(&["a", "b"]);
            ownership.heard(&"a", Claim::Active(4));
            ownership.heard(&"b", Claim::Active(5));
            assert_eq!(ownership.heard(&"a", let_go), nothing());
            assert_eq!(ownership.active(), Some((&"b", 5)));
        }
    }

    #[test]
    fn a_lower_term_never_comes_back() {
        let mut ownership = of(&["a", "b"]);
        ownership.heard(&"b", Claim::Active(5));
        assert_eq!(ownership.heard(&"a", Claim::Active(4)), cut("a"));
        assert_eq!(ownership.active(), Some((&"b", 5)));
        assert_eq!(ownership.lost(&"b"), nothing());
        assert_eq!(ownership.active(), None, "a is still the older one");
        assert_eq!(ownership.set_pods(&pods(&["a"])), cut("b"));
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
        ownership.heard(&"b", Claim::Standby);
        ownership.heard(&"a", Claim::Active(1));
        ownership.heard(&"a", Claim::Draining);
        assert_eq!(ownership.active(), None);
        assert_eq!(ownership.lost(&"a"), nothing());
        assert_eq!(ownership.heard(&"b", Claim::Active(2)), nothing());
        assert_eq!(ownership.set_pods(&pods(&["b"])), nothing());
        assert_eq!(ownership.set_pods(&pods(&[])), cut("b"), "it did not drain");
    }

    #[test]
    fn a_pod_that_was_lost_may_be_active_again() {
        let mut ownership = of(&["a", "b"]);
        ownership.heard(&"b", Claim::Standby);
        ownership.heard(&"a", Claim::Active(3));
        assert_eq!(ownership.lost(&"a"), nothing());
        assert_eq!(ownership.active(), None);
        assert_eq!(ownership.heard(&"a", Claim::Active(3)), nothing());
        assert_eq!(ownership.active(), Some((&"a", 3)));
        ownership.lost(&"a");
        assert_eq!(ownership.heard(&"b", Claim::Active(4)), cut("a"));
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
        assert_eq!(ownership.heard(&"b", Claim::Active(9)), nothing());
        assert_eq!(ownership.active(), Some((&"a", 3)));
    }
}
