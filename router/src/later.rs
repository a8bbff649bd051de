//! Links whose targets cannot be reached yet.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use portside_core::ids::ShardId;
use portside_worker::later::Waiting;
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
