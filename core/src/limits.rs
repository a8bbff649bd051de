//! Every limit, with its default and its reason.

use std::time::Duration;

use serde::{Deserialize, Serialize};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// The longest storage key, in bytes of UTF-8 (Durable Objects' limit).
pub const MAX_KEY_BYTES: usize = 2 * KIB;
/// The largest stored value, in serialized bytes (Durable Objects' limit for SQLite-backed storage).
pub const MAX_VALUE_BYTES: usize = 2 * MIB;
/// What all responses in an application's `caches` may have together, in one process, in bytes: beside what its instances use,
/// and not much of it.
pub const CACHE_BYTES: usize = 64 * MIB;
/// The largest of them, which an instance holds in memory when it is put, or found.
pub const MAX_CACHED_BYTES: usize = 16 * MIB;
/// The most keys one storage call may name (Durable Objects' limit).
pub const MAX_KEYS_PER_CALL: usize = 128;

/// What one worker, or one server instance, of a class may use, and how many of them there may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// JavaScript heap, in bytes. Past it the instance is ended.
    pub heap_bytes: usize,
    /// `ArrayBuffer`s and WebAssembly memories together, in bytes. Past it allocations throw `RangeError`, or the instance is
    /// ended.
    pub external_bytes: usize,
    /// CPU time of one uninterrupted stretch of JavaScript. Past it the instance is ended.
    pub cpu: Duration,
    /// How long a `fetch` may take to return its response before the caller gets a 504.
    pub request: Duration,
    /// How long a worker's module may take to evaluate, top-level `await` included.
    pub start: Duration,
    /// Without any active operation for this long, a worker is put to sleep.
    pub idle: Duration,
    /// How long `waitUntil` may keep an instance awake.
    pub wait_until: Duration,
    /// The largest message on a port, in serialized bytes.
    pub message_bytes: usize,
    /// Messages a worker's inbox holds before it is overloaded.
    pub inbox_messages: usize,
    /// Bytes a worker's inbox holds before it is overloaded.
    pub inbox_bytes: usize,
    /// Messages one port holds for its receiver before `postMessage` throws.
    pub port_messages: usize,
    /// Bytes one port holds for its receiver before `postMessage` throws.
    pub port_bytes: usize,
    /// The largest WebSocket message either way, in bytes.
    pub socket_message_bytes: usize,
    /// Bytes waiting to be sent on one WebSocket before it is closed with 1013.
    pub socket_buffer_bytes: usize,
    /// How many workers of a process may be awake at a time; nothing for as many as its memory allows.
    pub awake_workers: Option<usize>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            heap_bytes: 128 * MIB,
            external_bytes: 128 * MIB,
            cpu: Duration::from_secs(30),
            request: Duration::from_secs(60),
            start: Duration::from_secs(30),
            idle: Duration::from_secs(10),
            wait_until: Duration::from_secs(15 * 60),
            message_bytes: 32 * MIB,
            inbox_messages: 10_000,
            inbox_bytes: 64 * MIB,
            port_messages: 1_000,
            port_bytes: 16 * MIB,
            socket_message_bytes: 32 * MIB,
            socket_buffer_bytes: 16 * MIB,
            awake_workers: None,
        }
    }
}
