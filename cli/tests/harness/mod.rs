//! Runs an example the way a newcomer does, and talks to it as its clients do.

mod app;
mod load;

pub use app::App;
pub use load::kill_under_load;
pub use portside_testkit::{Browser, Failed, Reply, Site, Socket, Tab, eventually, within};
