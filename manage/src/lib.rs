//! Workers as they are seen and managed from outside: what command-line tools ask processes that run an application, and what they
//! are answered. Needs neither V8 nor a database.

pub mod json;
mod merge;
mod text;
mod types;

pub use merge::merge;
pub use text::printable;
pub use types::{
    ADDRESSES, API_SERVER, AUDIENCE, Alarm, Before, Entries, Entry, Evaluated, Event, Exec,
    Identity, Inspected, MOST_KEYS, Move, Moved, PATH, Page, Problem, Rows, Sql, State, Usage,
    Worker, Workers, parse_id,
};
