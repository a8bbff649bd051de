//! Credit: how much of what one party sends may be on its way to another.

use std::any::Any;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures::future::{Either, select};
use futures::task::AtomicWaker;

use crate::shared_window::SharedWindow;

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
    /// Counts the same, with that of other senders.
    total: Option<Arc<Credit>>,
}

/// One message's place. It is free again when this is dropped, wherever that happens.
#[derive(Debug)]
pub struct Place {
    credit: Arc<Credit>,
    bytes: usize,
    /// Dropped with it.
    guard: Option<Box<dyn Any + Send + Sync>>,
}

impl Credit {
    /// Nothing on its way yet; what will be counts in `total`, too.
    #[must_use]
    pub fn within(total: Arc<Self>) -> Self {
        Self {
            total: Some(total),
            ..Self::default()
        }
    }

    fn add(&self, bytes: usize) {
        self.messages.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Some(total) = &self.total {
            total.add(bytes);
        }
    }

    fn remove(&self, bytes: usize) {
        self.messages.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(total) = &self.total {
            total.remove(bytes);
        }
    }

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
        self.add(bytes);
        let credit = self.clone();
        Place {
            credit,
            bytes,
            guard: None,
        }
    }

    /// Waits for a place, in the window and in the one that senders share. A message that nothing of this sender's is
    /// before needs none of the latter: whoever waits for others to be read must not wait for ever. For one sender.
    pub async fn admit(
        self: &Arc<Self>,
        bytes: usize,
        window: Window,
        shared: &SharedWindow,
    ) -> Place {
        poll_fn(|cx| self.poll_room(bytes, window, cx)).await;
        let share = match shared.take_if_room(bytes) {
            Some(share) => Some(share),
            None => match select(pin!(self.empty()), pin!(shared.take(bytes))).await {
                Either::Left(((), _)) => None,
                Either::Right((share, _)) => Some(share),
            },
        };
        let place = self.take(bytes);
        match share {
            Some(share) => place.with(share),
            None => place,
        }
    }

    /// Waits until nothing is on its way. For the sender, which waits for nothing else meanwhile.
    pub async fn empty(&self) {
        poll_fn(|cx| {
            self.sender.register(cx.waker());
            match self.messages() {
                0 => Poll::Ready(()),
                _ => Poll::Pending,
            }
        })
        .await;
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

impl Place {
    /// Drops `guard` when the place is free again; instead of one that it had.
    #[must_use]
    pub fn with(mut self, guard: impl Send + Sync + 'static) -> Self {
        self.guard = Some(Box::new(guard));
        self
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.credit.remove(self.bytes);
        self.credit.sender.wake();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

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
    fn a_total_counts_what_all_its_parts_have_on_their_way() {
        let total = Arc::new(Credit::default());
        let [one, other] = [(); 2].map(|()| Arc::new(Credit::within(total.clone())));
        let place = one.take(3);
        let _stays = other.take(4);
        assert_eq!((total.messages(), total.bytes()), (2, 7));
        drop(place);
        assert_eq!((total.messages(), total.bytes()), (1, 4));
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

    fn admit(
        credit: &Arc<Credit>,
        bytes: usize,
        window: Window,
        shared: &SharedWindow,
    ) -> Option<Place> {
        credit.admit(bytes, window, shared).now_or_never()
    }

    #[test]
    fn who_is_admitted_has_room_for_its_message_and_bytes() {
        let (credit, shared) = (Arc::<Credit>::default(), SharedWindow::new(1000));
        let window = Window {
            messages: 3,
            bytes: 100,
        };
        let admit = |bytes| admit(&credit, bytes, window, &shared);
        let first = admit(60).unwrap();
        assert!(admit(41).is_none());
        let second = admit(40).unwrap();
        drop(first);
        let places = [admit(0).unwrap(), admit(0).unwrap()];
        assert!(admit(0).is_none(), "three messages");
        drop((second, places));
        let large = admit(500).expect("it is alone");
        assert!(admit(1).is_none());
        assert!(credit.empty().now_or_never().is_none());
        drop(large);
        assert!(credit.empty().now_or_never().is_some());
    }

    const SHARED: Window = Window {
        messages: 10,
        bytes: 90,
    };

    #[test]
    fn senders_share_a_window_but_each_has_its_one_message() {
        let shared = SharedWindow::new(100);
        let senders: [Arc<Credit>; 3] = Default::default();
        let admit = |sender: usize, bytes| admit(&senders[sender], bytes, SHARED, &shared);
        let first = admit(0, 50).unwrap();
        let second = admit(1, 50).unwrap();
        assert!(admit(0, 10).is_none(), "the shared window is full");
        let third = admit(2, 80).expect("it is alone");
        assert!(admit(2, 1).is_none());
        drop(second);
        assert!(admit(0, 10).is_some());
        drop((first, third));
    }

    #[tokio::test]
    async fn who_waits_for_the_shared_window_goes_on_when_its_own_is_read() {
        let shared = SharedWindow::new(100);
        let (one, other) = (Arc::<Credit>::default(), Arc::<Credit>::default());
        let _never_read = admit(&other, 60, SHARED, &shared).unwrap();
        let first = admit(&one, 40, SHARED, &shared).unwrap();
        let mut second = Box::pin(one.admit(40, SHARED, &shared));
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        second.await;
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
