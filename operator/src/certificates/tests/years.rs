//! Simulated years: whoever has read the authorities' certificates within the last day accepts every certificate that may be in use.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::super::authority::{Authorities, Moment};
use super::super::certificate::Certificate;
use super::super::leaf::{self, Leaf};
use super::super::secrets::{authorities_data, leaf_data, read_authorities, read_leaf};

const DAY: SignedDuration = SignedDuration::from_hours(24);
const STEP: SignedDuration = SignedDuration::from_hours(12);

/// Something, and since when it is what is stored.
type Since<T> = Vec<(Timestamp, T)>;

/// What there is, and what there was within the last day.
struct World {
    now: Timestamp,
    told: Timestamp,
    authorities: Option<Authorities>,
    leaf: Option<Leaf>,
    believed: Since<Vec<Certificate>>,
    used: Since<Certificate>,
}

impl World {
    fn new() -> Self {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        Self {
            now,
            told: now,
            authorities: None,
            leaf: None,
            believed: vec![],
            used: vec![],
        }
    }

    /// Looks, as the operator does. What is stored is read as it was written.
    fn look(&mut self) {
        let moment = Moment {
            now: self.now,
            told: self.told,
        };
        let found = self.authorities.as_ref();
        let after = Authorities::after(found, self.leaf.as_ref(), moment).unwrap();
        if let Some((all, _)) = after {
            let stored = read_authorities(&authorities_data(&all)).unwrap();
            self.authorities = Some(stored);
        }
        let all = self.authorities.clone().unwrap();
        let believed: Vec<Certificate> = all.believed().cloned().collect();
        if self.believed.last().map(|(_, it)| it) != Some(&believed) {
            self.believed.push((self.now, believed));
            self.told = self.now;
        }
        let moment = Moment {
            now: self.now,
            told: self.told,
        };
        let names = names();
        let leaf = self.leaf.take();
        let leaf = leaf.filter(|leaf| leaf.trouble(&all, &names, moment).is_none());
        let leaf = leaf.unwrap_or_else(|| Leaf::issue(&all, &names, self.now).unwrap());
        if self.used.last().map(|(_, it)| it) != Some(&leaf.certificate) {
            self.used.push((self.now, leaf.certificate.clone()));
        }
        let believed = all.believed().cloned().collect();
        let leaf = Leaf { believed, ..leaf };
        self.leaf = Some(read_leaf(&leaf_data(&leaf)).unwrap());
    }

    /// What was stored at some time within the last day.
    fn within_a_day<T>(all: &Since<T>, now: Timestamp) -> impl Iterator<Item = &T> {
        let until = all.iter().skip(1).map(|(next, _)| Some(*next));
        let until = until.chain([None]);
        let recent = all.iter().zip(until);
        recent
            .filter(move |(_, until)| until.is_none_or(|until| until + DAY > now))
            .map(|((_, one), _)| one)
    }

    fn check(&self) {
        let names = names();
        for believed in Self::within_a_day(&self.believed, self.now) {
            for used in Self::within_a_day(&self.used, self.now) {
                assert!(
                    used.is_accepted(believed, &names, self.now),
                    "at {}, of {} authorities",
                    self.now,
                    believed.len()
                );
            }
            assert!(believed.len() <= 3);
        }
    }

    /// Goes on for so many days, with an operator that is there when `is_there` says so, by the number of the day.
    fn live(&mut self, days: u64, is_there: impl Fn(u64) -> bool) {
        let mut was_there = true;
        for step in 0..days * 2 {
            let is_there = is_there(step / 2);
            if is_there {
                if !was_there {
                    self.told = self.now;
                }
                self.look();
            }
            was_there = is_there;
            self.check();
            self.now += STEP;
        }
    }

    /// How many authorities there were.
    fn authorities_so_far(&self) -> usize {
        let mut all: Vec<&Certificate> = vec![];
        for one in self.believed.iter().flat_map(|(_, all)| all) {
            if !all.contains(&one) {
                all.push(one);
            }
        }
        all.len()
    }
}

fn names() -> Vec<String> {
    leaf::names("portside-apiserver", "portside-system")
}

#[test]
fn for_years_everybody_accepts_what_is_in_use() {
    let mut world = World::new();
    world.live(5 * 365, |_| true);
    // The first one has a successor after 610 days, and that one again.
    assert_eq!(world.authorities_so_far(), 3);
    // Every 60 days, and once more for each authority.
    assert!((30..36).contains(&world.used.len()), "{}", world.used.len());
    let last = &world.leaf.unwrap().certificate;
    assert!(last.ends() > world.now + DAY * 29);
}

#[test]
fn an_operator_may_be_away_for_weeks() {
    let mut world = World::new();
    world.live(4 * 365, |day| day % 47 >= 25);
    assert_eq!(world.authorities_so_far(), 3);
}

#[test]
fn an_operator_that_begins_anew_all_the_time_renews_in_the_end() {
    let mut world = World::new();
    // Each is there for one look only.
    world.live(3 * 365, |day| day % 2 == 0);
    assert_eq!(world.authorities_so_far(), 2);
}

#[test]
fn a_successor_signs_only_when_it_is_known() {
    let mut world = World::new();
    world.live(609, |_| true);
    assert!(world.authorities.as_ref().unwrap().next.is_none());
    while world.authorities.as_ref().unwrap().next.is_none() {
        world.live(1, |_| true);
    }
    // It was stored, and the operator that has stored it is gone: nobody was told.
    let all = world.authorities.clone().unwrap();
    let next = all.next.unwrap().certificate;
    world.now += DAY * 3;
    world.told = world.now;
    world.look();
    let all = world.authorities.clone().unwrap();
    assert!(all.next.is_some(), "it waits until it was told");
    world.now += SignedDuration::from_hours(1);
    world.look();
    let all = world.authorities.clone().unwrap();
    assert!(all.signing.certificate == next && all.next.is_none());
    assert_eq!(all.former.len(), 1);
    world.check();
    // What the former has signed is replaced then, and the former goes when it is over itself.
    world.now += SignedDuration::from_hours(1);
    world.look();
    world.check();
    let leaf = world.leaf.clone().unwrap().certificate;
    assert!(leaf.is_accepted([&next], &names(), world.now));
    world.live(150, |_| true);
    assert!(world.authorities.unwrap().former.is_empty());
}

#[test]
fn authorities_that_are_lost_are_replaced_without_anybody_noticing() {
    for damaged_leaf in [false, true] {
        let mut world = World::new();
        world.live(100, |_| true);
        world.authorities = None;
        if damaged_leaf {
            // Both are lost: nothing is left that could be accepted.
            world.leaf = None;
            world.believed.clear();
            world.used.clear();
        }
        let before = world.leaf.as_ref().map(|leaf| leaf.certificate.clone());
        world.look();
        world.check();
        let all = world.authorities.clone().unwrap();
        assert_eq!(all.former.len(), usize::from(!damaged_leaf));
        if let Some(before) = before {
            assert!(world.leaf.as_ref().unwrap().certificate == before);
        }
        world.live(900, |_| true);
        assert!(world.authorities.unwrap().former.len() < 2);
    }
}

#[test]
fn a_lost_certificate_is_made_anew_at_once_and_everybody_accepts_it() {
    let mut world = World::new();
    for days in [1, 59, 300, 250, 1, 1, 1, 80] {
        world.live(days, |_| true);
        world.leaf = None;
        world.look();
        world.check();
    }
}

#[test]
fn what_is_over_is_replaced_after_a_long_absence() {
    let mut world = World::new();
    world.look();
    for days in [100, 800, 80_000] {
        world.now += DAY * days;
        world.told = world.now;
        // Nobody has looked for so long.
        world.believed.clear();
        world.used.clear();
        world.look();
        world.check();
    }
}

#[test]
fn what_cannot_be_used_is_damage_and_tells_no_key() {
    let mut world = World::new();
    world.look();
    let mut other = World::new();
    other.look();
    let all = world.authorities.unwrap();
    let good = authorities_data(&all);
    let others = authorities_data(&other.authorities.unwrap());
    let leaf = leaf_data(&world.leaf.unwrap());
    let damage = |key: &str, text: Option<&[u8]>| {
        let mut data = good.clone();
        match text {
            Some(text) => {
                let text = k8s_openapi::ByteString(text.to_vec());
                data.insert(key.to_owned(), text);
            }
            None => {
                data.remove(key);
            }
        }
        read_authorities(&data).map(|_| ()).unwrap_err()
    };
    let other = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (key, text, said) in [
        ("ca.key", None, "ca.key is missing"),
        ("ca.crt", Some(&b""[..]), "has to be certificates"),
        ("ca.crt", Some(&[0xff, 0xfe]), "ca.crt is no text"),
        ("ca.crt", Some(&other[..20]), "has to be certificates"),
        (
            "ca.crt",
            Some(other),
            "ca.crt: a certificate cannot be read",
        ),
        ("ca.crt", Some(&leaf["tls.crt"].0), "of authorities"),
        (
            "ca.crt",
            Some(&good["ca.key"].0),
            "is among the certificates",
        ),
        (
            "ca.key",
            Some(b"-----BEGIN"),
            "ca.key: a key cannot be read",
        ),
        ("ca.key", Some(&others["ca.key"].0), "is not that of"),
    ] {
        let told = damage(key, text);
        assert!(told.contains(said), "{told}");
        assert!(!told.contains("BEGIN"), "{told}");
    }
    let mut foreign = leaf.clone();
    foreign.insert("tls.key".to_owned(), others["ca.key"].clone());
    let told = read_leaf(&foreign).map(|_| ()).unwrap_err();
    assert!(told.contains("not that of its certificate"), "{told}");
}
