//! WebSockets (RFC 6455) with compression (RFC 7692), for both ends of a connection.
//!
//! [`Decoder`] and [`Encoder`] turn bytes into messages and back without doing any I/O; [`Reader`] and [`Writer`] do so
//! on a connection. [`server`] and [`client`] are the two sides of the opening handshake. Who waits for whom, and how
//! long, is the caller's.

pub mod client;
pub mod code;
mod decode;
mod deflate;
mod encode;
pub mod headers;
mod io;
pub mod server;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use decode::{Decoder, Event, Violation};
pub use deflate::Deflate;
pub use encode::Encoder;
pub use io::{ReadError, Reader, Writer};
pub use portside_exchange::Message;

/// Which end of a connection we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It masks nothing, and wants everything masked.
    Server,
    /// It masks everything with keys that nobody can foresee, and wants nothing masked.
    Client,
}

/// Frame types (RFC 6455 section 5.2).
mod opcode {
    pub(crate) const CONTINUATION: u8 = 0;
    pub(crate) const TEXT: u8 = 1;
    pub(crate) const BINARY: u8 = 2;
    pub(crate) const CLOSE: u8 = 8;
    pub(crate) const PING: u8 = 9;
    pub(crate) const PONG: u8 = 10;
}

/// Applies a masking key (section 5.3). Eight bytes at a time, which compilers turn into vector instructions.
fn mask(payload: &mut [u8], key: [u8; 4]) {
    let [a, b, c, d] = key;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (chunks, rest) = payload.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}
