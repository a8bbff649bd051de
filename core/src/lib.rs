//! The decisions and words of Portside, free of I/O.
//!
//! Nothing here reads a clock, opens a file or spawns a task: time and randomness are arguments. Every other crate
//! depends on this one and this one depends on none of them.

pub mod admission;
pub mod alarm;
pub mod alarms;
pub mod backoff;
pub mod bundle;
pub mod caching;
pub mod compatibility;
pub mod cron;
pub mod fold;
pub mod ids;
pub mod keys;
pub mod lane;
pub mod limits;
pub mod migrations;
pub mod objects;
pub mod ownership;
pub mod stored;
pub mod variable;
pub mod write;
