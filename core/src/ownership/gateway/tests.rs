use proptest::prelude::*;

use super::*;
use crate::ownership::invariants;

fn pods(names: &[&'static str]) -> BTreeSet<&'static str> {
    names.iter().copied().collect()
}

fn of(names: &[&'static str]) -> Gateway<&'static str> {
    let mut gateway = Gateway::default();
    gateway.set_pods(&pods(names));
    gateway
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
    let mut gateway = of(&["a", "b"]);
    gateway.heard(&"a", None, Claim::Standby);
    gateway.heard(&"b", None, Claim::Standby);
    assert_eq!(gateway.active(), None);
    assert_eq!(gateway.heard(&"b", None, Claim::Active(1)), nothing());
    assert_eq!(gateway.active(), Some((&"b", 1)));
}

#[test]
fn an_overtaken_pod_is_asked_and_cut_off_if_it_insists() {
    let mut gateway = of(&["a", "b"]);
    gateway.heard(&"a", None, Claim::Active(4));
    gateway.heard(&"b", None, Claim::Standby);
    assert_eq!(gateway.heard(&"b", None, Claim::Active(5)), ask("a"));
    assert_eq!(gateway.active(), None, "a may not have let go");
    assert_eq!(gateway.heard(&"a", None, Claim::Active(4)), cut("a"));
    assert_eq!(gateway.active(), Some((&"b", 5)));
}

#[test]
fn an_overtaken_pod_that_cannot_be_asked_is_cut_off() {
    let mut gateway = of(&["a", "b"]);
    gateway.heard(&"a", None, Claim::Active(4));
    gateway.heard(&"b", None, Claim::Active(5));
    assert_eq!(gateway.lost(&"a"), cut("a"));
    assert_eq!(gateway.active(), Some((&"b", 5)));
}

#[test]
fn an_overtaken_pod_that_has_let_go_may_finish() {
    for let_go in [Claim::Draining, Claim::Standby] {
        let mut gateway = of(&["a", "b"]);
        gateway.heard(&"a", None, Claim::Active(4));
        gateway.heard(&"b", None, Claim::Active(5));
        assert_eq!(gateway.heard(&"a", None, let_go), nothing());
        assert_eq!(gateway.active(), Some((&"b", 5)));
    }
}

#[test]
fn a_lower_term_never_comes_back() {
    let mut gateway = of(&["a", "b"]);
    gateway.heard(&"b", None, Claim::Active(5));
    assert_eq!(gateway.heard(&"a", None, Claim::Active(4)), cut("a"));
    assert_eq!(gateway.active(), Some((&"b", 5)));
    assert_eq!(gateway.lost(&"b"), nothing());
    assert_eq!(gateway.active(), None, "a is still the older one");
    assert_eq!(gateway.set_pods(&pods(&["a"])), cut("b"));
    gateway.heard(&"a", None, Claim::Active(4));
    assert_eq!(gateway.active(), None, "even alone");
    gateway.heard(&"a", None, Claim::Active(6));
    assert_eq!(gateway.active(), Some((&"a", 6)));
}

#[test]
fn a_class_without_pods_starts_afresh() {
    let mut gateway = of(&["a"]);
    gateway.heard(&"a", None, Claim::Active(9));
    gateway.set_pods(&pods(&[]));
    gateway.set_pods(&pods(&["b"]));
    gateway.heard(&"b", None, Claim::Active(1));
    assert_eq!(gateway.active(), Some((&"b", 1)));
}

#[test]
fn a_draining_pod_takes_nothing_new_and_keeps_what_it_runs() {
    let mut gateway = of(&["a", "b"]);
    gateway.heard(&"b", None, Claim::Standby);
    gateway.heard(&"a", None, Claim::Active(1));
    gateway.heard(&"a", None, Claim::Draining);
    assert_eq!(gateway.active(), None);
    assert_eq!(gateway.lost(&"a"), nothing());
    assert_eq!(gateway.heard(&"b", None, Claim::Active(2)), nothing());
    assert_eq!(gateway.set_pods(&pods(&["b"])), nothing());
    assert_eq!(gateway.set_pods(&pods(&[])), cut("b"), "it did not drain");
}

#[test]
fn a_pod_that_was_lost_may_be_active_again() {
    let mut gateway = of(&["a", "b"]);
    gateway.heard(&"b", None, Claim::Standby);
    gateway.heard(&"a", None, Claim::Active(3));
    assert_eq!(gateway.lost(&"a"), nothing());
    assert_eq!(gateway.active(), None);
    assert_eq!(gateway.heard(&"a", None, Claim::Active(3)), nothing());
    assert_eq!(gateway.active(), Some((&"a", 3)));
    gateway.lost(&"a");
    assert_eq!(gateway.heard(&"b", None, Claim::Active(4)), cut("a"));
}

#[test]
fn a_refutation_counts_for_its_own_term_only() {
    let mut gateway = of(&["a"]);
    gateway.heard(&"a", None, Claim::Active(3));
    gateway.refuted(&"a", 2, Claim::Standby);
    assert_eq!(gateway.active(), Some((&"a", 3)));
    gateway.refuted(&"a", 3, Claim::Standby);
    assert_eq!(gateway.active(), None);
    gateway.heard(&"a", None, Claim::Active(3));
    assert_eq!(gateway.active(), Some((&"a", 3)), "it insists");
}

#[test]
fn strangers_are_not_heard() {
    let mut gateway = of(&["a"]);
    gateway.heard(&"a", None, Claim::Active(3));
    assert_eq!(gateway.heard(&"b", None, Claim::Active(9)), nothing());
    assert_eq!(gateway.active(), Some((&"a", 3)));
}

const ONE: Incarnation = start(1);
const TWO: Incarnation = start(2);

const fn start(id: u128) -> Incarnation {
    Incarnation {
        id: PodId(id),
        renewals: None,
    }
}

/// The same, having renewed its lease so often.
const fn renewed(id: u128, renewals: u64) -> Option<Incarnation> {
    Some(Incarnation {
        id: PodId(id),
        renewals: Some(renewals),
    })
}

#[test]
fn after_an_older_database_was_restored_a_lower_term_is_believed() {
    // Their rows are gone: both are over, are started anew at their places, and one claims from the older state.
    let mut gateway = of(&["a", "b"]);
    gateway.heard(&"b", Some(TWO), Claim::Standby);
    gateway.heard(&"a", Some(ONE), Claim::Active(7));
    gateway.heard(&"a", Some(ONE), Claim::Draining);
    gateway.heard(&"b", Some(TWO), Claim::Draining);
    gateway.lost(&"a");
    gateway.lost(&"b");
    gateway.heard(&"a", Some(start(3)), Claim::Standby);
    gateway.heard(&"b", Some(start(4)), Claim::Standby);
    assert_eq!(gateway.active(), None);
    assert_eq!(
        gateway.heard(&"b", Some(start(4)), Claim::Active(3)),
        nothing()
    );
    assert_eq!(gateway.active(), Some((&"b", 3)));
    assert_eq!(gateway.falls(), 1);
    // And from there on as before.
    assert_eq!(
        gateway.heard(&"a", Some(start(3)), Claim::Active(2)),
        cut("a")
    );
    assert_eq!(gateway.active(), Some((&"b", 3)));
}

#[test]
fn a_pod_that_was_started_anew_is_believed_though_it_was_not_seen_to_wait() {
    let mut gateway = of(&["a"]);
    gateway.heard(&"a", Some(ONE), Claim::Active(7));
    gateway.heard(&"a", Some(ONE), Claim::Active(7));
    gateway.lost(&"a");
    assert_eq!(
        gateway.heard(&"a", Some(TWO), Claim::Active(3)),
        cut("a"),
        "what the old one sent"
    );
    assert_eq!(gateway.active(), Some((&"a", 3)));
}

#[test]
fn a_lower_term_waits_until_those_of_higher_ones_are_gone() {
    let mut gateway = of(&["a", "b"]);
    gateway.heard(&"b", Some(TWO), Claim::Standby);
    gateway.heard(&"a", Some(ONE), Claim::Active(7));
    gateway.heard(&"b", Some(TWO), Claim::Standby); // perhaps from before
    gateway.heard(&"b", Some(TWO), Claim::Standby);
    // Nobody knows yet whether a has let go.
    assert_eq!(gateway.heard(&"b", Some(TWO), Claim::Active(3)), cut("b"));
    assert_eq!(gateway.active(), None.or(Some((&"a", 7))));
    let step = gateway.set_pods(&pods(&["b"]));
    assert_eq!(
        (step.cut, step.ask),
        (vec!["a"], vec!["b"]),
        "now b is asked again"
    );
    gateway.heard(&"b", Some(TWO), Claim::Active(3));
    assert_eq!(gateway.active(), Some((&"b", 3)));
}

#[test]
fn a_pod_that_was_overtaken_is_not_believed_when_its_successor_has_gone() {
    let mut gateway = of(&["a", "b"]);
    gateway.heard(&"a", Some(ONE), Claim::Active(4));
    gateway.heard(&"b", Some(TWO), Claim::Active(5));
    gateway.lost(&"a"); // paused
    gateway.heard(&"b", Some(TWO), Claim::Draining);
    for _ in 0..3 {
        assert_eq!(gateway.heard(&"a", Some(ONE), Claim::Active(4)), cut("a"));
        assert_eq!(gateway.active(), None);
    }
}

/// Two pods, the first of which claimed a term; the other could not be reached until the database had been restored, all
/// had been started anew, and it had claimed a lower term.
fn restored_out_of_reach() -> Gateway<&'static str> {
    let mut gateway = of(&["a", "b"]);
    gateway.heard(&"b", renewed(2, 5), Claim::Standby);
    gateway.heard(&"a", renewed(1, 5), Claim::Active(7));
    gateway.lost(&"b");
    gateway.lost(&"a");
    gateway.heard(&"a", renewed(3, 0), Claim::Standby);
    gateway
}

#[test]
fn a_lower_term_is_believed_once_the_pod_has_renewed_its_lease_since() {
    let mut gateway = restored_out_of_reach();
    // Asked before the higher term was heard, it could be from any time; the next answer is not.
    for renewals in [1, 3, 3, 4] {
        let step = gateway.heard(&"b", renewed(4, renewals), Claim::Active(3));
        assert_eq!(step.ask, ["b"], "asked again after {renewals}");
        assert_eq!(gateway.active(), None);
    }
    // One may have been under way when it said 3. The one after that was carried out after the higher term was claimed.
    gateway.heard(&"b", renewed(4, 5), Claim::Active(3));
    assert_eq!(gateway.active(), Some((&"b", 3)));
    assert_eq!(gateway.falls(), 1);
}

#[test]
fn a_pod_that_was_overtaken_and_does_not_renew_its_lease_is_not_believed() {
    let mut gateway = restored_out_of_reach();
    for _ in 0..5 {
        gateway.heard(&"b", renewed(4, 9), Claim::Active(3));
        gateway.lost(&"b");
        assert_eq!(gateway.active(), None);
    }
}

#[test]
fn renewals_do_not_help_beside_somebody_who_claimed_a_higher_term() {
    let mut gateway = of(&["a", "b"]);
    gateway.heard(&"a", renewed(1, 5), Claim::Active(7));
    for renewals in [1, 3, 5, 7, 9] {
        gateway.heard(&"b", renewed(2, renewals), Claim::Active(3));
        assert_eq!(gateway.active(), Some((&"a", 7)));
    }
}

#[test]
fn a_pod_that_comes_when_no_claimant_is_left_is_believed() {
    let mut gateway = of(&["a", "b"]);
    gateway.heard(&"a", Some(ONE), Claim::Active(7));
    gateway.set_pods(&pods(&["b"]));
    gateway.set_pods(&pods(&["b", "c"]));
    gateway.heard(&"c", Some(TWO), Claim::Active(2));
    assert_eq!(gateway.active(), Some((&"c", 2)));
}

/// What pods of a store that only moves forward say, in the order of their terms, each answer as late as it may be: an
/// answer is heard after the one before it of the same pod.
fn history() -> impl Strategy<Value = Vec<(usize, u8)>> {
    prop::collection::vec((0..3_usize, 0..6_u8), 0..60)
}

/// Plays a history; returns the first violation.
fn play(history: &[(usize, u8)], mechanisms: Mechanisms) -> Result<(), invariants::Violation> {
    let names = ["a", "b", "c"];
    let mut gateway = Gateway::new(mechanisms);
    gateway.set_pods(&pods(&names));
    let (mut term, mut claims) = (0, [Claim::Standby; 3]);
    // What each has said and the gateway has not heard yet: at most one answer, as a pod is asked again after that.
    let mut under_way = [None; 3];
    // The lease of one that was overtaken is renewed no more; but what was carried out before may be confirmed after.
    let (mut renewals, mut renews_once_more) = ([0; 3], [true; 3]);
    let mut before = None;
    for &(pod, what) in history {
        for other in 0..3 {
            let is_overtaken = matches!(claims[other], Claim::Active(old) if old < term);
            if !is_overtaken || renews_once_more[other] {
                renewals[other] += 1;
            }
            renews_once_more[other] = !is_overtaken;
        }
        match what {
            0 => {
                // Another takes over; the one before does not notice until it is told to.
                term += 1;
                claims[pod] = Claim::Active(term);
            }
            1 if claims[pod] != Claim::Active(term) => claims[pod] = Claim::Draining,
            2 if matches!(claims[pod], Claim::Active(old) if old < term) => {
                claims[pod] = Claim::Draining
            }
            3 => {
                gateway.lost(&names[pod]);
            }
            4 => under_way[pod] = under_way[pod].or(Some((claims[pod], renewals[pod]))),
            _ => {
                if let Some((claim, renewals)) = under_way[pod].take() {
                    gateway.heard(&names[pod], renewed(pod as u128, renewals), claim);
                }
            }
        }
        let now = gateway.active().map(|(_, term)| term);
        invariants::terms_grow(before, now, false)?;
        before = now.or(before);
    }
    Ok(())
}

proptest! {
    #[test]
    fn terms_never_fall(history in history()) {
        prop_assert_eq!(play(&history, Mechanisms::default()), Ok(()));
    }
}

#[test]
fn without_the_filter_a_term_falls() {
    let overtaken = [
        (0, 0),
        (0, 4),
        (0, 5), // a is active,
        (0, 4),
        (0, 3), // says so again, and is not heard for a while,
        (1, 0),
        (1, 4),
        (1, 5), // in which b takes over,
        (0, 5),
        (1, 3), // and when b is lost, a is heard
    ];
    assert_eq!(play(&overtaken, Mechanisms::default()), Ok(()));
    let mutant = Mechanisms::default().without_gateway_filter();
    assert!(play(&overtaken, mutant).is_err());
}
