//! What tests need: a Postgres server of their own, a model of a worker's state and one of the store, and an
//! owner of shards.

mod bouncer;
mod model;
mod modelled;
mod owner;
mod server;
mod tls;

pub use model::{Model, alarm_change, batches};
pub use modelled::Modelled;
pub use owner::{Owner, put, worker};
pub use server::PostgresServer;
pub use tls::Tls;
