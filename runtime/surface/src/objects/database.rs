//! The databases of the objects that live in an isolate.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use deno_core::OpState;
use deno_error::JsErrorBox;
use portside_core::objects::NAME_KEY;
use portside_core::write::WriteBatch;
use portside_objectdb::{Cursor, Database, DurableDatabase, Error, Journal, Limits, Pages};
use portside_worker::cell::Actor;
use portside_worker::engine::Shared;
use portside_worker::host::Identity;
use portside_worker::instance::Instance;
use portside_worker::link::Failure;

use crate::actors;

/// An object's database, and what JavaScript has of it.
pub(crate) struct ObjectDatabase {
    durable: DurableDatabase,
    /// Cursors that JavaScript has, by their numbers.
    pub cursors: HashMap<u32, Cursor>,
    pub last_cursor: u32,
    /// Savepoints that are open.
    savepoints: usize,
}

/// An object's database as the store has it.
pub struct Stored {
    /// What its commits go into.
    pub journal: Journal,
    /// Its file.
    pub pages: Pages,
    /// What the object's id comes from, if the store knows.
    pub name: Option<Arc<str>>,
}

/// All of an isolate, by the numbers of their objects.
#[derive(Default)]
pub(crate) struct Databases(HashMap<u32, Rc<RefCell<ObjectDatabase>>>);

/// Opens the database of an object that begins to live in the isolate of `state`.
///
/// # Errors
/// It is none; for the developer.
pub fn open(
    state: &mut OpState,
    actor: Actor,
    instance: &Shared,
    stored: Stored,
) -> Result<(), String> {
    let durable = DurableDatabase::open(stored.journal, stored.pages, Limits::default());
    let durable = durable.map_err(|error| format!("its database cannot be opened: {error}"))?;
    let opened = Rc::new(RefCell::new(ObjectDatabase {
        durable,
        cursors: HashMap::new(),
        last_cursor: 0,
        savepoints: 0,
    }));
    let known_name = match instance.borrow().identity() {
        Identity::Object(object) => object.name.clone(),
        _ => None,
    };
    let committed = Committed {
        database: opened.clone(),
        has_name: stored.name.is_some(),
        name: stored.name.or(known_name),
    };
    instance.borrow_mut().set_database(Box::new(committed));
    if !state.has::<Databases>() {
        state.put(Databases::default());
    }
    state.borrow_mut::<Databases>().0.insert(actor.0, opened);
    Ok(())
}

/// The object is gone, and so is its database.
pub fn close(state: &mut OpState, actor: Actor) {
    if let Some(databases) = state.try_borrow_mut::<Databases>() {
        databases.0.remove(&actor.0);
    }
}

/// What of an object the store gets.
struct Committed {
    database: Rc<RefCell<ObjectDatabase>>,
    /// What its id comes from, which an alarm that wakes the object does not tell.
    name: Option<Arc<str>>,
    /// The store has that.
    has_name: bool,
}

impl portside_worker::object::Database for Committed {
    fn is_in_transaction(&self) -> bool {
        self.database.borrow().savepoints > 0
    }

    fn commit_into(&mut self, batch: &mut WriteBatch, wakes: bool) -> Result<(), String> {
        let mut own = self.database.borrow_mut();
        let committed = own.durable.commit_into(batch);
        committed.map_err(|error| error.to_string())?;
        self.has_name &= !batch.clear;
        let is_needed = !self.has_name && (wakes || own.database().bytes() > 0);
        if let Some(name) = self.name.as_ref().filter(|_| is_needed) {
            batch.write(NAME_KEY.to_owned(), Some(name.as_bytes().into()));
            self.has_name = true;
        }
        Ok(())
    }
}

/// Does something with an object's database. What it has changed has a number afterwards, and where the object cannot go on
/// it ends.
pub(crate) fn with<R>(
    state: &OpState,
    actor: u32,
    f: impl FnOnce(&mut ObjectDatabase) -> Result<R, Error>,
) -> Result<R, JsErrorBox> {
    let instance = actors::get(state, actor)?;
    let own = state.try_borrow::<Databases>();
    let own = own.and_then(|databases| databases.0.get(&actor)).cloned();
    let own = own.ok_or_else(actors::gone)?;
    let mut own = own.borrow_mut();
    let result = f(&mut own);
    let mut instance = instance.borrow_mut();
    if own.database().is_changed() {
        instance.database_changed();
    }
    result.map_err(|error| thrown(&mut instance, &error))
}

fn thrown(instance: &mut Instance, error: &Error) -> JsErrorBox {
    if error.is_reset() {
        instance.reset(Failure::reset(error.to_string()), true);
    }
    JsErrorBox::generic(error.to_string())
}

/// A part of the transaction that counts as a whole or not at all.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Savepoint {
    Begin,
    Release,
    RollBack,
}

impl ObjectDatabase {
    pub fn database(&self) -> &Database {
        self.durable.database()
    }

    pub fn savepoint(&mut self, step: Savepoint) -> Result<(), Error> {
        match step {
            Savepoint::Begin => {
                self.database().savepoint()?;
                self.savepoints += 1;
            }
            Savepoint::Release => {
                self.database().release()?;
                self.savepoints -= 1;
            }
            Savepoint::RollBack => {
                self.database().roll_back_to()?;
                self.savepoints -= 1;
            }
        }
        Ok(())
    }

    /// The number of the last commit, as it will be after this turn.
    pub fn bookmark(&self) -> u64 {
        self.durable.last_commit() + u64::from(self.database().is_changed())
    }
}
