//! Durable Objects: where each lives, and with what it begins.

use std::sync::Arc;

use portside_core::alarm::Alarm;
use portside_core::ids::{Fence, SHARDS, WorkerId};
use portside_core::keys::KeyRange;
use portside_core::migrations::{ObjectClass, Origin};
use portside_core::objects::{self, NAME_KEY, ObjectId};
use portside_core::write::Value;
use portside_objectdb::{Error as DatabaseError, Loader, Policy};
use portside_runtime::surface::objects::database::Stored;
use portside_store::{Error as StoreError, Loaded as FirstLoaded};
use portside_worker::cell::Arrival;
use portside_worker::host::{Identity, Object};
use portside_worker::instance::InstanceOptions;
use portside_worker::storage::Storage;

use crate::app::{App, Class};
use crate::assets;
use crate::ledger::WorkerLedger;
use crate::start::NotLoaded;
use crate::workers::Worker;

/// Entries of an object's database that are read at a time, and bytes: in one reading all of one that is not large.
pub const LOAD_ENTRIES: usize = 4_096;
pub const LOAD_BYTES: usize = 4 << 20;

/// With what an object begins.
pub struct Loaded {
    stored: Stored,
    alarm: Option<Alarm>,
    is_stored: bool,
}

impl Loaded {
    /// Whether anything was stored of the object.
    pub fn is_stored(&self) -> bool {
        self.is_stored
    }
}

/// Reads what a first reading has left of an object's database.
pub async fn load(app: &App, worker: &Worker, first: FirstLoaded) -> Result<Loaded, NotLoaded> {
    let rest = match first.complete {
        true => None,
        false => rest_of(first.entries.last_key_value().map(|(key, _)| key)),
    };
    let mut reader = Reader::new(app);
    let is_stored = first.alarm.is_some() || !first.entries.is_empty();
    reader.add(first.entries)?;
    let reader = read_rest(app, worker.id, reader, rest).await?;
    Ok(Loaded {
        stored: reader.finish()?,
        alarm: first.alarm,
        is_stored,
    })
}

/// Reads an object's database, whoever may write it meanwhile.
pub async fn read(app: &App, object: WorkerId) -> Result<Stored, NotLoaded> {
    let first = KeyRange {
        limit: Some(LOAD_ENTRIES),
        max_bytes: Some(LOAD_BYTES),
        ..KeyRange::default()
    };
    read_rest(app, object, Reader::new(app), Some(first))
        .await?
        .finish()
}

async fn read_rest(
    app: &App,
    object: WorkerId,
    mut reader: Reader,
    mut rest: Option<KeyRange>,
) -> Result<Reader, NotLoaded> {
    let mut page = vec![];
    while let Some(range) = rest.take() {
        // It writes to a file, while the next ones are on their way.
        let read = std::mem::take(&mut page);
        let adding = tokio::task::spawn_blocking(move || reader.with(read));
        page = list(app, object, &range).await.map_err(NotLoaded::Store)?;
        let added = adding.await;
        reader = added.map_err(|error| NotLoaded::Failed(error.to_string()))??;
        rest = rest_of(page.last().map(|(key, _)| key));
    }
    Ok(reader)
}

/// The entries after one, a page of them. After none there are no others.
fn rest_of(last: Option<&String>) -> Option<KeyRange> {
    let last = last?.clone();
    Some(KeyRange {
        start_after: Some(last),
        limit: Some(LOAD_ENTRIES),
        max_bytes: Some(LOAD_BYTES),
        ..KeyRange::default()
    })
}

async fn list(
    app: &App,
    object: WorkerId,
    range: &KeyRange,
) -> Result<Vec<(String, Value)>, StoreError> {
    app.store().list(object.shard(SHARDS), object, range).await
}

/// Reads an object's database from its entries.
struct Reader {
    loader: Loader,
    name: Option<Value>,
}

impl Reader {
    fn new(app: &App) -> Self {
        Self {
            loader: Loader::new(Policy::default(), app.spill().clone()),
            name: None,
        }
    }

    fn add(&mut self, entries: impl IntoIterator<Item = (String, Value)>) -> Result<(), NotLoaded> {
        for (key, value) in entries {
            match &*key {
                NAME_KEY => self.name = Some(value),
                key => self.loader.add(key, &value).map_err(not_loaded)?,
            }
        }
        Ok(())
    }

    fn with(mut self, entries: Vec<(String, Value)>) -> Result<Self, NotLoaded> {
        self.add(entries)?;
        Ok(self)
    }

    fn finish(self) -> Result<Stored, NotLoaded> {
        let (journal, pages) = self.loader.finish().map_err(not_loaded)?;
        let name = self.name.map(|name| String::from_utf8(name.to_vec()));
        let name = name.and_then(Result::ok).map(Into::into);
        Ok(Stored {
            journal,
            pages,
            name,
        })
    }
}

fn not_loaded(error: DatabaseError) -> NotLoaded {
    NotLoaded::Failed(format!("its database cannot be read: {error}"))
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
    let object = identity(&class, worker, origin, loaded.stored.name.clone())?;
    let options = InstanceOptions {
        identity: Identity::Object(object),
        bundle: class.bundle.clone(),
        limits: class.limits.clone(),
        input_gate: false,
        env: class.env.clone(),
        assets: assets::bound(app, &class),
        compatibility: class.compatibility.clone(),
        classes: class.objects.clone(),
        caches: app.caches().clone(),
        storage: Storage::loaded(Default::default(), true, loaded.alarm),
        sockets: Some(app.workers().sockets(app, &worker.key)),
        inbox: worker.inbox.clone(),
        fabric: app.fabric(),
        ledger: Some(Arc::new(WorkerLedger::new(app, worker, fence))),
        log: app.surroundings(),
    };
    let (ended_app, ended_worker) = (app.clone(), worker.clone());
    let ended = move |end| ended_app.workers().ended(&ended_app, &ended_worker, end);
    let arrival = Arrival {
        options,
        stored: loaded.stored,
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
    stored_name: Option<Arc<str>>,
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
    let stored_name = || stored_name.filter(|_| worker.inbox.has_alarm());
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
