//! Links whose targets cannot be reached yet, and what is sent on them until then.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use portside_core::ids::WorkerKey;

use crate::event::Incoming;
use crate::link::{Kind, Opening, Receive, Rejected, pass_on};

/// A link that is opened as soon as its target can be reached.
pub struct Waiting {
    /// Whom to.
    pub to: WorkerKey,
    /// How it is opened.
    pub opening: Opening,
    /// Who takes meanwhile what is sent on it.
    pub later: Arc<Later>,
}

impl Waiting {
    /// Whoever is called keeps the way to it: the caller of a request or a method does not. Ports do.
    #[must_use]
    pub fn new(to: &WorkerKey, mut opening: Opening, later: Arc<Later>) -> Self {
        if !matches!(opening.kind, Kind::Port) {
            opening.end.keep(later.clone());
        }
        let to = to.clone();
        Self { to, opening, later }
    }

    /// Whether it is a port.
    #[must_use]
    pub fn is_port(&self) -> bool {
        matches!(self.opening.kind, Kind::Port)
    }
}

/// Whoever will be reached: keeps what is sent until then.
pub struct Later(Mutex<Reached>);

enum Reached {
    NotYet(VecDeque<Incoming>),
    /// And what came before, and that has not taken: it is gone, or about to leave, and says so.
    There(Arc<dyn Receive>, VecDeque<Incoming>),
    Nobody,
}

impl Default for Later {
    fn default() -> Self {
        Self(Mutex::new(Reached::NotYet(VecDeque::new())))
    }
}

impl Later {
    fn lock(&self) -> MutexGuard<'_, Reached> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The target is reached; or will not be.
    pub fn reached(&self, target: Option<Arc<dyn Receive>>) {
        let mut state = self.lock();
        // Whoever has left before this was known has been given everything back.
        let Reached::NotYet(waiting) = &mut *state else {
            return;
        };
        let Some(target) = target else {
            *state = Reached::Nobody;
            return;
        };
        let mut kept = VecDeque::new();
        for incoming in waiting.drain(..) {
            // Who is full has said so to the opener, or will.
            let _ = pass_on(&*target, &mut kept, incoming);
        }
        *state = Reached::There(target, kept);
    }

    /// The same, of a target that is kept elsewhere: with a call it [keeps](Waiting::new) this, and is not kept in turn.
    pub fn reached_by(&self, is_port: bool, target: Option<Arc<dyn Receive>>) {
        let uncounted = |it: Arc<dyn Receive>| Arc::new(Uncounted(Arc::downgrade(&it))) as _;
        self.reached(match is_port {
            true => target,
            false => target.map(uncounted),
        });
    }

    /// It was not the target that was reached, but whoever has left this.
    pub fn is_not_reached(&self, left: impl Iterator<Item = Incoming>) {
        *self.lock() = Reached::NotYet(left.collect());
    }
}

impl Receive for Later {
    fn receive(&self, incoming: Incoming) -> Result<(), Rejected> {
        match &mut *self.lock() {
            Reached::NotYet(waiting) => {
                waiting.push_back(incoming);
                Ok(())
            }
            Reached::There(target, kept) => pass_on(&**target, kept, incoming),
            Reached::Nobody => Err(Rejected::Closed(incoming)),
        }
    }

    fn give_back(&self) -> VecDeque<Incoming> {
        let mut state = self.lock();
        match &mut *state {
            Reached::NotYet(waiting) => {
                let waiting = std::mem::take(waiting);
                *state = Reached::Nobody;
                waiting
            }
            Reached::There(_, kept) => std::mem::take(kept),
            Reached::Nobody => VecDeque::new(),
        }
    }
}

/// A receiver, for those whom it keeps itself.
struct Uncounted(Weak<dyn Receive>);

impl Receive for Uncounted {
    fn receive(&self, incoming: Incoming) -> Result<(), Rejected> {
        match self.0.upgrade() {
            Some(target) => target.receive(incoming),
            None => Err(Rejected::Closed(incoming)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Fabric;
    use crate::link::{CloseReason, Failure, LinkEnd, LinkId};
    use crate::route::Route;

    /// A place where the port is opened, and what came there. The first one hears nothing: it is about to leave.
    #[derive(Default)]
    struct Place(Mutex<Vec<CloseReason>>);

    impl Receive for Place {
        fn receive(&self, incoming: Incoming) -> Result<(), Rejected> {
            match incoming {
                Incoming::Closed { reason, .. } => self.0.lock().unwrap().push(reason),
                _ => unreachable!("nothing else is sent"),
            }
            Ok(())
        }
    }

    struct Left;

    impl Receive for Left {
        fn receive(&self, incoming: Incoming) -> Result<(), Rejected> {
            Err(Rejected::Closed(incoming))
        }
    }

    /// Where the port is opened first, and next; and its ends there.
    struct Places(Mutex<Vec<Arc<dyn Receive>>>, Mutex<Vec<LinkEnd>>);

    impl Fabric for Places {
        fn open(&self, _: &WorkerKey, opening: Opening) -> Option<Arc<dyn Receive>> {
            self.1.lock().unwrap().push(opening.end);
            self.0.lock().unwrap().pop()
        }

        fn deliver(&self, _: &WorkerKey, _: Incoming) -> Result<(), Failure> {
            unreachable!("there are only links")
        }
    }

    fn follows(left_before_it_was_reached: bool) {
        let (later, next) = (Arc::<Later>::default(), Arc::<Place>::default());
        let places = Mutex::new(vec![next.clone() as Arc<dyn Receive>, later.clone()]);
        let places = Arc::new(Places(places, Mutex::default()));
        let id = LinkId::of_new_link();
        let opening = Opening::new(Kind::Port, LinkEnd::new(id.other(), Arc::new(Left)));
        let to = WorkerKey::new("w.js", "a").unwrap();
        let route = Route::open(places.clone(), &to, opening).unwrap();
        let link = id;
        let closed = |reason| Incoming::Closed { link, reason };
        assert!(route.receive(closed(CloseReason::Terminated)).is_ok());
        let end = places.1.lock().unwrap().pop().unwrap();
        if left_before_it_was_reached {
            end.moved(false, VecDeque::new());
            later.reached(Some(Arc::new(Left)));
        } else {
            later.reached(Some(Arc::new(Left)));
            assert!(route.receive(closed(CloseReason::Closed)).is_ok());
            end.moved(false, VecDeque::new());
        }
        assert!(route.receive(closed(CloseReason::Lost)).is_ok());
        let heard = next.0.lock().unwrap().clone();
        assert_eq!(heard.first(), Some(&CloseReason::Terminated));
        assert_eq!(heard.last(), Some(&CloseReason::Lost));
        assert_eq!(heard.len(), if left_before_it_was_reached { 2 } else { 3 });
    }

    /// What was sent meanwhile goes where the worker is next.
    #[test]
    fn who_leaves_before_it_is_known_to_be_reached_is_followed() {
        follows(true);
        follows(false);
    }
}
