//! The worker without its engine: what an instance is, apart from the JavaScript that runs in it.
//!
//! Everything reaches an instance through its [`Inbox`](inbox::Inbox), on [links](link); everything it does leaves through
//! its [output gate](gate). Between them are its [storage](storage), its [alarm](alarm), its ports and requests, and the
//! rules of when it sleeps and ends ([`Activation`](activation::Activation)). The code itself is behind the
//! [`Engine`](engine::Engine) trait: V8 in the product, a few lines of Rust in tests and in the simulation.

pub mod activation;
pub mod alarm;
pub mod bond;
pub mod caches;
pub mod caller;
pub mod cell;
pub mod engine;
pub mod event;
pub mod gate;
pub mod hibernation;
pub mod host;
pub mod inbox;
pub mod instance;
pub mod later;
pub mod link;
pub mod moves;
pub mod object;
pub mod port;
pub mod reads;
pub mod rejection;
pub mod request;
pub mod route;
pub mod storage;
#[cfg(feature = "testing")]
pub mod testing;

/// Safety mechanisms that a test can take out, to show that it notices. The product always has all of them.
#[cfg(feature = "testing")]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Without {
    /// Outputs do not wait for the writes before them.
    pub output_gate: bool,
    /// Outputs leave whether the lease covers the moment or not.
    pub lease_in_gate: bool,
    /// What a killed turn wrote is committed.
    pub discarding_killed_turns: bool,
    /// Objects whose isolate ends are forgotten without being ended.
    pub ending_residents: bool,
}
