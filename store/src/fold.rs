//! Folding, which core does, with this crate's model to compare it with.

pub(crate) use portside_core::fold::{AlarmFold, Folded, WorkerWrites, fold};

#[cfg(test)]
mod tests;
