//! Links that other pods have opened to workers that they believe here, until it is known whether these are.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portside_core::ids::{Epoch, SHARDS, ShardId};
use portside_wire::connection::LinkNumber;
use portside_wire::driver::Place as Room;
use portside_wire::frame::{Accepted, Opening, Refusal};
use tokio::time::Instant;

use crate::line::{Heard, Line, Listener};
use crate::router::PATIENCE;

/// A link that is neither taken nor refused.
pub(crate) struct Offer {
    pub opening: Opening,
    /// When it is refused at the latest.
    pub until: Instant,
    line: Arc<Line>,
    link: LinkNumber,
    /// What comes on it meanwhile, once it has to wait.
    kept: Option<Arc<Kept>>,
    /// What it takes of the connection's window.
    _room: Room,
}

impl Offer {
    pub fn new(line: &Arc<Line>, link: LinkNumber, opening: Opening, room: Room) -> Self {
        Self {
            opening,
            until: Instant::now() + PATIENCE,
            line: line.clone(),
            link,
            kept: None,
            _room: room,
        }
    }

    pub fn line(&self) -> &Arc<Line> {
        &self.line
    }

    pub fn link(&self) -> LinkNumber {
        self.link
    }

    pub fn shard(&self) -> ShardId {
        self.opening.to.id().shard(SHARDS)
    }

    /// It cannot be answered yet. Whoever hears what comes on the connection is the first to call this.
    fn waits(&mut self) {
        if self.kept.is_none() {
            let kept = Arc::<Kept>::default();
            self.line.listen(self.link, kept.clone());
            self.kept = Some(kept);
        }
    }

    /// Whether the other pod does not want it any more, or is gone.
    pub fn is_withdrawn(&self) -> bool {
        self.kept.as_ref().is_some_and(|kept| kept.is_over())
    }

    /// Takes the link. What has come on it, and what comes, is heard by the listener.
    pub fn accept(&self, accepted: Accepted, listener: Arc<dyn Listener>) {
        match &self.kept {
            None => {
                self.line.listen(self.link, listener);
                self.line.accept(self.link, accepted);
            }
            Some(kept) => {
                self.line.accept(self.link, accepted);
                kept.pass_to(listener);
            }
        }
    }

    /// Refuses the link, of which no code has run.
    pub fn refuse(&self, refusal: Refusal) {
        self.line.refuse(self.link, refusal);
    }
}

/// The worker is not here, or on its way to another pod.
pub(crate) fn not_here(epoch: Epoch) -> Refusal {
    Refusal::NotOwner { owner: None, epoch }
}

/// Those that wait, by shard, in the order in which they came.
#[derive(Default)]
pub(crate) struct Offers(HashMap<ShardId, VecDeque<Offer>>);

impl Offers {
    /// Puts an offer behind those of its shard, if there are some: else it comes back, and is to be answered at once.
    pub fn wait_behind_others(&mut self, mut offer: Offer) -> Option<Offer> {
        match self.0.entry(offer.shard()) {
            Entry::Occupied(mut others) => {
                offer.waits();
                others.get_mut().push_back(offer);
                None
            }
            Entry::Vacant(_) => Some(offer),
        }
    }

    /// It could not be answered yet. It is before all others of its shard.
    pub fn put_first(&mut self, mut offer: Offer) {
        offer.waits();
        self.0.entry(offer.shard()).or_default().push_front(offer);
    }

    /// The first of the shard. Until it is put back, or nobody is left, those that come wait behind it.
    pub fn take_first(&mut self, shard: ShardId) -> Option<Offer> {
        let Entry::Occupied(mut offers) = self.0.entry(shard) else {
            return None;
        };
        let first = offers.get_mut().pop_front();
        if first.is_none() {
            offers.remove();
        }
        first
    }

    pub fn shards(&self) -> Vec<ShardId> {
        self.0.keys().copied().collect()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What comes on a link before it is taken. It is bounded by the link's window.
#[derive(Default)]
struct Kept(Mutex<State>);

#[derive(Default)]
struct State {
    heard: VecDeque<Heard>,
    is_over: bool,
    /// Who hears it, once all of the above is passed on.
    passes_to: Option<Arc<dyn Listener>>,
}

impl Kept {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.lock().is_over
    }

    fn pass_to(&self, listener: Arc<dyn Listener>) {
        loop {
            let heard = {
                let mut state = self.lock();
                if state.heard.is_empty() {
                    state.passes_to = Some(listener);
                    return;
                }
                std::mem::take(&mut state.heard)
            };
            // Not under the lock: what comes meanwhile is kept, and next.
            for heard in heard {
                listener.hear(heard);
            }
        }
    }
}

impl Listener for Kept {
    fn hear(&self, heard: Heard) {
        let listener = {
            let mut state = self.lock();
            let Some(listener) = state.passes_to.clone() else {
                state.is_over |= heard.is_last();
                return state.heard.push_back(heard);
            };
            listener
        };
        listener.hear(heard);
    }
}
