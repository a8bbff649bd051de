//! What an instance of a Durable Object has beside others: a database, sections that let nothing else in, and a way to begin
//! anew.

use portside_core::write::WriteBatch;

use crate::host::Level;
use crate::instance::{Instance, Lost};
use crate::link::{Failure, Frame, LinkId};

/// An object's database, as its instance sees it. What the application does with it, it does to the database itself, and
/// says so by [`Instance::database_changed`].
pub trait Database {
    /// Whether the application has a transaction open, which it will end in another turn.
    fn is_in_transaction(&self) -> bool;

    /// Adds to a batch what the store must get of all that has changed; `wakes` says whether an alarm is set, which will wake the
    /// object.
    ///
    /// # Errors
    /// It cannot be committed, for this reason: the object must begin anew.
    fn commit_into(&mut self, batch: &mut WriteBatch, wakes: bool) -> Result<(), String>;
}

/// How an object begins anew.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{failure}")]
pub struct Reset {
    /// What those hear who wait for it.
    pub failure: Failure,
    /// Whether the alarm that it handles is delivered again.
    pub retries_alarm: bool,
}

/// Bytes of an object's commits that may wait to be durable when another is made: some of the largest that there are.
const MOST_UNDURABLE: usize = 256 << 20;

const TOO_FAST: &str = "Durable Object was reset and rolled back to its last known good state because it writes faster than the \
    store takes it: more than 256 MiB wait to be durable";

/// What only objects have.
pub(crate) struct ObjectState {
    database: Box<dyn Database>,
    /// It has changes that are in no batch yet, and those have a number.
    is_changed: bool,
    /// Sections that run and let nothing else in.
    sections: usize,
}

impl ObjectState {
    pub(crate) fn is_changed(&self) -> bool {
        self.is_changed
    }

    /// An alarm is set, which will wake the object: the store gets what it needs then.
    pub(crate) fn must_be_known(&mut self) {
        self.is_changed = true;
    }

    pub(crate) fn lets_nothing_in(&self) -> bool {
        self.sections > 0
    }
}

impl Instance {
    /// The instance is an object's, with this database.
    pub fn set_database(&mut self, database: Box<dyn Database>) {
        self.object = Some(ObjectState {
            database,
            is_changed: false,
            sections: 0,
        });
    }

    /// The application has changed the database; returns the write's number.
    pub fn database_changed(&mut self) -> u64 {
        let number = self.written(|_| {});
        if let Some(object) = &mut self.object {
            object.is_changed = true;
        }
        number
    }

    /// A section begins that lets no event in until it ends, or has ended.
    pub fn section(&mut self, begins: bool) {
        if let Some(object) = &mut self.object {
            object.sections = if begins {
                object.sections + 1
            } else {
                object.sections.saturating_sub(1)
            };
        }
    }

    /// Whether a section runs that lets no event in.
    pub(crate) fn lets_nothing_in(&self) -> bool {
        self.object
            .as_ref()
            .is_some_and(ObjectState::lets_nothing_in)
    }

    /// Nothing of the instance counts any more: what it wrote in this turn is gone, and those who wait for it hear the failure.
    /// The object begins anew with the next event. If it handles an alarm, that counts as failed where it is to be tried again,
    /// and as handled otherwise.
    pub fn reset(&mut self, failure: Failure, retries_alarm: bool) {
        self.lose(Lost::Reset(Reset {
            failure,
            retries_alarm,
        }));
    }

    /// Answers a call with what the method returned, a structured clone.
    pub fn resolve(&mut self, call: LinkId, value: Vec<u8>) {
        self.answer_call(call, Frame::Resolve(value));
    }

    /// Puts what has changed of the database into this turn's batch. `false` means that the turn has to wait for the end of
    /// a transaction, or that nothing of it counts.
    pub(crate) fn commit_database(&mut self) -> bool {
        let Some(object) = self.object.as_mut().filter(|object| object.is_changed) else {
            return true;
        };
        if object.database.is_in_transaction() {
            return false;
        }
        object.is_changed = false;
        let database = &mut object.database;
        let wakes = self.storage.alarm().is_some();
        let committed = match self.storage.undurable_bytes() <= MOST_UNDURABLE {
            true => self.storage.add(|batch| database.commit_into(batch, wakes)),
            false => Err(TOO_FAST.to_owned()),
        };
        if let Err(message) = committed {
            let text = format!("what it wrote was not committed: {message}");
            self.log(Level::Error, &text, None);
            self.reset(Failure::reset(message), true);
            return false;
        }
        true
    }
}
