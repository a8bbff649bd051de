//! The hibernatable WebSockets of all objects in this process, whether these are awake or not.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use portside_core::ids::WorkerKey;
use portside_worker::hibernation::Sockets;

/// Each object's sockets, for as long as there is an instance, a client, or something that a client has said.
#[derive(Default)]
pub struct Registry(Mutex<Known>);

#[derive(Default)]
struct Known {
    all: HashMap<WorkerKey, Weak<Sockets>>,
    /// When there are as many, those that are gone are looked for.
    look_at: usize,
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those of the object at `key`, or else new ones.
    pub fn of(&self, key: &WorkerKey, new: impl FnOnce() -> Arc<Sockets>) -> Arc<Sockets> {
        let mut known = self.lock();
        if let Some(sockets) = known.all.get(key).and_then(Weak::upgrade) {
            return sockets;
        }
        if known.all.len() >= known.look_at {
            known.all.retain(|_, sockets| sockets.strong_count() > 0);
            known.look_at = (2 * known.all.len()).max(64);
        }
        let sockets = new();
        known.all.insert(key.clone(), Arc::downgrade(&sockets));
        sockets
    }

    /// All that there are.
    pub fn all(&self) -> Vec<Arc<Sockets>> {
        self.lock().all.values().filter_map(Weak::upgrade).collect()
    }
}
