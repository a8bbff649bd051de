//! Quotas, and what becomes of any distribution when every pod goes on planning.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::*;

/// Shards handed over at a time by each pod.
const AT_MOST: u32 = 8;

fn standing(pod: u128, revision: u64, wants: bool, owns: u32) -> Standing {
    Standing {
        pod: PodId(pod),
        revision: Some(Revision(revision)),
        wants,
        owns,
    }
}

fn serving(owns: &[u32]) -> Vec<Standing> {
    let pods = (1..).zip(owns);
    pods.map(|(pod, &owns)| standing(pod, 1, true, owns))
        .collect()
}

/// All that there is, with what is missing of `shards` being free.
fn distribution(shards: u32, pods: Vec<Standing>) -> Distribution {
    let owned: u32 = pods.iter().map(|it| it.owns).sum();
    Distribution {
        shards,
        free: shards - owned,
        pods,
    }
}

fn quota_of(distribution: &Distribution) -> Option<BTreeMap<PodId, u32>> {
    let quotas = distribution.quotas()?;
    Some(quotas.iter().map(|it| (it.pod, it.shards)).collect())
}

/// What pods do to the shards, which are counted only. Each pod sees what there was some rounds ago; of itself it knows
/// what there is.
struct World {
    now: Distribution,
    /// The latest first.
    past: VecDeque<Distribution>,
    /// How many shards changed hands by claim, and by hand-over.
    claimed: u32,
    handed_over: u32,
}

impl World {
    fn new(now: Distribution) -> Self {
        Self {
            now,
            past: VecDeque::new(),
            claimed: 0,
            handed_over: 0,
        }
    }

    fn standing(&mut self, pod: PodId) -> Option<&mut Standing> {
        self.now.pods.iter_mut().find(|it| it.pod == pod)
    }

    fn owns(&self, pod: PodId) -> u32 {
        let mut pods = self.now.pods.iter();
        pods.find(|it| it.pod == pod).map_or(0, |it| it.owns)
    }

    /// What `me` does, as of what was there `age` rounds ago.
    fn plan(&self, me: PodId, age: usize) -> Plan {
        let age = age.min(self.past.len());
        let seen = age.checked_sub(1).and_then(|age| self.past.get(age));
        let mut seen = seen.unwrap_or(&self.now).clone();
        let mine = self.now.pods.iter().find(|it| it.pod == me).copied();
        seen.pods.retain(|it| it.pod != me);
        seen.pods.extend(mine);
        seen.plan(me, AT_MOST)
    }

    /// Everybody plans, and then does what it planned. `ages` says how old what each sees is, `turns` who comes first.
    fn round(&mut self, ages: &[usize], turns: usize) {
        let age = |place: usize| ages.get(place % ages.len().max(1)).copied().unwrap_or(0);
        let pods: Vec<PodId> = self.now.pods.iter().map(|it| it.pod).collect();
        let plans = pods.iter().enumerate();
        let plans: Vec<Plan> = plans
            .map(|(place, me)| self.plan(*me, age(place)))
            .collect();
        self.past.push_front(self.now.clone());
        self.past.truncate(8);
        for place in 0..pods.len() {
            let place = (place + turns) % pods.len();
            self.carry_out(pods[place], &plans[place]);
        }
    }

    fn carry_out(&mut self, me: PodId, plan: &Plan) {
        let claimed = plan.claim.min(self.now.free);
        self.now.free -= claimed;
        self.claimed += claimed;
        let mut mine = self.owns(me) + claimed;
        let total: u32 = plan.hand_over.iter().map(|(_, count)| count).sum();
        assert!(total <= AT_MOST && total <= mine);
        for &(to, count) in &plan.hand_over {
            assert_ne!(to, me);
            // Whoever has left takes nothing.
            if let Some(standing) = self.standing(to) {
                standing.owns += count;
                mine -= count;
                self.handed_over += count;
            }
        }
        if let Some(standing) = self.standing(me) {
            standing.owns = mine;
        }
    }

    /// Rounds on the present, until nothing is left to do: how many it took.
    fn settle(&mut self) -> u32 {
        for round in 0..=self.now.shards {
            let before = (self.claimed, self.handed_over);
            self.round(&[], 0);
            if before == (self.claimed, self.handed_over) {
                return round;
            }
        }
        panic!("no end: {:?}", self.now);
    }

    fn is_settled(&self) -> bool {
        let quotas = quota_of(&self.now);
        quotas.is_none_or(|quotas| {
            let mut pods = self.now.pods.iter();
            self.now.free == 0 && pods.all(|it| quotas[&it.pod] == it.owns)
        })
    }

    /// A pod ends without a word.
    fn dies(&mut self, pod: PodId) {
        self.now.free += self.owns(pod);
        self.now.pods.retain(|it| it.pod != pod);
    }

    /// A pod that has drained goes.
    fn leaves(&mut self, pod: PodId) {
        assert_eq!(self.owns(pod), 0, "it has handed over all");
        self.dies(pod);
    }

    fn excess(&self) -> u32 {
        let quotas = self.now.quotas().unwrap_or_default();
        quotas.iter().map(Quota::excess).sum()
    }

    fn gaps(&self) -> u32 {
        let quotas = self.now.quotas().unwrap_or_default();
        quotas.iter().map(Quota::gap).sum()
    }
}

/// Any pods, each with any part of the shards.
fn distributions() -> impl Strategy<Value = Distribution> {
    let revision = prop_oneof![1 => Just(None), 6 => (1..4_u64).prop_map(|it| Some(Revision(it)))];
    let pod = (
        any::<u128>(),
        revision,
        prop::bool::weighted(0.7),
        0..40_u32,
    );
    (prop::collection::vec(pod, 1..9), 0..60_u32).prop_map(|(pods, free)| {
        let pods: BTreeMap<u128, _> = pods.into_iter().map(|it| (it.0, it)).collect();
        let pods: Vec<Standing> = pods
            .into_values()
            .map(|(pod, revision, wants, owns)| Standing {
                pod: PodId(pod),
                revision,
                wants,
                owns,
            })
            .collect();
        let owned: u32 = pods.iter().map(|it| it.owns).sum();
        distribution(owned + free, pods)
    })
}

proptest! {
    #[test]
    fn quotas_are_even_and_add_up(distribution in distributions()) {
        let wanting = distribution.pods.iter().filter(|it| it.wants);
        let newest = wanting.map(|it| it.revision).max();
        let Some(quotas) = quota_of(&distribution) else {
            prop_assert_eq!(newest, None);
            return Ok(());
        };
        prop_assert_eq!(quotas.values().sum::<u32>(), distribution.shards);
        let (serving, others): (Vec<&Standing>, Vec<&Standing>) = distribution
            .pods
            .iter()
            .partition(|it| it.wants && Some(it.revision) == newest);
        prop_assert!(others.iter().all(|it| quotas[&it.pod] == 0));
        let shares = || serving.iter().map(|it| quotas[&it.pod]);
        prop_assert!(shares().max().unwrap() - shares().min().unwrap() <= 1);
    }

    /// All see the same: what moves is what must, and it moves once.
    #[test]
    fn whatever_there_is_becomes_the_quotas_by_the_fewest_moves(distribution in distributions()) {
        let mut world = World::new(distribution);
        let (excess, free) = (world.excess(), world.now.free);
        let most = world.now.pods.iter().map(|it| it.owns).max().unwrap_or(0);
        let rounds = world.settle();
        prop_assert!(world.is_settled());
        if world.now.quotas().is_some() {
            prop_assert_eq!(world.claimed, free);
            prop_assert_eq!(world.handed_over, excess);
        }
        prop_assert!(rounds <= most.div_ceil(AT_MOST) + 1, "{} rounds", rounds);
    }

    /// Each sees something else, up to some rounds old: places are filled twice, and yet it ends.
    #[test]
    fn views_that_are_old_end_in_the_quotas_too(
        distribution in distributions(),
        ages in prop::collection::vec(prop::collection::vec(0..5_usize, 8), 1..9),
        turns in 0..8_usize,
    ) {
        const OLDEST: u32 = 5;
        let mut world = World::new(distribution);
        if world.now.quotas().is_none() {
            return Ok(());
        }
        // In as many rounds as a view can be old, and one, one gap is filled at least: gaps never grow.
        let bound = (OLDEST + 1) * (world.gaps() + 1);
        let mut gaps = world.gaps();
        for round in 0..bound {
            world.round(&ages[round as usize % ages.len()], turns + round as usize);
            prop_assert!(world.gaps() <= gaps);
            gaps = world.gaps();
        }
        prop_assert!(world.is_settled(), "{:?}", world.now);
        let moved = (world.claimed, world.handed_over);
        for _ in 0..OLDEST {
            world.round(&[0], 0);
        }
        prop_assert_eq!(moved, (world.claimed, world.handed_over));
    }

    #[test]
    fn who_joins_moves_its_share_and_no_more(shards in 1..200_u32, pods in 1..9_usize, who in any::<u128>()) {
        let mut world = World::new(distribution(shards, vec![]));
        // Ids on both sides of the newcomer's.
        world.now.pods = (0..pods as u128)
            .map(|it| standing(it << 124, 1, true, 0))
            .filter(|it| it.pod != PodId(who))
            .collect();
        world.settle();
        world.now.pods.push(standing(who, 1, true, 0));
        let before = world.handed_over;
        world.settle();
        prop_assert!(world.is_settled());
        prop_assert_eq!(world.handed_over - before, world.owns(PodId(who)));
        prop_assert_eq!(world.claimed, shards);
    }

    #[test]
    fn who_drains_or_dies_moves_its_share_and_no_more(shards in 1..200_u32, pods in 2..9_u32, who in any::<prop::sample::Index>(), dies: bool) {
        let mut world = World::new(distribution(shards, serving(&vec![0; pods as usize])));
        world.settle();
        let who = PodId(1 + who.index(pods as usize) as u128);
        let share = world.owns(who);
        let before = (world.claimed, world.handed_over);
        if dies {
            world.dies(who);
        } else {
            world.standing(who).unwrap().wants = false;
        }
        world.settle();
        prop_assert!(world.is_settled());
        prop_assert_eq!(world.owns(who), 0);
        let moved = (world.claimed - before.0, world.handed_over - before.1);
        prop_assert_eq!(moved, if dies { (share, 0) } else { (0, share) });
    }

    /// New pods come one by one, want shards some time later, or never because their code is broken; old ones drain one by
    /// one. It may be turned back at any time.
    #[test]
    fn a_rollout_ends_and_so_does_going_back(
        pods in 1..6_usize,
        ids in prop::collection::vec(any::<u128>(), 12),
        pauses in prop::collection::vec(0..6_usize, 12),
        ages in prop::collection::vec(0..4_usize, 8),
        turned_back_at in 0..12_usize,
    ) {
        let mut world = World::new(distribution(100, vec![]));
        let old = |place: usize| PodId(ids[place] << 1);
        let new = |place: usize| PodId(ids[6 + place] << 1 | 1);
        world.now.pods = (0..pods).map(|it| standing(old(it).0, 1, true, 0)).collect();
        world.now.pods.sort_by_key(|it| it.pod);
        world.now.pods.dedup_by_key(|it| it.pod);
        world.settle();
        let steps = (0..pods).flat_map(|place| [(place, true), (place, false)]);
        let turned_back = turned_back_at < 2 * pods;
        for ((place, comes), pause) in steps.take(turned_back_at).zip(&pauses) {
            if comes {
                let newcomer = standing(new(place).0, 2, true, 0);
                world.now.pods.retain(|it| it.pod != newcomer.pod);
                world.now.pods.push(newcomer);
            } else if let Some(it) = world.standing(old(place)) {
                it.wants = false;
            }
            for turn in 0..*pause {
                world.round(&ages, turn);
            }
        }
        let ending = if turned_back { Revision(2) } else { Revision(1) };
        for it in &mut world.now.pods {
            it.wants = it.revision != Some(ending);
        }
        if turned_back && !world.now.pods.iter().any(|it| it.wants) {
            // All of the old ones drain already: their code comes again, with a new number.
            world.now.pods.push(standing(0, 3, true, 0));
        }
        for turn in 0..8 * 101 {
            world.round(&ages, turn);
        }
        prop_assert!(world.is_settled());
        let ended: Vec<PodId> = world.now.pods.iter().filter(|it| !it.wants).map(|it| it.pod).collect();
        for pod in ended {
            world.leaves(pod);
        }
        prop_assert!(world.is_settled());
    }
}

fn plans(shards: u32, pods: &[Standing]) -> Vec<Plan> {
    let distribution = distribution(shards, pods.to_vec());
    let pods = distribution.pods.iter();
    pods.map(|it| distribution.plan(it.pod, AT_MOST)).collect()
}

fn claims(claim: u32) -> Plan {
    Plan {
        claim,
        ..Plan::default()
    }
}

fn gives(hand_over: &[(u128, u32)]) -> Plan {
    let to = |&(pod, count): &(u128, u32)| (PodId(pod), count);
    Plan {
        hand_over: hand_over.iter().map(to).collect(),
        ..Plan::default()
    }
}

#[test]
fn the_first_pods_have_the_rest() {
    let quotas = quota_of(&distribution(4096, serving(&[0, 0, 0]))).unwrap();
    let quotas: Vec<u32> = quotas.into_values().collect();
    assert_eq!(quotas, [1366, 1365, 1365]);
}

#[test]
fn free_shards_are_claimed_each_by_one_pod() {
    assert_eq!(plans(7, &serving(&[0, 0])), [claims(4), claims(3)]);
}

#[test]
fn what_is_free_fills_gaps_before_what_others_have() {
    // Of 10 each has to have 5: the 3 that are free go to the second, and of the first one's 7 only 2 move.
    assert_eq!(plans(10, &serving(&[7, 0])), [gives(&[(2, 2)]), claims(3)]);
}

#[test]
fn two_that_give_fill_different_gaps() {
    let plans = plans(12, &serving(&[5, 5, 1, 1]));
    let nothing = Plan::default();
    assert_eq!(
        plans,
        [gives(&[(3, 2)]), gives(&[(4, 2)]), nothing.clone(), nothing]
    );
}

#[test]
fn no_more_is_on_its_way_than_allowed() {
    let plans = plans(100, &serving(&[100, 0, 0]));
    assert_eq!(plans[0], gives(&[(2, AT_MOST)]));
}

#[test]
fn the_newest_revision_that_wants_shards_has_them() {
    let old = standing(1, 1, true, 6);
    let untried = standing(2, 2, false, 0);
    assert_eq!(plans(6, &[old, untried]), vec![Plan::default(); 2]);
    let tried = Standing {
        wants: true,
        ..untried
    };
    assert_eq!(plans(6, &[old, tried])[0], gives(&[(2, 6)]));
    // Of a version that says nothing of itself.
    let unknown = Standing {
        revision: None,
        ..old
    };
    assert_eq!(plans(6, &[unknown, tried])[0], gives(&[(2, 6)]));
}

#[test]
fn nothing_moves_while_nobody_wants_shards() {
    let pods = [standing(1, 1, false, 5), standing(2, 2, false, 1)];
    assert_eq!(plans(8, &pods), vec![Plan::default(); 2]);
}
