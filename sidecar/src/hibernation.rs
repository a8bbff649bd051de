//! The hibernatable WebSockets of all objects in this process, whether these are awake or not.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use portside_core::ids::WorkerKey;
use portside_worker::hibernation::{Away, Sockets};
use tokio::time::{Instant, sleep};

use crate::app::App;

/// How often it is looked whether a socket was waited for in vain.
const LOOK: Duration = Duration::from_secs(1);

/// Each object's sockets, for as long as there is an instance, a client, or something that a client has said.
#[derive(Default)]
pub struct Registry {
    known: Mutex<Known>,
    /// Those of all objects that may be brought back.
    pub away: Arc<Away>,
}

#[derive(Default)]
struct Known {
    all: HashMap<WorkerKey, Weak<Sockets>>,
    /// When there are as many, those that are gone are looked for.
    look_at: usize,
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
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

/// Tells objects of clients that nobody has brought back, for as long as the application lives.
pub async fn watch(app: Weak<App>) {
    while let Some(app) = app.upgrade() {
        app.workers().away().give_up(Instant::now().into_std());
        drop(app);
        sleep(LOOK).await;
    }
}
