//! Group commit: core's lane, the queue before it, and its statements to the model of the store.

use std::collections::VecDeque;

use portside_core::alarm::AlarmChange;
use portside_core::fold::{self, AlarmFold, Folded, Rounds, Writes, Written};
use portside_core::lane;
use portside_core::ownership::{FateUnknown, Mechanisms};
use portside_core::write::{Commit, Outcome, WriteBatch};
use portside_store_model::Statement;

use crate::mechanism::Mechanism;

/// Tells a commit from others.
pub(crate) type Ticket = u64;

/// What became of it.
pub(crate) type Fate = Result<Outcome, FateUnknown>;

pub(crate) struct Lane {
    queue: VecDeque<(Ticket, Commit)>,
    lane: lane::Lane<Ticket, FateUnknown>,
    /// The call in flight.
    call: Option<Rounds>,
    without: Option<Mechanism>,
}

impl Lane {
    pub fn new(mechanisms: Mechanisms, without: Option<Mechanism>) -> Self {
        Self {
            queue: VecDeque::new(),
            lane: lane::Lane::new(mechanisms),
            call: None,
            without,
        }
    }

    pub fn submit(&mut self, ticket: Ticket, commit: Commit) {
        self.queue.push_back((ticket, commit));
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.call.is_none()
    }

    /// The next statement, if none is in flight and there is something to send; and what need not be sent any more.
    pub fn next(&mut self) -> (Option<Statement>, Vec<(Ticket, Fate)>) {
        let mut answered = Vec::new();
        if self.call.is_some() || (self.queue.is_empty() && self.lane.commits().is_empty()) {
            return (None, answered);
        }
        while self.lane.has_room()
            && let Some((ticket, commit)) = self.queue.pop_front()
        {
            if let Err((ticket, unknown)) = self.lane.add(commit, ticket) {
                answered.push((ticket, Err(unknown)));
            }
        }
        let rounds = Rounds::new(self.lane.commits().len());
        let statement = self.statement(&rounds);
        self.call = statement.is_some().then_some(rounds);
        (statement, answered)
    }

    fn statement(&self, rounds: &Rounds) -> Option<Statement> {
        let commits = rounds.left(self.lane.commits());
        let folded = if self.without == Some(Mechanism::Folding) {
            fold::without_folding(&commits)
        } else {
            fold::fold(&commits)
        };
        let commits = by_commit(&commits, &folded);
        (!commits.is_empty()).then_some(Statement::Commit { commits })
    }

    /// The statement in flight was answered. What is to be sent again is sent again at once.
    pub fn answered(
        &mut self,
        written: Option<Vec<Written>>,
    ) -> (Option<Statement>, Vec<(Ticket, Fate)>) {
        let answer = match (self.call.take(), written) {
            (Some(mut rounds), Some(written)) => {
                rounds.written(written);
                if let Some(again) = self.statement(&rounds) {
                    self.call = Some(rounds);
                    return (Some(again), Vec::new());
                }
                Ok(rounds.outcomes())
            }
            _ => Err(FateUnknown),
        };
        (None, self.lane.answered(answer).collect())
    }
}

/// For each commit another, with all that its worker's commits come to in one of them: the model answers by commit.
fn by_commit(commits: &[&Commit], folded: &Folded<'_>) -> Vec<Commit> {
    let empty = |commit: &&Commit| Commit {
        fence: commit.fence,
        worker: commit.worker.clone(),
        batch: WriteBatch::default(),
    };
    let mut writes: Vec<Commit> = commits.iter().map(empty).collect();
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
