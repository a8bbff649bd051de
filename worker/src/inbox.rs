//! A bounded queue that wakes the instance reading it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::event::{Control, Incoming, Stop};
use crate::link::{Failure, LinkId, Receive, Rejected};

/// The queue through which everything reaches a worker or a server.
///
/// It belongs to the addressee, not to the instance that happens to read it: an instance that ends leaves what it has not
/// read to its successor. Once closed it stays closed.
pub struct Inbox {
    state: Mutex<State>,
    max_messages: usize,
    max_bytes: usize,
}

#[derive(Default)]
struct State {
    stop: Stop,
    /// What the instance knows of it.
    stop_seen: Stop,
    control: VecDeque<Control>,
    queue: VecDeque<Incoming>,
    bytes: usize,
    /// Bytes that were taken and wait for the application to listen.
    held_bytes: usize,
    /// Whoever reads here leaves for another place.
    leaving: bool,
    /// Its state is about to change while nobody reads.
    withheld: bool,
    closed: bool,
    /// How much of what others sent the instance has taken.
    taken: u64,
    waker: Option<Waker>,
    rest: Option<Rest>,
}

/// An instance that has nothing to do.
struct Rest {
    /// Grows from one rest to the next in the process.
    since: u64,
    /// When it began.
    began: Instant,
    /// Not while it takes a turn, even if that turns out to have been for nothing.
    now: bool,
}

static NEXT_REST: AtomicU64 = AtomicU64::new(0);

/// What an instance finds in its inbox.
pub enum Next {
    /// News.
    Control(Control),
    /// Something that others sent.
    Incoming(Incoming),
    /// Nothing that is wanted now; and whether it was asked to end.
    Nothing(Stop),
}

/// What was taken from an inbox and goes on to count there, until it is taken from this or dropped.
pub struct Held {
    inbox: Arc<Inbox>,
    size: usize,
    incoming: Option<Incoming>,
}

impl Held {
    /// What it is.
    #[must_use]
    pub fn incoming(&self) -> Option<&Incoming> {
        self.incoming.as_ref()
    }

    /// Its bytes, as the inbox counts them.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// Takes it: it counts no more.
    ///
    /// # Panics
    /// Never: it is there until this is dropped.
    #[must_use]
    pub fn take(mut self) -> Incoming {
        self.incoming.take().expect("it is there until it is taken")
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.inbox.lock().held_bytes -= self.size;
    }
}

impl State {
    fn resting_since(&self) -> Option<u64> {
        let rest = self.rest.as_ref()?;
        let rests = rest.now && self.queue.is_empty() && self.control.is_empty();
        rests.then_some(rest.since)
    }

    /// Whoever leaves hears nothing new: that is for the place to which it goes.
    fn is_for_now(&self, incoming: &Incoming, wanted: fn(&Incoming) -> bool) -> bool {
        let is_open = !self.leaving && !self.withheld;
        wanted(incoming) && (is_open || incoming.is_of_opened_link())
    }

    fn position(&self, wanted: fn(&Incoming) -> bool) -> Option<usize> {
        let mut queue = self.queue.iter();
        queue.position(|incoming| self.is_for_now(incoming, wanted))
    }

    /// Takes what came on links of which nothing is known here any more, as after the end of whoever knew them: all but those that wait
    /// to be opened.
    fn take_gone(&mut self) -> VecDeque<Incoming> {
        let opening = |it: &Incoming| match it {
            Incoming::Opened(opening) => Some(opening.end.id),
            _ => None,
        };
        let opened: Vec<LinkId> = self.queue.iter().filter_map(opening).collect();
        let queue = std::mem::take(&mut self.queue).into_iter();
        let (kept, gone) = queue.partition(|it| match it {
            Incoming::Frame { link, .. } | Incoming::Closed { link, .. } => opened.contains(link),
            _ => true,
        });
        self.queue = kept;
        let gone: VecDeque<Incoming> = gone;
        self.bytes -= gone.iter().map(Incoming::size).sum::<usize>();
        gone
    }

    fn take_first(&mut self, wanted: fn(&Incoming) -> bool) -> Option<Incoming> {
        let place = self.position(wanted)?;
        let incoming = self.queue.remove(place)?;
        self.bytes -= incoming.size();
        Some(incoming)
    }
}

impl Inbox {
    /// An open inbox that holds at most this many messages and bytes. News for the instance itself always fit.
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

    /// Goes on to count what was taken from here while it waits for the application to listen.
    #[must_use]
    pub fn hold(self: &Arc<Self>, incoming: Incoming) -> Held {
        let size = incoming.size();
        self.lock().held_bytes += size;
        Held {
            inbox: self.clone(),
            size,
            incoming: Some(incoming),
        }
    }

    fn wake(mut state: MutexGuard<'_, State>) {
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Tells the instance that reads now. Without one, or when closed, nobody needs to hear it.
    pub fn tell(&self, control: Control) {
        let mut state = self.lock();
        if !state.closed {
            state.control.push_back(control);
            Self::wake(state);
        }
    }

    /// Asks the instance that reads now to end.
    pub fn stop(&self, stop: Stop) {
        let mut state = self.lock();
        state.stop = state.stop.max(stop);
        Self::wake(state);
    }

    /// Whoever reads here leaves for another place: from now on its instance gets only what comes on links that it has opened
    /// itself, and is to be asked to end. All else waits, to be taken along.
    pub fn leave(&self) {
        let mut state = self.lock();
        state.leaving = true;
        Self::wake(state);
    }

    /// From now on, or no more: the instance gets only what comes on links that it has opened itself, and is to be asked to end. All
    /// else waits for the one after it.
    pub fn withhold(&self, is_withheld: bool) {
        let mut state = self.lock();
        state.withheld = is_withheld;
        Self::wake(state);
    }

    /// Whether whoever reads here leaves for another place.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.lock().leaving
    }

    /// Closes the inbox, and gives what waits there to be taken along.
    pub(crate) fn left(&self) -> VecDeque<Incoming> {
        let mut state = self.lock();
        state.closed = true;
        state.bytes = 0;
        std::mem::take(&mut state.queue)
    }

    /// What others have sent, and is not taken along yet, goes back into its closed inbox.
    pub(crate) fn keep(&self, waiting: VecDeque<Incoming>) {
        let mut state = self.lock();
        state.bytes = waiting.iter().map(Incoming::size).sum();
        state.queue = waiting;
    }

    /// The instance that reads takes a turn. Returns whether it was put to sleep, and must run nothing any more.
    pub fn turn_begins(&self) -> bool {
        let mut state = self.lock();
        if let Some(rest) = &mut state.rest {
            rest.now = false;
        }
        state.closed
    }

    /// The instance that reads has nothing to do: until its next turn it may be put to sleep.
    pub fn rests(&self) {
        let mut state = self.lock();
        let rest = state.rest.get_or_insert_with(|| Rest {
            since: NEXT_REST.fetch_add(1, Ordering::Relaxed),
            began: Instant::now(),
            now: true,
        });
        rest.now = true;
    }

    /// Since when its instance rests, of all in the process: the lowest has rested longest. Nothing while it does not.
    #[must_use]
    pub fn resting_since(&self) -> Option<u64> {
        self.lock().resting_since()
    }

    /// For how long its instance has rested. Nothing while it does not.
    #[must_use]
    pub fn rests_for(&self) -> Option<Duration> {
        let state = self.lock();
        state.resting_since()?;
        state.rest.as_ref().map(|rest| rest.began.elapsed())
    }

    /// Closes the inbox if its instance rests, which thereupon ends. Returns whether it did.
    pub fn put_to_sleep(&self) -> bool {
        let mut state = self.lock();
        if state.closed || state.resting_since().is_none() {
            return false;
        }
        state.closed = true;
        Self::wake(state);
        true
    }

    /// Takes what comes next for the instance that reads: news first, then the oldest of what others sent that is wanted
    /// (nothing is if `wanted` is nothing). The rest keeps its order.
    pub fn next(&self, wanted: Option<fn(&Incoming) -> bool>) -> Next {
        let mut state = self.lock();
        if let Some(control) = state.control.pop_front() {
            return Next::Control(control);
        }
        match wanted.and_then(|wanted| state.take_first(wanted)) {
            Some(incoming) => {
                state.rest = None;
                state.taken += 1;
                Next::Incoming(incoming)
            }
            None => {
                state.stop_seen = state.stop;
                Next::Nothing(state.stop)
            }
        }
    }

    /// How much of what others sent the instance that reads has taken since it began.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.lock().taken
    }

    /// Asks to be woken by the next event. Returns whether there is news, something wanted, or a request to stop that was
    /// not seen yet.
    pub fn register(&self, waker: &Waker, wanted: fn(&Incoming) -> bool) -> bool {
        let mut state = self.lock();
        if !state.control.is_empty()
            || state.position(wanted).is_some()
            || state.stop > state.stop_seen
        {
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

    /// Forgets what was meant for the instance that ended: news, the request to stop, and what came on its links.
    pub fn forget_instance(&self) {
        let gone = {
            let mut state = self.lock();
            state.taken = 0;
            state.control.clear();
            state.stop = Stop::No;
            state.stop_seen = Stop::No;
            state.rest = None;
            state.take_gone()
        };
        // Not while it is locked: whoever sent it may be told.
        drop(gone);
    }

    /// Closes the inbox unless there is something to read. Returns whether it is closed now.
    pub fn close_if_empty(&self) -> bool {
        let mut state = self.lock();
        state.closed |= state.queue.is_empty() && state.control.is_empty();
        state.closed
    }

    /// Whether it is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Turns away whoever waits: links that are being opened get a failure and a close.
    pub fn refuse_all(&self, failure: &Failure) {
        let waiting = {
            let mut state = self.lock();
            state.bytes = 0;
            std::mem::take(&mut state.queue)
        };
        refuse(waiting, failure);
    }

    /// Turns away those who wait to be connected. All else stays.
    pub fn refuse_openings(&self, failure: &Failure) {
        let openings = {
            let mut state = self.lock();
            let waiting = std::mem::take(&mut state.queue).into_iter();
            let (openings, rest) = waiting.partition(|it| matches!(it, Incoming::Opened(_)));
            state.queue = rest;
            openings
        };
        refuse(openings, failure);
    }

    /// Whether an alarm waits.
    #[must_use]
    pub fn has_alarm(&self) -> bool {
        let state = self.lock();
        let mut waiting = state.queue.iter();
        waiting.any(|incoming| matches!(incoming, Incoming::Alarm(_)))
    }

    /// What the id of the object comes from that reads here, as far as one of those knows who wait to be connected.
    #[must_use]
    pub fn name(&self) -> Option<Arc<str>> {
        let state = self.lock();
        state.queue.iter().find_map(|incoming| match incoming {
            Incoming::Opened(opening) => opening.name.clone(),
            Incoming::Hibernatable(event) => event.name(),
            _ => None,
        })
    }

    /// How much waits of what others sent.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().queue.len()
    }

    /// Whether nothing waits of what others sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Not under the lock: whoever is refused may be read from the same inbox.
fn refuse(waiting: VecDeque<Incoming>, failure: &Failure) {
    for incoming in waiting {
        match incoming {
            Incoming::Opened(opening) => opening.end.refuse(failure.clone()),
            Incoming::Hibernatable(event) => event.refuse(failure),
            Incoming::Frame { .. } | Incoming::Closed { .. } | Incoming::Alarm(_) => {}
        }
    }
}

impl Receive for Inbox {
    /// [`Rejected::Full`] for what counts against the limits only.
    fn receive(&self, incoming: Incoming) -> Result<(), Rejected> {
        let mut state = self.lock();
        if state.closed {
            return Err(Rejected::Closed(incoming));
        }
        let size = incoming.size();
        if incoming.is_limited()
            && (state.queue.len() >= self.max_messages
                || state.bytes + state.held_bytes + size > self.max_bytes)
        {
            return Err(Rejected::Full(incoming));
        }
        state.bytes += size;
        state.queue.push_back(incoming);
        Self::wake(state);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use portside_exchange::credit::Credit;

    use super::*;
    use crate::link::{CloseReason, Frame, Kind, LinkEnd, LinkId, Opening};

    fn message(bytes: usize) -> Incoming {
        let place = Arc::new(Credit::default()).take(bytes);
        let data = vec![0; bytes];
        Incoming::Frame {
            link: LinkId(0),
            frame: Frame::Message {
                data,
                place,
                request: None,
            },
        }
    }

    fn control(inbox: &Inbox) -> bool {
        matches!(inbox.next(None), Next::Control(_))
    }

    fn first(inbox: &Inbox, wanted: fn(&Incoming) -> bool) -> Option<Incoming> {
        match inbox.next(Some(wanted)) {
            Next::Incoming(incoming) => Some(incoming),
            _ => None,
        }
    }

    fn stop(inbox: &Inbox) -> Stop {
        match inbox.next(None) {
            Next::Nothing(stop) => stop,
            _ => unreachable!("there is no news"),
        }
    }

    fn closed(link: u64) -> Incoming {
        Incoming::Closed {
            link: LinkId(link),
            reason: CloseReason::Closed,
        }
    }

    /// Takes nothing.
    struct Nobody;

    impl Receive for Nobody {
        fn receive(&self, incoming: Incoming) -> Result<(), Rejected> {
            Err(Rejected::Closed(incoming))
        }
    }

    #[test]
    fn who_waits_to_be_connected_is_refused_and_all_else_stays() {
        let inbox = Inbox::new(3, 10);
        let opening = || {
            Opening::new(
                Kind::Port,
                LinkEnd::new(LinkId::of_new_link().other(), Arc::new(Nobody)),
            )
        };
        for incoming in [Incoming::Opened(opening()), message(4), closed(1)] {
            assert!(inbox.receive(incoming).is_ok());
        }
        inbox.refuse_openings(&Failure::reset("it begins anew"));
        assert_eq!(inbox.len(), 2);
        assert!(matches!(
            first(&inbox, |_| true),
            Some(Incoming::Frame { .. })
        ));
        inbox.refuse_all(&Failure::reset("it begins anew"));
        assert!(inbox.is_empty());
    }

    #[test]
    fn limits_hold_for_messages_only() {
        let inbox = Inbox::new(2, 10);
        assert!(inbox.receive(message(4)).is_ok());
        assert!(matches!(inbox.receive(message(7)), Err(Rejected::Full(_))));
        assert!(inbox.receive(message(6)).is_ok());
        assert!(matches!(inbox.receive(message(0)), Err(Rejected::Full(_))));
        inbox.tell(Control::Renewed);
        assert!(control(&inbox));
        assert!(first(&inbox, |_| true).is_some());
        assert!(first(&inbox, |_| true).is_some());
        assert!(inbox.receive(message(10)).is_ok());
    }

    #[test]
    fn what_goes_back_counts_as_before() {
        let inbox = Inbox::new(3, 10);
        assert!(inbox.receive(message(4)).is_ok());
        let waiting = inbox.left();
        inbox.keep(waiting);
        // Nobody knows its link any more.
        inbox.forget_instance();
        assert!(inbox.is_empty());
    }

    #[test]
    fn what_is_not_wanted_keeps_its_place() {
        let inbox = Inbox::new(3, 10);
        for incoming in [closed(1), message(4), closed(3)] {
            assert!(inbox.receive(incoming).is_ok());
        }
        let taken = first(&inbox, Incoming::is_of_opened_link);
        assert!(matches!(taken, Some(Incoming::Frame { .. })));
        assert!(!inbox.register(Waker::noop(), Incoming::is_of_opened_link));
        assert!(inbox.register(Waker::noop(), |_| true));
        for expected in [1, 3] {
            let next = first(&inbox, |_| true);
            assert!(
                matches!(next, Some(Incoming::Closed { link, .. }) if link == LinkId(expected))
            );
        }
    }

    #[test]
    fn closes_only_when_empty() {
        let inbox = Inbox::new(1, 1);
        inbox.tell(Control::Renewed);
        assert!(!inbox.close_if_empty());
        assert!(control(&inbox));
        assert!(inbox.close_if_empty());
        assert!(matches!(inbox.receive(closed(1)), Err(Rejected::Closed(_))));
    }

    #[test]
    fn a_request_to_stop_is_not_missed_before_the_instance_waits() {
        let inbox = Inbox::new(1, 1);
        assert_eq!(stop(&inbox), Stop::No);
        inbox.stop(Stop::WhenFlushed); // nobody waits who could be woken
        assert!(inbox.register(Waker::noop(), |_| true));
        assert_eq!(stop(&inbox), Stop::WhenFlushed);
        assert!(!inbox.register(Waker::noop(), |_| true), "it is known now");
    }

    #[test]
    fn only_who_rests_is_put_to_sleep() {
        let inbox = Inbox::new(1, 1);
        assert!(!inbox.put_to_sleep(), "it has not begun");
        inbox.rests();
        let since = inbox.resting_since().unwrap();
        assert!(!inbox.turn_begins());
        assert!(!inbox.put_to_sleep(), "it takes a turn");
        inbox.rests();
        assert_eq!(inbox.resting_since(), Some(since), "for nothing");
        assert!(inbox.receive(closed(1)).is_ok());
        assert!(!inbox.put_to_sleep(), "something waits");
        assert!(first(&inbox, |_| true).is_some());
        assert!(!inbox.put_to_sleep(), "it has something to do");
        inbox.rests();
        assert!(inbox.resting_since().unwrap() > since);
        assert!(inbox.put_to_sleep());
        assert!(!inbox.put_to_sleep(), "it sleeps");
        assert!(matches!(inbox.receive(closed(1)), Err(Rejected::Closed(_))));
        assert!(inbox.turn_begins());
    }

    #[test]
    fn a_request_to_stop_grows_and_ends_with_its_instance() {
        let inbox = Inbox::new(1, 1);
        inbox.stop(Stop::WhenFlushed);
        inbox.stop(Stop::WhenQuiet);
        assert_eq!(stop(&inbox), Stop::WhenFlushed);
        inbox.forget_instance();
        assert_eq!(stop(&inbox), Stop::No);
    }

    /// Such a message keeps nobody awake, nor wakes the next one.
    #[test]
    fn what_came_on_links_of_the_instance_that_ended_is_forgotten() {
        let inbox = Inbox::new(9, 90);
        let end = LinkEnd::new(LinkId(1_000), Arc::new(Nobody));
        let waits = end.id;
        let opening = Opening::new(Kind::Port, end);
        let all = [
            closed(1),
            Incoming::Opened(opening),
            message(4),
            closed(waits.0),
        ];
        for incoming in all {
            assert!(inbox.receive(incoming).is_ok());
        }
        inbox.forget_instance();
        assert_eq!(inbox.len(), 2);
        let opened = first(&inbox, |_| true);
        assert!(matches!(opened, Some(Incoming::Opened(_))));
        let left = first(&inbox, |_| true);
        assert!(matches!(left, Some(Incoming::Closed { link, .. }) if link == waits));
        assert!(inbox.close_if_empty());
    }
}
