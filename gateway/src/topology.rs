//! What a gateway routes to: classes, their routes, and the pods behind them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use portside_crds::routes::{ClassKey, Routes};

/// A sidecar pod, as the gateway reaches it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// The pod's name.
    pub pod: String,
    /// Where it takes requests.
    pub http: SocketAddr,
    /// Where it says whether it is the active one.
    pub admin: SocketAddr,
}

/// Why a class is meant to have no pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// It is suspended.
    Suspended,
    /// It asks for none.
    ScaledToZero,
}

/// What a gateway needs to know of a class that has a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassFacts {
    /// `metadata.uid`: a class that is deleted and made again is another one.
    pub uid: String,
    /// Why it is meant to have no pods, if it is.
    pub stopped: Option<Stopped>,
    /// How long its pods may take to begin a response: the class's limit and some grace, for the pod is to give up
    /// first.
    pub request_timeout: Duration,
    /// Its pods, ready or not: what they say of themselves decides.
    pub endpoints: BTreeSet<Endpoint>,
}

/// Everything there is to route to.
#[derive(Debug, Clone, Default)]
pub struct Topology {
    /// Which requests belong to which class.
    pub routes: Routes,
    /// The classes that have a route.
    pub classes: BTreeMap<ClassKey, ClassFacts>,
}
