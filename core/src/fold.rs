//! Folding: what the commits of one call come to, worker by worker.
//!
//! A statement can touch a row only once, so several batches of one worker are made one before they are sent.

use std::collections::{BTreeMap, BTreeSet};

use crate::alarm::{Alarm, AlarmChange};
use crate::ids::{Fence, WorkerId, WorkerKey};
use crate::write::{Commit, Outcome, Value, WriteBatch};

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

/// What a statement did with a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It is durable.
    Committed,
    /// The fence does not hold: nothing was written.
    Fenced,
    /// The fence holds, but another commit of the shard came in between: nothing was written, and it is to be sent again.
    Again,
}

/// A call's commits, which one statement writes, unless other calls wrote the same shards at the same time: what those made
/// stale is sent again, until each commit has its outcome.
#[derive(Debug)]
pub struct Rounds {
    outcomes: Vec<Outcome>,
    /// Those without an outcome.
    left: Vec<usize>,
}

impl Rounds {
    /// For a call with so many commits.
    #[must_use]
    pub fn new(commits: usize) -> Self {
        Self {
            outcomes: vec![Outcome::Fenced; commits],
            left: (0..commits).collect(),
        }
    }

    /// What the next statement writes, of all `commits` of the call; nothing once all have their outcome.
    #[must_use]
    pub fn left<'a>(&self, commits: &'a [Commit]) -> Vec<&'a Commit> {
        self.left.iter().map(|&index| &commits[index]).collect()
    }

    /// The statement did this, in the order of what was left.
    pub fn written(&mut self, written: impl IntoIterator<Item = Written>) {
        let mut written = written.into_iter();
        self.left.retain(|&index| match written.next() {
            Some(Written::Again) => true,
            Some(Written::Committed) => {
                self.outcomes[index] = Outcome::Committed;
                false
            }
            Some(Written::Fenced) | None => false,
        });
    }

    /// The outcome of each commit; what has none yet was not written.
    #[must_use]
    pub fn outcomes(self) -> Vec<Outcome> {
        self.outcomes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Epoch, PodId, ShardId};

    fn commit(shard: u32) -> Commit {
        Commit {
            fence: Fence {
                pod: PodId(1),
                shard: ShardId(shard),
                epoch: Epoch(1),
            },
            worker: WorkerKey::new("w.js", "").expect("short name"),
            batch: WriteBatch::default(),
        }
    }

    #[test]
    fn what_others_made_stale_is_sent_again() {
        let commits = [commit(0), commit(1), commit(2), commit(3)];
        let mut rounds = Rounds::new(commits.len());
        let shards = |rounds: &Rounds| -> Vec<u32> {
            let left = rounds.left(&commits).into_iter();
            left.map(|it| it.fence.shard.0).collect()
        };
        use Written::{Again, Committed, Fenced};
        assert_eq!(shards(&rounds), [0, 1, 2, 3]);
        rounds.written([Again, Committed, Fenced, Again]);
        assert_eq!(shards(&rounds), [0, 3]);
        rounds.written([Fenced, Again]);
        assert_eq!(shards(&rounds), [3]);
        rounds.written([Committed]);
        assert!(shards(&rounds).is_empty());
        let fenced = Outcome::Fenced;
        let committed = Outcome::Committed;
        assert_eq!(rounds.outcomes(), [fenced, committed, fenced, committed]);
    }
}
