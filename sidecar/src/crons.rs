//! Crons: when the server's `scheduled` handler runs, once for all of a class's pods.
//!
//! In the store each cron has an alarm, of a worker that no code can address: when the cron is due next. Whoever owns that
//! worker's shard moves the alarm on, under its fence, and only once that is durable runs the handler. So no time is run
//! twice, whatever becomes of pods and their commits; one is left out if the pod ends just then. What came due while no
//! pod was there is one run, for the first time that was missed. A pod that drains takes no more times, and waits for the runs
//! that it has.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use portside_core::alarm::{Alarm, AlarmChange};
use portside_core::alarms::Fate;
use portside_core::cron::Cron;
use portside_core::ids::{SHARDS, WorkerKey};
use portside_exchange::FetchError;
use portside_worker::host::Identity;
use portside_worker::link::Scheduled;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::alarms::Turn;
use crate::app::App;
use crate::clock::now_ms;
use crate::commits::{store_alarm, stored_alarm};
use crate::count::{Count, One};
use crate::ownership::Role;

/// The script of the workers that have crons' alarms. The path of a script in a bundle never begins with a slash.
const SCRIPT: &str = "/crons";

const MINUTE_MS: i64 = 60_000;

/// Between two tries to store when a cron is due first, and two to find a server with room for a run.
const AGAIN: Duration = Duration::from_secs(1);

/// For how long a run waits for a server with room for it.
const ROOM: Duration = Duration::from_secs(60);

/// The runs of an application's `scheduled` handler.
#[derive(Default)]
pub struct Runs {
    under_way: Count,
    /// No more of them begin.
    end: AtomicBool,
    /// Those that are under way still do not go on.
    cut_off: CancellationToken,
}

/// One of them.
pub struct Run {
    cut_off: CancellationToken,
    _under_way: One,
}

impl Runs {
    /// One begins, unless none may any more.
    pub fn begin(&self) -> Option<Run> {
        // Counted before that is read: an end that comes in between waits for this one.
        let run = Run {
            _under_way: self.under_way.one(),
            cut_off: self.cut_off.clone(),
        };
        (!self.end.load(Ordering::SeqCst)).then_some(run)
    }

    /// As [`App::drain`] says.
    pub async fn end(&self, grace: Duration) {
        self.end.store(true, Ordering::SeqCst);
        if timeout(grace, self.under_way.none()).await.is_err() {
            self.cut_off.cancel();
            self.under_way.none().await;
        }
    }
}

impl Run {
    /// What `running` comes to; nothing, which is logged, if the run is cut off before.
    pub async fn unless_cut_off<T>(
        &self,
        app: &App,
        scheduled: &Scheduled,
        running: impl Future<Output = T>,
    ) -> Option<T> {
        let ran = self.cut_off.run_until_cancelled(running).await;
        if ran.is_none() {
            log(app, scheduled, "was cut off: the application shuts down");
        }
        ran
    }
}

/// A line of the application's log: what became of a run.
fn log(app: &App, scheduled: &Scheduled, what: &str) {
    let Scheduled { cron, time } = scheduled;
    let time = Timestamp::from_millisecond(*time)
        .map_or_else(|_| time.to_string(), |time| time.to_string());
    let text = format!("scheduled() of the cron \"{cron}\" for {time} {what}");
    app.log_error(&Identity::Server, &text);
}

/// Whether it is a cron's alarm, and no worker's, that the store has under this address.
pub fn is_cron(key: &WorkerKey) -> bool {
    key.script() == SCRIPT
}

/// Where a cron's alarm is. None for one whose text is longer than any of a class.
fn address(cron: &Cron) -> Option<WorkerKey> {
    WorkerKey::new(SCRIPT, &cron.to_string()).ok()
}

/// When a cron is due after `time`, in milliseconds since the Unix epoch.
fn next_after(cron: &Cron, time: i64) -> Option<i64> {
    let minute = cron.next_after(time.div_euclid(MINUTE_MS))?;
    Some(minute * MINUTE_MS)
}

/// Sees to it that each cron of the present class has an alarm while this process is active.
pub async fn keep(app: Weak<App>) {
    let Some((mut role, mut gained, mut class)) = app.upgrade().map(|app| {
        let ownership = app.ownership();
        (ownership.role(), ownership.gained(), app.classes())
    }) else {
        return;
    };
    loop {
        let is_active = matches!(*role.borrow_and_update(), Role::Active { .. });
        class.borrow_and_update();
        gained.borrow_and_update();
        let Some(app) = app.upgrade() else { return };
        let is_done = !is_active || app.is_closing() || arm_all(&app).await;
        drop(app);
        let gone = tokio::select! {
            changed = role.changed() => changed.is_err(),
            changed = class.changed() => changed.is_err(),
            changed = gained.changed() => changed.is_err(),
            () = tokio::time::sleep(AGAIN), if !is_done => false,
        };
        if gone {
            return;
        }
    }
}

/// Whether each has one now.
async fn arm_all(app: &App) -> bool {
    let mut all = true;
    for cron in app.class().crons.iter() {
        all &= arm(app, cron).await;
    }
    all
}

/// Stores when a cron is due first, unless that is known: then it may have been missed.
async fn arm(app: &App, cron: &Cron) -> bool {
    let (Some(key), Some(first)) = (address(cron), next_after(cron, now_ms())) else {
        return true; // It never is.
    };
    if app.is_sharing() && app.ownership().epoch(key.id().shard(SHARDS)).is_none() {
        return true; // It is another process's.
    }
    let _one_at_a_time = app.crons().lock().await;
    let Some(alarm) = stored_alarm(app, &key).await else {
        return false;
    };
    if alarm.is_some() {
        return true;
    }
    let armed = store_alarm(app, &key, AlarmChange::Set(Alarm::at(first))).await;
    armed == Some(Fate::Committed)
}

/// A cron is due: runs the handler, unless the class has no such cron any more, or the process drains.
pub async fn due(app: Arc<App>, key: WorkerKey, alarm: Alarm, turn: Turn) {
    let Some(run) = app.runs().begin() else {
        return; // Its time stays stored, for whoever owns it next.
    };
    let scheduled = Scheduled {
        time: alarm.scheduled,
        cron: key.name().to_owned(),
    };
    let running = async {
        let is_claimed = claim(&app, &key, alarm).await;
        drop(turn);
        if is_claimed {
            run_when_there_is_room(&app, &scheduled).await;
        }
    };
    run.unless_cut_off(&app, &scheduled, running).await;
}

/// Moves a due cron's alarm on. Returns whether its run is this process's to do.
async fn claim(app: &App, key: &WorkerKey, alarm: Alarm) -> bool {
    let _one_at_a_time = app.crons().lock().await;
    let class = app.class();
    let cron = (class.crons.iter()).find(|cron| cron.to_string() == key.name());
    // A clock that is behind that of another pod must not give the same time again.
    let now = now_ms().max(alarm.scheduled);
    let change = match cron.and_then(|cron| next_after(cron, now)) {
        Some(next) => AlarmChange::Set(Alarm::at(next)),
        None => AlarmChange::Clear,
    };
    let moved = store_alarm(app, key, change).await;
    cron.is_some() && moved == Some(Fate::Committed)
}

async fn run_when_there_is_room(app: &App, scheduled: &Scheduled) {
    let begun = Instant::now();
    let failure = loop {
        match app.run(scheduled).await {
            // What the handler threw is in the log.
            Ok(_) => return,
            Err(FetchError::Overloaded { .. }) if begun.elapsed() < ROOM => {
                tokio::time::sleep(AGAIN).await;
            }
            Err(failure) => break failure,
        }
    };
    log(app, scheduled, &format!("did not end: {failure}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_after_the_present_one() {
        let cron: Cron = "*/5 * * * *".parse().unwrap();
        assert_eq!(next_after(&cron, 0), Some(300_000));
        assert_eq!(next_after(&cron, 299_999), Some(300_000));
        assert_eq!(next_after(&cron, 300_000), Some(600_000));
        assert_eq!(next_after(&"0 0 31 2 *".parse().unwrap(), 0), None);
    }

    #[test]
    fn no_worker_has_the_address_of_a_cron() {
        let key = address(&"0 8 * * MON-FRI".parse().unwrap()).unwrap();
        assert!(is_cron(&key));
        assert_eq!(key.name(), "0 8 * * MON-FRI");
        assert!(!is_cron(&WorkerKey::new("crons", "0 8 * * *").unwrap()));
    }
}
