//! Group commit, as `store/src/lanes.rs` does it: one statement in flight per lane, what queues meanwhile is the next.

use std::collections::{BTreeMap, VecDeque};

use portside_core::alarm::AlarmChange;
use portside_core::fold::{self, AlarmFold, Folded, Writes};
use portside_core::ids::{Epoch, ShardId};
use portside_core::write::{Commit, WriteBatch};
use portside_store_model::{Statement, Write, Written};

use crate::mechanism::Mechanism;

/// Tells a commit from others.
pub(crate) type Ticket = u64;

/// What became of it; `None` means that nobody knows.
pub(crate) type Fate = Option<Written>;

#[derive(Debug, Default)]
pub(crate) struct Lane {
    queue: VecDeque<(Ticket, Commit)>,
    in_flight: Vec<(Ticket, Commit)>,
    failed: BTreeMap<ShardId, Epoch>,
}

impl Lane {
    pub fn submit(&mut self, ticket: Ticket, commit: Commit) {
        self.queue.push_back((ticket, commit));
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.in_flight.is_empty()
    }

    /// The next statement, if none is in flight and there is something to send; and what need not be sent any more.
    pub fn next(&mut self, without: Option<Mechanism>) -> (Option<Statement>, Vec<(Ticket, Fate)>) {
        let mut answered = Vec::new();
        if !self.in_flight.is_empty() {
            return (None, answered);
        }
        for (ticket, commit) in self.queue.drain(..) {
            let fence = commit.fence;
            match self.failed.get(&fence.shard) {
                Some(epoch) if fence.epoch <= *epoch => answered.push((ticket, None)),
                _ => self.in_flight.push((ticket, commit)),
            }
        }
        let statement = (!self.in_flight.is_empty()).then(|| self.statement(without));
        (statement, answered)
    }

    fn statement(&self, without: Option<Mechanism>) -> Statement {
        let commits: Vec<&Commit> = self.in_flight.iter().map(|(_, it)| it).collect();
        let folded = if without == Some(Mechanism::Folding) {
            fold::without_folding(&commits)
        } else {
            fold::fold(&commits)
        };
        let writes = written(&commits, &folded);
        Statement::Commit { writes }
    }

    /// The statement in flight was answered. What is to be sent again is sent again at once.
    pub fn answered(
        &mut self,
        written: Option<Vec<Written>>,
        without: Option<Mechanism>,
    ) -> (Option<Statement>, Vec<(Ticket, Fate)>) {
        let sent = std::mem::take(&mut self.in_flight);
        let Some(written) = written else {
            for (_, Commit { fence, .. }) in &sent {
                // Without settling, the next commit is taken to be as good as any.
                if without != Some(Mechanism::SettleBeforeLoad) {
                    self.failed.insert(fence.shard, fence.epoch);
                }
            }
            return (
                None,
                sent.into_iter().map(|(ticket, _)| (ticket, None)).collect(),
            );
        };
        let mut fates = Vec::new();
        for ((ticket, commit), written) in sent.into_iter().zip(written) {
            match written {
                Written::Again => self.in_flight.push((ticket, commit)),
                fate => fates.push((ticket, Some(fate))),
            }
        }
        let again = (!self.in_flight.is_empty()).then(|| self.statement(without));
        (again, fates)
    }
}

/// A write for each commit, with all that its worker's commits come to in one of them: the model answers by commit.
fn written(commits: &[&Commit], folded: &Folded<'_>) -> Vec<Write> {
    let empty = |commit: &&Commit| Write {
        fence: commit.fence,
        worker: commit.worker.clone(),
        batch: WriteBatch::default(),
    };
    let mut writes: Vec<Write> = commits.iter().map(empty).collect();
    for worker in &folded.workers {
        let (first, alarms) = batches(&worker.writes);
        let its = commits.iter().zip(&folded.fence_of).zip(&mut writes);
        let mut its = its
            .filter(|((commit, fence), _)| {
                **fence == worker.fence && commit.worker.id() == worker.id
            })
            .map(|(_, write)| write);
        if let Some(write) = its.next() {
            write.batch = first;
        }
        // There are no more conditions than commits that brought them.
        for (write, alarm) in its.zip(alarms) {
            write.batch.alarm = alarm;
        }
    }
    writes
}

/// The same as batches, the second of which are alarm changes that do not fit into the first.
fn batches(writes: &Writes<'_>) -> (WriteBatch, Vec<AlarmChange>) {
    let mut changes = match &writes.alarm {
        AlarmFold::Absolute(alarm) => {
            vec![alarm.map_or(AlarmChange::Clear, AlarmChange::Set)]
        }
        AlarmFold::If(conditions) => conditions
            .iter()
            .map(|(&scheduled, then)| match *then {
                Some(next) => AlarmChange::RetryIf { next },
                None => AlarmChange::ClearIf { scheduled },
            })
            .collect(),
    };
    let rest = changes.split_off(changes.len().min(1));
    let mut batch = WriteBatch {
        clear: writes.clear,
        alarm: changes.first().copied().unwrap_or_default(),
        ..WriteBatch::default()
    };
    for (&key, &value) in &writes.puts {
        batch.write(key.to_owned(), Some(value.clone()));
    }
    for &key in &writes.deletes {
        batch.write(key.to_owned(), None);
    }
    (batch, rest)
}
