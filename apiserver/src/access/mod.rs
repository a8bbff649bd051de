//! Who asks, and whether they may.

mod front_proxy;
mod review;

pub use front_proxy::{Authority, follow};
pub use review::{Asked, Reviews};

use std::collections::BTreeMap;

use rustls::pki_types::CertificateDer;

/// The other end of a connection, as far as its certificate says.
#[derive(Debug, Clone)]
pub enum Peer {
    /// It shows a certificate of the authority that signs the cluster's API server's.
    Proxy(CertificateDer<'static>),
    /// It is a replica of this server.
    Replica,
    /// It shows none, or one that says nothing here.
    Anybody,
}

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
