//! Delivers alarms when they are due. What is due, and what is read when, core's [`portside_core::alarms`] decides.

use std::num::NonZero;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portside_core::alarm::{Alarm, AlarmChange};
use portside_core::alarms::{Alarms as State, Delivery, Fate, PAGE, Query, Receiver, Ticket};
use portside_core::ids::{SHARDS, WorkerKey};
use portside_store::{Error as StoreError, Store};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::clock::now_ms;
use crate::ownership::Ownership;

/// How many workers that alarms wake may be on their way to an isolate, for each core. Each wake is some milliseconds of a
/// core: with more, a worker that a request wakes would wait for them.
const WAKES_PER_CORE: usize = 4;

/// The alarms of this process's workers that are due soon.
pub struct Alarms {
    state: Mutex<State>,
    changed: Notify,
    /// Wakes those who wait for what becomes of a delivery.
    outcomes: Notify,
    wakes: Arc<Semaphore>,
    /// From when alarms were due until their workers had them, in seconds.
    delays: Histogram,
}

/// An alarm's turn to wake its worker. Others wait for its end.
pub type Turn = OwnedSemaphorePermit;

impl Default for Alarms {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self {
            state: Mutex::default(),
            changed: Notify::default(),
            outcomes: Notify::default(),
            wakes: Arc::new(Semaphore::new(WAKES_PER_CORE * cores)),
            // 4 ms to more than an hour: after an outage much is late.
            delays: Histogram::new(exponential_buckets(0.004, 4.0, 11)),
        }
    }
}

impl Alarms {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many are late now, and for how long the earliest of them.
    pub fn overdue(&self) -> (usize, Duration) {
        let (count, longest_ms) = self.lock().overdue(now_ms());
        (count, Duration::from_millis(longest_ms.unsigned_abs()))
    }

    /// Whose alarms come due within this time: a page of them, the earliest first.
    pub fn due_within(&self, time: Duration) -> Vec<WorkerKey> {
        let now = now_ms();
        let time = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        let state = self.lock();
        let due = state.due_between(now, now.saturating_add(time));
        due.take(PAGE).cloned().collect()
    }

    /// From when alarms were due until their workers had them, in seconds.
    pub fn delays(&self) -> &Histogram {
        &self.delays
    }

    /// What is to be delivered may be another.
    fn has_changed(&self) {
        self.changed.notify_one();
        self.outcomes.notify_waiters();
    }

    /// Takes an alarm that is stored, though it may not be due, with a turn for its delivery. Nothing if the worker's alarm is
    /// being delivered.
    pub async fn take(&self, worker: &WorkerKey, alarm: Alarm) -> Option<Turn> {
        // Nobody closes the semaphore.
        let turn = self.wakes.clone().acquire_owned().await.ok()?;
        self.lock().take(worker, alarm).then_some(turn)
    }

    /// There was no room for the worker of an alarm that was taken: it is due again soon.
    pub fn postponed(&self, worker: &WorkerKey) {
        self.lock().postponed(worker, now_ms());
        self.has_changed();
    }

    /// Waits until the delivery of a worker's alarm is over. Returns whether it failed and is to be tried again.
    pub async fn outcome(&self, worker: &WorkerKey, alarm: Alarm) -> bool {
        loop {
            let mut outcomes = std::pin::pin!(self.outcomes.notified());
            outcomes.as_mut().enable();
            match self.lock().delivery(worker) {
                Delivery::UnderWay => {}
                Delivery::None => return false,
                Delivery::Of(next) => {
                    return next.scheduled == alarm.scheduled && next.retries > alarm.retries;
                }
            }
            outcomes.await;
        }
    }

    /// A change is about to be submitted to the store. Call this in the order in which a worker's commits are submitted;
    /// what it returns goes to [`Alarms::settled`].
    pub fn submitted(&self, worker: &WorkerKey, change: AlarmChange) -> Option<Ticket> {
        if change == AlarmChange::Keep {
            return None;
        }
        self.lock().submitted(worker, change)
    }

    /// The fate of a submitted change is known. May be called in any order.
    pub fn settled(&self, worker: &WorkerKey, ticket: Option<Ticket>, fate: Fate) {
        if let Some(ticket) = ticket {
            self.lock().settled(worker, ticket, fate, now_ms());
            self.has_changed();
        }
    }

    /// Offers a due alarm of the worker to this receiver. If it takes it, the delivery is its own from that moment on:
    /// whoever else ends knows nothing of it.
    ///
    /// # Errors
    /// It did not take it, for this reason.
    pub fn offer<E>(
        &self,
        worker: &WorkerKey,
        to: Receiver,
        take: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let mut state = self.lock();
        take()?;
        state.delivered(worker, to);
        Ok(())
    }

    /// The worker's instance ended. If this receiver had an alarm for it to handle, that delivery failed: says how to store
    /// that.
    pub fn instance_ended(
        &self,
        worker: &WorkerKey,
        receiver: Receiver,
        handled: bool,
    ) -> Option<AlarmChange> {
        self.lock()
            .instance_ended(worker, receiver, handled, now_ms())
    }

    /// This receiver could not begin to handle the alarm that it may have: it is delivered again once it is read anew.
    pub fn turned_away(&self, worker: &WorkerKey, receiver: Receiver) {
        self.lock().turned_away(worker, receiver);
        self.has_changed();
    }

    /// This receiver could not begin to handle the alarm that it may have, because the store failed: it is delivered again
    /// after a while.
    pub fn store_failed(&self, worker: &WorkerKey, receiver: Receiver) {
        self.lock().store_failed(worker, receiver, now_ms());
        self.has_changed();
    }

    /// The worker did not handle this delivery, for it knows of another alarm.
    pub fn not_matched(&self, worker: &WorkerKey, alarm: Alarm) {
        self.lock().not_matched(worker, alarm);
        self.has_changed();
    }

    /// How the failed delivery of a worker is to be stored cannot be stored.
    pub fn retry_failed(&self, worker: &WorkerKey) {
        self.lock().retry_failed(worker);
        self.has_changed();
    }

    /// Reads what is due soon, and hands every alarm to `deliver` when its time and its turn have come; again a little later
    /// if that says that there is no room for its worker.
    pub async fn run(
        self: Arc<Self>,
        store: Arc<dyn Store>,
        ownership: Arc<Ownership>,
        deliver: impl Fn(&WorkerKey, Alarm, Turn) -> bool,
    ) {
        let mut gained = ownership.gained();
        loop {
            let now = now_ms();
            let query = self.lock().read(now);
            let reading = query.map(|query| read(store.as_ref(), &ownership, query));
            if let Some(reading) = reading {
                let page = reading.await;
                self.lock().found(page, now_ms());
            }
            // Nobody closes the semaphore.
            while let Ok(turn) = self.wakes.clone().acquire_owned().await {
                let due = self.lock().take_due(now_ms());
                let Some((worker, alarm)) = due else { break };
                if ownership.serves(worker.id().shard(SHARDS)).is_none() {
                    // Whoever has the shard then delivers it.
                    self.lock().left(&worker);
                } else if deliver(&worker, alarm, turn) {
                    let late_ms = now_ms().saturating_sub(alarm.due).max(0);
                    self.delays.observe(late_ms as f64 / 1_000.0);
                } else {
                    self.lock().postponed(&worker, now_ms());
                }
            }
            let now = now_ms();
            let next = self.lock().next(now);
            let wait = u64::try_from(next.saturating_sub(now)).unwrap_or(0);
            if wait == 0 {
                continue;
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(wait)) => {}
                () = self.changed.notified() => {}
                _ = gained.changed() => self.lock().read_again(),
            }
        }
    }
}

/// The page; none if the store failed.
async fn read(
    store: &dyn Store,
    ownership: &Ownership,
    query: Query,
) -> Option<Vec<(WorkerKey, Alarm)>> {
    let shards = ownership.shards();
    let found = store.alarms(&shards, query.after, query.until, query.limit);
    match found.await {
        Ok(found) => Some(
            found
                .into_iter()
                .map(|due| (due.worker, due.alarm))
                .collect(),
        ),
        Err(StoreError::Incompatible(error)) => {
            tracing::warn!(error, "alarms could not be read; trying again");
            None
        }
        // The store says it, once.
        Err(StoreError::Database(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use portside_core::write::WriteBatch;
    use portside_store::{Commit, Outcome};
    use tokio::sync::mpsc;

    use super::*;

    /// A store with so many alarms that are due, and who owns their workers.
    async fn with_due(count: usize) -> (tempfile::TempDir, Arc<dyn Store>, Arc<Ownership>) {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", dir.path().join("state.sqlite").display());
        let store = portside_store::open(&url, "test").await.unwrap();
        let ownership = Ownership::acquire(store.clone(), "test").await.unwrap();
        let commits: Vec<Commit> = (0..count)
            .map(|n| {
                let worker = WorkerKey::new("w.js", &n.to_string()).unwrap();
                let fence = ownership.fence(worker.id()).unwrap();
                let alarm = AlarmChange::Set(Alarm::at(5));
                let batch = WriteBatch {
                    alarm,
                    ..WriteBatch::default()
                };
                Commit {
                    fence,
                    worker,
                    batch,
                }
            })
            .collect();
        let outcomes = store.commit(&commits).await.unwrap();
        assert!(
            outcomes
                .iter()
                .all(|outcome| *outcome == Outcome::Committed)
        );
        (dir, store, ownership)
    }

    /// More than a page of them, none of whose handlers ends.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_due_alarm_is_delivered_however_many_there_are() {
        let (_dir, store, ownership) = with_due(PAGE + 1).await;
        let (sender, mut delivered) = mpsc::unbounded_channel();
        let alarms = Arc::new(Alarms::default());
        let running = tokio::spawn(alarms.run(store, ownership.clone(), move |worker, _, _| {
            sender.send(worker.clone()).is_ok()
        }));
        let all = async {
            let mut seen = HashSet::new();
            while seen.len() <= PAGE {
                seen.insert(delivered.recv().await.unwrap());
            }
        };
        // Less than until the next reading of everything.
        let waited = tokio::time::timeout(Duration::from_secs(20), all).await;
        assert!(waited.is_ok(), "some were not delivered");
        running.abort();
        ownership.release().await;
    }

    #[tokio::test]
    async fn alarms_take_turns_to_wake_their_workers() {
        let alarms = Arc::new(Alarms::default());
        let at_once = alarms.wakes.available_permits();
        let (_dir, store, ownership) = with_due(3 * at_once).await;
        let (sender, mut delivered) = mpsc::unbounded_channel();
        let running = tokio::spawn(alarms.run(store, ownership.clone(), move |_, _, turn| {
            sender.send(turn).is_ok()
        }));
        let mut turns = vec![];
        for _ in 0..at_once {
            turns.push(delivered.recv().await.unwrap());
        }
        for _ in 0..at_once {
            // There is but one thread: it would have gone on before.
            tokio::task::yield_now().await;
            assert!(delivered.try_recv().is_err(), "more than their turn");
            turns.pop();
            turns.push(delivered.recv().await.unwrap());
        }
        drop(turns);
        for _ in 0..at_once {
            drop(delivered.recv().await.unwrap());
        }
        running.abort();
        ownership.release().await;
    }
}
