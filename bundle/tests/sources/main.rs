//! Folders of sources, bundled and checked.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod assets;
mod bundles;
mod common;
mod prepared;
mod problems;
mod refused;
mod scripts;
mod wrangler;
