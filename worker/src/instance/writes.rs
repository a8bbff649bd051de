//! What an instance writes: numbered, committed turn by turn, and what waits for that.

use std::sync::Arc;

use portside_core::alarm::{self, Alarm};
use portside_core::write::Value;
use tokio::sync::oneshot;

use super::{Instance, Lost};
use crate::event::Incoming;
use crate::host::{self, CommitTicket, Ledger};
use crate::link::{Failure, FailureCode};
use crate::object::ObjectState;
use crate::storage::Storage;

impl Instance {
    /// Numbers a write; returns the number whose durability the application may await.
    pub(crate) fn written(&mut self, write: impl FnOnce(&mut Storage)) -> u64 {
        let first_of_turn = self.is_unchanged();
        write(&mut self.storage);
        if self.request.is_some() {
            self.wrote_for.clone_from(&self.request);
        }
        self.gate.write(first_of_turn)
    }

    /// Whether nothing is written since the last turn that was committed.
    pub(super) fn is_unchanged(&self) -> bool {
        let database = self.object.as_ref();
        self.storage.is_unchanged() && !database.is_some_and(ObjectState::is_changed)
    }

    /// Puts a value; returns the write's number. Check [`Storage::has_room`] before.
    pub fn put(&mut self, key: String, value: Value) -> u64 {
        self.written(|storage| storage.put(key, value))
    }

    /// Deletes a key; returns the write's number.
    pub fn delete(&mut self, key: String) -> u64 {
        self.written(|storage| storage.delete(key))
    }

    /// Deletes every key; returns the write's number.
    pub fn clear(&mut self) -> u64 {
        self.written(Storage::clear)
    }

    /// Arms or disarms the alarm; returns the write's number.
    pub fn set_alarm(&mut self, next: Option<Alarm>) -> u64 {
        self.firing.changed(next, self.life.loading);
        let number = self.written(|storage| storage.set_alarm(next));
        // Not before: it is the turn's first write, which gives the turn its number.
        if let (Some(_), Some(object)) = (next, &mut self.object) {
            object.must_be_known();
        }
        number
    }

    /// The armed alarm, not counting the one that is being delivered.
    #[must_use]
    pub fn armed_alarm(&self) -> Option<Alarm> {
        let armed = self.storage.alarm()?;
        self.firing.is_ahead(armed).then_some(armed)
    }

    /// The handler of the firing alarm ended at `now`, in milliseconds since the Unix epoch.
    pub fn alarm_ended(&mut self, succeeded: bool, now: i64) {
        let (change, next) = self.firing.ended(succeeded, now);
        if let Some(change) = change {
            let next = alarm::apply(self.storage.alarm(), change);
            self.set_alarm(next);
        }
        self.replay.extend(next.map(Incoming::Alarm));
    }

    /// Resolves when the writes up to `seq` are durable; nothing if they are.
    pub fn when_durable(&mut self, seq: u64) -> Option<oneshot::Receiver<()>> {
        if self.gate.is_durable(seq) {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        self.durable_waiters.push_back((seq, sender));
        Some(receiver)
    }

    /// The newest write, or zero if all are durable.
    #[must_use]
    pub fn undurable(&self) -> u64 {
        if self.gate.is_clear() {
            0
        } else {
            self.gate.issued()
        }
    }

    /// Ends a turn: what it wrote goes to the store as one batch.
    pub fn end_turn(&mut self) {
        self.report_heard();
        if self.ledger.is_none() || self.life.lost.is_some() {
            return;
        }
        let has_written = !self.is_unchanged();
        if !self.commit_database() {
            return;
        }
        let request = has_written.then(|| self.wrote_for.take()).flatten();
        self.storage
            .end_turn(has_written, self.gate.issued(), request);
        // After terminate() no code gets the outcome of a read any more.
        self.commit_turns(self.life.terminating);
    }

    fn commit_turns(&mut self, anyway: bool) {
        let Some(ledger) = self.ledger.clone() else {
            return;
        };
        while let Some((batch, seq, request)) = self.storage.next_commit(anyway) {
            // A database that was written to and is as it was.
            if batch.is_empty() && self.storage.has_one_in_flight() {
                self.committed(seq, Ok(()));
                continue;
            }
            let ticket = CommitTicket::new(self.inbox.clone(), self.number, seq);
            ledger.commit(batch, request, ticket);
        }
    }

    /// The turn was killed in the middle: nothing of what it wrote is committed, and nothing after it may run.
    pub fn discard_turn(&mut self) {
        #[cfg(feature = "testing")]
        if self.gate.without.discarding_killed_turns {
            return self.end_turn();
        }
        self.storage.discard_turn();
        // Those before it have ended, and no code gets the outcome of a read any more.
        if self.life.lost.is_none() {
            self.commit_turns(true);
        }
    }

    /// A commit ended: what waited for it leaves, or the instance is lost.
    pub(super) fn committed(&mut self, seq: u64, outcome: Result<(), host::Error>) {
        self.storage.committed();
        match outcome {
            Ok(()) => {
                self.gate.settle(seq);
                self.release_outputs();
                while let Some((_, waiter)) = self
                    .durable_waiters
                    .pop_front_if(|(needed, _)| *needed <= seq)
                {
                    // Nobody may be waiting any more.
                    let _ = waiter.send(());
                }
            }
            Err(error) => self.lose(error.into()),
        }
    }

    /// Whether its writes are not accepted any more.
    pub(crate) fn is_lost(&self) -> bool {
        self.life.lost.is_some()
    }

    /// Its writes are not accepted any more. The first reason stays, but for one that says less: the right may be gone because of
    /// the other.
    pub(crate) fn lose(&mut self, reason: Lost) {
        self.life.lost.take_if(|known| *known == Lost::NotOwned);
        if let Lost::Reset(reset) = self.life.lost.get_or_insert(reason) {
            self.fate.seal(&reset.failure);
        }
    }

    /// It ends for this reason. If its object begins anew, those who have reached it have lost it.
    pub(crate) fn seal_fate(&self, failure: &Failure) {
        if failure.code == FailureCode::Reset {
            self.fate.seal(failure);
        }
    }

    /// Reads keys from the store, whatever is known here; nothing for a server.
    #[must_use]
    pub fn ledger(&self) -> Option<Arc<dyn Ledger>> {
        self.ledger.clone()
    }
}
