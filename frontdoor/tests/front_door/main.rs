//! The front door over real sockets, in front of a scripted application.
#![allow(clippy::unwrap_used)] // A failed step fails its test.

mod bodies;
mod forwarding;
mod half_close;
mod http2;
mod limits;
mod malformed;
mod panics;
mod shutdown;
mod support;
mod urls;
mod websocket;
mod wire;
