//! WebSockets of clients: the handshake as one of a request's possible answers, and the pump between the connection and
//! the application.

mod handshake;
mod pump;

pub(crate) use handshake::{Accepted, Handshake, handshake};
pub(crate) use pump::run;
