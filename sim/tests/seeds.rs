//! The invariants hold in every run; and the checker notices when a mechanism that keeps them is taken out.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use portside_sim::{Kind, Mechanism, has_objects, run, trace};

/// How many seeds are run; `cargo run -p portside-sim -- --seeds A..B` runs others.
const SEEDS: u64 = 10_000;
/// Within so many seeds, a run without a safety mechanism goes wrong.
const MUTANT_SEEDS: u64 = 3_000;

#[test]
fn clients_see_what_the_invariants_allow() {
    let began = Instant::now();
    let next = AtomicU64::new(0);
    let run_some = || {
        let (mut answers, mut woken) = (0, 0);
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= SEEDS {
                return (answers, woken);
            }
            match run(seed, None) {
                Ok(summary) => {
                    answers += summary.answers;
                    woken += summary.woken;
                }
                Err(violation) => panic!(
                    "seed {seed}: {}\nmore: cargo run -p portside-sim -- --seed {seed}",
                    violation.what
                ),
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (answers, woken) = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(run_some)).collect();
        let counts = running.into_iter().map(|it| it.join());
        let counts = counts.map(|it| it.expect("a seed failed"));
        counts.fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1))
    });
    assert!(answers > 50 * SEEDS, "hardly anything was answered");
    assert!(woken > SEEDS / 3, "sockets wake hardly any objects");
    print(&format!(
        "{SEEDS} seeds, {answers} answers, {woken} objects woken by sockets, {:?}",
        began.elapsed()
    ));
}

/// Written though the test succeeds: what is printed in the usual way is not.
fn print(line: &str) {
    writeln!(std::io::stdout(), "{line}").expect("somebody reads");
}

/// A run that breaks without this mechanism, as runs without it do, and neither with it nor without the `others`.
fn is_missed(mechanism: Mechanism, as_expected: &[Kind], others: &[Mechanism]) {
    is_missed_in(0..MUTANT_SEEDS, mechanism, as_expected, others);
}

/// The same among the runs with objects.
fn objects_miss(mechanism: Mechanism, as_expected: &[Kind]) {
    let seeds = (0..MUTANT_SEEDS).filter(|seed| has_objects(*seed));
    is_missed_in(seeds, mechanism, as_expected, &[]);
}

fn is_missed_in(
    seeds: impl Iterator<Item = u64>,
    mechanism: Mechanism,
    as_expected: &[Kind],
    others: &[Mechanism],
) {
    let began = Instant::now();
    let breaks = |seed: u64, mechanism| run(seed, Some(mechanism)).err();
    for seed in seeds {
        let Some(violation) = breaks(seed, mechanism) else {
            continue;
        };
        if others.iter().any(|other| breaks(seed, *other).is_some()) {
            continue;
        }
        let (kind, what) = (violation.kind, violation.what);
        assert!(as_expected.contains(&kind), "seed {seed}: {kind:?}: {what}");
        assert_eq!(run(seed, None).err(), None, "seed {seed}");
        let took = began.elapsed();
        print(&format!(
            "without {mechanism}: {kind:?}, seed {seed}, {took:?}"
        ));
        return;
    }
    panic!("nobody misses {mechanism} in {MUTANT_SEEDS} seeds");
}

/// What two owners of one worker do to it; both may have had its alarm.
const TWO_WRITERS: &[Kind] = &[
    Kind::Overwritten,
    Kind::TwoHistories,
    Kind::Lost,
    Kind::Gap,
    Kind::Twice,
];

#[test]
fn the_fence_is_missed() {
    is_missed(Mechanism::Fence, TWO_WRITERS, &[Mechanism::Epoch]);
}

#[test]
fn the_epoch_is_missed() {
    is_missed(Mechanism::Epoch, TWO_WRITERS, &[Mechanism::Fence]);
}

#[test]
fn settling_before_loading_is_missed() {
    let others = [Mechanism::Fence, Mechanism::Epoch];
    is_missed(Mechanism::SettleBeforeLoad, TWO_WRITERS, &others);
}

#[test]
fn the_output_gate_is_missed() {
    let revealed = [Kind::Stale, Kind::TwoHistories, Kind::Lost];
    is_missed(Mechanism::OutputGate, &revealed, &[]);
}

#[test]
fn the_lease_in_the_gate_is_missed() {
    is_missed(Mechanism::LeaseInGate, &[Kind::Stale], &[]);
}

#[test]
fn the_lease_is_missed() {
    is_missed(Mechanism::Lease, &[Kind::DeadWithinItsLease], &[]);
}

#[test]
fn patience_with_slow_clocks_is_missed() {
    is_missed(Mechanism::Patience, &[Kind::DeadWithinItsLease], &[]);
}

#[test]
fn the_gateways_filter_is_missed() {
    is_missed(Mechanism::GatewayFilter, &[Kind::Stale], &[]);
}

#[test]
fn folding_is_missed() {
    is_missed(Mechanism::Folding, &[Kind::Gap], &[]);
}

#[test]
fn discarding_killed_turns_is_missed() {
    is_missed(Mechanism::DiscardKilledTurn, &[Kind::HalfTurn], &[]);
}

#[test]
fn writing_a_turn_as_one_batch_is_missed() {
    let halves = [Kind::NoAlarm, Kind::Twice];
    is_missed(Mechanism::OneBatch, &halves, &[]);
    objects_miss(Mechanism::OneBatch, &halves);
}

#[test]
fn ending_all_objects_of_an_isolate_is_missed() {
    objects_miss(Mechanism::EndResidents, &[Kind::Unanswered]);
}

#[test]
fn objects_miss_what_workers_do() {
    let revealed = [Kind::Stale, Kind::TwoHistories, Kind::Lost];
    objects_miss(Mechanism::OutputGate, &revealed);
    objects_miss(Mechanism::LeaseInGate, &[Kind::Stale]);
    objects_miss(Mechanism::Folding, &[Kind::Gap]);
    objects_miss(Mechanism::DiscardKilledTurn, &[Kind::HalfTurn]);
}

#[test]
fn a_seed_does_the_same_every_time() {
    for seed in 0..30 {
        assert_eq!(run(seed, None), run(seed, None));
    }
    let without = Some(Mechanism::Folding);
    let Some(first) = (0..100).find_map(|seed| trace(seed, without).err()) else {
        panic!("nobody misses folding");
    };
    assert!(!first.trace.is_empty());
    assert_eq!(trace(first.seed, without).err(), Some(first));
}
