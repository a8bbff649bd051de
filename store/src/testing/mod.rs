//! What tests need: a Postgres server of their own, a model of a worker's state, and an owner of shards.

mod model;
mod owner;
mod server;

pub use model::{Model, alarm_change, batches};
pub use owner::Owner;
pub use server::PostgresServer;
