//! The store: statements that begin, wait for locks, and end.

use portside_core::ids::PodId;
use portside_core::ownership::invariants;
use portside_store_model::{Dump, Progress, Reply, Statement, StatementId};

use super::placement::Noted;
use super::{Running, World};
use crate::checker::{Kind, Wrong};
use crate::mechanism::Mechanism;
use crate::network::{MS, Node, Time};
use crate::world::Happening;

impl World {
    pub(super) fn arrives(&mut self, call: u64, statement: Statement) {
        if self.net.is_forgotten(call) {
            return;
        }
        if self.store_is_down {
            let delay = self.net.random.within(200, 20 * MS);
            return self.net.after(delay, Happening::Replies(call, None));
        }
        let statement = self.weakened(statement);
        self.net
            .trace(|| format!("the store begins call {call}: {statement:?}"));
        let declares = match &statement {
            Statement::DeclareDead { pod, .. } => Some(*pod),
            _ => None,
        };
        let noted = Noted::of(&statement);
        let id = self.database.begin(statement);
        self.running.insert(
            id,
            Running {
                call,
                declares,
                noted,
            },
        );
        let delay = self.statement_delay();
        self.net.after(delay, Happening::Locks(call, id));
    }

    fn statement_delay(&mut self) -> Time {
        let most = if self.net.fails(10) { 300 * MS } else { 300 };
        self.net.random.within(10, most)
    }

    /// The statement as a store without the mechanism would understand it: one that does not compare pods takes what another
    /// pod than the owner writes, one that does not compare epochs what the owner itself writes in an older one. One that does not
    /// look whether shards are still whose they were moves them from anybody.
    fn weakened(&self, mut statement: Statement) -> Statement {
        let of_others = self.net.is_without(Mechanism::Fence);
        let of_older_epochs = self.net.is_without(Mechanism::Epoch);
        if let Statement::Commit { commits } = &mut statement {
            for commit in commits {
                let Some(now) = self.database.fence(commit.fence.shard) else {
                    continue;
                };
                let is_owners = now.pod == commit.fence.pod;
                if (of_others && !is_owners) || (of_older_epochs && is_owners) {
                    commit.fence = now;
                }
            }
        }
        if let Statement::HandOver { fences, .. } = &mut statement
            && self.net.is_without(Mechanism::HandOverFence)
        {
            for fence in fences {
                *fence = self.database.fence(fence.shard).unwrap_or(*fence);
            }
        }
        statement
    }

    pub(super) fn locks(&mut self, call: u64, id: StatementId) {
        let delay = self.statement_delay();
        match self.database.lock(id) {
            Some(Progress::Ready) => self.net.after(delay, Happening::Ends(call, id)),
            Some(Progress::Waits(_)) => self.net.after(delay, Happening::Locks(call, id)),
            None => {}
        }
    }

    pub(super) fn ends(&mut self, call: u64, id: StatementId) -> Result<(), Wrong> {
        let noted = self.running.get(&id).map(|it| it.noted);
        if let Some(Noted::Release(pod)) = noted.filter(|_| self.net.is_shared) {
            self.gives_nothing_up(pod)?;
        }
        let Some(reply) = self.database.finish(id) else {
            return Ok(());
        };
        let ended = self.running.remove(&id);
        if let Some(ended) = &ended {
            self.note(&ended.noted, &reply)?;
        }
        let dead = ended.and_then(|it| it.declares);
        if let Some(dead) = dead.filter(|_| reply == Reply::Is(true)) {
            self.is_dead(dead)?;
        }
        self.net
            .trace(|| format!("the store ends call {call}: {reply:?}"));
        if let Some(who) = self.net.caller(call)
            && let Some(delay) = self.net.hop(Node::Store, Node::Pod(who.slot))
        {
            self.net.after(delay, Happening::Replies(call, Some(reply)));
        }
        Ok(())
    }

    /// The store takes a pod for dead. No clock says when that may be if they go as they like.
    fn is_dead(&self, dead: PodId) -> Result<(), Wrong> {
        let it = self.machines.iter().filter_map(|it| it.pod.as_ref());
        let mut it = it.filter(|it| it.state.pod() == dead && !self.net.faults.wild_clocks);
        it.try_for_each(|it| {
            invariants::dead_after_its_lease(&it.state, it.clock.ms(self.net.now))
                .map_err(|violation| Wrong::new(Kind::DeadWithinItsLease, violation))
        })
    }

    /// Statements in flight are lost; their connections break.
    pub(super) fn store_crashes(&mut self) {
        self.net.trace(|| "the store crashes".into());
        self.database.crash();
        self.store_is_down = true;
        for (_, Running { call, .. }) in std::mem::take(&mut self.running) {
            let delay = self.net.random.within(200, 20 * MS);
            self.net.after(delay, Happening::Replies(call, None));
        }
        let delay = self.net.random.within(20, 800) * MS;
        self.net.after(delay, Happening::StoreIsBack);
    }

    /// An older dump takes the place of what there is. Whoever does that stops the pods.
    pub(super) fn store_goes_back(&mut self, dump: &Dump) -> Vec<Vec<u64>> {
        self.net.trace(|| "a dump is restored".into());
        for slot in 0..self.machines.len() {
            self.crash(slot, 50);
        }
        self.store_crashes();
        self.database.restore(dump);
        self.net.forget_calls();
        (0..self.keys.len())
            .map(|key| self.stored(key).unwrap_or_default())
            .collect()
    }
}
