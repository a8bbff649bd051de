//! What `portside dev` and its pods tell each other, as lines of JSON on the socket that is a pod's standard input.
//!
//! The end of what a pod is told is an order, too: it is to end. So it does when whoever started it is gone.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::code::Code;

/// What a pod is told first: all that it needs.
#[derive(Serialize, Deserialize)]
pub struct Start<C = Code> {
    /// The pod's name.
    pub pod: String,
    /// The application's name, as the store knows it.
    pub app: String,
    /// The store's URL.
    pub store: String,
    /// Of pods with different ones those with the greatest have the workers.
    pub revision: u64,
    /// What it runs.
    pub code: C,
    /// Whether it is to end if its server cannot be loaded; else requests are answered with the reason.
    pub must_load: bool,
    /// Networks that the application may not reach, and metadata services that it may.
    pub deny: Vec<String>,
    /// See `deny`.
    pub allow: Vec<String>,
    /// The folder for temporary files.
    pub state: PathBuf,
    /// Whether it writes a line for each request.
    pub requests: bool,
    /// Whether what it writes has colours.
    pub colour: bool,
}

impl Start<()> {
    /// The same, of a pod that runs this.
    pub fn of_pod<C>(&self, pod: String, revision: u64, code: C, must_load: bool) -> Start<C> {
        Start {
            pod,
            revision,
            code,
            must_load,
            app: self.app.clone(),
            store: self.store.clone(),
            deny: self.deny.clone(),
            allow: self.allow.clone(),
            state: self.state.clone(),
            requests: self.requests,
            colour: self.colour,
        }
    }
}

/// What it is told later.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// To hand its workers over to the others, and then to end.
    Leave,
}

/// What a pod says.
#[derive(Debug, Serialize, Deserialize)]
pub enum Said {
    /// It has loaded its code, and takes part.
    Ready {
        /// Where it takes requests.
        http: SocketAddr,
        /// Where it says what it is.
        admin: SocketAddr,
    },
    /// It ends, for its server cannot be loaded.
    Failed {
        /// Why, with the place.
        why: String,
    },
}
