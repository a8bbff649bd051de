//! Shards that are brought to rest, so that another process can have them.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, stream};
use portside_core::ids::{SHARDS, ShardId};
use portside_worker::event::Stop;
use portside_worker::host::Identity;
use portside_worker::link::Failure;
use portside_worker::moves::take_along;
use tokio::time::{Instant, timeout_at};

use crate::app::App;
use crate::workers::{Worker, Workers};

/// How long a worker's handlers may go on once it is to end. What takes longer is cut off, and its writes so far stay.
pub(crate) const SETTLE: Duration = Duration::from_secs(5);

/// How long what was cut off may still run without giving its thread back. Then that is ended.
pub(crate) const RUN: Duration = Duration::from_secs(1);

/// How long until what was cut off is durable, and gone. Else its shard stays.
const FLUSH: Duration = Duration::from_secs(10);

/// Shards that are brought to rest.
struct Leaving {
    app: Arc<App>,
    /// Those of which some worker is awake.
    busy: HashSet<ShardId>,
    /// What was done last to have the workers end.
    stage: Stage,
    /// Until when.
    until: Instant,
}

/// How workers are brought to their end, one after the other.
#[derive(Clone, Copy)]
enum Stage {
    /// They are asked to.
    Asked,
    /// Their handlers are cut off.
    CutOff,
    /// What they still ran is ended.
    Interrupted,
}

impl App {
    /// Ends the worker's instance after its writes, though its handlers go on, or a debugger has paused them.
    pub(crate) fn cut_off(&self, worker: &Worker) {
        worker.inbox.stop(Stop::WhenFlushed);
        self.send_debuggers_away(Some(&Identity::Worker(worker.key.clone())));
    }

    /// The same for all workers.
    pub(crate) fn cut_off_all(&self) {
        self.workers().stop_all(Stop::WhenFlushed);
        self.send_debuggers_away(None);
    }

    /// Ends the code that the worker runs at this moment, if it does.
    pub(crate) fn interrupt(&self, worker: &Worker) {
        let who = Identity::Worker(worker.key.clone());
        self.isolates().interrupt(&who);
    }

    /// Brings up to so many shards to rest, or `only` this one, and says which, as soon as some are: nothing of them is awake or on its
    /// way to the store.
    pub(crate) fn quiesce(
        self: Arc<Self>,
        count: u32,
        only: Option<ShardId>,
    ) -> impl Stream<Item = Vec<ShardId>> + Send {
        let awake = self.workers().by_shard();
        let mut staying = self.ownership().staying();
        staying.retain(|shard| only.is_none_or(|only| only == *shard));
        let shards = sample(staying, &awake, count as usize);
        self.ownership().leave(&shards);
        let leaving = Leaving {
            app: self,
            busy: shards.into_iter().collect(),
            stage: Stage::Asked,
            until: Instant::now() + SETTLE,
        };
        for worker in leaving.workers() {
            worker.inbox.leave();
            worker.inbox.stop(Stop::WhenSettled);
        }
        stream::unfold(leaving, Leaving::next)
    }
}

impl Leaving {
    /// Those that are awake.
    fn workers(&self) -> impl Iterator<Item = Arc<Worker>> {
        let is_busy = |worker: &Arc<Worker>| self.busy.contains(&worker.key.id().shard(SHARDS));
        let all = self.app.workers().all().into_iter();
        all.filter(is_busy)
    }

    /// The next shards that are at rest, until none is left. Those that do not come to rest stay.
    async fn next(mut self) -> Option<(Vec<ShardId>, Self)> {
        while !self.busy.is_empty() {
            let workers = self.app.workers();
            let is_one_at_rest = workers.until(|awake| {
                let shards = awake.values().map(|worker| worker.id.shard(SHARDS));
                let busy: HashSet<ShardId> = shards.filter(|it| self.busy.contains(it)).collect();
                busy.len() < self.busy.len()
            });
            if timeout_at(self.until, is_one_at_rest).await.is_ok() {
                let awake = workers.by_shard();
                let is_busy = |shard: &ShardId| awake.contains_key(shard);
                let (busy, at_rest) = self.busy.iter().partition(|shard| is_busy(shard));
                self.busy = busy;
                let at_rest: HashSet<ShardId> = at_rest;
                // Not before: what they have heard is known only now, and they may have accepted others.
                workers.leave_sockets(|key| at_rest.contains(&key.id().shard(SHARDS)));
                return Some((at_rest.into_iter().collect(), self));
            }
            (self.stage, self.until) = match self.stage {
                Stage::Asked => {
                    for worker in self.workers() {
                        worker.inbox.leave();
                        self.app.cut_off(&worker);
                    }
                    (Stage::CutOff, Instant::now() + RUN)
                }
                Stage::CutOff => {
                    for worker in self.workers() {
                        self.app.interrupt(&worker);
                    }
                    (Stage::Interrupted, Instant::now() + FLUSH)
                }
                Stage::Interrupted => {
                    self.give_up();
                    break;
                }
            };
        }
        None
    }

    /// Those that have not come to rest stay.
    fn give_up(self) {
        let Self { app, busy, .. } = self;
        tracing::warn!("some workers do not end, and so do not move to another process");
        app.clone().spawn(async move {
            let shards = busy.iter().copied().collect();
            app.ownership().stay(shards).await;
            // Not before: what their clients say would be turned away again.
            app.workers().recover_sockets(&busy);
        });
    }
}

/// Up to so many of these shards, busy ones and idle ones alike: what goes away is of all that is awake the same part as of the
/// shards. Were the idle ones to go first, a process with more to do than it can would keep all of it.
fn sample(mut shards: Vec<ShardId>, awake: &HashMap<ShardId, usize>, count: usize) -> Vec<ShardId> {
    let busy = |shard: &ShardId| awake.get(shard).copied().unwrap_or(0);
    shards.sort_by_key(|shard| (busy(shard), Reverse(shard.0)));
    let (all, count) = (shards.len(), count.min(shards.len()));
    let middle = |stretch: usize| shards[(2 * stretch + 1) * all / (2 * count)];
    (0..count).map(middle).collect()
}

impl Workers {
    /// How many workers are awake in which shards.
    fn by_shard(&self) -> HashMap<ShardId, usize> {
        let mut counts = HashMap::new();
        for worker in self.all() {
            *counts.entry(worker.id.shard(SHARDS)).or_default() += 1;
        }
        counts
    }

    /// Takes what waits for a worker that has left, and has no instance any more, to where it is then.
    pub(crate) fn hand_on(&self, app: &Arc<App>, worker: &Arc<Worker>) {
        for unheard in take_along(&worker.inbox) {
            let Some(router) = app.router() else {
                let failure = "the worker is another process's";
                unheard.opening.end.refuse(Failure::unavailable(failure));
                continue;
            };
            let opener = unheard.opening.end.peer();
            let target = router.open_along(&worker.key, unheard.opening);
            if let Some(opener) = opener {
                opener.reopened(target.clone());
            }
            for incoming in unheard.after {
                // Who is gone needs no telling.
                let _ = target.receive(incoming);
            }
        }
        worker.turns_alarm_away(app);
        // Not before: whoever opens a link now comes behind what was taken along.
        self.remove(worker);
        if let Some(router) = app.router() {
            router.look();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_part_of_the_busy_ones_goes_as_of_all() {
        let shards: Vec<_> = (0..4096).map(ShardId).collect();
        // Some are busy, and some of them very much so.
        let awake: HashMap<_, _> = (0..600)
            .map(|it| (ShardId(it), 1 + it as usize / 200))
            .collect();
        let mut left = shards.clone();
        while left.len() > 1365 {
            let going = sample(left.clone(), &awake, 64.min(left.len() - 1365));
            let distinct: HashSet<_> = going.iter().copied().collect();
            assert_eq!(distinct.len(), going.len());
            left.retain(|shard| !distinct.contains(shard));
        }
        let workers = |shards: &[ShardId]| -> usize {
            shards.iter().filter_map(|shard| awake.get(shard)).sum()
        };
        let part = workers(&left) as f64 / workers(&shards) as f64;
        assert!((0.3..0.37).contains(&part), "{part}");
        assert_eq!(sample(left.clone(), &awake, 5000).len(), left.len());
        assert!(sample(vec![], &awake, 5).is_empty() && sample(left, &awake, 0).is_empty());
    }
}
