//! What clients send through gateways, and what comes back.

use crate::checker::Entry;
use crate::code::Operation;

/// A request on its way through a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Request {
    pub gateway: usize,
    pub number: u64,
    pub operation: Operation,
    /// Sent on a connection that is open already, on which nobody asks who is active.
    pub on_link: bool,
}

/// What a pod says to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The worker's list.
    List(Vec<Entry>),
    /// It was not run: ask whoever is active.
    NotRun,
    /// Nobody knows whether it was run.
    Failed,
}
