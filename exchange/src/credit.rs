//! Credit: how much of what one party sends may be on its way to another.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;

/// The most that may be on its way at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// In messages.
    pub messages: usize,
    /// In bytes of payload. A message alone always fits: it has a limit of its own.
    pub bytes: usize,
}

/// What is on its way in one direction between two parties: sent, and not yet taken by whom it is for.
#[derive(Debug, Default)]
pub struct Credit {
    messages: AtomicUsize,
    bytes: AtomicUsize,
    /// The sender, if it waits for room.
    sender: AtomicWaker,
}

/// One message's place. It is free again when this is dropped, wherever that happens.
#[derive(Debug)]
pub struct Place {
    credit: Arc<Credit>,
    bytes: usize,
}

impl Credit {
    /// Whether another `bytes` fit into the window now.
    #[must_use]
    pub fn has_room(&self, bytes: usize, window: Window) -> bool {
        let messages = self.messages.load(Ordering::Relaxed);
        let waiting = self.bytes.load(Ordering::Relaxed);
        messages < window.messages && (messages == 0 || waiting + bytes <= window.bytes)
    }

    /// Takes a place if there is room. For one sender: two at a time could both find the last room.
    #[must_use]
    pub fn take_if_room(self: &Arc<Self>, bytes: usize, window: Window) -> Option<Place> {
        self.has_room(bytes, window).then(|| self.take(bytes))
    }

    /// Takes a place, room or not.
    #[must_use]
    pub fn take(self: &Arc<Self>, bytes: usize) -> Place {
        self.messages.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let credit = self.clone();
        Place { credit, bytes }
    }

    /// Waits for room. Of several that wait only the last is woken: for one sender.
    pub fn poll_room(&self, bytes: usize, window: Window, cx: &mut Context<'_>) -> Poll<()> {
        if !self.has_room(bytes, window) {
            self.sender.register(cx.waker());
            // It may have become free before the waker was there.
            if !self.has_room(bytes, window) {
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }

    /// Lets whoever waits for room look again: nobody takes messages any more.
    pub fn wake_sender(&self) {
        self.sender.wake();
    }

    /// Payload bytes on their way.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Messages on their way.
    #[must_use]
    pub fn messages(&self) -> usize {
        self.messages.load(Ordering::Relaxed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.credit.messages.fetch_sub(1, Ordering::Relaxed);
        self.credit.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.credit.sender.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Window = Window {
        messages: 2,
        bytes: 10,
    };

    #[test]
    fn places_are_bounded_in_messages_and_bytes_until_they_are_dropped() {
        let credit = Arc::new(Credit::default());
        let first = credit.take_if_room(6, WINDOW).unwrap();
        assert!(credit.take_if_room(5, WINDOW).is_none(), "bytes");
        let _second = credit.take_if_room(4, WINDOW).unwrap();
        assert!(credit.take_if_room(0, WINDOW).is_none(), "messages");
        drop(first);
        assert_eq!((credit.messages(), credit.bytes()), (1, 4));
        assert!(credit.take_if_room(6, WINDOW).is_some());
        assert!(
            Arc::new(Credit::default())
                .take_if_room(11, WINDOW)
                .is_some(),
            "alone"
        );
    }

    #[test]
    fn a_sender_that_waits_is_woken_by_the_next_free_place() {
        let credit = Arc::new(Credit::default());
        let place = credit.take(10);
        let (waker, wakes) = futures_test_waker();
        let mut cx = Context::from_waker(&waker);
        assert!(credit.poll_room(1, WINDOW, &mut cx).is_pending());
        drop(place);
        assert_eq!(wakes.load(Ordering::Relaxed), 1);
        assert!(credit.poll_room(1, WINDOW, &mut cx).is_ready());
    }

    fn futures_test_waker() -> (std::task::Waker, Arc<AtomicUsize>) {
        struct Counts(Arc<AtomicUsize>);
        impl std::task::Wake for Counts {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let wakes = Arc::<AtomicUsize>::default();
        (Arc::new(Counts(wakes.clone())).into(), wakes)
    }
}
