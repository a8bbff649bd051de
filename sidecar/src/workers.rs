//! The awake workers: woken by what is addressed to them, gone when they fall asleep.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use portside_core::admission::{Admission, Pressure, Shortage};
use portside_core::alarm::Alarm;
use portside_core::alarms::Receiver;
use portside_core::ids::{SHARDS, WorkerId, WorkerKey};
use portside_manage::Usage;
use portside_runtime::Gauge;
use portside_store::Error as StoreError;
use portside_worker::activation::{End, Failure};
use portside_worker::event::{Control, Incoming, Stop};
use portside_worker::host::Identity;
use portside_worker::inbox::Inbox;
use portside_worker::instance::Lost;
use portside_worker::link::{Failure as LinkFailure, Kind, Opening, Receive, Rejected};
use tokio::sync::Notify;

use crate::alarms::{Alarms, Turn};
use crate::app::App;
use crate::clock::now_ms;
use crate::commits::store_alarm;
use crate::crashes::Crashes;
use crate::hibernation::Registry;
use crate::room::{self, Starting};
use crate::start::{NOT_OURS, start};
use crate::wakes::Stopwatch;

/// The workers that are awake or on their way.
#[derive(Default)]
pub struct Workers {
    awake: Mutex<Awake>,
    crashes: Crashes<WorkerKey>,
    pub(crate) sockets: Registry,
    removed: Notify,
}

/// A worker that is awake or on its way.
pub struct Worker {
    /// Its address.
    pub key: WorkerKey,
    /// The same, as the store has it.
    pub id: WorkerId,
    /// Since when it has its instance, or is on its way, in milliseconds since the Unix epoch.
    pub(crate) since: AtomicI64,
    pub(crate) inbox: Arc<Inbox>,
    /// Tells it from those that had the same address before.
    receiver: Receiver,
    /// The one before it, if that was still on its way out.
    predecessor: Mutex<Option<Arc<Worker>>>,
    /// Whether it has an instance. What that leaves behind is known once it has none.
    pub(crate) runs: AtomicBool,
    /// Whether that has been told to those who look from outside.
    is_awake: AtomicBool,
    /// Commits that have no answer yet, and which of them are [`Hold`]s: one number, so that both are as of one moment.
    commits: AtomicU64,
    /// How many holds there have been.
    held: AtomicU64,
    /// Held by the one of these that goes on.
    pub(crate) changing: tokio::sync::Mutex<()>,
    /// Wakes those who wait for the last commit's answer, and for the instance's end.
    settles: Notify,
    /// Until its module is evaluated, or cannot be.
    starting: Mutex<Option<Starting>>,
    /// The turn of the alarm that woke it, until it has an isolate.
    turn: Mutex<Option<Turn>>,
    /// What shows how much its isolate uses, if it has one of its own.
    gauge: Mutex<Option<Gauge>>,
    /// Measures how long it takes to start.
    pub(crate) wake: Stopwatch,
}

/// In [`Worker::commits`]: a commit, and one that holds the worker's place.
const COMMIT: u64 = 1;
const HOLD: u64 = COMMIT + (1 << 32);

/// A commit that has no answer yet. Until this is dropped no other instance of the worker is loaded.
pub struct OpenCommit(Arc<Worker>);

impl OpenCommit {
    /// Whose commit it is.
    pub fn worker(&self) -> &Arc<Worker> {
        &self.0
    }
}

impl Drop for OpenCommit {
    fn drop(&mut self) {
        self.0.commit_ends(COMMIT);
    }
}

/// A commit that holds a worker's place before it begins: until this is dropped no instance of the worker is loaded, nor begins
/// with what was loaded before. It begins when the instance that there is has ended, and all other commits have their answers.
pub(crate) struct Hold {
    app: Arc<App>,
    worker: Arc<Worker>,
    /// Whether the worker is a new one, which is nobody's to start.
    is_new: bool,
}

impl Hold {
    fn new(app: &Arc<App>, worker: &Arc<Worker>, is_new: bool) -> Self {
        worker.held.fetch_add(1, Ordering::SeqCst);
        worker.commits.fetch_add(HOLD, Ordering::SeqCst);
        Self {
            app: app.clone(),
            worker: worker.clone(),
            is_new,
        }
    }

    /// Whose place it holds.
    pub fn worker(&self) -> &Arc<Worker> {
        &self.worker
    }
}

impl Drop for Hold {
    /// Lets the worker go on.
    fn drop(&mut self) {
        self.worker.inbox.withhold(false);
        self.worker.commit_ends(HOLD);
        if self.is_new {
            self.app.workers().close_or_restart(&self.app, &self.worker);
        }
    }
}

static NEXT_RECEIVER: AtomicU64 = AtomicU64::new(0);

impl Worker {
    /// One that is to be started, once `predecessor` has left.
    fn new(app: &App, key: &WorkerKey, predecessor: Option<Arc<Self>>) -> Arc<Self> {
        let limits = &app.class().limits;
        Arc::new(Self {
            key: key.clone(),
            id: key.id(),
            since: AtomicI64::new(now_ms()),
            inbox: Arc::new(Inbox::new(limits.inbox_messages, limits.inbox_bytes)),
            receiver: Receiver(NEXT_RECEIVER.fetch_add(1, Ordering::Relaxed)),
            predecessor: Mutex::new(predecessor),
            runs: AtomicBool::new(false),
            is_awake: AtomicBool::new(false),
            commits: AtomicU64::new(0),
            held: AtomicU64::new(0),
            changing: tokio::sync::Mutex::default(),
            settles: Notify::new(),
            starting: Mutex::new(Some(app.room().starts())),
            turn: Mutex::default(),
            gauge: Mutex::default(),
            wake: Stopwatch::new(app.wakes()),
        })
    }

    /// Its instance begins; whether anything was stored of it.
    pub(crate) fn wakes(&self, app: &App, stored: bool) {
        self.since.store(now_ms(), Ordering::Relaxed);
        self.is_awake.store(true, Ordering::SeqCst);
        app.events().woke(&self.key, stored);
        self.settles.notify_waiters();
    }

    /// Whether it has an instance.
    pub(crate) fn is_awake(&self) -> bool {
        self.is_awake.load(Ordering::SeqCst)
    }

    /// Its instance has an isolate of its own, with this gauge.
    pub(crate) fn measured_by(&self, gauge: Option<Gauge>) {
        *self.gauge.lock().unwrap_or_else(PoisonError::into_inner) = gauge;
    }

    /// What it uses now, and has used since it woke: some numbers that are there anyway.
    pub(crate) fn usage(&self) -> Usage {
        let gauge = self.gauge.lock().unwrap_or_else(PoisonError::into_inner);
        let reading = gauge.as_ref().and_then(Gauge::read);
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Usage {
            memory_bytes: reading.map(|it| it.memory_bytes as u64),
            run_millis: reading.map(|it| millis(it.ran)),
            events: self.inbox.taken(),
        }
    }

    /// Returns when its instance has begun, or when it is given up; whether it has begun.
    pub(crate) async fn woken(&self) -> bool {
        loop {
            let settles = self.settles.notified();
            if self.is_awake() || self.inbox.is_closed() {
                return self.is_awake();
            }
            settles.await;
        }
    }

    /// Since when it has its instance, or is on its way, in milliseconds since the Unix epoch.
    pub(crate) fn since(&self) -> i64 {
        self.since.load(Ordering::Relaxed)
    }

    /// Counts a commit until it has its answer.
    pub fn commit_begins(self: &Arc<Self>) -> OpenCommit {
        self.commits.fetch_add(COMMIT, Ordering::SeqCst);
        OpenCommit(self.clone())
    }

    fn commit_ends(&self, which: u64) {
        self.commits.fetch_sub(which, Ordering::SeqCst);
        self.settles.notify_waiters();
    }

    /// How many commits have no answer yet but for holds; and how many holds there are.
    fn open_commits(&self) -> (u64, u64) {
        let open = self.commits.load(Ordering::SeqCst);
        let holds = open >> 32;
        ((open & u64::from(u32::MAX)) - holds, holds)
    }

    /// How many holds there have been: whoever reads its state begins anew if that is another number then.
    pub(crate) fn held(&self) -> u64 {
        self.held.load(Ordering::SeqCst)
    }

    /// Its instance has taken the memory that it needs to begin, or is gone.
    pub fn has_started(&self) {
        *self.starting.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// It cannot handle the alarm that it may have: that is read anew.
    pub(crate) fn turns_alarm_away(&self, app: &App) {
        self.ends_turn();
        app.alarms().turned_away(&self.key, self.receiver);
    }

    /// Others that alarms wake may have their turn.
    pub(crate) fn ends_turn(&self) {
        *self.turn.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether a commit has no answer yet, or the one before it may still have one.
    pub(crate) fn has_open_commits(&self) -> bool {
        self.open_commits() != (0, 0) || self.predecessor().is_some()
    }

    /// Returns when its instance is gone, and every commit has its answer; those of the one before it first, which is known
    /// until then: whoever gives up waiting leaves that to the next.
    pub(crate) fn settled(&self) -> BoxFuture<'_, ()> {
        let settled = async {
            self.vacated().await;
            loop {
                let settles = self.settles.notified();
                if !self.runs.load(Ordering::SeqCst) && !self.has_open_commits() {
                    return;
                }
                settles.await;
            }
        };
        settled.boxed()
    }

    /// Returns when its instance is gone, and all of its commits have their answers but for those that hold its place; those of the
    /// one before it first.
    pub(crate) async fn vacated(&self) {
        let predecessor = self.predecessor().clone();
        if let Some(predecessor) = predecessor {
            predecessor.settled().await;
            *self.predecessor() = None;
        }
        loop {
            let settles = self.settles.notified();
            let (open, _) = self.open_commits();
            if !self.runs.load(Ordering::SeqCst) && open == 0 {
                return;
            }
            settles.await;
        }
    }

    fn predecessor(&self) -> MutexGuard<'_, Option<Arc<Self>>> {
        let predecessor = self.predecessor.lock();
        predecessor.unwrap_or_else(PoisonError::into_inner)
    }

    /// Its instance is gone, and the commit that this calls for, if any, has begun.
    pub(crate) fn stops_running(&self, app: &App) {
        self.has_started();
        self.ends_turn();
        // Not later: its next instance may begin as soon as it does not run.
        if self.is_awake.swap(false, Ordering::SeqCst) {
            app.events().slept(&self.key);
        }
        self.runs.store(false, Ordering::SeqCst);
        self.settles.notify_waiters();
    }

    fn receive(&self, app: &App, incoming: Incoming) -> Result<(), Rejected> {
        match incoming {
            Incoming::Alarm(_) => {
                let take = || self.inbox.receive(incoming);
                app.alarms().offer(&self.key, self.receiver, take)
            }
            incoming => self.inbox.receive(incoming),
        }
    }
}

impl Workers {
    fn lock(&self) -> MutexGuard<'_, Awake> {
        self.awake.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many are awake.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// All that are awake or on their way.
    pub(crate) fn all(&self) -> Vec<Arc<Worker>> {
        self.lock().values().cloned().collect()
    }

    /// The one with this address, if it is awake or on its way.
    pub(crate) fn get(&self, key: &WorkerKey) -> Option<Arc<Worker>> {
        self.lock().get(key).cloned()
    }

    /// Starts an instance of a worker that has none.
    ///
    /// # Errors
    /// It cannot, for this reason.
    pub(crate) fn wake(&self, app: &Arc<App>, key: &WorkerKey) -> Result<Arc<Worker>, LinkFailure> {
        self.may_open(app, key)?;
        // One that is on its way out is none.
        let closed = self.get(key).filter(|worker| worker.inbox.is_closed());
        let found = self.find_or_wake(app, key, closed, &mut None);
        let overloaded = |overload: Overload| LinkFailure::overloaded(overload.message());
        let (worker, is_new) = found.map_err(overloaded)?;
        if is_new {
            app.spawn(start(app.clone(), worker.clone()));
        }
        Ok(worker)
    }

    /// Opens a link to a worker, waking it if need be; returns its inbox. If that cannot be, the opener hears why.
    ///
    /// # Errors
    /// The worker is on its way to another process; the opening comes back.
    pub fn open(
        &self,
        app: &Arc<App>,
        key: &WorkerKey,
        opening: Opening,
    ) -> Result<Option<Arc<dyn Receive>>, Opening> {
        if let Kind::Adopt(kept) = &opening.kind
            && !app.is_closing()
        {
            let kept = Bytes::clone(kept);
            return self.adopt(app, key, kept, opening).map(|()| None);
        }
        if let Err(failure) = self.may_open(app, key) {
            opening.end.refuse(failure);
            return Ok(None);
        }
        if let Some(request) = &opening.request {
            app.reached(request, key, opening.name.as_deref());
        }
        match self.deliver(app, key, Incoming::Opened(opening), None) {
            Ok(inbox) => Ok(Some(inbox as _)),
            Err((Incoming::Opened(opening), Overload::Leaving)) => Err(opening),
            Err((Incoming::Opened(opening), overload)) => {
                let text = match overload {
                    Overload::Inbox if portside_core::objects::class_of(key).is_some() => {
                        "Durable Object is overloaded. Too many requests queued."
                    }
                    overload => overload.message(),
                };
                opening.end.refuse(LinkFailure::overloaded(text));
                Ok(None)
            }
            Err(_) => Ok(None),
        }
    }

    /// Gives something to a worker, waking it if need be.
    ///
    /// # Errors
    /// It cannot be had, for this reason.
    pub fn tell(
        &self,
        app: &Arc<App>,
        key: &WorkerKey,
        incoming: Incoming,
    ) -> Result<(), LinkFailure> {
        self.may_open(app, key)?;
        match self.deliver(app, key, incoming, None) {
            Ok(_) => Ok(()),
            Err((_, leaving @ Overload::Leaving)) => {
                Err(LinkFailure::unavailable(leaving.message()))
            }
            Err((_, overload)) => Err(LinkFailure::overloaded(overload.message())),
        }
    }

    fn may_open(&self, app: &App, key: &WorkerKey) -> Result<(), LinkFailure> {
        if app.is_closing() {
            return Err(shutting_down());
        }
        if let Some(wait) = self.crashes.waiting(key, Instant::now()) {
            let wait = wait.as_millis();
            let mut failure = LinkFailure::failed(format!(
                "the worker failed repeatedly and is not started again for another {wait} ms"
            ));
            failure.retry_after_ms = u64::try_from(wait).unwrap_or(u64::MAX);
            return Err(failure);
        }
        Ok(())
    }

    /// Gives a worker its due alarm, waking it if need be. Returns whether there was room for it.
    pub fn alarm(&self, app: &Arc<App>, key: &WorkerKey, alarm: Alarm, turn: Turn) -> bool {
        // Alarms fit into every inbox.
        let delivered = self.deliver(app, key, Incoming::Alarm(alarm), Some(turn));
        delivered.is_ok()
    }

    /// `turn` is that of the alarm, and ends with the delivery if the worker is awake.
    fn deliver(
        &self,
        app: &Arc<App>,
        key: &WorkerKey,
        mut incoming: Incoming,
        mut turn: Option<Turn>,
    ) -> Result<Arc<Inbox>, (Incoming, Overload)> {
        let mut closed = None;
        loop {
            let (worker, is_new) = match self.find_or_wake(app, key, closed, &mut turn) {
                Ok(found) => found,
                Err(overload) => return Err((incoming, overload)),
            };
            let received = worker.receive(app, incoming);
            if is_new {
                // Not before: it begins with what its inbox tells of it.
                app.spawn(start(app.clone(), worker.clone()));
            }
            match received {
                Ok(()) => return Ok(worker.inbox.clone()),
                Err(Rejected::Full(incoming)) => return Err((incoming, Overload::Inbox)),
                Err(Rejected::Closed(returned)) => {
                    closed = Some(worker);
                    incoming = returned;
                }
            }
        }
    }

    /// The worker with this address, and whether it is a new one that is to be started. `closed` was it, and is on its way
    /// out: another takes its place.
    fn find_or_wake(
        &self,
        app: &Arc<App>,
        key: &WorkerKey,
        closed: Option<Arc<Worker>>,
        turn: &mut Option<Turn>,
    ) -> Result<(Arc<Worker>, bool), Overload> {
        let mut awake = self.lock();
        if app.is_sharing() && app.ownership().is_leaving(key.id().shard(SHARDS)) {
            return Err(Overload::Leaving);
        }
        let closed = closed.filter(|closed| is_in(&awake, closed));
        if let (Some(worker), None) = (awake.get(key), &closed) {
            return Ok((worker.clone(), false));
        }
        let others = awake.len() - usize::from(closed.is_some());
        let admission = app.room().admit_worker(others, &app.class().limits);
        make_room(&mut awake, app, admission).map_err(Overload::Process)?;
        let worker = Worker::new(app, key, closed);
        *worker.turn.lock().unwrap_or_else(PoisonError::into_inner) = turn.take();
        awake.insert(key.clone(), worker.clone());
        Ok((worker, true))
    }

    /// Makes room for another server beside `running` ones.
    ///
    /// # Errors
    /// There is none, for this reason.
    pub fn make_room_for_server(&self, app: &App, running: usize) -> Result<(), Shortage> {
        let mut awake = self.lock();
        let admission = app.room().admit_server(awake.len() + running);
        make_room(&mut awake, app, admission)
    }

    /// Puts idle workers to sleep as the pressure asks for, those first that have been idle for longest.
    pub fn relieve(&self, app: &App, pressure: Pressure) {
        let mut awake = self.lock();
        let wanted = pressure.to_sleep(awake.len());
        put_to_sleep(&mut awake, app, wanted);
        self.removed.notify_waiters();
    }

    pub(crate) fn remove(&self, worker: &Arc<Worker>) {
        let mut awake = self.lock();
        if is_in(&awake, worker) {
            awake.remove(&worker.key);
        }
        self.removed.notify_waiters();
    }

    /// Closes and forgets a worker without an instance, unless something waits for it. Whether it did; nothing if a commit has no answer
    /// yet, which begins while the worker is known, or not at all.
    fn remove_if_idle(&self, worker: &Arc<Worker>) -> Option<bool> {
        let mut awake = self.lock();
        if worker.has_open_commits() {
            return None;
        }
        let is_closed = worker.inbox.close_if_empty();
        if is_closed && is_in(&awake, worker) {
            awake.remove(&worker.key);
        }
        self.removed.notify_waiters();
        worker.settles.notify_waiters();
        Some(is_closed)
    }

    /// Holds the place of the worker with this address. Nothing if it is on its way to another process.
    pub(crate) fn hold(&self, app: &Arc<App>, key: &WorkerKey) -> Option<Hold> {
        let mut awake = self.lock();
        if app.is_sharing() && app.ownership().is_leaving(key.id().shard(SHARDS)) {
            return None;
        }
        let known = awake.get(key).cloned();
        if let Some(worker) = &known
            && !worker.inbox.is_closed()
        {
            return Some(Hold::new(app, worker, false));
        }
        let worker = Worker::new(app, key, known);
        worker.has_started();
        let hold = Hold::new(app, &worker, true);
        awake.insert(key.clone(), worker);
        Some(hold)
    }

    /// Asks every awake worker to stop; the next event starts it anew, from the class as it is then.
    pub fn stop_all(&self, stop: Stop) {
        for worker in self.lock().values() {
            worker.inbox.stop(stop);
        }
    }

    /// The lease covers this moment again: what waited for it may leave.
    pub fn lease_renewed(&self) {
        for worker in self.lock().values() {
            worker.inbox.tell(Control::Renewed);
        }
    }

    /// New code: earlier failures say nothing about it.
    pub fn forget_crashes(&self) {
        self.crashes.forget();
    }

    /// Returns when no worker is awake.
    pub async fn all_asleep(&self) {
        self.until(Awake::is_empty).await;
    }

    /// Returns when that holds of those that are awake.
    pub(crate) async fn until(&self, holds: impl Fn(&Awake) -> bool) {
        loop {
            let removed = self.removed.notified();
            if holds(&self.lock()) {
                return;
            }
            removed.await;
        }
    }
}

pub(crate) type Awake = HashMap<WorkerKey, Arc<Worker>>;

/// Why something could not be delivered.
enum Overload {
    /// The worker's inbox is full.
    Inbox,
    /// The worker sleeps, and the process has no room for another one.
    Process(Shortage),
    /// The worker is on its way to another process.
    Leaving,
}

impl Overload {
    fn message(self) -> &'static str {
        match self {
            Self::Inbox => "too many connections wait for the worker",
            Self::Process(shortage) => room::refusal(shortage),
            Self::Leaving => "the worker is on its way to another process",
        }
    }
}

fn is_in(awake: &Awake, worker: &Arc<Worker>) -> bool {
    awake
        .get(&worker.key)
        .is_some_and(|known| Arc::ptr_eq(known, worker))
}

/// Does what an admission asks for.
fn make_room(awake: &mut Awake, app: &App, admission: Admission) -> Result<(), Shortage> {
    let short = match admission {
        Admission::Admit => return Ok(()),
        Admission::Replace(shortage) => {
            // More than one of many, for looking through them takes a while.
            let wanted = 1 + awake.len() / 64;
            if put_to_sleep(awake, app, wanted) > 0 {
                return Ok(());
            }
            shortage
        }
        Admission::Refuse(shortage) => shortage,
    };
    app.room().refused(short);
    Err(short)
}

/// Puts up to so many workers to sleep, those first that have rested for longest; returns how many.
///
/// They are not awake any more from here on: whoever wakes one gets a new instance. What such a worker wrote is durable,
/// and has its answer.
fn put_to_sleep(awake: &mut Awake, app: &App, wanted: usize) -> usize {
    if wanted == 0 {
        return 0;
    }
    let mut resting: Vec<(u64, Arc<Worker>)> = awake
        .values()
        .filter(|worker| !worker.has_open_commits())
        .filter_map(|worker| Some((worker.inbox.resting_since()?, worker.clone())))
        .collect();
    resting.sort_unstable_by_key(|(since, _)| *since);
    let asleep = resting
        .iter()
        .filter(|(_, worker)| worker.inbox.put_to_sleep())
        .take(wanted)
        .map(|(_, worker)| awake.remove(&worker.key))
        .count();
    app.room().put_to_sleep(asleep);
    asleep
}

fn shutting_down() -> LinkFailure {
    LinkFailure::unavailable("the application is shutting down")
}

impl Workers {
    /// An instance ended: what waits in the inbox gets a new one.
    pub(crate) fn ended(&self, app: &Arc<App>, worker: &Arc<Worker>, end: End) {
        let handled = matches!(
            &end,
            End::Failed(Failure::Lost(Lost::Reset(reset))) if !reset.retries_alarm
        );
        self.settle_alarm(app, worker, handled);
        worker.stops_running(app);
        let source = Identity::Worker(worker.key.clone());
        match end {
            End::Slept | End::Terminated | End::Stopped => self.close_or_restart(app, worker),
            // Whoever waited for it was told.
            End::Failed(Failure::Lost(Lost::Reset(_))) => self.close_or_restart(app, worker),
            End::Failed(failure @ (Failure::Lost(_) | Failure::Cell(_))) => {
                app.log_error(&source, &format!("the worker was ended: {failure}"));
                self.close_or_restart(app, worker);
            }
            End::Failed(failure) => {
                app.log_error(&source, &format!("the worker was ended: {failure}"));
                self.failed(app, worker, &failure.to_string());
            }
        }
    }

    /// A start or a run failed. The first time, what waits gets another try at once; then it is turned away.
    pub(crate) fn failed(&self, app: &Arc<App>, worker: &Arc<Worker>, reason: &str) {
        let wait = self.crashes.record(&worker.key, Instant::now());
        if !wait.is_zero() {
            worker.inbox.refuse_all(&LinkFailure::failed(reason));
        }
        self.settle_alarm(app, worker, false);
        self.close_or_restart(app, worker);
    }

    /// Turns away what waits for a worker that cannot be loaded because the store fails: nothing is wrong with it, and its
    /// alarm is delivered again before long. What comes later waits anew.
    pub(crate) fn store_fails(&self, app: &Arc<App>, worker: &Arc<Worker>, error: &StoreError) {
        let again = |alarms: &Alarms| alarms.store_failed(&worker.key, worker.receiver);
        self.turn_away(app, worker, error.to_string(), again);
    }

    /// Turns away what waits for a worker that this process does not own. Whoever owns it is there for the next call, and
    /// delivers its alarm.
    pub(crate) fn not_ours(&self, app: &Arc<App>, worker: &Arc<Worker>) {
        let again = |alarms: &Alarms| alarms.turned_away(&worker.key, worker.receiver);
        self.turn_away(app, worker, NOT_OURS.to_owned(), again);
    }

    /// Tells all that waits for a worker that it cannot be had for this reason; `again` sees to its alarm.
    fn turn_away(
        &self,
        app: &Arc<App>,
        worker: &Arc<Worker>,
        reason: String,
        again: impl FnOnce(&Alarms),
    ) {
        worker.ends_turn();
        worker.inbox.refuse_all(&LinkFailure::unavailable(reason));
        // Not before: an alarm that came in between would be dropped, and taken for one that is being handled.
        again(app.alarms());
        self.close_or_restart(app, worker);
    }

    /// Forgets a worker whose instance is gone, unless something waits for it and the process goes on. Not before its
    /// commits have their answers: whoever wakes it next must wait for them.
    pub(crate) fn close_or_restart(&self, app: &Arc<App>, worker: &Arc<Worker>) {
        worker.inbox.forget_instance();
        // Not before: a request to stop that comes after this is not forgotten.
        if app.is_closing() {
            worker.inbox.refuse_all(&shutting_down());
        }
        if worker.has_open_commits() {
            let (spawner, app, worker) = (app.clone(), app.clone(), worker.clone());
            spawner.spawn(async move {
                match app.ownership().patiently(worker.settled()).await {
                    Ok(()) => app.workers().close_or_restart(&app, &worker),
                    Err(error) => app.workers().store_fails(&app, &worker, &error),
                }
            });
        } else if worker.inbox.is_leaving() && !app.is_closing() {
            self.hand_on(app, worker);
        } else {
            match self.remove_if_idle(worker) {
                Some(true) => {}
                Some(false) => app.spawn(start(app.clone(), worker.clone())),
                // Since just now.
                None => self.close_or_restart(app, worker),
            }
        }
    }

    /// If the ended instance had an alarm to handle, stores that this delivery failed, or counts as handled. One that waits
    /// still is its successor's. Counts as a commit of the worker: its next instance is not loaded before, and so knows of the alarm as
    /// it is then.
    fn settle_alarm(&self, app: &Arc<App>, worker: &Arc<Worker>, handled: bool) {
        if worker.inbox.has_alarm() {
            return;
        }
        let ended = app
            .alarms()
            .instance_ended(&worker.key, worker.receiver, handled);
        let Some(change) = ended else {
            return;
        };
        let open = worker.commit_begins();
        let (spawner, app) = (app.clone(), app.clone());
        spawner.spawn(async move {
            store_alarm(&app, &open.worker().key, change).await;
            drop(open);
        });
    }
}
