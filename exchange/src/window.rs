//! How much of what one side sent may wait for the other.

use std::sync::{Arc, LazyLock};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of one socket that may wait in one direction. One message that waits alone may be longer.
pub const WINDOW_BYTES: usize = 1 << 20;
/// Bytes of all sockets of the process that may wait together, each socket's one message aside that waits alone.
pub const BUDGET_BYTES: usize = 64 << 20;

static BUDGET: LazyLock<Budget> = LazyLock::new(|| Budget::new(BUDGET_BYTES));

/// The bytes that many windows share.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Semaphore>);

impl Budget {
    /// Of so many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))))
    }

    /// The process's, of [`BUDGET_BYTES`].
    #[must_use]
    pub fn of_process() -> Self {
        BUDGET.clone()
    }
}

/// Bounds what waits in one direction of one socket, in messages and in bytes.
#[derive(Debug)]
pub struct Window {
    messages: u32,
    bytes: u32,
    message_places: Arc<Semaphore>,
    byte_places: Arc<Semaphore>,
    budget: Budget,
}

/// What a message takes of its window and budget; dropping it gives that back.
#[derive(Debug)]
pub struct Place {
    _message: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
    _budget: Option<OwnedSemaphorePermit>,
}

impl Window {
    /// For at most so many messages and bytes, at least one of each, of the shared `budget`.
    #[must_use]
    pub fn new(messages: u32, bytes: usize, budget: Budget) -> Self {
        let (messages, bytes) = (
            messages.max(1),
            u32::try_from(bytes.max(1)).unwrap_or(u32::MAX),
        );
        Self {
            messages,
            bytes,
            message_places: Arc::new(Semaphore::new(messages as usize)),
            byte_places: Arc::new(Semaphore::new(bytes as usize)),
            budget,
        }
    }

    /// Waits for room for a message of `len` bytes. A message alone always has some.
    pub async fn admit(&self, len: usize) -> Option<Place> {
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        let message = acquire(&self.message_places, 1).await?;
        let bytes = acquire(&self.byte_places, len.min(self.bytes)).await?;
        let shared = &self.budget.0;
        let budget = match Arc::clone(shared).try_acquire_many_owned(len) {
            Ok(budget) => Some(budget),
            // Whoever waits for others to be read must not wait for ever: its own being read is enough.
            Err(_) => tokio::select! {
                biased;
                () = self.all_others_taken() => None,
                budget = acquire(shared, len) => Some(budget?),
            },
        };
        Some(Place {
            _message: message,
            _bytes: bytes,
            _budget: budget,
        })
    }

    /// Waits until nothing that was admitted waits any more.
    pub async fn empty(&self) {
        // The semaphore is never closed.
        let _ = self.message_places.acquire_many(self.messages).await;
    }

    /// The same for everything but the one message that waits to be admitted.
    async fn all_others_taken(&self) {
        let _ = self.message_places.acquire_many(self.messages - 1).await;
    }
}

/// Nothing only if the semaphore is closed, which none is.
async fn acquire(places: &Arc<Semaphore>, many: u32) -> Option<OwnedSemaphorePermit> {
    Arc::clone(places).acquire_many_owned(many).await.ok()
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn admit(window: &Window, len: usize) -> Option<Place> {
        window.admit(len).now_or_never().flatten()
    }

    #[test]
    fn a_window_bounds_messages_and_bytes() {
        let window = Window::new(3, 100, Budget::new(1000));
        let first = admit(&window, 60).unwrap();
        assert!(admit(&window, 41).is_none());
        let second = admit(&window, 40).unwrap();
        drop(first);
        let places = [admit(&window, 0).unwrap(), admit(&window, 0).unwrap()];
        assert!(admit(&window, 0).is_none(), "three messages");
        drop((second, places));
        let large = admit(&window, 500).expect("it is alone");
        assert!(admit(&window, 1).is_none());
        assert!(window.empty().now_or_never().is_none());
        drop(large);
        assert!(window.empty().now_or_never().is_some());
    }

    #[test]
    fn windows_share_a_budget_but_each_has_its_one_message() {
        let budget = Budget::new(100);
        let windows: Vec<_> = (0..3)
            .map(|_| Window::new(10, 90, budget.clone()))
            .collect();
        let first = admit(&windows[0], 50).unwrap();
        let second = admit(&windows[1], 50).unwrap();
        assert!(admit(&windows[0], 10).is_none(), "the budget is spent");
        let third = admit(&windows[2], 80).expect("it is alone");
        assert!(admit(&windows[2], 1).is_none());
        drop(second);
        assert!(admit(&windows[0], 10).is_some());
        drop((first, third));
    }

    #[tokio::test]
    async fn who_waits_for_the_budget_goes_on_when_its_own_is_read() {
        let budget = Budget::new(100);
        let (one, other) = (
            Window::new(10, 90, budget.clone()),
            Window::new(10, 90, budget),
        );
        let _never_read = admit(&other, 60).unwrap();
        let first = admit(&one, 40).unwrap();
        let mut second = Box::pin(one.admit(40));
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        assert!(second.await.is_some());
    }
}
