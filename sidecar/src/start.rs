//! Starting an instance of a worker: with what the store has of it, once all that it wrote before is settled.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use portside_core::ids::Fence;
use portside_core::migrations::Origin;
use portside_runtime::Start;
use portside_store::{Error as StoreError, Loaded};
use portside_worker::host::Identity;
use portside_worker::instance::InstanceOptions;
use portside_worker::storage::Storage;

use crate::app::App;
use crate::assets;
use crate::ledger::WorkerLedger;
use crate::objects;
use crate::ownership::Role;
use crate::wakes::Phase;
use crate::workers::Worker;

/// Keys and bytes read with a wake. A worker with less never asks the store again.
const LOAD_KEYS: usize = 1_024;
const LOAD_BYTES: usize = 1 << 20;

/// Starts an instance of the worker, but for a process that is closing.
pub async fn start(app: Arc<App>, worker: Arc<Worker>) {
    worker.wake.begin();
    let held = worker.held();
    // What an earlier instance wrote must be settled before the state is read.
    let until_loadable = async {
        app.ownership().decided().await;
        worker.settled().await;
    };
    let loadable = tokio::select! {
        loadable = app.ownership().patiently(until_loadable) => loadable,
        // Nothing is started any more, and a standby may never own the worker.
        () = app.closes() => return app.workers().close_or_restart(&app, &worker),
    };
    if let Err(error) = loadable {
        return app.workers().store_fails(&app, &worker, &error);
    }
    worker.wake.passed(Phase::Wait);
    let reason = match load(&app, &worker).await {
        Ok((fence, loaded)) => {
            worker.wake.passed(Phase::Load);
            return run(app, worker, fence, loaded, held);
        }
        Err(reason) => reason,
    };
    let source = Identity::Worker(worker.key.clone());
    match reason {
        // Whoever holds its place has not heard yet that it is another's.
        NotLoaded::NotOurs if worker.has_open_commits() => {
            app.workers().close_or_restart(&app, &worker);
        }
        NotLoaded::NotOurs if app.is_sharing() && !app.is_closing() => {
            app.workers().hand_on(&app, &worker);
        }
        NotLoaded::NotOurs => {
            // That this process has lost everything was said once.
            if *app.ownership().role().borrow() != Role::Over {
                app.log_error(&source, NOT_OURS);
            }
            app.workers().not_ours(&app, &worker);
        }
        NotLoaded::Store(error) => {
            // What fails for more than this worker the store says, once.
            if matches!(error, StoreError::Incompatible(_)) {
                app.log_error(&source, &error.to_string());
            }
            app.workers().store_fails(&app, &worker, &error);
        }
        NotLoaded::Failed(reason) => {
            app.log_error(&source, &format!("the worker cannot begin: {reason}"));
            app.workers().failed(&app, &worker, &reason);
        }
    }
}

pub const NOT_OURS: &str = "this process does not own the worker";

/// Why a worker's state could not be loaded.
pub(crate) enum NotLoaded {
    NotOurs,
    Store(StoreError),
    /// The store has answered, and the worker cannot begin with that.
    Failed(String),
}

/// What the store has of a worker or an object.
enum State {
    Worker(Loaded),
    Object(Origin, Box<objects::Loaded>),
}

impl State {
    /// Whether anything was stored of it.
    fn is_stored(&self) -> bool {
        match self {
            Self::Worker(loaded) => {
                !loaded.complete || !loaded.entries.is_empty() || loaded.alarm.is_some()
            }
            Self::Object(_, loaded) => loaded.is_stored(),
        }
    }
}

async fn load(app: &App, worker: &Worker) -> Result<(Fence, State), NotLoaded> {
    let id = worker.id;
    let settled = app.ownership().settled_fence(id);
    let fence = app.ownership().patiently(settled).await;
    let fence = fence.map_err(NotLoaded::Store)?;
    let fence = fence.ok_or(NotLoaded::NotOurs)?;
    let class = objects::class_of(worker);
    let (keys, bytes) = match class {
        Some(_) => (objects::LOAD_ENTRIES, objects::LOAD_BYTES),
        None => (LOAD_KEYS, LOAD_BYTES),
    };
    let loaded = app.store().load(fence, id, keys, bytes).await;
    let Some(loaded) = loaded.map_err(NotLoaded::Store)? else {
        app.ownership().lost(fence);
        return Err(NotLoaded::NotOurs);
    };
    let Some(class) = class else {
        return Ok((fence, State::Worker(loaded)));
    };
    let loaded = objects::load(app, worker, loaded).await;
    // It may have been read while another process wrote: only what is ours is known to be whole.
    if !app.ownership().still_holds(fence) {
        return Err(NotLoaded::NotOurs);
    }
    Ok((fence, State::Object(class, loaded?.into())))
}

/// Unless its state may be another by now: `held` is of before it was read.
fn run(app: Arc<App>, worker: Arc<Worker>, fence: Fence, state: State, held: u64) {
    // Who asked for a stop before this did not mean this instance. It is of the present class, or will be asked again.
    worker.inbox.forget_instance();
    // Not after the look at holds: whoever begins one looks at this next, and one of the two sees the other.
    worker.runs.store(true, Ordering::SeqCst);
    if app.is_closing() || worker.inbox.is_leaving() || worker.held() != held {
        worker.stops_running(&app);
        return app.workers().close_or_restart(&app, &worker);
    }
    worker.wakes(&app, state.is_stored());
    let loaded = match state {
        State::Worker(loaded) => loaded,
        State::Object(class, loaded) => {
            if let Err(reason) = objects::start(&app, &worker, &class, fence, *loaded) {
                worker.stops_running(&app);
                app.workers().failed(&app, &worker, &reason);
            }
            return;
        }
    };
    let class = app.class();
    let limits = class.limits.clone();
    let limits = match app.inspects() {
        Some(inspects) => inspects.limits(&worker.key, limits),
        None => limits,
    };
    let options = InstanceOptions {
        identity: Identity::Worker(worker.key.clone()),
        bundle: class.bundle.clone(),
        limits,
        input_gate: class.input_gate,
        env: class.env.clone(),
        assets: assets::bound(&app, &class),
        compatibility: class.compatibility.clone(),
        classes: class.objects.clone(),
        caches: app.caches().clone(),
        storage: Storage::loaded(loaded.entries, loaded.complete, loaded.alarm),
        sockets: None,
        inbox: worker.inbox.clone(),
        fabric: app.fabric(),
        ledger: Some(Arc::new(WorkerLedger::new(&app, &worker, fence))),
        log: app.surroundings(),
    };
    let start = Start {
        options,
        module: worker.key.script().to_owned(),
        cell: Arc::default(),
        is_trial: false,
    };
    let (ended_app, ended_worker) = (app.clone(), worker.clone());
    let begun = {
        let worker = worker.clone();
        move |gauge| {
            worker.measured_by(gauge);
            worker.wake.passed(Phase::Isolate);
            worker.ends_turn();
        }
    };
    let started = app.isolates().start(start, begun, move |end| {
        ended_app.workers().ended(&ended_app, &ended_worker, end);
    });
    if let Err(error) = started {
        let reason = format!("no thread could be started: {error}");
        worker.stops_running(&app);
        app.workers().failed(&app, &worker, &reason);
    }
}
