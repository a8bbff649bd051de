//! Where shards are.

use std::sync::Arc;

use portside_core::ids::{Epoch, PodId, ShardId, WorkerKey};
use portside_worker::event::Incoming;
use portside_worker::link::{Failure, Opening, Receive};
use tokio::sync::watch;

use crate::line::Line;

/// Where a shard is, as far as this pod knows.
pub enum Place {
    /// In this pod.
    Here,
    /// In another, to which there is a connection.
    At(At),
    /// In none that can be reached now, or in one that is not known: it is looked for, and [`Places::changes`] tells of it.
    Unknown,
}

/// A shard in another pod.
pub struct At {
    /// How the pod is reached.
    pub line: Arc<Line>,
    /// The epoch in which it has the shard.
    pub epoch: Epoch,
}

/// Why another pod cannot be given a link to a worker that it believes here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotHere {
    /// The shard is on its way from this pod, or to it. [`Places::changes`] tells when more is known.
    OnItsWay,
    /// It is not here. Who has it, and in which epoch, as far as this pod knows.
    Elsewhere(Option<PodId>, Epoch),
}

/// Reaches the workers of this pod. Every method returns at once.
pub trait Here: Send + Sync + 'static {
    /// Opens a link, as [`Fabric::open`](portside_worker::host::Fabric::open) does.
    ///
    /// # Errors
    /// The worker is on its way to another pod; the opening comes back.
    fn open(&self, to: &WorkerKey, opening: Opening) -> Result<Option<Arc<dyn Receive>>, Opening>;

    /// Gives something to the worker.
    ///
    /// # Errors
    /// The worker cannot take it now, for this reason.
    fn deliver(&self, to: &WorkerKey, incoming: Incoming) -> Result<(), Failure>;
}

/// Knows where shards are. Every method returns at once.
pub trait Places: Send + Sync + 'static {
    /// Where a shard is. Who asks for one that cannot be reached has it looked for.
    fn place(&self, shard: ShardId) -> Place;

    /// The epoch in which this pod has a shard, and lets others reach it. `asked` is the epoch in which another pod believes that.
    ///
    /// # Errors
    /// It has not, or nobody knows yet.
    fn owned(&self, shard: ShardId, asked: Epoch) -> Result<Epoch, NotHere>;

    /// Changes when some shards are elsewhere, or can be reached, that could not be before.
    fn changes(&self) -> watch::Receiver<u64>;

    /// The pod where the shard was known to be, in this epoch, says that it has it not: its owner is looked for anew, unless a
    /// newer one is known by now.
    fn misdirected(&self, shard: ShardId, epoch: Epoch);
}
