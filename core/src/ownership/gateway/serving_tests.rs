//! Pods that serve beside each other.

use proptest::prelude::*;

use super::*;
use crate::ownership::{LEASE_MS, PATIENCE_MS};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn of(names: &[&'static str]) -> Gateway<&'static str> {
    let mut gateway = Gateway::default();
    gateway.set_pods(&names.iter().copied().collect());
    gateway
}

fn says(id: u128, renewals: u64) -> Option<Incarnation> {
    Some(Incarnation {
        id: PodId(id),
        renewals: Some(renewals),
    })
}

/// Who gets requests at all, whatever is drawn.
fn chosen(gateway: &Gateway<&'static str>) -> BTreeSet<&'static str> {
    let draws = (0..64_u64).map(|draw| ((draw % 8) << 32) | (draw / 8));
    let chosen = draws.filter_map(|draw| gateway.choose(&Wish::default(), |_| 0, draw));
    chosen
        .map(|(pod, term)| {
            assert_eq!(term, SERVING);
            *pod
        })
        .collect()
}

#[test]
fn every_serving_pod_gets_requests() {
    let mut gateway = of(&NAMES);
    assert_eq!(gateway.choose(&Wish::default(), |_| 0, 0), None);
    for (id, pod) in NAMES.iter().enumerate() {
        let step = gateway.heard(pod, says(id as u128, 0), Claim::Serving);
        assert_eq!(step.ask, <[&str; 0]>::default());
    }
    assert_eq!(chosen(&gateway), NAMES.into());
    assert_eq!(gateway.serving(), 4);
    assert_eq!(gateway.active(), None);
    gateway.heard(&"a", says(0, 0), Claim::Draining);
    gateway.refuted(&"b", SERVING, Claim::Standby);
    gateway.lost(&"c");
    assert_eq!(chosen(&gateway), ["d"].into());
    gateway.heard(&"b", says(1, 0), Claim::Serving);
    assert_eq!(chosen(&gateway), ["b", "d"].into());
    assert!(gateway.is_right(&"b", SERVING) && !gateway.is_right(&"c", SERVING));
}

#[test]
fn a_pod_that_does_not_say_how_often_its_lease_was_renewed_is_not_believed() {
    let mut gateway = of(&["a"]);
    gateway.heard(&"a", None, Claim::Serving);
    assert_eq!(gateway.choose(&Wish::default(), |_| 0, 0), None);
}

#[test]
fn a_lease_that_is_not_heard_to_be_renewed_ends_the_choice_and_nothing_else() {
    let mut gateway = of(&["a", "b"]);
    gateway.set_time(1_000);
    gateway.heard(&"a", says(1, 5), Claim::Serving);
    gateway.heard(&"b", says(2, 5), Claim::Serving);
    gateway.set_time(2_000);
    gateway.heard(&"a", says(1, 5), Claim::Serving);
    gateway.set_time(3_000);
    gateway.heard(&"a", says(1, 6), Claim::Serving);
    gateway.set_time(1_000 + LEASE_MS);
    assert_eq!(chosen(&gateway), ["a", "b"].into());
    gateway.set_time(1_001 + LEASE_MS);
    assert_eq!(chosen(&gateway), ["a"].into());
    // It was renewed after it was heard that it was not.
    gateway.set_time(2_001 + LEASE_MS);
    assert_eq!(gateway.serving(), 0);
    // The store is away: the same of all, for long, and nobody is cut off.
    for now in (8_000..60_000).step_by(1_000) {
        gateway.set_time(now);
        for (pod, id, renewals) in [("a", 1, 6), ("b", 2, 5)] {
            let step = gateway.heard(&pod, says(id, renewals), Claim::Serving);
            assert_eq!(step, Step::default());
        }
        assert_eq!(chosen(&gateway), BTreeSet::new());
    }
    // It is back.
    let step = gateway.heard(&"a", says(1, 7), Claim::Serving);
    assert_eq!(step, Step::default());
    assert_eq!(chosen(&gateway), ["a"].into());
    // Nobody knows when it was renewed within the long time in which nothing is heard of it.
    gateway.lost(&"a");
    gateway.set_time(70_000);
    gateway.heard(&"a", says(1, 8), Claim::Serving);
    assert_eq!(gateway.serving(), 0);
    gateway.set_time(71_000);
    gateway.heard(&"a", says(1, 9), Claim::Serving);
    assert_eq!(chosen(&gateway), ["a"].into());
}

#[test]
fn nobody_is_cut_off_however_long_the_store_is_away() {
    let tenths = |until: u64| (0..until).map(|tenth| tenth * 100);
    // The times of the second pod, beside those of the first, and when and for how long the store is away.
    for asked in tenths(10) {
        for renewed in [0, 100, 250, 400] {
            for (from, away) in tenths(10).flat_map(|from| tenths(50).map(move |away| (from, away)))
            {
                away_for([0, asked], [0, renewed], 3_000 + from, away);
            }
        }
    }
}

/// Two pods are asked once a second and renew their leases twice, each so much later than on the second.
fn away_for(asked: [Millis; 2], renewed: [Millis; 2], from: Millis, away: Millis) {
    let mut gateway = of(&["a", "b"]);
    let mut renewals = [0; 2];
    for now in (1_000..11_000).step_by(50) {
        gateway.set_time(now);
        for (index, pod) in ["a", "b"].into_iter().enumerate() {
            let is_away = (from..from + away).contains(&now);
            if !is_away && (now - renewed[index]).is_multiple_of(500) {
                renewals[index] += 1;
            }
            if (now - asked[index]).is_multiple_of(1_000) {
                let said = says(index as u128, renewals[index]);
                let step = gateway.heard(&pod, said, Claim::Serving);
                // Before anybody serves all are strangers.
                let is_begun = now >= 2_000;
                let what = format!("{asked:?} {renewed:?} {from} {away} {now}");
                assert!(!is_begun || step == Step::default(), "{what}");
            }
        }
    }
    assert_eq!(gateway.serving(), 2);
}

/// The second pod's lease ends, in whatever way that looks, while the first one's is renewed. Until when it is cut off.
fn outlived(looks: impl Fn(&mut Gateway<&'static str>) -> Step<&'static str>) -> Millis {
    let mut gateway = of(&["a", "b"]);
    gateway.heard(&"b", says(2, 9), Claim::Serving);
    for second in 0.. {
        gateway.set_time(second * 1_000);
        let mut cut = gateway.heard(&"a", says(1, second * 2), Claim::Serving).cut;
        cut.extend(looks(&mut gateway).cut);
        if !cut.is_empty() {
            assert_eq!((cut, chosen(&gateway)), (vec!["b"], ["a"].into()));
            // One renewal may have been under way, and more than one was not.
            for renewals in [9, 10, 11] {
                gateway.heard(&"b", says(2, renewals), Claim::Serving);
                assert_eq!(chosen(&gateway).contains("b"), renewals == 11);
            }
            return second * 1_000;
        }
    }
    unreachable!("it is not cut off")
}

#[test]
fn a_pod_whose_lease_ends_while_others_are_renewed_is_cut_off() {
    let silent = outlived(|gateway| gateway.lost(&"b"));
    let paused = outlived(|_| Step::default());
    let without_store = outlived(|gateway| gateway.heard(&"b", says(2, 9), Claim::Serving));
    let on_standby = outlived(|gateway| gateway.heard(&"b", says(2, 9), Claim::Standby));
    for cut in [silent, paused, without_store, on_standby] {
        assert!((PATIENCE_MS..=PATIENCE_MS + 1_500).contains(&cut), "{cut}");
    }
}

#[test]
fn what_a_draining_pod_has_begun_goes_on_without_its_lease() {
    let mut gateway = of(&["a", "b"]);
    gateway.heard(&"b", says(2, 9), Claim::Serving);
    gateway.heard(&"b", says(2, 9), Claim::Draining);
    for second in 0..20 {
        gateway.set_time(second * 1_000);
        let step = gateway.heard(&"a", says(1, second), Claim::Serving);
        assert_eq!(step, Step::default());
    }
    assert_eq!(gateway.lost(&"b"), Step::default());
}

#[test]
fn pods_that_serve_overtake_the_one_that_was_active() {
    let mut gateway = of(&["a", "b", "c"]);
    gateway.heard(&"a", says(1, 0), Claim::Active(7));
    gateway.heard(&"b", says(2, 0), Claim::Standby);
    gateway.heard(&"c", says(3, 0), Claim::Standby);
    let step = gateway.heard(&"b", says(2, 1), Claim::Serving);
    assert_eq!((step.ask, step.cut), (vec!["a", "c"], vec![]));
    assert_eq!(gateway.choose(&Wish::default(), |_| 0, 0), None);
    gateway.heard(&"c", says(3, 1), Claim::Serving);
    let step = gateway.heard(&"a", says(1, 0), Claim::Active(7));
    assert_eq!(step.cut, ["a"], "it insists");
    assert_eq!(chosen(&gateway), ["b", "c"].into());
    assert_eq!(gateway.falls(), 0);
}

#[test]
fn a_rollback_to_a_version_that_does_not_serve_beside_others() {
    let mut gateway = of(&["a", "b", "c"]);
    gateway.heard(&"a", says(1, 0), Claim::Serving);
    gateway.heard(&"b", says(2, 0), Claim::Serving);
    gateway.heard(&"c", says(3, 0), Claim::Standby);
    gateway.heard(&"c", says(3, 1), Claim::Standby);
    gateway.heard(&"a", says(1, 1), Claim::Draining);
    assert_eq!(chosen(&gateway), ["b"].into());
    gateway.heard(&"b", says(2, 1), Claim::Draining);
    let step = gateway.heard(&"c", says(3, 2), Claim::Active(9));
    assert_eq!(step, Step::default());
    assert_eq!(gateway.active(), Some((&"c", 9)));
    assert_eq!(gateway.falls(), 0);
    // And forward again.
    let step = gateway.heard(&"a", says(4, 0), Claim::Serving);
    assert_eq!(step.ask, ["c"]);
    gateway.heard(&"c", says(3, 3), Claim::Draining);
    assert_eq!(chosen(&gateway), ["a"].into());
}

/// It has said that it waits, before one of the others began to serve: it is asked again, for it says nothing by itself until it is active.
#[test]
fn a_rollback_while_others_still_begin_to_serve() {
    let mut gateway = of(&["a", "b", "old"]);
    gateway.heard(&"a", says(1, 1), Claim::Serving);
    gateway.heard(&"old", None, Claim::Standby);
    gateway.heard(&"old", None, Claim::Standby);
    let step = gateway.heard(&"b", says(2, 1), Claim::Serving);
    assert_eq!(step.ask, ["old"]);
    // This may be the answer to what was asked before.
    assert_eq!(gateway.heard(&"old", None, Claim::Standby).ask, ["old"]);
    let none = <[&str; 0]>::default();
    assert_eq!(gateway.heard(&"old", None, Claim::Standby).ask, none);
    for (id, pod) in [(1, "a"), (2, "b")] {
        gateway.heard(&pod, says(id, 2), Claim::Draining);
    }
    gateway.heard(&"old", None, Claim::Active(3));
    assert_eq!(gateway.active(), Some((&"old", 3)));
}

#[test]
fn one_that_was_active_before_others_served_is_not_believed_when_they_have_gone() {
    let mut gateway = of(&["a", "b", "c"]);
    gateway.heard(&"b", says(2, 0), Claim::Serving);
    gateway.heard(&"a", says(1, 0), Claim::Standby);
    gateway.heard(&"a", says(1, 0), Claim::Standby);
    // It becomes active, unheard; then others serve again, and drain.
    gateway.heard(&"b", says(2, 1), Claim::Draining);
    gateway.lost(&"a");
    gateway.heard(&"c", says(3, 0), Claim::Serving);
    gateway.heard(&"c", says(3, 1), Claim::Draining);
    for _ in 0..3 {
        let step = gateway.heard(&"a", says(1, 0), Claim::Active(7));
        assert_eq!(step.cut, ["a"]);
        assert_eq!(gateway.active(), None);
    }
}

/// Gateways of older versions read serving pods as active ones in the same term.
#[test]
fn several_that_are_active_in_the_same_term_are_sent_everything_one_after_the_other() {
    let mut gateway = of(&["a", "b", "c"]);
    let active = Claim::Active((1 << 53) - 1);
    gateway.heard(&"a", says(1, 0), Claim::Active(7));
    let step = gateway.heard(&"b", says(2, 0), active);
    assert_eq!(step.ask, ["a"], "the active one of an older version");
    gateway.heard(&"a", says(1, 0), Claim::Draining);
    for (pod, id) in [("c", 3), ("b", 2), ("c", 3)] {
        let step = gateway.heard(&pod, says(id, 1), active);
        assert_eq!(step, Step::default());
        assert!(gateway.active().is_some());
    }
    for (pod, next) in [("c", Some("b")), ("b", None)] {
        assert_eq!(gateway.active().map(|(pod, _)| *pod), Some(pod));
        gateway.heard(&pod, None, Claim::Draining);
        assert_eq!(gateway.active().map(|(pod, _)| *pod), next);
    }
}

fn serving(count: usize) -> Gateway<&'static str> {
    let mut gateway = of(&NAMES[..count]);
    for (id, pod) in NAMES[..count].iter().enumerate() {
        gateway.heard(pod, says(id as u128, 0), Claim::Serving);
    }
    gateway
}

#[test]
fn equal_pods_get_equal_shares() {
    for count in 1..=NAMES.len() {
        let gateway = serving(count);
        let mut shares = BTreeMap::<&str, usize>::new();
        let draws = 12_u64;
        for draw in (0..draws).flat_map(|one| (0..draws).map(move |other| one << 32 | other)) {
            let (pod, _) = gateway.choose(&Wish::default(), |_| 3, draw).unwrap();
            *shares.entry(*pod).or_default() += 1;
        }
        let expected = 144 / count;
        assert!(
            shares.values().all(|share| *share == expected),
            "{shares:?}"
        );
        assert_eq!(shares.len(), count);
    }
}

proptest! {
    #[test]
    fn the_busiest_pod_is_not_chosen_and_the_owner_is_unless_it_is_much_busier(
        loads in prop::collection::vec(0..60_usize, 2..=4),
        draw: u64,
        owner in 0..5_usize,
        avoided in 0..5_usize,
    ) {
        let gateway = serving(loads.len());
        let index = |pod: &str| NAMES.iter().position(|name| *name == pod).unwrap();
        let load = |pod: &&'static str| loads[index(pod)];
        let plain = Wish::default();
        let least = index(gateway.choose(&plain, load, draw).unwrap().0);
        let busiest = loads.iter().filter(|it| **it >= loads[least]).count();
        prop_assert!(busiest >= 2, "another is at least as busy");
        let wish = Wish { owner: Some(PodId(owner as u128)), avoided: vec![] };
        let found = index(gateway.choose(&wish, load, draw).unwrap().0);
        let is_fine = owner < loads.len() && loads[owner] <= loads[least] + MAX_EXCESS;
        prop_assert_eq!(found, if is_fine { owner } else { least });
        let wish = Wish { owner: wish.owner, avoided: NAMES.get(avoided).copied().into_iter().collect() };
        let found = index(gateway.choose(&wish, load, draw).unwrap().0);
        prop_assert_ne!(found, avoided);
    }
}

#[test]
fn a_pod_that_is_to_be_avoided_is_better_than_none() {
    let gateway = serving(1);
    let wish = Wish {
        owner: None,
        avoided: vec!["a"],
    };
    assert_eq!(gateway.choose(&wish, |_| 0, 7), Some((&"a", SERVING)));
}

#[test]
fn all_pods_are_tried_before_one_is_tried_again() {
    let gateway = serving(3);
    let busy = |pod: &&str| if *pod == "c" { 50 } else { 0 };
    let found = |avoided: &[&'static str], draw| {
        let wish = Wish {
            owner: None,
            avoided: avoided.to_vec(),
        };
        *gateway.choose(&wish, busy, draw).unwrap().0
    };
    for draw in 0..20 {
        assert_eq!(found(&["a", "b"], draw << 32), "c");
        assert_eq!(found(&["b", "a"], draw << 32), "c");
        assert_ne!(found(&["a", "b", "c"], draw << 32), "c");
    }
}

/// A pod as it is, whatever is known of it.
#[derive(Debug, Clone, Copy, Default)]
struct Played {
    start: u64,
    renewals: u64,
    renewed: Millis,
    paused_until: Millis,
    apart_until: Millis,
    without_store_until: Millis,
    drains: bool,
    /// From when on nothing has been wrong with it or the store; from when on something has been with it.
    good_since: Millis,
    bad_since: Option<Millis>,
    /// It was cut off, and has not been chosen since.
    is_cut: bool,
    /// Which start of it was heard last, and whether it said that it serves.
    heard: Option<(u64, bool)>,
    /// When this start was heard first: what it says then is believed.
    met: Millis,
}

impl Played {
    fn suffers(&mut self, what: u8, now: Millis, until: Millis) {
        match what {
            0 => self.paused_until = until,
            1 => self.apart_until = until,
            2 => self.without_store_until = until,
            3 => self.drains = true,
            _ => {
                *self = Self {
                    start: self.start + 1,
                    heard: self.heard,
                    renewed: now,
                    good_since: now,
                    ..Self::default()
                };
            }
        }
    }

    fn goes_on(&mut self, now: Millis, is_store_up: bool) {
        let is_paused = self.paused_until > now;
        let has_store = is_store_up && self.without_store_until <= now;
        if !is_paused && has_store && now >= self.renewed + 500 {
            self.renewals += 1;
            self.renewed = now;
        }
        let is_bad = is_paused || self.apart_until > now || self.without_store_until > now;
        self.bad_since = is_bad.then(|| self.bad_since.unwrap_or(now));
        if is_bad || !is_store_up || self.drains {
            self.good_since = now;
        }
    }
}

struct Play {
    gateway: Gateway<&'static str>,
    pods: [Played; 4],
    /// From when on the store has worked.
    store_since: Millis,
}

impl Play {
    fn ask(&mut self, index: usize, now: Millis) -> Result<(), TestCaseError> {
        let (name, pod) = (NAMES[index], &mut self.pods[index]);
        let mut restarted = false;
        let step = if pod.paused_until > now || pod.apart_until > now {
            self.gateway.lost(&name)
        } else {
            let claim = match pod.drains {
                true => Claim::Draining,
                false => Claim::Serving,
            };
            restarted = pod.heard.is_some_and(|(start, _)| start != pod.start);
            if restarted || pod.heard.is_none() {
                pod.met = now;
            }
            pod.heard = Some((pod.start, !pod.drains));
            let incarnation = says(u128::from(pod.start) << 8 | index as u128, pod.renewals);
            self.gateway.heard(&name, incarnation, claim)
        };
        prop_assert!(step.ask.is_empty());
        for name in step.cut {
            let cut = NAMES.iter().position(|it| *it == name).unwrap();
            let was_bad = self.pods[cut].bad_since.is_some()
                || now - self.pods[cut].good_since.min(now) <= 3_000;
            prop_assert!(was_bad || (cut == index && restarted), "{name} at {now}");
            self.pods[cut].is_cut = true;
        }
        Ok(())
    }

    fn check(&mut self, now: Millis) -> Result<(), TestCaseError> {
        let chosen = chosen(&self.gateway);
        let is_good = |pod: &Played, since: Millis| pod.good_since + since <= now;
        let somebody_is_good = self.pods.iter().any(|pod| is_good(pod, 11_000));
        for (name, pod) in NAMES.iter().zip(&mut self.pods) {
            let is_chosen = chosen.contains(name);
            pod.is_cut &= !is_chosen;
            prop_assert!(!is_chosen || pod.heard.is_some_and(|(_, serves)| serves));
            let is_over = pod.renewed.max(pod.met) + LEASE_MS < now;
            prop_assert!(!(is_chosen && is_over), "{name} has no lease at {now}");
            prop_assert!(is_chosen || !is_good(pod, 4_000), "{name} is good at {now}");
            // What it renewed before may be heard once its lease is over.
            let is_bad_for_long = pod.bad_since.is_some_and(|since| {
                let had_served = pod.heard == Some((pod.start, true)) && !pod.drains;
                had_served && since.max(self.store_since).max(pod.met) + 11_000 <= now
            });
            let may_be_heard = !is_bad_for_long || !somebody_is_good || pod.is_cut;
            prop_assert!(may_be_heard, "{name} is heard at {now}");
        }
        Ok(())
    }
}

/// Something goes wrong each second and a half, with a pod or the store, for some tenths of a second; pods renew their leases
/// twice a second and are asked once.
fn play(faults: &[(usize, u8, u64)]) -> Result<(), TestCaseError> {
    let mut play = Play {
        gateway: of(&NAMES),
        pods: [Played::default(); 4],
        store_since: 0,
    };
    let mut store_until = 0;
    for tick in 0..faults.len() as u64 * 15 + 200 {
        let now = tick * 100;
        play.gateway.set_time(now);
        let fault = faults.get((tick / 15) as usize);
        if let Some((pod, what, tenths)) = fault.filter(|_| tick % 15 == 0) {
            match what {
                5 => store_until = now + tenths * 100,
                what => play.pods[*pod].suffers(*what, now, now + tenths * 100),
            }
        }
        let is_store_up = store_until <= now;
        if !is_store_up {
            play.store_since = now;
        }
        for index in 0..play.pods.len() {
            play.pods[index].goes_on(now, is_store_up);
            if (tick + 3 * index as u64).is_multiple_of(10) {
                play.ask(index, now)?;
            }
        }
        play.check(now)?;
    }
    Ok(())
}

proptest! {
    #[test]
    fn requests_go_to_pods_with_a_lease_and_only_those_without_are_cut_off(
        faults in prop::collection::vec((0..4_usize, 0..6_u8, 1..120_u64), 0..25),
    ) {
        play(&faults)?;
    }
}
