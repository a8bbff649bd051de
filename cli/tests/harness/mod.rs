//! Runs an example the way a newcomer does, and talks to it as its clients do.

mod app;

pub use app::App;
pub use portside_testkit::{Browser, Reply, Socket, eventually, within};
