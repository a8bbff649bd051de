//! Durable Objects: where each lives, and with what it begins.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use portside_core::ids::{Fence, SHARDS};
use portside_core::keys::KeyRange;
use portside_core::migrations::{ObjectClass, Origin};
use portside_core::objects::{self, NAME_KEY, ObjectId};
use portside_core::write::Value;
use portside_store::{Error as StoreError, Loaded};
use portside_worker::cell::Arrival;
use portside_worker::host::{Identity, Object};
use portside_worker::instance::InstanceOptions;
use portside_worker::storage::Storage;

use crate::app::{App, Class};
use crate::assets;
use crate::ledger::WorkerLedger;
use crate::workers::Worker;

/// Entries of an object's database that are read at a time, and bytes: in one reading all of one that is not large.
pub const LOAD_ENTRIES: usize = 4_096;
pub const LOAD_BYTES: usize = 4 << 20;

/// Reads what a first reading has left of an object's database.
pub async fn load_rest(app: &App, worker: &Worker, loaded: &mut Loaded) -> Result<(), StoreError> {
    while !loaded.complete {
        let last = loaded.entries.last_key_value();
        let range = KeyRange {
            start_after: last.map(|(key, _)| key.clone()),
            limit: Some(LOAD_ENTRIES),
            max_bytes: Some(LOAD_BYTES),
            ..KeyRange::default()
        };
        let id = worker.id;
        let page = app.store().list(id.shard(SHARDS), id, &range).await?;
        loaded.complete = page.is_empty();
        loaded.entries.extend(page);
    }
    Ok(())
}

/// Sends an object to one of the servers, to live there; `origin` is its class.
///
/// # Errors
/// It cannot begin, for this reason.
pub fn start(
    app: &Arc<App>,
    worker: &Arc<Worker>,
    origin: &Origin,
    fence: Fence,
    loaded: Loaded,
) -> Result<(), String> {
    let class = app.class();
    let object = identity(&class, worker, origin, &loaded)?;
    let options = InstanceOptions {
        identity: Identity::Object(object),
        bundle: class.bundle.clone(),
        limits: class.limits.clone(),
        input_gate: false,
        env: class.env.clone(),
        assets: assets::bound(app, &class),
        compatibility: class.compatibility.clone(),
        classes: class.objects.clone(),
        storage: Storage::loaded(Default::default(), true, loaded.alarm),
        sockets: Some(app.workers().sockets(app, &worker.key)),
        inbox: worker.inbox.clone(),
        fabric: app.surroundings(),
        ledger: Some(Arc::new(WorkerLedger::new(app, worker, fence))),
        log: app.surroundings(),
    };
    let entries: Vec<(String, Value)> = loaded.entries.into_iter().collect();
    worker.runs.store(true, Ordering::Release);
    let (ended_app, ended_worker) = (app.clone(), worker.clone());
    let ended = move |end| ended_app.workers().ended(&ended_app, &ended_worker, end);
    let arrival = Arrival {
        options,
        entries,
        ended: Box::new(ended),
    };
    app.servers().admit(app, worker.id, arrival)?;
    worker.ends_turn();
    Ok(())
}

/// Who an object is, as those know who address it.
fn identity(
    class: &Class,
    worker: &Worker,
    origin: &Origin,
    loaded: &Loaded,
) -> Result<Object, String> {
    let of_origin = |class: &&ObjectClass| class.origin == *origin;
    let found = class.objects.iter().find(of_origin);
    let found = found.ok_or_else(|| {
        format!(
            "the application has no class of Durable Objects any more that began as {}",
            origin.name
        )
    })?;
    let id = ObjectId::parse(origin, worker.key.name()).map_err(|error| error.to_string())?;
    // Whoever wakes it by its id alone does not know the name, and so it does not; an alarm it set itself.
    let stored_name = || {
        let name = loaded.entries.get(NAME_KEY)?;
        let name = String::from_utf8(name.to_vec()).ok()?;
        worker.inbox.has_alarm().then(|| name.into())
    };
    Ok(Object {
        address: worker.key.clone(),
        class: found.name.as_str().into(),
        id,
        name: worker.inbox.name().or_else(stored_name),
    })
}

/// The class of the object that the worker is, if it is one.
pub fn class_of(worker: &Worker) -> Option<Origin> {
    objects::class_of(&worker.key)
}
