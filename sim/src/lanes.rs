//! Group commit, as `store/src/lanes.rs` does it: one statement in flight per lane, what queues meanwhile is the next.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use portside_core::ids::{Epoch, Fence, ShardId};
use portside_store_model::{Statement, Write, Written};

use crate::mechanism::Mechanism;

/// Whose commit it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub key: usize,
    /// The instance that wrote it.
    pub instance: u64,
    /// Its number there.
    pub seq: u64,
    pub fence: Fence,
}

/// What became of it; `None` means that nobody knows.
pub(crate) type Fate = Option<Written>;

#[derive(Debug, Default)]
pub(crate) struct Lane {
    queue: VecDeque<(Ticket, Write)>,
    in_flight: Vec<(Ticket, Write)>,
    failed: BTreeMap<ShardId, Epoch>,
}

impl Lane {
    pub fn submit(&mut self, ticket: Ticket, write: Write) {
        self.queue.push_back((ticket, write));
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
        for (ticket, write) in self.queue.drain(..) {
            let fence = ticket.fence;
            match self.failed.get(&fence.shard) {
                Some(epoch) if fence.epoch <= *epoch => answered.push((ticket, None)),
                _ => self.in_flight.push((ticket, write)),
            }
        }
        let statement = (!self.in_flight.is_empty()).then(|| self.statement(without));
        (statement, answered)
    }

    fn statement(&self, without: Option<Mechanism>) -> Statement {
        let mut writes: Vec<Write> = self.in_flight.iter().map(|(_, it)| it.clone()).collect();
        if without == Some(Mechanism::Folding) {
            // A statement touches a row once: of a worker's batches only one is written.
            let mut seen = BTreeSet::new();
            for write in writes.iter_mut().rev() {
                if !seen.insert(write.worker.clone()) {
                    write.batch = portside_core::write::WriteBatch::default();
                }
            }
        }
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
            for (ticket, _) in &sent {
                // Without settling, the next commit is taken to be as good as any.
                if without != Some(Mechanism::SettleBeforeLoad) {
                    self.failed.insert(ticket.fence.shard, ticket.fence.epoch);
                }
            }
            return (
                None,
                sent.into_iter().map(|(ticket, _)| (ticket, None)).collect(),
            );
        };
        let mut fates = Vec::new();
        for ((ticket, write), written) in sent.into_iter().zip(written) {
            match written {
                Written::Again => self.in_flight.push((ticket, write)),
                fate => fates.push((ticket, Some(fate))),
            }
        }
        let again = (!self.in_flight.is_empty()).then(|| self.statement(without));
        (again, fates)
    }
}
