//! The gateway: sends each request to a pod that answers its class's requests.
//!
//! It is told which class a request is for and which pods that class has, and hears from the pods themselves which of them
//! is active, or which serve beside each other. Requests wait while none does, for a bounded time; those that reach a pod
//! that does not run them are sent again. It keeps no state that it could not do without: any number of gateways may run
//! beside each other. Who tells it of classes and pods is the program of a cluster, in `program/`, or `portside dev`.
//!
//! `topology`, `retry`, `replay` and core's `ownership::gateway` decide, without I/O; `class` keeps one class's pods and waiting
//! requests, `affinity` what is known of who owns what they use; `forward` carries a request, `download` its response, `websocket` messages, and `held` those of WebSockets that outlive their pods, of which `unheard` has what no code has heard; `watch` and `poll` listen.

mod access;
mod affinity;
mod class;
mod download;
mod forward;
mod gateway;
mod headers;
mod held;
mod metrics;
mod pod;
mod poll;
mod pool;
mod refusal;
mod replay;
mod retry;
mod share;
mod topology;
mod unheard;
mod websocket;

pub use class::{MAX_HELD, MAX_HELD_PER_CLASS};
pub use gateway::{Gateway, Settings};
pub use metrics::{METRICS, Metrics};
pub use refusal::REASON;
pub use replay::MAX_KEPT;
pub use topology::{ClassFacts, Endpoint, Stopped, Topology};
