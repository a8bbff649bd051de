//! Links between workers and callers of several pods.
#![allow(clippy::unwrap_used, reason = "tests")]

mod calls;
mod ports;
mod world;
