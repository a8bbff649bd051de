//! One process's share of an application: its servers and the workers whose shards it owns.
//!
//! [`App`] is a [`portside_exchange::Application`]: a front door sends it requests. Below it, [`ownership`] says which
//! shards this process may write, [`workers`] wakes workers and lets them sleep, [`servers`] spreads requests, [`alarms`]
//! delivers what is due.

mod alarms;
mod app;
mod clock;
mod crashes;
mod host;
mod ownership;
mod servers;
mod workers;

pub use app::{App, Class, Config, LogSink};
pub use ownership::Error;
pub use portside_runtime::surface::host::{Identity, Level};
