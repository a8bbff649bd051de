//! Sockets whose way to their clients has ended, and that whoever holds the clients may bring back.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{SocketId, Sockets};

/// How long a socket is waited for. Longer than whoever holds the client looks for a process that takes it.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// The sockets of a process that are waited for, by the time since when.
#[derive(Default)]
pub struct Away(Mutex<VecDeque<Waiting>>);

struct Waiting {
    since: Instant,
    sockets: Arc<Sockets>,
    socket: SocketId,
    binding: u64,
}

impl Away {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, sockets: Arc<Sockets>, socket: SocketId, binding: u64) {
        self.lock().push_back(Waiting {
            since: Instant::now(),
            sockets,
            socket,
            binding,
        });
    }

    /// Tells the objects of those that were waited for in vain at `now` that they have lost their clients.
    pub fn give_up(&self, now: Instant) {
        let is_over = |waiting: &mut Waiting| now.duration_since(waiting.since) >= PATIENCE;
        loop {
            let Some(first) = self.lock().pop_front_if(is_over) else {
                return;
            };
            first.sockets.give_up(first.socket, first.binding);
        }
    }
}
