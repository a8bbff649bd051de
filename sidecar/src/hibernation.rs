//! The hibernatable WebSockets of all objects in this process, whether these are awake or not.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use portside_core::ids::{SHARDS, ShardId, WorkerKey};
use portside_worker::hibernation::{Away, Kept, Sockets};
use portside_worker::link::{Failure, Opening};
use tokio::time::{Instant, sleep};

use crate::app::App;
use crate::workers::Workers;

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

impl Workers {
    /// The hibernatable WebSockets of an object.
    pub fn sockets(&self, app: &App, key: &WorkerKey) -> Arc<Sockets> {
        let buffer_bytes = app.class().limits.socket_buffer_bytes;
        let away = self.sockets.away.clone();
        let new = || Sockets::new(key.clone(), app.surroundings(), buffer_bytes, away);
        self.sockets.of(key, new)
    }

    /// Those whose clients may be brought back.
    pub(crate) fn away(&self) -> &Away {
        &self.sockets.away
    }

    /// Lets the hibernatable WebSockets of these objects leave: whoever holds their clients brings them to where the objects are then.
    /// Other clients have to connect anew.
    pub(crate) fn leave_sockets(&self, of: impl Fn(&WorkerKey) -> bool) {
        for sockets in self.sockets.all() {
            if of(sockets.address()) {
                sockets.leave_all();
            }
        }
    }

    /// The objects of these shards stay, though they were about to leave: their sockets are heard again.
    pub(crate) fn recover_sockets(&self, of: &HashSet<ShardId>) {
        for sockets in self.sockets.all() {
            if of.contains(&sockets.address().id().shard(SHARDS)) {
                sockets.recover();
            }
        }
    }

    /// Takes a hibernatable WebSocket in that is brought back; the object sleeps on. If that cannot be, the opener hears why.
    ///
    /// # Errors
    /// The object is on its way to another process; the opening comes back.
    pub(crate) fn adopt(
        &self,
        app: &App,
        key: &WorkerKey,
        kept: Bytes,
        opening: Opening,
    ) -> Result<(), Opening> {
        let is_object = portside_core::objects::class_of(key).is_some();
        let Some(kept) = Kept::decode(kept).filter(|kept| is_object && kept.address == *key) else {
            let failure = "what is kept of a WebSocket is not of this object";
            opening.end.refuse(Failure::failed(failure));
            return Ok(());
        };
        let may_be_here = || app.may_wake(key.id().shard(SHARDS));
        if !may_be_here() {
            return Err(opening);
        }
        let sockets = self.sockets(app, key);
        let adopted = sockets.adopt(kept, opening.end);
        // The object may have left meanwhile, with all sockets that were here before. Or its handlers still run, and have the others.
        if let Some(socket) = adopted
            && !may_be_here()
        {
            sockets.leave_one(socket);
        }
        Ok(())
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
