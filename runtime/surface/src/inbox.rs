//! A bounded queue of events that wakes the instance reading it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use portside_exchange::FetchError;

use crate::event::{Event, PortFailure};

/// The queue through which everything reaches a worker or a server instance.
///
/// It belongs to the addressee, not to the isolate that happens to run it: an instance that ends leaves its unread events
/// to its successor. Once closed it stays closed.
pub struct Inbox {
    state: Mutex<State>,
    max_messages: usize,
    max_bytes: usize,
}

#[derive(Default)]
struct State {
    /// Commits that ended, and the order to stop: read first, and even while other events have to wait.
    control: VecDeque<Event>,
    queue: VecDeque<Event>,
    bytes: usize,
    closed: bool,
    waker: Option<Waker>,
}

/// Why an event was not taken; it comes back to the sender.
pub enum Rejected {
    /// The addressee is gone (asleep): address it anew.
    Closed(Event),
    /// Over the limits.
    Full(Event),
}

impl Inbox {
    /// An open inbox that holds at most this many messages and bytes. Control events always fit.
    #[must_use]
    pub fn new(max_messages: usize, max_bytes: usize) -> Self {
        Self {
            state: Mutex::default(),
            max_messages,
            max_bytes,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event and wakes the reader.
    ///
    /// # Errors
    /// [`Rejected::Closed`], or [`Rejected::Full`] for events that count against the limits.
    pub fn push(&self, event: Event) -> Result<(), Rejected> {
        let mut state = self.lock();
        if state.closed {
            return Err(Rejected::Closed(event));
        }
        let size = event.size();
        if event.is_limited()
            && (state.queue.len() >= self.max_messages || state.bytes + size > self.max_bytes)
        {
            return Err(Rejected::Full(event));
        }
        if event.is_control() {
            state.control.push_back(event);
        } else {
            state.bytes += size;
            state.queue.push_back(event);
        }
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Takes the oldest control event.
    pub fn pop_control(&self) -> Option<Event> {
        self.lock().control.pop_front()
    }

    /// Takes the oldest other event that is wanted. The rest keeps its order.
    pub fn pop_first(&self, wanted: fn(&Event) -> bool) -> Option<Event> {
        let mut state = self.lock();
        let place = state.queue.iter().position(wanted)?;
        let event = state.queue.remove(place)?;
        state.bytes -= event.size();
        Some(event)
    }

    /// Asks to be woken by the next event. Returns whether a control event, or one that is wanted, is there already.
    pub fn register(&self, waker: &Waker, wanted: fn(&Event) -> bool) -> bool {
        let mut state = self.lock();
        if !state.control.is_empty() || state.queue.iter().any(wanted) {
            return true;
        }
        if !state
            .waker
            .as_ref()
            .is_some_and(|known| known.will_wake(waker))
        {
            state.waker = Some(waker.clone());
        }
        false
    }

    /// Returns when there is an event other than a control event. For use while no instance reads.
    pub async fn wait_for_event(&self) {
        std::future::poll_fn(|cx| {
            while self.pop_control().is_some() {} // meant for the instance that ended
            if self.register(cx.waker(), |_| true) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    /// Closes the inbox unless there is something to read. Returns whether it is closed now.
    pub fn close_if_empty(&self) -> bool {
        let mut state = self.lock();
        state.closed |= state.queue.is_empty() && state.control.is_empty();
        state.closed
    }

    /// Turns away everybody who waits: connections get an error and a close, requests their failure.
    pub fn refuse_all(&self, failure: &PortFailure) {
        while let Some(event) = self.pop_first(|_| true) {
            match event {
                Event::Connect(end) => end.refuse(failure),
                Event::Fetch(fetch) => {
                    // A client that went away needs no answer.
                    let _ = fetch
                        .reply
                        .send(Err(FetchError::Failed(failure.message.clone())));
                }
                _ => {}
            }
        }
    }

    /// Events waiting, control events aside.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().queue.len()
    }

    /// Whether no event waits, control events aside.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, PortId, RequestId};

    fn message(bytes: usize) -> Event {
        Event::Message {
            port: PortId(0),
            data: vec![0; bytes],
        }
    }

    #[test]
    fn limits_hold_for_messages_only() {
        let inbox = Inbox::new(2, 10);
        assert!(inbox.push(message(4)).is_ok());
        assert!(matches!(inbox.push(message(7)), Err(Rejected::Full(_))));
        assert!(inbox.push(message(6)).is_ok());
        assert!(matches!(inbox.push(message(0)), Err(Rejected::Full(_))));
        assert!(inbox.push(Event::Stop).is_ok());
        assert!(inbox.pop_control().is_some());
        assert!(inbox.pop_first(|_| true).is_some());
        assert!(inbox.pop_first(|_| true).is_some());
        assert!(inbox.push(message(10)).is_ok());
    }

    #[test]
    fn what_is_not_wanted_keeps_its_place() {
        let inbox = Inbox::new(3, 10);
        let abort = |id| Event::FetchAborted { id: RequestId(id) };
        for event in [abort(1), message(4), abort(2)] {
            assert!(inbox.push(event).is_ok());
        }
        let taken = inbox.pop_first(Event::is_of_opened_port);
        assert!(matches!(taken, Some(Event::Message { .. })));
        assert!(!inbox.register(Waker::noop(), Event::is_of_opened_port));
        assert!(inbox.register(Waker::noop(), |_| true));
        for id in [1, 2] {
            let next = inbox.pop_first(|_| true);
            assert!(
                matches!(next, Some(Event::FetchAborted { id: found }) if found == RequestId(id))
            );
        }
    }

    #[test]
    fn closes_only_when_empty() {
        let inbox = Inbox::new(1, 1);
        assert!(inbox.push(Event::Stop).is_ok());
        assert!(!inbox.close_if_empty());
        assert!(inbox.pop_control().is_some());
        assert!(inbox.close_if_empty());
        assert!(matches!(inbox.push(Event::Stop), Err(Rejected::Closed(_))));
    }
}
