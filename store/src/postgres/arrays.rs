//! The arguments of `commit.sql` and `move.sql`: arrays, one column each.

use portside_core::fold::{AlarmFold, Folded, WorkerWrites};
use portside_core::ids::{Fence, PodId};
use uuid::Uuid;

use super::{COMMIT, MOVE, Query, uuid};
use crate::rows;

/// Keys of workers, and for puts their values.
#[derive(Default)]
struct Keys<'a> {
    fence: Vec<i32>,
    worker: Vec<Uuid>,
    key: Vec<&'a [u8]>,
    value: Vec<&'a [u8]>,
}

impl<'a> Keys<'a> {
    fn push(&mut self, worker: &WorkerWrites<'_>, key: &'a str) {
        self.fence.push(place(worker.fence));
        self.worker.push(Uuid::from_bytes(worker.id.0));
        self.key.push(key.as_bytes());
    }
}

/// Places of one worker's rows among all rows, counted from 1, both inclusive.
#[derive(Default)]
struct Slices {
    from: Vec<i32>,
    to: Vec<i32>,
}

impl Slices {
    fn push(&mut self, before: usize, after: usize) {
        self.from.push(place(before));
        self.to.push(place(after) - 1);
    }
}

#[derive(Default)]
struct Alarms {
    scheduled: Vec<Option<i64>>,
    retries: Vec<Option<i64>>,
    due: Vec<Option<i64>>,
}

impl Alarms {
    fn push(&mut self, alarm: Option<portside_core::alarm::Alarm>) {
        self.scheduled.push(alarm.map(|alarm| alarm.scheduled));
        self.retries
            .push(alarm.map(|alarm| i64::from(alarm.retries)));
        self.due.push(alarm.map(|alarm| alarm.due));
    }
}

#[derive(Default)]
struct Workers<'a> {
    fence: Vec<i32>,
    worker: Vec<Uuid>,
    script: Vec<&'a [u8]>,
    name: Vec<&'a [u8]>,
    clear: Vec<i32>,
    puts: Slices,
    deletes: Slices,
    absolute: Vec<bool>,
    alarms: Alarms,
    conditions: Slices,
}

/// No nulls among these, so that the server finds a place without walking the array.
#[derive(Default)]
struct Conditions {
    scheduled: Vec<i64>,
    disarm: Vec<bool>,
    retries: Vec<i64>,
    due: Vec<i64>,
}

fn place(index: usize) -> i32 {
    i32::try_from(index + 1).expect("a call has far fewer than 2^31 rows")
}

/// Fences, a column each: shards, owners and epochs.
fn columns(fences: &[Fence]) -> (Vec<i32>, Vec<Uuid>, Vec<i64>) {
    let shards = fences.iter().map(|it| it.shard.0.cast_signed()).collect();
    let owners = fences.iter().map(|it| uuid(it.pod)).collect();
    let epochs = fences.iter().map(|it| rows::epoch(it.epoch)).collect();
    (shards, owners, epochs)
}

/// The statement that moves shards to another pod, or to none.
pub(super) fn moving(pool: i32, fences: &[Fence], to: Option<PodId>) -> Query {
    let (shards, owners, epochs) = columns(fences);
    let query = sqlx::query(MOVE).bind(pool);
    let query = query.bind(shards).bind(owners).bind(epochs);
    query.bind(to.map(uuid))
}

/// The statement that writes `folded`.
pub(super) fn commit(pool: i32, folded: &Folded<'_>) -> Query {
    let (shards, owners, epochs) = columns(&folded.fences);

    let (mut puts, mut deletes) = (Keys::default(), Keys::default());
    let (mut workers, mut conditions) = (Workers::default(), Conditions::default());
    for worker in &folded.workers {
        let before = (puts.key.len(), deletes.key.len(), conditions.due.len());
        for (key, value) in &worker.writes.puts {
            puts.push(worker, key);
            puts.value.push(value);
        }
        for key in &worker.writes.deletes {
            deletes.push(worker, key);
        }
        conditions.extend(&worker.writes.alarm);

        workers.fence.push(place(worker.fence));
        workers.worker.push(Uuid::from_bytes(worker.id.0));
        workers.script.push(worker.key.script().as_bytes());
        workers.name.push(worker.key.name().as_bytes());
        workers.clear.push(worker.writes.clear.into());
        workers.puts.push(before.0, puts.key.len());
        workers.deletes.push(before.1, deletes.key.len());
        workers.conditions.push(before.2, conditions.due.len());
        let absolute = match worker.writes.alarm {
            AlarmFold::Absolute(alarm) => Some(alarm),
            AlarmFold::If(_) => None,
        };
        workers.absolute.push(absolute.is_some());
        workers.alarms.push(absolute.flatten());
    }

    let query = sqlx::query(COMMIT).bind(pool);
    let query = query.bind(shards).bind(owners).bind(epochs);
    let query = query.bind(puts.fence).bind(puts.worker);
    let query = query.bind(puts.key).bind(puts.value);
    let query = query.bind(deletes.fence).bind(deletes.worker);
    let query = query.bind(deletes.key);
    let query = query.bind(workers.fence).bind(workers.worker);
    let query = query.bind(workers.script).bind(workers.name);
    let query = query.bind(workers.clear);
    let query = query.bind(workers.puts.from).bind(workers.puts.to);
    let query = query.bind(workers.deletes.from).bind(workers.deletes.to);
    let alarms = workers.alarms;
    let query = query.bind(workers.absolute).bind(alarms.scheduled);
    let query = query.bind(alarms.retries).bind(alarms.due);
    let query = query.bind(workers.conditions.from);
    let query = query.bind(workers.conditions.to);
    let query = query.bind(conditions.scheduled).bind(conditions.disarm);
    query.bind(conditions.retries).bind(conditions.due)
}

impl Conditions {
    fn extend(&mut self, alarm: &AlarmFold) {
        let AlarmFold::If(conditions) = alarm else {
            return;
        };
        for (&scheduled, then) in conditions {
            self.scheduled.push(scheduled);
            self.disarm.push(then.is_none());
            self.retries
                .push(then.map_or(0, |next| i64::from(next.retries)));
            self.due.push(then.map_or(0, |next| next.due));
        }
    }
}
