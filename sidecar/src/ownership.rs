//! Which shards this process owns, and the lease that says it is alive.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use portside_core::ids::{Epoch, Fence, PodId, SHARDS, ShardId, WorkerId};
use portside_core::lease::Observer;
use portside_store::Store;
use tokio::sync::watch;
use tokio::time::Instant;

/// A lease is renewed this often,
const RENEW: Duration = Duration::from_millis(500);
/// and its holder judged dead when it has not been for this long. The holder stops by itself before that.
const LEASE: Duration = Duration::from_secs(3);
/// How often a pod that waits for the shards looks who is alive,
const LOOK: Duration = Duration::from_millis(100);
/// and how often it asks for shards though nobody came or went.
const ASK: Duration = Duration::from_secs(2);
/// How long [`Ownership::acquire`] waits for a predecessor: for its lease to end, if it ended without a word.
const PATIENCE: Duration = Duration::from_secs(6);

/// The application's shards could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] portside_store::Error),
    /// Another process is alive and owns them.
    #[error(
        "another process runs this application on the same store: stop it, or use another store or application name"
    )]
    Taken,
    /// This process was declared dead, or has given up what it had.
    #[error("this process has ended for the others")]
    Over,
}

/// What a process may do for the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Nothing: it waits for the shards, or cannot be sure any more that they are its own.
    Standby,
    /// Everything: it owns the shards.
    Active {
        /// Higher than that of whoever was active before.
        term: u64,
    },
    /// Only finish what it has begun.
    Draining,
    /// Nothing, for ever.
    Over,
}

/// The shards of this process. Everything it writes carries a fence from here.
pub struct Ownership {
    pod: PodId,
    store: Arc<dyn Store>,
    epochs: RwLock<HashMap<ShardId, Epoch>>,
    role: watch::Sender<Role>,
    began: Instant,
    /// When the last renewal that the store confirmed was sent, in milliseconds since `began`.
    renewed_ms: AtomicU64,
    /// The term of this process while it has the shards, else 0.
    term: AtomicU64,
}

impl Ownership {
    /// Registers this process and keeps its lease, owning nothing yet. `name` is for people.
    ///
    /// # Errors
    /// The store failed.
    pub async fn register(store: Arc<dyn Store>, name: &str) -> Result<Arc<Self>, Error> {
        let pod = PodId(uuid::Uuid::new_v4().as_u128());
        let began = Instant::now();
        store.register(pod, name).await?;
        let ownership = Arc::new(Self {
            pod,
            store,
            epochs: RwLock::default(),
            role: watch::Sender::new(Role::Standby),
            began,
            renewed_ms: AtomicU64::new(0),
            term: AtomicU64::new(0),
        });
        tokio::spawn(ownership.clone().renew_for_ever());
        Ok(ownership)
    }

    /// Registers this process and claims every shard, waiting for the lease of a predecessor that ended without a word.
    ///
    /// # Errors
    /// The store failed, or another live process holds some of the shards.
    pub async fn acquire(store: Arc<dyn Store>, name: &str) -> Result<Arc<Self>, Error> {
        let ownership = Self::register(store, name).await?;
        let claimed = tokio::time::timeout(PATIENCE, ownership.claim()).await;
        match claimed.unwrap_or(Err(Error::Taken)) {
            Ok(()) => Ok(ownership),
            Err(error) => {
                ownership.release().await;
                Err(error)
            }
        }
    }

    /// Waits until no other live process has the shards, takes them all, and is active. Pods that do not renew their
    /// leases meanwhile are declared dead.
    ///
    /// # Errors
    /// [`Error::Over`]. A store that fails is asked again.
    pub async fn claim(&self) -> Result<(), Error> {
        let lease = u64::try_from(LEASE.as_millis()).unwrap_or(u64::MAX);
        let mut observer = Observer::new(self.pod, lease);
        let mut asked = None;
        loop {
            if self.is_over() {
                return Err(Error::Over);
            }
            match self.try_to_claim(&mut observer, &mut asked).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "waiting for the store"),
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn try_to_claim(
        &self,
        observer: &mut Observer,
        asked: &mut Option<Instant>,
    ) -> Result<bool, Error> {
        let look = observer.look(&self.store.observe().await?, self.now_ms());
        for (pod, renewals) in look.dead {
            self.store.declare_dead(pod, renewals).await?;
        }
        let is_time = look.changed || asked.is_none_or(|asked| asked.elapsed() >= ASK);
        if !look.is_first || !is_time {
            return Ok(false);
        }
        let claimed = self.store.claim(self.pod, SHARDS).await?;
        let (all, some, term) = {
            let mut epochs = self.epochs.write().unwrap_or_else(PoisonError::into_inner);
            epochs.extend(claimed);
            let term = epochs.values().map(|epoch| epoch.0).max();
            (
                epochs.len() == SHARDS as usize,
                !epochs.is_empty(),
                term.unwrap_or(0),
            )
        };
        // Shards whose old owner was writing are passed over: they are asked for again at once.
        *asked = (!some).then(Instant::now);
        if all {
            self.term.store(term, Ordering::Relaxed);
            self.enter(Role::Active { term });
        }
        Ok(all)
    }

    async fn renew_for_ever(self: Arc<Self>) {
        while !self.is_over() {
            tokio::time::sleep(RENEW).await;
            let sent = self.now_ms();
            let mut renewal = std::pin::pin!(self.store.renew(self.pod));
            let renewed = tokio::select! {
                renewed = &mut renewal => renewed,
                () = tokio::time::sleep_until(self.valid_until()) => {
                    self.expire();
                    renewal.await
                }
            };
            match renewed {
                Ok(true) => {
                    self.renewed_ms.store(sent, Ordering::Relaxed);
                    self.resume();
                }
                Ok(false) => {
                    if !self.is_over() {
                        tracing::error!("this process was declared dead: it takes no more writes");
                    }
                    self.enter(Role::Over);
                }
                Err(error) => {
                    tracing::warn!(%error, "the lease could not be renewed");
                    if Instant::now() >= self.valid_until() {
                        self.expire();
                    }
                }
            }
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn valid_until(&self) -> Instant {
        self.began + Duration::from_millis(self.renewed_ms.load(Ordering::Relaxed)) + LEASE
    }

    /// Somebody else may be active by now: nothing that only this process's memory says can be relied on.
    fn expire(&self) {
        self.role.send_if_modified(|role| {
            let active = matches!(role, Role::Active { .. });
            if active {
                tracing::warn!("the lease has expired: waiting for the store");
                *role = Role::Standby;
            }
            active
        });
    }

    /// Nobody took the shards while the lease had expired.
    fn resume(&self) {
        let term = self.term.load(Ordering::Relaxed);
        self.role.send_if_modified(|role| {
            let resumes = term > 0 && *role == Role::Standby;
            if resumes {
                *role = Role::Active { term };
            }
            resumes
        });
    }

    /// Changes the role, but never back from [`Role::Over`], nor from [`Role::Draining`] to anything but that.
    fn enter(&self, next: Role) {
        self.role.send_if_modified(|role| {
            let may = match *role {
                Role::Over => false,
                Role::Draining => next == Role::Over,
                Role::Standby | Role::Active { .. } => *role != next,
            };
            if may {
                *role = next;
            }
            may
        });
    }

    /// The role, and its changes.
    pub fn role(&self) -> watch::Receiver<Role> {
        self.role.subscribe()
    }

    /// Whether this process is active and its lease covers this moment.
    pub fn is_active(&self) -> bool {
        matches!(*self.role.borrow(), Role::Active { .. }) && Instant::now() < self.valid_until()
    }

    /// Whether the lease covers this moment: nobody else can own what is ours.
    pub fn is_leased(&self) -> bool {
        !self.is_over() && Instant::now() < self.valid_until()
    }

    /// Returns when this process is no standby, or no longer.
    pub async fn decided(&self) {
        // The sender is ours: it does not go away.
        let _ = self.role().wait_for(|role| *role != Role::Standby).await;
    }

    /// Takes no new work from now on.
    pub fn drain(&self) {
        self.enter(Role::Draining);
    }

    /// The right to write this worker's shard; nothing if it is not ours.
    pub fn fence(&self, worker: WorkerId) -> Option<Fence> {
        if self.is_over() {
            return None;
        }
        let shard = worker.shard(SHARDS);
        let epochs = self.epochs.read().unwrap_or_else(PoisonError::into_inner);
        epochs.get(&shard).map(|epoch| Fence {
            pod: self.pod,
            shard,
            epoch: *epoch,
        })
    }

    /// The shards that are ours.
    pub fn shards(&self) -> Vec<ShardId> {
        self.epochs
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .keys()
            .copied()
            .collect()
    }

    /// The store refused this fence: the shard is somebody else's.
    pub fn lost(&self, fence: Fence) {
        let mut epochs = self.epochs.write().unwrap_or_else(PoisonError::into_inner);
        if epochs.get(&fence.shard) == Some(&fence.epoch) {
            epochs.remove(&fence.shard);
        }
    }

    /// After a commit of unknown fate: moves the shard to a new epoch, in which a load tells what became of it.
    pub async fn settle(&self, fence: Fence) {
        while self.fence_is_current(fence) {
            match self.store.advance(fence).await {
                Ok(Some(epoch)) => {
                    let mut epochs = self.epochs.write().unwrap_or_else(PoisonError::into_inner);
                    if let Some(current) = epochs.get_mut(&fence.shard) {
                        *current = epoch.max(*current);
                    }
                }
                Ok(None) => self.lost(fence),
                Err(error) => {
                    tracing::warn!(%error, "waiting for the store");
                    tokio::time::sleep(RENEW).await;
                }
            }
        }
    }

    fn fence_is_current(&self, fence: Fence) -> bool {
        let epochs = self.epochs.read().unwrap_or_else(PoisonError::into_inner);
        !self.is_over() && epochs.get(&fence.shard) == Some(&fence.epoch)
    }

    fn is_over(&self) -> bool {
        *self.role.borrow() == Role::Over
    }

    /// Who this process is for the store.
    pub fn pod(&self) -> PodId {
        self.pod
    }

    /// There is nothing left to own, or to release.
    pub fn over(&self) {
        self.enter(Role::Over);
    }

    /// Gives everything up, so that a successor need not wait.
    pub async fn release(&self) {
        self.over();
        if let Err(error) = self.store.release(self.pod).await {
            tracing::warn!(%error, "the shards could not be released; a successor waits for the lease to end");
        }
    }
}
