//! The awake workers: woken by what is addressed to them, gone when they fall asleep.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use portside_core::alarm::{Alarm, AlarmChange};
use portside_core::ids::{Fence, WorkerKey};
use portside_core::write::WriteBatch;
use portside_runtime::surface::event::{Event, PortFailure};
use portside_runtime::surface::host::{CommitTicket, Identity, Level};
use portside_runtime::surface::inbox::{Inbox, Rejected};
use portside_runtime::surface::instance::InstanceOptions;
use portside_runtime::surface::ports::LinkEnd;
use portside_runtime::surface::storage::Storage;
use portside_runtime::{End, Failure, Start};
use portside_store::{Commit, Loaded, Outcome};
use tokio::sync::Notify;

use crate::app::App;
use crate::crashes::Crashes;

/// Keys and bytes read with a wake. A worker with less never asks the store again.
const LOAD_KEYS: usize = 1_024;
const LOAD_BYTES: usize = 1 << 20;

/// The workers that are awake or on their way.
#[derive(Default)]
pub struct Workers {
    awake: Mutex<HashMap<WorkerKey, Arc<Worker>>>,
    crashes: Crashes,
    emptied: Notify,
}

struct Worker {
    key: WorkerKey,
    inbox: Arc<Inbox>,
    /// Under which the present instance's state was loaded. Its writes carry this one and no newer: were a commit of
    /// unknown fate followed by one in the next epoch, the latter could build on what was lost.
    fence: Mutex<Option<Fence>>,
    commits: AtomicUsize,
    committed: Notify,
}

impl Worker {
    fn fence(&self) -> Option<Fence> {
        *self.fence.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Workers {
    fn lock(&self) -> MutexGuard<'_, HashMap<WorkerKey, Arc<Worker>>> {
        self.awake.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many are awake.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// Opens a port to a worker, waking it if need be.
    pub fn connect(
        &self,
        app: &Arc<App>,
        key: &WorkerKey,
        end: LinkEnd,
    ) -> Result<Arc<Inbox>, PortFailure> {
        if app.is_closing() {
            return Err(PortFailure::failed(
                "the application is shutting down".to_owned(),
            ));
        }
        if let Some(wait) = self.crashes.waiting(key, Instant::now()) {
            let mut failure = PortFailure::failed(format!(
                "the worker failed repeatedly and is not started again for another {} ms",
                wait.as_millis()
            ));
            failure.retry_after_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            return Err(failure);
        }
        self.deliver(app, key, Event::Connect(end))
            .map_err(|_| PortFailure::overloaded("too many connections wait for the worker"))
    }

    /// Gives a worker its due alarm, waking it if need be.
    pub fn alarm(&self, app: &Arc<App>, key: &WorkerKey, alarm: Alarm) {
        // Alarms always fit.
        let _ = self.deliver(app, key, Event::Alarm(alarm));
    }

    fn deliver(
        &self,
        app: &Arc<App>,
        key: &WorkerKey,
        mut event: Event,
    ) -> Result<Arc<Inbox>, Event> {
        loop {
            let worker = self.find_or_wake(app, key);
            match worker.inbox.push(event) {
                Ok(()) => return Ok(worker.inbox.clone()),
                Err(Rejected::Full(event)) => return Err(event),
                Err(Rejected::Closed(returned)) => {
                    self.remove(&worker);
                    event = returned;
                }
            }
        }
    }

    fn find_or_wake(&self, app: &Arc<App>, key: &WorkerKey) -> Arc<Worker> {
        let mut awake = self.lock();
        if let Some(worker) = awake.get(key) {
            return worker.clone();
        }
        let limits = &app.class().limits;
        let worker = Arc::new(Worker {
            key: key.clone(),
            inbox: Arc::new(Inbox::new(limits.inbox_messages, limits.inbox_bytes)),
            fence: Mutex::default(),
            commits: AtomicUsize::new(0),
            committed: Notify::new(),
        });
        awake.insert(key.clone(), worker.clone());
        drop(awake);
        app.spawn(start(app.clone(), worker.clone()));
        worker
    }

    fn remove(&self, worker: &Arc<Worker>) {
        let mut awake = self.lock();
        if awake
            .get(&worker.key)
            .is_some_and(|known| Arc::ptr_eq(known, worker))
        {
            awake.remove(&worker.key);
        }
        if awake.is_empty() {
            self.emptied.notify_waiters();
        }
    }

    /// Makes a batch durable. The batches of a worker go to the same lane, which keeps their order.
    pub fn commit(&self, app: &Arc<App>, key: &WorkerKey, batch: WriteBatch, ticket: CommitTicket) {
        let worker = self.lock().get(key).cloned();
        let fence = worker.as_ref().and_then(|worker| worker.fence());
        let (Some(worker), Some(fence)) = (worker, fence) else {
            ticket.settle(Err("the worker has no right to write any more".to_owned()));
            return;
        };
        worker.commits.fetch_add(1, Ordering::Relaxed);
        let alarm = batch.alarm;
        let pending = app.lanes().submit(Commit {
            fence,
            worker: key.clone(),
            batch,
        });
        let (app, key) = (app.clone(), key.clone());
        app.clone().spawn(async move {
            let outcome = match pending.await {
                Ok(Outcome::Committed) => {
                    app.alarms().changed(&key, alarm);
                    Ok(())
                }
                Ok(Outcome::Fenced) => {
                    app.ownership().lost(fence);
                    Err("another process owns the worker now".to_owned())
                }
                Err(error) => {
                    app.ownership().settle(fence).await;
                    Err(error.to_string())
                }
            };
            ticket.settle(outcome);
            worker.commits.fetch_sub(1, Ordering::Relaxed);
            worker.committed.notify_waiters();
        });
    }

    /// Asks every awake worker to stop; the next event starts it anew, from the class as it is then.
    pub fn stop_all(&self) {
        for worker in self.lock().values() {
            // A closed inbox is what we want.
            let _ = worker.inbox.push(Event::Stop);
        }
    }

    /// New code: earlier failures say nothing about it.
    pub fn forget_crashes(&self) {
        self.crashes.forget();
    }

    /// Returns when no worker is awake.
    pub async fn all_asleep(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.lock().is_empty() {
                return;
            }
            emptied.await;
        }
    }
}

/// Starts an instance of the worker.
async fn start(app: Arc<App>, worker: Arc<Worker>) {
    app.ownership().decided().await;
    // What an earlier instance wrote must be settled before the state is read.
    loop {
        let committed = worker.committed.notified();
        if worker.commits.load(Ordering::Relaxed) == 0 {
            break;
        }
        committed.await;
    }
    match load(&app, &worker).await {
        Ok(loaded) => run(app, worker, loaded),
        Err(reason) => {
            app.log(&Identity::Worker(worker.key.clone()), Level::Error, &reason);
            app.workers().failed(&app, &worker, &reason);
        }
    }
}

async fn load(app: &App, worker: &Worker) -> Result<Loaded, String> {
    let id = worker.key.id();
    let not_ours = || "this process does not own the worker".to_owned();
    let fence = app.ownership().fence(id).ok_or_else(not_ours)?;
    let loaded = app.store().load(fence, id, LOAD_KEYS, LOAD_BYTES).await;
    let loaded = loaded.map_err(|error| error.to_string())?.ok_or_else(|| {
        app.ownership().lost(fence);
        not_ours()
    })?;
    *worker.fence.lock().unwrap_or_else(PoisonError::into_inner) = Some(fence);
    Ok(loaded)
}

fn run(app: Arc<App>, worker: Arc<Worker>, loaded: Loaded) {
    let class = app.class();
    let options = InstanceOptions {
        identity: Identity::Worker(worker.key.clone()),
        bundle: class.bundle.clone(),
        limits: class.limits.clone(),
        input_gate: class.input_gate,
        env: class.env.clone(),
        storage: Storage::loaded(loaded.entries, loaded.complete, loaded.alarm),
        inbox: worker.inbox.clone(),
        host: app.host(),
    };
    let start = Start {
        options,
        module: worker.key.script().to_owned(),
    };
    let (ended_app, ended_worker) = (app.clone(), worker.clone());
    let started = app.engine().start(start, move |end| {
        ended_app.workers().ended(&ended_app, &ended_worker, end);
    });
    if let Err(error) = started {
        let reason = format!("no thread could be started: {error}");
        app.workers().failed(&app, &worker, &reason);
    }
}

impl Workers {
    /// An instance ended: what waits in the inbox gets a new one.
    fn ended(&self, app: &Arc<App>, worker: &Arc<Worker>, end: End) {
        self.retry_alarm(app, &worker.key);
        let source = Identity::Worker(worker.key.clone());
        match end {
            End::Slept => self.remove(worker),
            End::Stopped if app.is_closing() => {
                worker.inbox.refuse_all(&PortFailure::failed(
                    "the application is shutting down".to_owned(),
                ));
                self.close_or_restart(app, worker);
            }
            End::Terminated | End::Stopped => self.close_or_restart(app, worker),
            End::Failed(failure @ Failure::Lost(_)) => {
                app.log(
                    &source,
                    Level::Error,
                    &format!("the worker was ended: {failure}"),
                );
                self.close_or_restart(app, worker);
            }
            End::Failed(failure) => {
                app.log(
                    &source,
                    Level::Error,
                    &format!("the worker was ended: {failure}"),
                );
                self.failed(app, worker, &failure.to_string());
            }
        }
    }

    /// A start or a run failed. The first time, what waits gets another try at once; then it is turned away.
    fn failed(&self, app: &Arc<App>, worker: &Arc<Worker>, reason: &str) {
        self.retry_alarm(app, &worker.key);
        let wait = self.crashes.record(&worker.key, Instant::now());
        if !wait.is_zero() {
            worker
                .inbox
                .refuse_all(&PortFailure::failed(reason.to_owned()));
        }
        self.close_or_restart(app, worker);
    }

    fn close_or_restart(&self, app: &Arc<App>, worker: &Arc<Worker>) {
        while worker.inbox.pop_control().is_some() {} // meant for the instance that ended
        if worker.inbox.close_if_empty() {
            self.remove(worker);
        } else {
            app.spawn(start(app.clone(), worker.clone()));
        }
    }

    /// If the ended instance had an alarm to handle, stores that this delivery failed.
    fn retry_alarm(&self, app: &Arc<App>, key: &WorkerKey) {
        let Some(change) = app.alarms().instance_ended(key) else {
            return;
        };
        let Some(fence) = app.ownership().fence(key.id()) else {
            return;
        };
        let batch = WriteBatch {
            alarm: change,
            ..WriteBatch::default()
        };
        let pending = app.lanes().submit(Commit {
            fence,
            worker: key.clone(),
            batch,
        });
        let (spawner, app, key) = (app.clone(), app.clone(), key.clone());
        spawner.spawn(async move {
            match (pending.await, change) {
                (Ok(Outcome::Committed), change) => app.alarms().changed(&key, change),
                // The store has it as it was; the next refill finds it there.
                (Ok(Outcome::Fenced), _) => {}
                (Err(_), AlarmChange::RetryIf { next }) => {
                    app.alarms().changed(&key, AlarmChange::Set(next))
                }
                (Err(_), _) => {}
            }
        });
    }
}
