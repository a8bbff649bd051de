//! The invariants hold in every run; and the checker notices when a mechanism that keeps them is taken out.

use std::io::Write;
use std::time::Instant;

use portside_sim::{Mechanism, run, trace};

/// How many seeds are run; `cargo run -p portside-sim -- --seeds A..B` runs others.
const SEEDS: u64 = 10_000;
/// Within so many seeds, a run without a safety mechanism goes wrong.
const MUTANT_SEEDS: u64 = 20_000;

#[test]
fn clients_see_what_the_invariants_allow() {
    let began = Instant::now();
    let mut answers = 0;
    for seed in 0..SEEDS {
        match run(seed, None) {
            Ok(summary) => answers += summary.answers,
            Err(violation) => panic!(
                "seed {seed}: {}\nmore: cargo run -p portside-sim -- --seed {seed}",
                violation.what
            ),
        }
    }
    assert!(answers > 50 * SEEDS, "hardly anything was answered");
    print(&format!(
        "{SEEDS} seeds, {answers} answers, {:?}",
        began.elapsed()
    ));
}

/// Written though the test succeeds: what is printed in the usual way is not.
fn print(line: &str) {
    writeln!(std::io::stdout(), "{line}").expect("somebody reads");
}

/// A run that breaks without this mechanism, and does not with it.
fn is_missed(mechanism: Mechanism) {
    let began = Instant::now();
    let fails = |seed: &u64| run(*seed, Some(mechanism)).is_err();
    let Some(seed) = (0..MUTANT_SEEDS).find(fails) else {
        panic!("nobody misses {mechanism} in {MUTANT_SEEDS} seeds");
    };
    assert_eq!(run(seed, None).err(), None, "seed {seed}");
    print(&format!(
        "without {mechanism}: seed {seed}, {:?}",
        began.elapsed()
    ));
}

#[test]
fn the_fence_is_missed() {
    is_missed(Mechanism::Fence);
}

#[test]
fn the_epoch_is_missed() {
    is_missed(Mechanism::Epoch);
}

#[test]
fn settling_before_loading_is_missed() {
    is_missed(Mechanism::SettleBeforeLoad);
}

#[test]
fn the_output_gate_is_missed() {
    is_missed(Mechanism::OutputGate);
}

#[test]
fn the_lease_in_the_gate_is_missed() {
    is_missed(Mechanism::LeaseInGate);
}

#[test]
fn the_gateways_filter_is_missed() {
    is_missed(Mechanism::GatewayFilter);
}

#[test]
fn folding_is_missed() {
    is_missed(Mechanism::Folding);
}

#[test]
fn discarding_killed_turns_is_missed() {
    is_missed(Mechanism::DiscardKilledTurn);
}

#[test]
fn a_seed_does_the_same_every_time() {
    let without = Some(Mechanism::Folding);
    let Some(first) = (0..100).find_map(|seed| trace(seed, without).err()) else {
        panic!("nobody misses folding");
    };
    assert!(!first.trace.is_empty());
    assert_eq!(trace(first.seed, without).err(), Some(first));
}
