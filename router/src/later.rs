//! Links whose targets cannot be reached yet.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portside_core::ids::{ShardId, WorkerKey};
use portside_worker::event::Incoming;
use portside_worker::link::{Opening, Receive, Rejected};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::line::Line;
use crate::places::Place;

/// When a link was opened first: those to the same worker are opened there in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Turn(u64);

/// A link that is opened as soon as its target can be reached.
pub(crate) struct Waiting {
    pub to: WorkerKey,
    pub opening: Opening,
    pub later: Arc<Later>,
    pub until: Instant,
}

/// Links on their way, by shard.
#[derive(Default)]
pub(crate) struct Lines {
    last: u64,
    all: HashMap<ShardId, Queue>,
}

/// Links on their way to the same shard.
#[derive(Default)]
struct Queue {
    waiting: BTreeMap<Turn, Waiting>,
    /// Calls that another pod has been offered, and neither taken nor refused: whoever waits is behind them, and so is who is
    /// to go elsewhere.
    offered: usize,
    /// To which pod.
    to: Option<Arc<Line>>,
    /// Those that wait are being opened.
    moves: bool,
}

impl Lines {
    pub fn next_turn(&mut self) -> Turn {
        self.last += 1;
        Turn(self.last)
    }

    pub fn is_empty(&self) -> bool {
        self.all.values().all(|line| line.waiting.is_empty())
    }

    /// Whether nobody waits for the shard, nor must wait for those who have gone elsewhere.
    pub fn is_free(&self, shard: ShardId, place: &Place) -> bool {
        let Some(line) = self.all.get(&shard) else {
            return true;
        };
        let is_same = match (place, &line.to) {
            (Place::At(at), Some(to)) => Arc::ptr_eq(&at.line, to),
            _ => false,
        };
        line.waiting.is_empty() && !line.moves && (line.offered == 0 || is_same)
    }

    pub fn push(&mut self, shard: ShardId, turn: Turn, waiting: Waiting) {
        let line = self.all.entry(shard).or_default();
        line.waiting.insert(turn, waiting);
    }

    /// Another pod is offered a call.
    pub fn offers(&mut self, shard: ShardId, to: &Arc<Line>) {
        let line = self.all.entry(shard).or_default();
        line.offered += 1;
        line.to = Some(to.clone());
    }

    /// It has taken or refused it. Returns whether somebody has waited for that.
    pub fn settled(&mut self, shard: ShardId) -> bool {
        let Some(line) = self.all.get_mut(&shard) else {
            return false;
        };
        line.offered = line.offered.saturating_sub(1);
        if line.offered == 0 && line.waiting.is_empty() && !line.moves {
            self.all.remove(&shard);
            return false;
        }
        line.offered == 0
    }

    /// The shards for which somebody waits whom nobody opens.
    pub fn those_that_wait(&self) -> Vec<ShardId> {
        let waits = self
            .all
            .iter()
            .filter(|(_, line)| !line.moves && !line.waiting.is_empty());
        waits.map(|(shard, _)| *shard).collect()
    }

    /// Takes the first that waits for the shard: from now on [`Lines::is_free`] says no, until nobody is taken any more, or the
    /// first [comes back](Lines::comes_back).
    pub fn take_first(&mut self, shard: ShardId) -> Option<(Turn, Waiting)> {
        let line = self.all.get_mut(&shard)?;
        let first = match line.offered {
            0 => line.waiting.pop_first(),
            _ => None,
        };
        line.moves = first.is_some();
        if first.is_none() && line.waiting.is_empty() && line.offered == 0 {
            self.all.remove(&shard);
        }
        first
    }

    /// It cannot be reached yet.
    pub fn comes_back(&mut self, shard: ShardId, turn: Turn, waiting: Waiting) {
        self.push(shard, turn, waiting);
        if let Some(line) = self.all.get_mut(&shard) {
            line.moves = false;
        }
    }
}

/// Whoever will be reached: keeps what is sent until then.
pub(crate) struct Later(Mutex<Reached>);

enum Reached {
    NotYet(VecDeque<Incoming>),
    There(Arc<dyn Receive>),
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
        if let (Reached::NotYet(waiting), Some(target)) = (&mut *state, &target) {
            for incoming in waiting.drain(..) {
                // Who is gone, or full, has said so to the opener, or will.
                let _ = target.receive(incoming);
            }
        }
        *state = target.map_or(Reached::Nobody, Reached::There);
    }

    /// It was not the target that was reached, but whoever has left this.
    pub fn is_not_reached(&self, mut left: mpsc::UnboundedReceiver<Incoming>) {
        let mut state = self.lock();
        let waiting = std::iter::from_fn(|| left.try_recv().ok()).collect();
        *state = Reached::NotYet(waiting);
    }
}

impl Receive for Later {
    fn receive(&self, incoming: Incoming) -> Result<(), Rejected> {
        match &mut *self.lock() {
            Reached::NotYet(waiting) => {
                waiting.push_back(incoming);
                Ok(())
            }
            Reached::There(target) => target.receive(incoming),
            Reached::Nobody => Err(Rejected::Closed(incoming)),
        }
    }
}
