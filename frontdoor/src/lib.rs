//! The front door: HTTP/1.1, HTTP/2 without TLS and WebSockets in front of an [`Application`].
//!
//! It guarantees that the application sees well-formed requests only: a malformed one, or one over a
//! limit, is answered with a 4xx here. Bodies stream both ways with backpressure. A client that goes
//! away ends what it asked for. TLS, routing and retries are others' work.

mod body;
mod config;
mod connection;
mod forwarded;
mod headers;
mod io;
mod panics;
mod request;
mod request_id;
mod response;
mod server;
mod websocket;

pub use config::{Config, TrustedProxies, network};
pub use ipnet::IpNet;
pub use portside_exchange::Application;
pub use server::FrontDoor;
