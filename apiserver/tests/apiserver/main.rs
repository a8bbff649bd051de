//! The whole server, between a cluster that is played and pods that are played, over real TLS.
#![allow(clippy::unwrap_used)] // a test may stop at the first surprise

mod access;
mod changes;
mod client;
mod cluster;
mod lists;
mod lying;
mod pki;
mod pod;
mod replicas;
mod setup;
mod watches;
