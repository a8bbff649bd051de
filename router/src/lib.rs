//! How links reach workers, in this pod or in another.
//!
//! Whoever opens a link does not know where its target is ([`Fabric`](portside_worker::host::Fabric)). The [`Router`] asks
//! [where its shard is](Places): links to workers here go to them directly, those to workers of other pods over a
//! [`Line`] to the pod that has them. `far_*` is the side of whoever opens a link, `near_*` that of the worker.
//! A port keeps what the worker's code has not heard of its messages, and follows it when it moves
//! ([`portside_worker::route`]). A pod that is lost takes the links to it along: they end with
//! [`Lost`](portside_worker::link::CloseReason::Lost), and nothing is sent again by itself.

mod convert;
mod far_call;
mod far_port;
mod instances;
mod later;
pub mod line;
mod near_call;
mod near_port;
mod offers;
mod outgoing;
pub mod places;
pub mod router;
mod task;

pub use line::Line;
pub use places::Places;
pub use router::{Router, Target};
