//! A seeded simulation of pods, gateways, clients and the store.
//!
//! What runs in it is what runs in a cluster: the ownership machine, the gateway's, the alarms and the folding of
//! `portside-core`, and the instances of `portside-worker`, with their links, inboxes, storage and output gate, and a few
//! lines of Rust for an engine. Around them are the model of the store, messages that are slow or lost, statements that are
//! carried out after their caller gave them up, crashes, restarts, killed turns, pauses longer than the lease, partitions, a
//! database that crashes or goes back to a dump, and clocks of their own speed.
//! [`run`] says whether what clients saw is what the invariants allow. Nothing but the seed decides what happens: the same
//! seed does the same on every machine.

mod calls;
mod checker;
mod code;
mod gateway;
mod host;
mod lanes;
mod mechanism;
mod network;
mod pod;
mod random;
mod request;
mod running;
mod workers;
mod world;

pub use checker::Kind;
pub use mechanism::Mechanism;

/// What a run amounted to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Answers that clients got.
    pub answers: u64,
    /// Those among them that acknowledged a write.
    pub appended: u64,
    /// Differs if anything happened otherwise.
    pub digest: u64,
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

/// Runs a seed, without one of the safety mechanisms if one is named.
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
        Ok(()) => Ok(Summary {
            answers: world.checker.answers,
            appended: world.checker.appended,
            digest: world.net.digest(),
        }),
        Err(wrong) => Err(Box::new(Violation {
            seed,
            kind: wrong.kind,
            what: wrong.what,
            trace: world.net.into_trace(),
        })),
    }
}
