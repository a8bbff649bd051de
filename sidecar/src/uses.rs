//! Which worker or object each request of a client has used first: so that the next one can be sent to where that is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use portside_core::ids::{SHARDS, ShardId, WorkerKey};
use portside_router::Router;
use portside_worker::event::Incoming;
use portside_worker::host::{Fabric, RequestName};
use portside_worker::link::{Failure, Opening, Receive};

use crate::app::App;

/// Requests that have no answer yet, by their names, and the shard of what each has used first.
#[derive(Default)]
pub struct Uses(Mutex<HashMap<RequestName, Option<ShardId>>>);

/// A request that is looked at until this is dropped.
pub struct Look<'a> {
    uses: &'a Uses,
    name: RequestName,
}

impl Uses {
    fn lock(&self) -> MutexGuard<'_, HashMap<RequestName, Option<ShardId>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks what the request with this name uses.
    pub fn of(&self, name: RequestName) -> Look<'_> {
        self.lock().insert(name.clone(), None);
        Look { uses: self, name }
    }

    fn used(&self, name: &RequestName, worker: &WorkerKey) {
        if let Some(first) = self.lock().get_mut(name) {
            first.get_or_insert_with(|| worker.id().shard(SHARDS));
        }
    }
}

impl Look<'_> {
    /// The shard of what it has used first, if it has used anything.
    pub fn first(&self) -> Option<ShardId> {
        self.uses.lock().get(&self.name).copied().flatten()
    }
}

impl Drop for Look<'_> {
    fn drop(&mut self) {
        self.uses.lock().remove(&self.name);
    }
}

/// The router, as instances reach it: what requests use is noted.
pub struct Noting {
    pub app: Weak<App>,
    pub uses: Weak<Uses>,
    pub router: Arc<Router>,
}

impl Fabric for Noting {
    fn open(&self, to: &WorkerKey, opening: Opening) -> Option<Arc<dyn Receive>> {
        if let (Some(name), Some(uses)) = (&opening.request, self.uses.upgrade()) {
            uses.used(name, to);
            if let Some(app) = self.app.upgrade() {
                // Where the worker is, nobody has asked.
                app.reached(name, to, opening.name.as_deref());
            }
        }
        self.router.open(to, opening)
    }

    fn deliver(&self, to: &WorkerKey, incoming: Incoming) -> Result<(), Failure> {
        self.router.deliver(to, incoming)
    }
}
