//! A port to a worker that may move while it is open.
//!
//! What the two ends of the port send passes here. When the instance that was reached [leaves](crate::moves), the port is opened
//! again where the worker is then, and what was not heard is sent there first: the opener notices nothing.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portside_core::ids::WorkerKey;

use crate::event::Incoming;
use crate::host::{Fabric, RequestName};
use crate::link::{
    Failure, Frame, Kind, LinkEnd, LinkId, Moved, Opening, Receive, Rejected, pass_on,
};

/// A port as its opener has it.
pub struct Route {
    to: WorkerKey,
    /// The target's end.
    link: LinkId,
    request: Option<RequestName>,
    opener: Arc<dyn Receive>,
    /// Whether the target's code has heard of the port, in some place.
    connected: AtomicBool,
    /// Where the worker is found.
    places: Arc<dyn Fabric>,
    state: Mutex<State>,
}

enum State {
    /// It is being opened; what was sent meanwhile, and whether whom it is opened to has left already.
    Opening(VecDeque<Incoming>, bool),
    /// It is open to this receiver; and what that has not taken: it is gone, or about to leave, and says so.
    Open(Arc<dyn Receive>, VecDeque<Incoming>),
    /// It could not be opened, or the other end has closed it.
    Closed,
}

/// What became of opening a port.
enum Reached {
    Here,
    /// Whoever was reached has left already.
    Left,
    Closed,
}

impl Route {
    /// Opens a port to the worker, wherever `places` finds it, and again when it moves. Nothing if that could not be, of which
    /// the opener hears.
    pub fn open(places: Arc<dyn Fabric>, to: &WorkerKey, opening: Opening) -> Option<Arc<Self>> {
        let Opening { request, end, .. } = opening;
        let route = Arc::new(Self {
            to: to.clone(),
            link: end.id,
            request,
            opener: end.into_peer()?,
            connected: AtomicBool::new(false),
            places,
            state: Mutex::new(State::Opening(VecDeque::new(), false)),
        });
        route.connect().then_some(route)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the port where the worker is now, until it stays. Returns whether that could be.
    fn connect(self: &Arc<Self>) -> bool {
        loop {
            let opening = Opening {
                request: self.request.clone(),
                reconnected: self.connected.load(Ordering::Relaxed),
                ..Opening::new(
                    Kind::Port,
                    LinkEnd::new(self.link, Arc::new(Back(self.clone()))),
                )
            };
            // Not under the lock: it may be refused at once, which comes back here.
            let Some(target) = self.places.open(&self.to, opening) else {
                *self.lock() = State::Closed;
                return false;
            };
            match self.reached(target) {
                Reached::Here => return true,
                Reached::Closed => return false,
                Reached::Left => {}
            }
        }
    }

    /// Sends this receiver what has waited, unless it has left again.
    fn reached(&self, target: Arc<dyn Receive>) -> Reached {
        let mut state = self.lock();
        let State::Opening(waiting, left) = &mut *state else {
            return Reached::Closed;
        };
        if std::mem::take(left) {
            return Reached::Left;
        }
        let waiting = std::mem::take(waiting);
        let mut kept = VecDeque::new();
        let sent = waiting
            .into_iter()
            .map(|incoming| pass_on(&*target, &mut kept, incoming));
        let refused = sent.filter(Result::is_err).count();
        *state = State::Open(target, kept);
        drop(state);
        for _ in 0..refused {
            let failure = Failure::overloaded("the worker's inbox is full");
            let link = self.link.other();
            let frame = Frame::Failed(failure);
            // An opener that is gone needs no telling.
            let _ = self.opener.receive(Incoming::Frame { link, frame });
        }
        Reached::Here
    }

    /// The instance that was reached leaves: what it has not heard goes first, then what came too late for it.
    fn follow(self: &Arc<Self>, moved: Moved) {
        if moved.connected {
            self.connected.store(true, Ordering::Relaxed);
        }
        let mut state = self.lock();
        match &mut *state {
            State::Closed => return,
            // Nothing was sent to it.
            State::Opening(_, left) => {
                *left = true;
                return;
            }
            State::Open(target, kept) => {
                let kept = target.give_back().into_iter().chain(std::mem::take(kept));
                let waiting = moved.unheard.into_iter().chain(kept).collect();
                *state = State::Opening(waiting, false);
            }
        }
        drop(state);
        self.connect();
    }
}

impl Receive for Route {
    fn receive(&self, incoming: Incoming) -> Result<(), Rejected> {
        match &mut *self.lock() {
            State::Opening(waiting, _) => {
                waiting.push_back(incoming);
                Ok(())
            }
            State::Open(target, kept) => pass_on(&**target, kept, incoming),
            State::Closed => Err(Rejected::Closed(incoming)),
        }
    }
}

/// The port's opener, as the target reaches it.
struct Back(Arc<Route>);

impl Receive for Back {
    fn receive(&self, incoming: Incoming) -> Result<(), Rejected> {
        if matches!(incoming, Incoming::Closed { .. }) {
            *self.0.lock() = State::Closed;
        }
        self.0.opener.receive(incoming)
    }

    fn moved(&self, moved: Moved) {
        self.0.follow(moved);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::CloseReason;

    /// A place: the ends of the ports that were opened there, and what came on them, by its reason.
    #[derive(Default)]
    struct Place {
        ends: Mutex<Vec<(LinkEnd, bool)>>,
        heard: Mutex<Vec<CloseReason>>,
        is_closed: AtomicBool,
        /// Whoever is opened here leaves at once.
        is_left: AtomicBool,
    }

    impl Receive for Place {
        fn receive(&self, incoming: Incoming) -> Result<(), Rejected> {
            match incoming {
                Incoming::Closed { reason, .. } if !self.is_closed.load(Ordering::Relaxed) => {
                    self.heard.lock().unwrap().push(reason);
                    Ok(())
                }
                incoming => Err(Rejected::Closed(incoming)),
            }
        }
    }

    struct Places(Mutex<Vec<Arc<Place>>>);

    impl Fabric for Places {
        fn open(&self, _: &WorkerKey, opening: Opening) -> Option<Arc<dyn Receive>> {
            let place = self.0.lock().unwrap().pop().unwrap();
            if place.is_left.load(Ordering::Relaxed) {
                opening.end.moved(false, VecDeque::new());
            } else {
                let opened = (opening.end, opening.reconnected);
                place.ends.lock().unwrap().push(opened);
            }
            Some(place)
        }

        fn deliver(&self, _: &WorkerKey, _: Incoming) -> Result<(), Failure> {
            unreachable!("there are only links")
        }
    }

    fn opened_in(places: &[&Arc<Place>]) -> Arc<Route> {
        let places = places.iter().rev().map(|place| Arc::clone(place)).collect();
        let opening = Opening::new(
            Kind::Port,
            LinkEnd::new(LinkId::of_new_link().other(), Arc::<Place>::default()),
        );
        let to = WorkerKey::new("w.js", "a").unwrap();
        Route::open(Arc::new(Places(Mutex::new(places))), &to, opening).unwrap()
    }

    fn closed(link: LinkId, reason: CloseReason) -> Incoming {
        Incoming::Closed { link, reason }
    }

    #[test]
    fn what_comes_too_late_follows_what_was_not_heard() {
        let (here, there) = (Arc::<Place>::default(), Arc::<Place>::default());
        let route = opened_in(&[&here, &there]);
        here.is_closed.store(true, Ordering::Relaxed);
        let late = closed(route.link, CloseReason::Lost);
        assert!(route.receive(late).is_ok());
        let (end, _) = here.ends.lock().unwrap().pop().unwrap();
        let unheard = closed(route.link, CloseReason::Closed);
        end.moved(true, [unheard].into());
        let heard = there.heard.lock().unwrap().clone();
        assert_eq!(heard, [CloseReason::Closed, CloseReason::Lost]);
        assert!(there.ends.lock().unwrap()[0].1, "it is connected again");
    }

    #[test]
    fn who_leaves_while_a_port_is_opened_is_followed() {
        let (left, there) = (Arc::<Place>::default(), Arc::<Place>::default());
        left.is_left.store(true, Ordering::Relaxed);
        let route = opened_in(&[&left, &there]);
        let reason = CloseReason::Closed;
        assert!(route.receive(closed(route.link, reason)).is_ok());
        assert_eq!(*there.heard.lock().unwrap(), [reason]);
        assert!(!there.ends.lock().unwrap()[0].1, "nobody had heard of it");
    }
}
