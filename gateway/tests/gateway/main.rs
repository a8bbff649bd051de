//! The gateway between real clients and stand-ins for sidecar pods, without Kubernetes.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod body;
mod held;
mod hold;
mod origin;
mod refusal;
mod retry;
mod serving;
mod shares;
mod support;
mod switch;
mod websocket;
