//! Folding: what the commits of one call come to, worker by worker.
//!
//! A statement can touch a row only once, so several batches of one worker are made one before they are sent.

use std::collections::{BTreeMap, BTreeSet};

use crate::alarm::{Alarm, AlarmChange};
use crate::ids::{Fence, WorkerId, WorkerKey};
use crate::write::{Commit, Value, WriteBatch};

/// What a call comes to.
#[derive(Debug)]
pub struct Folded<'a> {
    /// The distinct fences, by shard: every statement locks in the same order.
    pub fences: Vec<Fence>,
    /// For each commit, the index of its fence in `fences`.
    pub fence_of: Vec<usize>,
    /// Every worker with something to change, by fence.
    pub workers: Vec<WorkerWrites<'a>>,
}

/// What all batches of one worker come to.
#[derive(Debug)]
pub struct WorkerWrites<'a> {
    /// An index into [`Folded::fences`].
    pub fence: usize,
    /// Whose they are.
    pub id: WorkerId,
    /// Its name.
    pub key: &'a WorkerKey,
    /// What it comes to.
    pub writes: Writes<'a>,
}

/// A [`WriteBatch`] that others have been folded into.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Writes<'a> {
    /// Remove every key first.
    pub clear: bool,
    /// Then put these.
    pub puts: BTreeMap<&'a str, &'a Value>,
    /// And delete these; empty if `clear`.
    pub deletes: BTreeSet<&'a str>,
    /// And change the alarm so.
    pub alarm: AlarmFold,
}

/// Alarm changes, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AlarmFold {
    /// The alarm becomes this, whatever it was.
    Absolute(Option<Alarm>),
    /// If the stored alarm's `scheduled` is among these, it becomes this. Conditions about different armings are
    /// independent: a retry keeps its `scheduled`.
    If(BTreeMap<i64, Option<Alarm>>),
}

impl Default for AlarmFold {
    fn default() -> Self {
        Self::If(BTreeMap::new())
    }
}

impl AlarmFold {
    /// Adds a change that comes after those before.
    pub fn add(&mut self, change: AlarmChange) {
        let absolute = match (&*self, change) {
            (_, AlarmChange::Keep) => return,
            (_, AlarmChange::Set(alarm)) => Some(alarm),
            (_, AlarmChange::Clear) => None,
            (Self::Absolute(alarm), conditional) => crate::alarm::apply(*alarm, conditional),
            (Self::If(_), AlarmChange::ClearIf { scheduled }) => {
                return self.add_condition(scheduled, None);
            }
            (Self::If(_), AlarmChange::RetryIf { next }) => {
                return self.add_condition(next.scheduled, Some(next));
            }
        };
        *self = Self::Absolute(absolute);
    }

    fn add_condition(&mut self, scheduled: i64, then: Option<Alarm>) {
        if let Self::If(conditions) = self {
            let known = conditions.entry(scheduled).or_insert(then);
            // Once disarmed it stays so: there is nothing left to put off.
            if known.is_some() {
                *known = then;
            }
        }
    }

    /// The stored alarm after these changes.
    #[must_use]
    pub fn apply(&self, stored: Option<Alarm>) -> Option<Alarm> {
        match self {
            Self::Absolute(alarm) => *alarm,
            Self::If(conditions) => stored.and_then(|alarm| {
                conditions
                    .get(&alarm.scheduled)
                    .copied()
                    .unwrap_or(Some(alarm))
            }),
        }
    }
}

impl<'a> Writes<'a> {
    /// Adds a batch that comes after those before.
    pub fn add(&mut self, batch: &'a WriteBatch) {
        if batch.clear {
            self.clear = true;
            self.puts.clear();
            self.deletes.clear();
        }
        for (key, value) in &batch.writes {
            if let Some(value) = value {
                self.deletes.remove(key.as_str());
                self.puts.insert(key, value);
            } else {
                self.puts.remove(key.as_str());
                if !self.clear {
                    self.deletes.insert(key);
                }
            }
        }
        self.alarm.add(batch.alarm);
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Folds the commits of a call. Commits under different fences are never folded into each other: one may be refused.
#[must_use]
pub fn fold<'a>(commits: &[&'a Commit]) -> Folded<'a> {
    fold_with(commits, Writes::add)
}

/// What a statement comes to that touches each row once and does not fold: of a worker's batches the last one.
#[cfg(feature = "mutants")]
#[must_use]
pub fn without_folding<'a>(commits: &[&'a Commit]) -> Folded<'a> {
    fold_with(commits, |writes, batch| {
        *writes = Writes::default();
        writes.add(batch);
    })
}

fn fold_with<'a>(
    commits: &[&'a Commit],
    add: impl Fn(&mut Writes<'a>, &'a WriteBatch),
) -> Folded<'a> {
    let order = |fence: &Fence| (fence.shard, fence.epoch, fence.pod);
    let mut fences: Vec<Fence> = commits.iter().map(|commit| commit.fence).collect();
    fences.sort_unstable_by_key(order);
    fences.dedup();
    let fence_of: Vec<usize> = commits
        .iter()
        .map(|commit| fences.partition_point(|fence| order(fence) < order(&commit.fence)))
        .collect();

    let mut workers: BTreeMap<(usize, WorkerId), WorkerWrites<'a>> = BTreeMap::new();
    for (&commit, &fence) in commits.iter().zip(&fence_of) {
        let id = commit.worker.id();
        let worker = workers.entry((fence, id)).or_insert_with(|| WorkerWrites {
            fence,
            id,
            key: &commit.worker,
            writes: Writes::default(),
        });
        add(&mut worker.writes, &commit.batch);
    }
    let workers = workers.into_values();
    Folded {
        fences,
        fence_of,
        workers: workers.filter(|worker| !worker.writes.is_empty()).collect(),
    }
}
