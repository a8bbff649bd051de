//! SQLite databases of objects. Each is a file in memory whose every commit can be made durable somewhere else.
//!
//! A [`Database`] has the SQL of one object, its keys and values, and the transaction of its turn: what the JavaScript surface of
//! Durable Objects asks for, with their refusals and messages. Its [`commit`](Database::commit) says what has changed of the
//! file since the last one as a [`Delta`]: some tens of bytes for a row. Who applies all of them, in order, has the same file
//! byte for byte.
//!
//! A [`Journal`] says how all of that lies among the keys of an object in the store. A [`DurableDatabase`] is both: it is loaded
//! from the store's entries, and adds what it commits to the batch that has everything else that the object writes.
//!
//! All calls are synchronous, on the thread of the object; only [`Interrupt`] may be used from others. Errors are of two kinds:
//! those that the object's code gets, and those after which the object [has to be reset](Error::is_reset).
//!
//! No JavaScript and no store is in here.

mod authorizer;
mod cursor;
mod database;
mod delta;
mod durable;
mod error;
mod journal;
mod keys;
mod limits;
mod page_file;
mod pages;
mod schema;
mod sqlite;
mod statements;
mod temporary;
mod transaction;
mod value;
mod vfs;

pub use cursor::Cursor;
pub use database::{Database, Interrupt};
pub use delta::{Damaged, Delta};
pub use durable::DurableDatabase;
pub use error::Error;
pub use journal::{Journal, Loader, Policy};
pub use keys::{Entry, Listing};
pub use limits::Limits;
pub use page_file::{MAX_PAGES, PAGE_BYTES, Spill};
pub use pages::Pages;
pub use value::{Row, Value};
