//! Links whose targets cannot be reached yet.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use portside_core::ids::{ShardId, WorkerKey};
use portside_worker::event::Incoming;
use portside_worker::link::{Kind, Opening, Receive, Rejected, pass_on};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::line::Line;
use crate::places::Place;

/// Links that wait at a time: beyond that no more are taken, but for those that were on their way before.
const MAX_WAITING: usize = 16 << 10;

/// When a link was opened first, of those to a shard: they are opened there in this order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    pub shard: ShardId,
    rank: Rank,
    /// It is given up then, if it could not be opened.
    pub until: Instant,
}

/// Those that a worker takes along were opened before all others that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    TakenAlong(u64),
    Opened(u64),
}

impl Turn {
    fn is_taken_along(&self) -> bool {
        matches!(self.rank, Rank::TakenAlong(_))
    }
}

/// A link that is opened as soon as its target can be reached.
pub(crate) struct Waiting {
    pub to: WorkerKey,
    pub opening: Opening,
    pub later: Arc<Later>,
}

impl Waiting {
    /// Whoever is called keeps the way to it: the caller of a request or a method does not. Ports do.
    pub fn new(to: &WorkerKey, mut opening: Opening, later: Arc<Later>) -> Self {
        if !matches!(opening.kind, Kind::Port) {
            opening.end.keep(later.clone());
        }
        let to = to.clone();
        Self { to, opening, later }
    }
}

/// Links on their way, by shard.
#[derive(Default)]
pub(crate) struct Lines {
    last: u64,
    all: HashMap<ShardId, Queue>,
    /// How many wait.
    count: usize,
}

/// Links on their way to the same shard.
#[derive(Default)]
struct Queue {
    waiting: BTreeMap<Rank, (Waiting, Instant)>,
    /// Calls that another pod has been offered, and neither taken nor refused: whoever waits is behind them, and so is who is
    /// to go elsewhere.
    offered: usize,
    /// How many of them were taken along.
    offered_along: usize,
    /// To which pod.
    to: Option<Arc<Line>>,
    /// Those that wait are being opened.
    moves: bool,
}

impl Queue {
    fn takes_along(&self) -> bool {
        let first = self.waiting.first_key_value();
        let waits = first.is_some_and(|(rank, _)| matches!(rank, Rank::TakenAlong(_)));
        waits || self.moves || self.offered_along > 0
    }
}

impl Lines {
    pub fn next_turn(&mut self, shard: ShardId, until: Instant) -> Turn {
        let rank = Rank::Opened(self.next());
        Turn { shard, rank, until }
    }

    /// That of a link which a worker takes along.
    pub fn turn_along(&mut self, shard: ShardId, until: Instant) -> Turn {
        let rank = Rank::TakenAlong(self.next());
        Turn { shard, rank, until }
    }

    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn is_full(&self) -> bool {
        self.count >= MAX_WAITING
    }

    /// Whether links that a worker of this shard has taken along are still on their way.
    pub fn takes_along(&self, shard: ShardId) -> bool {
        self.all.get(&shard).is_some_and(Queue::takes_along)
    }

    /// Whether links that workers have taken along are still on their way.
    pub fn takes_some_along(&self) -> bool {
        self.all.values().any(Queue::takes_along)
    }

    /// Whether nobody waits for the shard, nor must wait for those who have gone elsewhere.
    pub fn is_free(&self, shard: ShardId, place: &Place) -> bool {
        let Some(queue) = self.all.get(&shard) else {
            return true;
        };
        let is_same = match (place, &queue.to) {
            (Place::At(at), Some(to)) => Arc::ptr_eq(&at.line, to),
            _ => false,
        };
        queue.waiting.is_empty() && !queue.moves && (queue.offered == 0 || is_same)
    }

    pub fn push(&mut self, turn: Turn, waiting: Waiting) {
        let queue = self.all.entry(turn.shard).or_default();
        let until = turn.until;
        queue.waiting.insert(turn.rank, (waiting, until));
        self.count += 1;
    }

    /// Another pod is offered a call.
    pub fn offers(&mut self, turn: Turn, to: &Arc<Line>) {
        let queue = self.all.entry(turn.shard).or_default();
        queue.offered += 1;
        queue.offered_along += usize::from(turn.is_taken_along());
        queue.to = Some(to.clone());
    }

    /// It has taken or refused it. Returns whether somebody may have waited for that.
    pub fn settled(&mut self, turn: Turn) -> bool {
        let Some(queue) = self.all.get_mut(&turn.shard) else {
            return false;
        };
        queue.offered = queue.offered.saturating_sub(1);
        let along = usize::from(turn.is_taken_along());
        queue.offered_along = queue.offered_along.saturating_sub(along);
        let is_awaited = queue.offered == 0 && !queue.waiting.is_empty();
        if queue.offered == 0 && queue.waiting.is_empty() && !queue.moves {
            self.all.remove(&turn.shard);
        }
        is_awaited || turn.is_taken_along()
    }

    /// The shards for which somebody waits whom nobody opens.
    pub fn those_that_wait(&self) -> Vec<ShardId> {
        let waits = |queue: &Queue| !queue.moves && !queue.waiting.is_empty();
        let all = self.all.iter().filter(|(_, queue)| waits(queue));
        all.map(|(shard, _)| *shard).collect()
    }

    /// Takes the first that waits for the shard: from now on [`Lines::is_free`] says no, until nobody is taken any more, or the
    /// first [comes back](Lines::comes_back).
    pub fn take_first(&mut self, shard: ShardId) -> Option<(Turn, Waiting)> {
        let queue = self.all.get_mut(&shard)?;
        let first = match queue.offered {
            0 => queue.waiting.pop_first(),
            _ => None,
        };
        queue.moves = first.is_some();
        if first.is_none() && queue.waiting.is_empty() && queue.offered == 0 {
            self.all.remove(&shard);
        }
        let (rank, (waiting, until)) = first?;
        self.count -= 1;
        Some((Turn { shard, rank, until }, waiting))
    }

    /// It cannot be reached yet.
    pub fn comes_back(&mut self, turn: Turn, waiting: Waiting) {
        self.push(turn, waiting);
        if let Some(queue) = self.all.get_mut(&turn.shard) {
            queue.moves = false;
        }
    }
}

/// Whoever will be reached: keeps what is sent until then.
pub(crate) struct Later(Mutex<Reached>);

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

    /// It was not the target that was reached, but whoever has left this.
    pub fn is_not_reached(&self, mut left: mpsc::UnboundedReceiver<Incoming>) {
        let mut state = self.lock();
        let waiting = std::iter::from_fn(|| left.try_recv().ok()).collect();
        *state = Reached::NotYet(waiting);
    }
}

/// A receiver, for those whom it keeps itself.
pub(crate) struct Uncounted(Weak<dyn Receive>);

impl Uncounted {
    pub fn new(target: &Arc<dyn Receive>) -> Self {
        Self(Arc::downgrade(target))
    }
}

impl Receive for Uncounted {
    fn receive(&self, incoming: Incoming) -> Result<(), Rejected> {
        match self.0.upgrade() {
            Some(target) => target.receive(incoming),
            None => Err(Rejected::Closed(incoming)),
        }
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use portside_worker::host::Fabric;
    use portside_worker::link::{CloseReason, Failure, Kind, LinkEnd, LinkId};
    use portside_worker::route::Route;

    use super::*;

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
