//! Calls to the store: any of them may be late, lost, or carried out after its caller gave it up.

use std::collections::BTreeMap;

use portside_core::ids::{Fence, PodId};
use portside_core::ownership::Call as Number;
use portside_store_model::Statement;

use crate::network::{MS, Network, Node};
use crate::world::Happening;

/// One process on a machine; the next process there is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Who {
    pub slot: usize,
    pub start: u64,
}

/// What the answer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Register,
    /// How others reach it.
    Announce,
    Renew(Number),
    Observe(Number),
    Count(Number),
    /// Who is alive, for those who pass on requests.
    Meet,
    /// Which shards are whose.
    ShardMap,
    HandOver(Number, PodId),
    DeclareDead(PodId),
    Claim(Number),
    ReadOwned(Number),
    Advance(Number, Fence),
    ReleaseShards(Number),
    Release,
    /// The alarms that are due soon.
    Alarms,
    /// Of this worker.
    Load(usize, Fence),
    /// Of this lane.
    Commit(usize),
}

/// Who waits for which answer.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    waiting: BTreeMap<u64, (Who, Purpose)>,
    made: u64,
    /// Calls up to this one never arrive.
    forgotten: u64,
}

impl Network {
    /// Sends a statement to the store. The caller is told once: the answer, or that nobody knows.
    pub fn call(&mut self, who: Who, statement: Statement, purpose: Purpose) {
        self.calls.made += 1;
        let call = self.calls.made;
        self.calls.waiting.insert(call, (who, purpose));
        let mut patience = self.random.within(500, 2_000) * MS;
        let statement = Box::new(statement);
        match self.hop(Node::Pod(who.slot), Node::Store) {
            Some(delay) => self.after(delay, Happening::Arrives(call, statement)),
            None => {
                // The connection broke: what was sent may be lost, or lie in a buffer somewhere.
                patience = self.random.within(1, 50) * MS;
                if self.random.chance(300) {
                    let free = self.free_at(Node::Pod(who.slot), Node::Store);
                    let delay = self.random.within(1, 3_000) * MS;
                    self.at(free + delay, Happening::Arrives(call, statement));
                }
            }
        }
        self.after(patience, Happening::Replies(call, None));
    }

    /// Whom to tell that a call was answered; nobody if they have been told before.
    pub fn answered(&mut self, call: u64) -> Option<(Who, Purpose)> {
        self.calls.waiting.remove(&call)
    }

    /// Connections of before are gone: nothing that was sent on them arrives, nor does an answer.
    pub fn forget_calls(&mut self) {
        self.calls.waiting.clear();
        self.calls.forgotten = self.calls.made;
    }

    /// Whether a call was forgotten.
    pub fn is_forgotten(&self, call: u64) -> bool {
        call <= self.calls.forgotten
    }

    pub fn caller(&self, call: u64) -> Option<Who> {
        self.calls.waiting.get(&call).map(|(who, _)| *who)
    }
}
