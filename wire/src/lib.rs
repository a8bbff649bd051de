//! Links between pods: one connection for each pair of pods, with any number of links on it.
//!
//! A link carries what a link in a process carries ([`portside_worker::link`]): [frames](frame), in order, once, with
//! credit in messages and bytes, and one close that ends it. No process uses this yet.
//!
//! - [`frame`] has what is sent, and its form in bytes; `record` what a connection is made of: pieces of frames, credit,
//!   closes, signs of life.
//! - [`connection`] is a connection as a machine without I/O and clock: it takes what the application sends, what the other
//!   side sent and what time it is, and gives back bytes and events.
//! - [`tls`] is who is there: each pod makes a [`Key`](tls::Key) when it starts, and others know it by the SHA-256 of its
//!   public half. Both sides check. There are no certificates, and so no names in them, and no end of their validity.
//! - [`driver`] moves bytes between a machine and a socket.
//!
//! A side that breaks the rules is cut off: it says more than it may, nothing at all, or what makes no sense. Its links
//! end with [`CloseReason::Lost`](portside_worker::link::CloseReason::Lost), as they do when the connection breaks; links
//! on other connections do not notice.

pub mod connection;
pub mod driver;
pub mod frame;
pub mod limits;
mod primitives;
mod record;
pub mod tls;

pub use primitives::Malformed;
