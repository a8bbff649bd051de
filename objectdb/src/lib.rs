//! SQLite databases of objects. Each is a file in memory whose every commit can be made durable somewhere else.
//!
//! A [`Database`] is a connection of SQLite's to [`Pages`]. [`Database::commit`] says what has changed since the last one as a
//! [`Delta`]: some tens of bytes for a row, to be committed with everything else that the object writes. Who applies all of
//! them, in order, has the same file byte for byte, and can open it.
//!
//! A [`Journal`] says how all of that lies among the keys of an object in the store.
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
pub use journal::{Journal, Policy};
pub use keys::{Entry, Listing};
pub use limits::Limits;
pub use pages::{MAX_PAGES, PAGE_BYTES, Pages};
pub use value::{Row, Value};
