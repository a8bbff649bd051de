//! Delivers alarms when they are due.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portside_core::alarm::{self, Alarm, AlarmChange};
use portside_core::ids::WorkerKey;
use portside_store::Store;
use tokio::sync::Notify;

use crate::clock::now_ms;
use crate::ownership::Ownership;

/// Alarms due within this time are in memory; the store is asked for more twice in it.
const HORIZON: Duration = Duration::from_secs(60);
/// Alarms read from the store at a time.
const PAGE: usize = 10_000;

/// The alarms of this process's workers that are due soon.
#[derive(Default)]
pub struct Alarms {
    state: Mutex<State>,
    sooner: Notify,
}

#[derive(Default)]
struct State {
    armed: HashMap<WorkerKey, Alarm>,
    by_time: BTreeSet<(i64, WorkerKey)>,
    /// Given to their worker, which has not said yet what became of them.
    delivering: HashMap<WorkerKey, Alarm>,
}

impl State {
    fn arm(&mut self, worker: &WorkerKey, alarm: Alarm) {
        self.disarm(worker);
        self.by_time.insert((alarm.due, worker.clone()));
        self.armed.insert(worker.clone(), alarm);
    }

    fn disarm(&mut self, worker: &WorkerKey) {
        if let Some(old) = self.armed.remove(worker) {
            self.by_time.remove(&(old.due, worker.clone()));
        }
    }

    fn take_due(&mut self, now: i64) -> Vec<(WorkerKey, Alarm)> {
        let mut due = vec![];
        while let Some((_, worker)) = self
            .by_time
            .first()
            .filter(|(time, _)| *time <= now)
            .cloned()
        {
            if let Some(alarm) = self.armed.get(&worker).copied() {
                self.delivering.insert(worker.clone(), alarm);
                due.push((worker.clone(), alarm));
            }
            self.disarm(&worker);
        }
        due
    }
}

impl Alarms {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A durable commit changed a worker's alarm so.
    pub fn changed(&self, worker: &WorkerKey, change: AlarmChange) {
        let mut state = self.lock();
        match change {
            AlarmChange::Keep => return,
            AlarmChange::Set(alarm) | AlarmChange::RetryIf { next: alarm } => {
                state.delivering.remove(worker);
                state.arm(worker, alarm);
            }
            AlarmChange::Clear | AlarmChange::ClearIf { .. } => {
                state.delivering.remove(worker);
                state.disarm(worker);
            }
        }
        drop(state);
        self.sooner.notify_one();
    }

    /// An alarm that was due was not the worker's any more: nothing is being delivered.
    pub fn outdated(&self, worker: &WorkerKey, alarm: Alarm) {
        let mut state = self.lock();
        if state.delivering.get(worker) == Some(&alarm) {
            state.delivering.remove(worker);
        }
    }

    /// The worker's instance ended. If it had an alarm to handle, that delivery failed: says how to store that.
    pub fn instance_ended(&self, worker: &WorkerKey) -> Option<AlarmChange> {
        let alarm = self.lock().delivering.remove(worker)?;
        Some(alarm::after_delivery(alarm, false, now_ms()))
    }

    /// Reads what is due within the horizon, and hands every alarm to `deliver` when its time has come.
    pub async fn run(
        self: Arc<Self>,
        store: Arc<dyn Store>,
        ownership: Arc<Ownership>,
        deliver: impl Fn(&WorkerKey, Alarm),
    ) {
        let mut refill = tokio::time::interval(HORIZON / 2);
        loop {
            let next = self.lock().by_time.first().map(|(time, _)| *time);
            let wait = next.map_or(HORIZON, |time| {
                Duration::from_millis(u64::try_from(time.saturating_sub(now_ms())).unwrap_or(0))
                    .min(HORIZON)
            });
            tokio::select! {
                _ = refill.tick() => self.refill(store.as_ref(), &ownership).await,
                () = tokio::time::sleep(wait) => {}
                () = self.sooner.notified() => {}
            }
            let due = self.lock().take_due(now_ms());
            for (worker, alarm) in due {
                deliver(&worker, alarm);
            }
        }
    }

    async fn refill(&self, store: &dyn Store, ownership: &Ownership) {
        let until = now_ms().saturating_add(i64::try_from(HORIZON.as_millis()).unwrap_or(i64::MAX));
        match store.alarms(&ownership.shards(), None, until, PAGE).await {
            Ok(found) => {
                let mut state = self.lock();
                for due in found {
                    // What is known here is as new or newer.
                    if !state.armed.contains_key(&due.worker)
                        && !state.delivering.contains_key(&due.worker)
                    {
                        state.arm(&due.worker, due.alarm);
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "alarms could not be read; trying again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(name: &str) -> WorkerKey {
        WorkerKey::new("w.js", name).unwrap()
    }

    #[test]
    fn due_alarms_are_taken_once_in_order() {
        let mut state = State::default();
        state.arm(&worker("b"), Alarm::at(20));
        state.arm(&worker("a"), Alarm::at(30));
        state.arm(&worker("a"), Alarm::at(10)); // replaces
        state.arm(&worker("c"), Alarm::at(40));
        let taken = state.take_due(30);
        assert_eq!(
            taken,
            [(worker("a"), Alarm::at(10)), (worker("b"), Alarm::at(20))]
        );
        assert!(state.take_due(30).is_empty());
    }

    #[test]
    fn an_instance_that_ends_in_its_handler_is_retried() {
        let alarms = Alarms::default();
        alarms.changed(&worker("a"), AlarmChange::Set(Alarm::at(10)));
        assert_eq!(
            alarms.instance_ended(&worker("a")),
            None,
            "not delivered yet"
        );
        assert_eq!(alarms.lock().take_due(10).len(), 1);
        let Some(AlarmChange::RetryIf { next }) = alarms.instance_ended(&worker("a")) else {
            panic!("a retry")
        };
        assert_eq!((next.scheduled, next.retries), (10, 1));
        assert_eq!(alarms.instance_ended(&worker("a")), None);
    }
}
