//! A seeded simulation of pods, gateways, clients and the store.
//!
//! What runs in it is what runs in a cluster: the ownership machine, the gateway's, the alarms and the folding of
//! `portside-core`, and the instances of `portside-worker`, with their links, inboxes, storage and output gate, and a few
//! lines of Rust for an engine; in [some runs](has_objects) they are objects that live together in the isolate of a server. In
//! [half of them](is_shared) pods share the shards, hand them over, pass on what is others', and come and go as more are wanted, fewer, or
//! other code. Around them are the model of the store, messages that are slow or lost, statements that are
//! carried out after their caller gave them up, crashes, restarts, killed turns, pauses longer than the lease, partitions, a
//! database that crashes or goes back to a dump, and clocks of their own speed.
//! [`run`] says whether what clients saw is what the invariants allow. Nothing but the seed decides what happens: the same
//! seed does the same on every machine.

use std::fmt;
use std::ops::AddAssign;

mod calls;
mod cell;
mod checker;
mod code;
mod database;
mod gateway;
mod host;
mod lanes;
mod leaving;
mod lines;
mod links;
mod map;
mod mechanism;
mod moves;
mod network;
mod passing;
mod pod;
mod random;
mod request;
mod running;
mod workers;
mod world;

pub use checker::Kind;
pub use mechanism::Mechanism;
pub use moves::{Count, Moves};

/// What a run amounted to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Answers that clients got.
    pub answers: u64,
    /// Those among them that acknowledged a write.
    pub appended: u64,
    /// Messages on hibernatable sockets that found their objects asleep.
    pub woken: u64,
    /// What pods asked others for requests that had come to them.
    pub passed: u64,
    /// How pods came and went, and shards with them.
    pub moves: Moves,
    /// Differs if anything happened otherwise.
    pub digest: u64,
}

impl AddAssign for Summary {
    fn add_assign(&mut self, other: Self) {
        self.answers += other.answers;
        self.appended += other.appended;
        self.woken += other.woken;
        self.passed += other.passed;
        self.moves += other.moves;
        self.digest ^= other.digest;
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} answers, {} acknowledged writes, {} objects woken by sockets, {}, {} questions between pods",
            self.answers, self.appended, self.woken, self.moves, self.passed
        )
    }
}

/// An invariant did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Of this run.
    pub seed: u64,
    /// What kind of thing was seen.
    pub kind: Kind,
    /// What was seen.
    pub what: String,
    /// Everything that happened, if it was asked for.
    pub trace: Vec<String>,
}

/// Whether a seed's workers are objects: they live in one isolate, which each of them can end for all, have databases, and sockets
/// that stay while they sleep.
#[must_use]
pub fn has_objects(seed: u64) -> bool {
    seed.is_multiple_of(3)
}

/// Whether a seed's pods share the shards, and come and go.
#[must_use]
pub fn is_shared(seed: u64) -> bool {
    !seed.is_multiple_of(2)
}

/// Runs a seed, without one of the mechanisms if one is named.
///
/// # Errors
/// What was seen that must not be.
pub fn run(seed: u64, without: Option<Mechanism>) -> Result<Summary, Box<Violation>> {
    run_traced(seed, without, false)
}

/// As [`run`], and with a trace.
///
/// # Errors
/// As [`run`].
pub fn trace(seed: u64, without: Option<Mechanism>) -> Result<Summary, Box<Violation>> {
    run_traced(seed, without, true)
}

fn run_traced(
    seed: u64,
    without: Option<Mechanism>,
    traced: bool,
) -> Result<Summary, Box<Violation>> {
    let mut world = world::World::new(seed, without, traced);
    match world.run() {
        Ok(()) => Ok(summary(&world)),
        Err(wrong) => Err(Box::new(Violation {
            seed,
            kind: wrong.kind,
            what: wrong.what,
            trace: world.net.into_trace(),
        })),
    }
}

fn summary(world: &world::World) -> Summary {
    Summary {
        answers: world.checker.answers,
        appended: world.checker.appended,
        woken: world.net.woken,
        passed: world.net.passed,
        moves: world.moves(),
        digest: world.net.digest(),
    }
}
