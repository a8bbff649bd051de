//! Who asks, and whether they may.

mod front_proxy;
mod review;

pub use front_proxy::{Authority, follow};
pub use review::{Asked, Reviews};

use std::collections::BTreeMap;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct User {
    /// The name.
    pub name: String,
    /// What tells this user from another one of the same name.
    pub uid: Option<String>,
    /// The groups.
    pub groups: Vec<String>,
    /// What else whoever authenticated the user knows.
    pub extra: BTreeMap<String, Vec<String>>,
}
