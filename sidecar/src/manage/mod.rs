//! What people ask of the application's workers, and are answered: [`portside_manage`]. Nothing of it is for the application itself.

mod answers;
mod exec;
mod inspect;
mod moves;
mod port;
mod state;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use portside_core::ids::{SHARDS, ShardId, WorkerId, WorkerKey};
use portside_core::migrations::Origin;
use portside_core::objects::{self, ObjectId};
use portside_core::stored::{Size, StoredWorker, WorkerPage};
use portside_manage::{ADDRESSES, Alarm, State, Worker, Workers, parse_id};
use portside_store::Error as StoreError;

use crate::app::{App, Class};
use crate::changes::Unchanged;
use crate::clock::now_ms;
use crate::workers::Worker as Awake;

use answers::Failed;
pub use answers::{PAGE, answer};
pub use inspect::{Desk, Inspects, Listen};
pub use port::Port;

/// Which workers are asked for.
#[derive(Debug, Clone)]
struct Wanted {
    page: WorkerPage,
    /// Only those in this state.
    state: Option<State>,
}

impl App {
    /// The workers that are stored, and those that are awake here, in the order of pages.
    async fn list_workers(&self, wanted: &Wanted) -> Result<Workers, StoreError> {
        let page = &wanted.page;
        let mut awake: BTreeMap<Place, Arc<Awake>> = BTreeMap::new();
        for worker in self.workers().all() {
            if worker.is_awake() && page.has(&worker.key, SHARDS) {
                awake.insert(place(&worker.key), worker);
            }
        }
        // Those that are awake are few, and known; of those that are stored, which may be many, a page.
        let (stored, is_all) = match wanted.state {
            Some(State::Awake) => {
                let some = awake.keys().take(page.size());
                (self.stored_of(some.map(|(_, id)| *id)).await?, true)
            }
            _ => {
                let stored = self.store().workers(page).await?;
                let is_all = stored.len() < page.size();
                (stored, is_all)
            }
        };
        let horizon = stored
            .last()
            .filter(|_| !is_all)
            .map(|it| place(&it.worker));
        let mut all: BTreeMap<Place, Worker> = BTreeMap::new();
        for it in stored {
            let place = place(&it.worker);
            let awake = awake.remove(&place);
            all.insert(place, self.shown(it, awake.as_deref()));
        }
        for (place, worker) in awake {
            if horizon.is_none_or(|horizon| place <= horizon) {
                let unstored = unstored(worker.key.clone());
                all.insert(place, self.shown(unstored, Some(&worker)));
            }
        }
        let found = all.len();
        let last = |items: &[Worker]| items.last().map(|it| it.id.clone());
        let items: Vec<Worker> = all.into_values().take(page.size()).collect();
        let next = last(&items).filter(|_| items.len() < found || !is_all);
        let is_wanted = |it: &Worker| wanted.state.is_none_or(|state| it.state == state);
        Ok(Workers {
            next,
            items: items.into_iter().filter(is_wanted).collect(),
        })
    }

    async fn stored_of(
        &self,
        workers: impl Iterator<Item = WorkerId>,
    ) -> Result<Vec<StoredWorker>, StoreError> {
        let mut found = Vec::new();
        for id in workers {
            found.extend(self.store().worker(id).await?);
        }
        Ok(found)
    }

    /// One of them; nothing if it is neither stored nor awake.
    ///
    /// # Errors
    /// It is another process's, which knows whether it is awake; or the store does not answer.
    async fn describe_worker(&self, key: &WorkerKey) -> Result<Option<Worker>, Unchanged> {
        self.must_have(key.id())?;
        let awake = self.workers().get(key).filter(|it| it.is_awake());
        let stored = self.store().worker(key.id()).await?;
        let stored = stored.or_else(|| awake.as_ref().map(|_| unstored(key.clone())));
        Ok(stored.map(|it| self.shown(it, awake.as_deref())))
    }

    /// What a worker is once it has woken, or is asleep, and whether it is gone: asleep, and nothing of it is stored.
    ///
    /// # Errors
    /// The store does not answer.
    pub(crate) async fn worker_as_of_event(
        &self,
        key: &WorkerKey,
        is_awake: bool,
    ) -> Result<(Worker, bool), StoreError> {
        if !is_awake {
            // The last it wrote may be on its way yet.
            self.lanes().flush().await;
        }
        let stored = self.store().worker(key.id()).await?;
        let gone = stored.is_none() && !is_awake;
        let stored = stored.unwrap_or_else(|| unstored(key.clone()));
        let awake = self.workers().get(key).filter(|_| is_awake);
        let mut worker = self.shown(stored, awake.as_deref());
        if is_awake {
            // Also if it sleeps again by now, which is told next.
            worker.state = State::Awake;
            worker.pod.clone_from(&self.called().pod);
        }
        // Which is another by the time that anybody hears of it.
        worker.usage = None;
        Ok((worker, gone))
    }

    /// What is stored of a worker, and, of one that is awake here, what is known of that.
    fn shown(&self, stored: StoredWorker, awake: Option<&Awake>) -> Worker {
        let worker = described(&self.class(), stored);
        let Some(awake) = awake else {
            return worker;
        };
        let called = self.called();
        let rested = awake.inbox.rests_for().unwrap_or_default();
        let rested = i64::try_from(rested.as_millis()).unwrap_or(i64::MAX);
        Worker {
            state: State::Awake,
            awake_since: Some(time(awake.since())),
            last_active: Some(time(now_ms() - rested)),
            pod: called.pod.clone(),
            revision: called.revision.clone(),
            usage: Some(awake.usage()),
            ..worker
        }
    }

    /// The worker that an id or an address means.
    ///
    /// # Errors
    /// There can be none.
    async fn resolve_worker(&self, text: &str) -> Result<WorkerKey, Failed> {
        let Some(id) = parse_id(text) else {
            return addressed(&self.class(), text).map_err(Failed::NotFound);
        };
        if let Some(worker) = self.workers().all().into_iter().find(|it| it.id == id) {
            return Ok(worker.key.clone());
        }
        if let Some(stored) = self.store().worker(id).await? {
            return Ok(stored.worker);
        }
        // One that has stored nothing is known where it is awake.
        self.must_have(id)?;
        Err(Failed::NotFound(format!(
            "there is no worker with the id {text}"
        )))
    }
}

/// Where a worker is in the order of pages.
type Place = (ShardId, WorkerId);

fn place(key: &WorkerKey) -> Place {
    (key.id().shard(SHARDS), key.id())
}

/// A worker without a key and without an alarm.
fn unstored(worker: WorkerKey) -> StoredWorker {
    StoredWorker {
        worker,
        alarm: None,
        size: Size::default(),
        object_name: None,
    }
}

fn addressed(class: &Class, text: &str) -> Result<WorkerKey, String> {
    let Some((place, name)) = text.split_once('#') else {
        return Err(format!("{text:?} is no worker: {ADDRESSES}"));
    };
    if let Some(object) = class.objects.iter().find(|it| it.name == place) {
        let origin = &object.origin;
        // Whoever calls an object as if that were its id has it found by that.
        let by_id = ObjectId::parse(origin, name);
        let id = by_id.unwrap_or_else(|_| ObjectId::of_name(origin, name));
        return Ok(id.address(origin));
    }
    if !class.bundle.modules.contains_key(place) {
        return Err(format!(
            "there is no script and no class of Durable Objects {place:?} in the application: {ADDRESSES}"
        ));
    }
    WorkerKey::new(place, name).map_err(|error| error.to_string())
}

/// A worker that is asleep.
fn described(class: &Class, stored: StoredWorker) -> Worker {
    let key = &stored.worker;
    let origin = objects::class_of(key);
    let object_class = origin.as_ref().map(|origin| name_of(class, origin));
    let name = match origin {
        Some(_) => stored.object_name.clone(),
        None => Some(key.name().to_owned()),
    };
    let place = object_class.as_deref().unwrap_or_else(|| key.script());
    let called = name.as_deref().unwrap_or_else(|| key.name());
    Worker {
        id: format!("{:?}", key.id()),
        address: format!("{place}#{called}"),
        script: origin.is_none().then(|| key.script().to_owned()),
        object_id: origin.as_ref().map(|_| key.name().to_owned()),
        name,
        state: State::Asleep,
        awake_since: None,
        last_active: None,
        pod: None,
        revision: None,
        usage: None,
        alarm: stored.alarm.map(|alarm| Alarm {
            scheduled: time(alarm.scheduled),
            due: time(alarm.due),
            retries: alarm.retries,
        }),
        keys: origin.is_none().then_some(stored.size.keys),
        bytes: stored.size.bytes,
        class: object_class,
    }
}

/// What an object's class is called now; the name that it began with if it is there no more.
fn name_of(class: &Class, origin: &Origin) -> String {
    let now = class.objects.iter().find(|it| it.origin == *origin);
    now.map_or_else(|| origin.name.clone(), |it| it.name.clone())
}

/// Milliseconds since the Unix epoch, for people; as a number if no calendar has them.
fn time(millis: i64) -> String {
    Timestamp::from_millisecond(millis).map_or_else(|_| millis.to_string(), |time| time.to_string())
}
