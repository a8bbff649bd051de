//! One process's share of an application: its servers and the workers whose shards it owns.
//!
//! [`App`] is a [`portside_exchange::Application`]: a front door sends it requests. Below it, [`ownership`] says which
//! shards this process may write, [`workers`] wakes workers and lets them sleep, [`servers`] spreads requests, [`assets`] answers those that are for files, [`room`] says whether there may be more of both, [`alarms`]
//! delivers what is due, [`crons`] runs the server's `scheduled` handler. In a cluster a [`Pod`] stands before it, which answers only while it is the active one.

pub mod admin;
mod alarms;
mod app;
mod assets;
mod changes;
mod clock;
mod commits;
mod count;
mod crashes;
mod crons;
mod departures;
mod events;
mod expected;
mod held;
mod hibernation;
mod leaving;
mod ledger;
pub mod lines;
pub mod manage;
pub mod memory;
pub mod metrics;
mod objects;
mod ownership;
pub mod peers;
mod pod;
mod room;
mod servers;
mod start;
mod uses;
mod wakes;
mod workers;

pub use app::{App, Called, Class, Config, Fired, LogSink, Reached, ReachedSink, Sharing};
pub use clock::now_ms;
pub use ownership::{Error, Ownership, Role};
pub use peers::Peers;
pub use pod::{DrainLimits, Pod};
pub use portside_objectdb::Spill;
pub use portside_worker::host::{Identity, Level, LogLine, RequestName, name_of};
pub use portside_worker::link::{Ran, Scheduled};
