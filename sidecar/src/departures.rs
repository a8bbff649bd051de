//! How long shards are nobody's to use while they go to another process.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use portside_core::ids::ShardId;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

/// From when nobody is woken in a shard any more until it is another process's.
pub(crate) struct Departures {
    since: Mutex<HashMap<ShardId, Instant>>,
    took: Histogram,
}

impl Departures {
    pub fn new() -> Self {
        Self {
            since: Mutex::default(),
            // 1 ms to 16 s: longer than workers that leave may take.
            took: Histogram::new(exponential_buckets(0.001, 2.0, 15)),
        }
    }

    /// These begin to leave.
    pub fn begin(&self, shards: &[ShardId]) {
        let now = Instant::now();
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        since.extend(shards.iter().map(|shard| (*shard, now)));
    }

    /// This one does not leave any more: it has moved, or stays.
    pub fn end(&self, shard: ShardId, has_moved: bool) {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        let began = since.remove(&shard);
        drop(since);
        if let Some(began) = began.filter(|_| has_moved) {
            let took = began.elapsed();
            let took_us = took.as_micros();
            tracing::debug!(shard = shard.0, took_us, "given to another process");
            self.took.observe(took.as_secs_f64());
        }
    }

    /// How long it took, in seconds.
    pub fn took(&self) -> &Histogram {
        &self.took
    }
}
