//! Which shards this process owns, and the lease that says it is alive.
//!
//! What is to be done is decided by core's [`State`]; here it is done: calls to the store, whose results go back as events,
//! a timer, and answers that are read without a lock.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::BoxStream;
use portside_core::ids::{Epoch, Fence, PodId, SHARDS, ShardId, WorkerId};
pub use portside_core::ownership::Role;
use portside_core::ownership::members::{Membership, Participant, Peer};
use portside_core::ownership::{
    Call, Effect, Ended, Event, FateUnknown, Settings, State, Unmovable,
};
use portside_store::{Result as StoreResult, Store};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::clock::boot_ms;
use crate::departures::Departures;

/// How long [`Ownership::acquire`] waits for a predecessor: for its lease to end, if it ended without a word.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(6);

/// How long a worker that sleeps waits for a store that fails. Longer than any of the calls that concern ownership takes.
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
    #[error("this process has given up its shards, or was declared dead: it must be started anew")]
    Over,
}

/// Why a shard is where it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotMoved {
    /// It cannot be moved there.
    #[error("it cannot be moved there: {0:?}")]
    Cannot(Unmovable),
    /// Its workers did not come to rest in time, or it was on its way to another process.
    #[error("it did not come to rest")]
    Stays,
}

impl From<Unmovable> for NotMoved {
    fn from(reason: Unmovable) -> Self {
        Self::Cannot(reason)
    }
}

/// The shards of this process. Everything it writes carries a fence from here.
pub struct Ownership {
    pod: PodId,
    store: Arc<dyn Store>,
    state: Mutex<State>,
    published: Published,
    role: watch::Sender<Role>,
    /// When [`Event::Woken`] is due.
    wake_at: watch::Sender<u64>,
    /// Counts the changes of what is read without waiting: fences, and what is settled.
    changes: watch::Sender<u64>,
    gained: watch::Sender<u64>,
    /// Who is alive and owns how much, as it was seen last, where shards are shared.
    members: watch::Sender<Option<Membership>>,
    is_sharing: bool,
    /// See [`Ownership::is_kept_out`].
    is_kept_out: AtomicBool,
    /// Who brings shards to rest, where they are shared.
    quiescence: OnceLock<Quiescence>,
    /// Who hears which shards have moved from here.
    moves: OnceLock<Moves>,
    /// By shard: whether it is brought to rest, or handed over. Asked for each link.
    leaving: Box<[AtomicBool]>,
    departures: Departures,
    /// Counts the times when instances must look again: a fence is gone, or the lease covers the moment again.
    looks: watch::Sender<u64>,
    /// The last time the store failed at something that concerns ownership, and why.
    failure: Mutex<Option<(Instant, portside_store::Error)>>,
}

/// Brings up to so many shards to rest, or only this one, and says which, as soon as some are: see [`Effect::Quiesce`].
pub type Quiescence =
    Box<dyn Fn(u32, Option<ShardId>) -> BoxStream<'static, Vec<ShardId>> + Send + Sync>;

/// Hears which shards have moved from here, in which epochs, to which process.
pub type Moves = Box<dyn Fn(&[(ShardId, Epoch)], PodId) + Send + Sync>;

/// What follows from a step for those who read what is published.
#[derive(Default)]
struct Changes {
    /// A shard can be written that could not be before.
    gained: bool,
    /// A fence that was given is not any more.
    lost: bool,
}

/// What is asked per request and per output.
struct Published {
    /// By shard; 0 where this process may not write.
    epochs: Box<[AtomicU64]>,
    /// Of the epochs.
    revision: AtomicU64,
    /// Until when this process is active, by [`boot_ms`]; 0 if it is not.
    active_until: AtomicU64,
    /// Until when the lease is valid, by [`boot_ms`]; 0 if it has ended for good.
    leased_until: AtomicU64,
}

impl Published {
    fn new() -> Self {
        Self {
            epochs: (0..SHARDS).map(|_| AtomicU64::new(0)).collect(),
            revision: AtomicU64::new(0),
            active_until: AtomicU64::new(0),
            leased_until: AtomicU64::new(0),
        }
    }

    fn publish(&self, state: &State) -> Changes {
        let until = state.lease_valid_until();
        let (active, leased) = match state.role() {
            Role::Active { .. } => (until, until),
            Role::Standby | Role::Draining => (0, until),
            Role::Over => (0, 0),
        };
        self.active_until.store(active, Ordering::Release);
        // Seen by all before the clock is read the next time: those who ask read it before they read this.
        self.leased_until.store(leased, Ordering::SeqCst);
        let mut changes = Changes::default();
        let revision = state.revision();
        if self.revision.swap(revision, Ordering::AcqRel) == revision {
            return changes;
        }
        for (slot, shard) in self.epochs.iter().zip(0..) {
            let epoch = state.fence(ShardId(shard)).map_or(0, |fence| fence.epoch.0);
            let before = slot.swap(epoch, Ordering::AcqRel);
            changes.gained |= before == 0 && epoch != 0;
            changes.lost |= before != 0 && before != epoch;
        }
        changes
    }
}

impl Ownership {
    /// Registers this process and keeps its lease, owning nothing yet. `name` is for people.
    ///
    /// # Errors
    /// The store failed.
    pub async fn register(store: Arc<dyn Store>, name: &str) -> Result<Arc<Self>, Error> {
        Self::register_as(store, name, None).await
    }

    /// The same of a process that shares the shards with others, which reach it as `peer` says.
    ///
    /// # Errors
    /// The store failed.
    pub async fn register_sharing(
        store: Arc<dyn Store>,
        name: &str,
        peer: &Peer,
    ) -> Result<Arc<Self>, Error> {
        Self::register_as(store, name, Some(peer)).await
    }

    async fn register_as(
        store: Arc<dyn Store>,
        name: &str,
        peer: Option<&Peer>,
    ) -> Result<Arc<Self>, Error> {
        let settings = match peer {
            Some(_) => Settings::shared(),
            None => Settings::default(),
        };
        let pod = PodId(uuid::Uuid::new_v4().as_u128());
        let sent = boot_ms();
        store.register(pod, name).await?;
        if let Some(peer) = peer
            && !store.announce(pod, peer).await?
        {
            return Err(Error::Over);
        }
        let ownership = Arc::new(Self {
            pod,
            store,
            state: Mutex::new(State::new(pod, settings, sent)),
            published: Published::new(),
            role: watch::Sender::new(Role::Standby),
            wake_at: watch::Sender::new(0),
            changes: watch::Sender::new(0),
            gained: watch::Sender::new(0),
            members: watch::Sender::new(None),
            is_sharing: peer.is_some(),
            is_kept_out: AtomicBool::new(peer.is_some()),
            quiescence: OnceLock::new(),
            moves: OnceLock::new(),
            leaving: (0..SHARDS).map(|_| AtomicBool::new(false)).collect(),
            departures: Departures::new(),
            looks: watch::Sender::new(0),
            failure: Mutex::new(None),
        });
        tokio::spawn(ownership.clone().wake_in_time());
        ownership.tell(Event::Woken);
        Ok(ownership)
    }

    /// Registers this process and claims every shard, waiting for the lease of a predecessor that ended without a word.
    ///
    /// # Errors
    /// The store failed, or another live process holds some of the shards.
    pub async fn acquire(store: Arc<dyn Store>, name: &str) -> Result<Arc<Self>, Error> {
        let ownership = Self::register(store, name).await?;
        let claimed = timeout(ACQUIRE_TIMEOUT, ownership.claim()).await;
        let late = || {
            let failure = ownership.failure_within(ACQUIRE_TIMEOUT);
            Err(failure.map_or(Error::Taken, Error::Store))
        };
        match claimed.unwrap_or_else(|_| late()) {
            Ok(()) => Ok(ownership),
            Err(error) => {
                ownership.release().await;
                Err(error)
            }
        }
    }

    /// Waits until no other live process has the shards, takes them all, and is active. Pods that do not renew their
    /// leases meanwhile are declared dead. It goes on claiming when this future is dropped, until it drains.
    ///
    /// # Errors
    /// [`Error::Over`]. A store that fails is asked again.
    pub async fn claim(self: &Arc<Self>) -> Result<(), Error> {
        self.tell(Event::Wanted);
        let mut role = self.role();
        let decided =
            role.wait_for(|role| matches!(role, Role::Active { .. } | Role::Draining | Role::Over));
        match decided.await.as_deref() {
            Ok(Role::Active { .. }) => Ok(()),
            _ => Err(Error::Over),
        }
    }

    /// Gives the machine an event, and does what it says.
    fn tell(self: &Arc<Self>, event: Event) {
        let effects = self.step(event);
        self.carry_out_all(effects);
    }

    /// Gives the machine an event, and says what is to be done.
    fn step(&self, event: Event) -> Vec<Effect> {
        let (effects, changes) = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let (before, ended) = (state.role(), state.ended());
            let effects = state.step(event, boot_ms());
            let changes = self.published.publish(&state);
            let role = state.role();
            if role != before {
                if ended.is_none() {
                    report(before, role, state.ended());
                }
                self.role.send_replace(role);
            }
            (effects, changes)
        };
        if changes.gained {
            self.gained.send_modify(|count| *count += 1);
        }
        if changes.lost {
            self.look();
        }
        self.changes.send_modify(|count| *count += 1);
        effects
    }

    fn carry_out_all(self: &Arc<Self>, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::WakeAt(at) => {
                    self.wake_at.send_replace(at);
                }
                // The new end is published: who found the old one passed did so before this moment.
                Effect::LeaseExtended { expired } if boot_ms() >= expired => {
                    self.look();
                }
                Effect::LeaseExtended { .. } | Effect::Settled(_) => {}
                call => {
                    tokio::spawn(self.clone().carry_out(call));
                }
            }
        }
    }

    /// Has instances look again.
    fn look(&self) {
        self.looks.send_modify(|count| *count += 1);
    }

    async fn carry_out(self: Arc<Self>, effect: Effect) {
        let (store, pod) = (&self.store, self.pod);
        let result = match effect {
            Effect::Renew { call, wants } => {
                Event::Renewed(call, self.known(store.renew(pod, call, wants).await))
            }
            Effect::Observe(call) => Event::Observed(call, self.known(store.observe().await)),
            Effect::DeclareDead { pod, seen } => {
                Event::DeclaredDead(pod, self.known(store.declare_dead(pod, seen).await))
            }
            Effect::Claim { call, limit } => {
                Event::Claimed(call, self.known(store.claim(pod, limit).await))
            }
            Effect::ReadOwned(call) => Event::Owned(call, self.known(store.owned(pod).await)),
            Effect::Advance(call, fence) => {
                Event::Advanced(call, fence, self.known(store.advance(fence).await))
            }
            Effect::ReleaseShards(call, fences) => {
                Event::ShardsReleased(call, self.known(store.release_shards(&fences).await))
            }
            Effect::ObserveMembership(call) => {
                let members = self.known(store.members().await);
                if let Ok(members) = &members {
                    self.meet(members);
                }
                Event::MembershipObserved(call, members)
            }
            Effect::Quiesce {
                call, count, only, ..
            } => {
                self.quiesce(call, count, only).await;
                return;
            }
            Effect::HandOver(call, fences, to) => {
                self.hand_over(call, fences, to).await;
                return;
            }
            Effect::Release => Event::Released(self.known(store.release(pod).await)),
            Effect::LeaseExtended { .. } | Effect::WakeAt(_) | Effect::Settled(_) => return,
        };
        self.tell(result);
    }

    /// The timer is tokio's, which may stand still while the machine is suspended; what time it is, is not.
    async fn wake_in_time(self: Arc<Self>) {
        let mut wake_at = self.wake_at.subscribe();
        while !self.is_over() {
            let at = *wake_at.borrow_and_update();
            let wait = at.saturating_sub(boot_ms());
            if wait == 0 && at > 0 {
                self.tell(Event::Woken);
                if *wake_at.borrow() > at {
                    continue;
                }
            }
            let sleep = tokio::time::sleep(Duration::from_millis(wait.max(1)));
            tokio::select! {
                () = sleep, if wait > 0 => {}
                _ = wake_at.changed() => {}
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
        }
    }

    /// The role, and its changes.
    pub fn role(&self) -> watch::Receiver<Role> {
        self.role.subscribe()
    }

    /// Whether this process is active and its lease covers this moment.
    pub fn is_active(&self) -> bool {
        !self.is_kept_out() && boot_ms() < self.published.active_until.load(Ordering::Acquire)
    }

    /// Whether the lease covers this moment: nobody else can own what is ours, though this process may be draining. Cheap
    /// enough to be asked for every output.
    pub fn is_leased(&self) -> bool {
        boot_ms() < self.published.leased_until.load(Ordering::Acquire)
    }

    /// Returns when this process is no standby, or no longer.
    pub async fn decided(&self) {
        // The sender is ours: it does not go away.
        let _ = self.role().wait_for(|role| *role != Role::Standby).await;
    }

    /// Takes no new work from now on.
    pub fn drain(self: &Arc<Self>) {
        self.tell(Event::Drain);
    }

    /// The right to write this worker's shard; nothing if it is not ours, or while that is in doubt. Takes no lock.
    pub fn fence(&self, worker: WorkerId) -> Option<Fence> {
        let shard = worker.shard(SHARDS);
        let epoch = self.published.epochs[shard.0 as usize].load(Ordering::Acquire);
        (epoch != 0).then_some(Fence {
            pod: self.pod,
            shard,
            epoch: Epoch(epoch),
        })
    }

    /// Whether what was loaded under this fence may live on: see [`State::still_holds`]. Takes no lock.
    pub fn still_holds(&self, fence: Fence) -> bool {
        let published = self.published.epochs.get(fence.shard.0 as usize);
        let epoch = published.map_or(0, |epoch| epoch.load(Ordering::Acquire));
        fence.pod == self.pod && fence.epoch == Epoch(epoch)
    }

    /// Changes when instances must look whether they may live on, and whether what waited for the lease may leave.
    pub fn looks(&self) -> watch::Receiver<u64> {
        self.looks.subscribe()
    }

    /// As [`Ownership::fence`], but waits while the shard is ours and in no epoch in which it may be written: until what
    /// became of a commit is settled.
    pub async fn settled_fence(&self, worker: WorkerId) -> Option<Fence> {
        let mut changes = self.changes.subscribe();
        loop {
            changes.borrow_and_update();
            let fence = self.fence(worker);
            let shard = worker.shard(SHARDS);
            if fence.is_some() || !self.with_state(|state| state.is_in_doubt(shard)) {
                return fence.or_else(|| self.fence(worker));
            }
            changes.changed().await.ok()?;
        }
    }

    fn with_state<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The shards that could be brought to rest: ours without a doubt, and not on their way already.
    pub fn staying(&self) -> Vec<ShardId> {
        let epochs = self.published.epochs.iter().zip(0..);
        let sure = epochs.filter(|(epoch, _)| epoch.load(Ordering::Acquire) != 0);
        let shards = sure.map(|(_, shard)| ShardId(shard));
        shards.filter(|shard| !self.is_leaving(*shard)).collect()
    }

    /// The shards that are ours, those in doubt included.
    pub fn shards(&self) -> Vec<ShardId> {
        self.with_state(|state| state.held().map(|(shard, _)| shard).collect())
    }

    /// Changes when shards become ours.
    pub fn gained(&self) -> watch::Receiver<u64> {
        self.gained.subscribe()
    }

    /// Who is alive and owns how much, as it was seen last, where shards are shared.
    pub fn members(&self) -> watch::Receiver<Option<Membership>> {
        self.members.subscribe()
    }

    fn meet(&self, members: &Membership) {
        let alone = |it: &Participant| it.peer.is_none() && it.owns > 0;
        let is_alone_there = members.participants.iter().any(alone);
        self.members.send_replace(Some(members.clone()));
        if self.is_kept_out.swap(is_alone_there, Ordering::AcqRel) != is_alone_there {
            // Whoever follows the role looks again.
            self.role.send_modify(|_| {});
        }
    }

    /// Whether another process has shards that shares none with others, so that its workers cannot be reached; or that is not known
    /// yet.
    pub fn is_kept_out(&self) -> bool {
        self.is_kept_out.load(Ordering::Acquire)
    }

    /// From now on shards are brought to rest in this way. The first one stays.
    pub fn quiesce_by(&self, quiescence: Quiescence) {
        let _ = self.quiescence.set(quiescence);
    }

    /// From now on this hears of shards that have moved from here. The first one stays.
    pub fn tell_of_moves(&self, moves: Moves) {
        let _ = self.moves.set(moves);
    }

    /// Another process believes that it has handed shards over to this one: what is ours is read.
    pub fn may_have_been_given(self: &Arc<Self>) {
        self.tell(Event::Given);
    }

    /// Hands a shard over to another process, as soon as its workers have come to rest. Goes on if whoever asked for it goes away.
    ///
    /// # Errors
    /// Why it has not moved.
    pub async fn move_shard(self: &Arc<Self>, shard: ShardId, to: PodId) -> Result<(), NotMoved> {
        self.with_state(|state| state.can_move(shard, to))?;
        let mut changes = self.changes.subscribe();
        let (mut moving, mut others) = (vec![], vec![]);
        for effect in self.step(Event::Move(shard, to)) {
            match effect {
                Effect::Quiesce {
                    call, count, only, ..
                } => moving.push(self.clone().quiesce(call, count, only)),
                other => others.push(other),
            }
        }
        self.carry_out_all(others);
        let mut has_moved = false;
        for quiesce in moving {
            // It ends by itself, also if nobody waits, and a task that panics has moved nothing.
            let moved = tokio::spawn(quiesce).await;
            has_moved |= moved.unwrap_or_default().contains(&shard);
        }
        while self.with_state(|state| state.is_in_doubt(shard)) {
            // Once it is known: it is ours, or it is that pod's, for nobody else can have got it meanwhile.
            has_moved = true;
            if changes.changed().await.is_err() {
                break;
            }
        }
        match self.epoch(shard) {
            Some(_) => Err(NotMoved::Stays),
            None if has_moved && *self.role.borrow() != Role::Over => Ok(()),
            // Somebody else has moved it, or this process has ended.
            None => Err(Unmovable::NotOwned.into()),
        }
    }

    /// Brings shards to rest and hands them over; returns those that have moved for sure.
    async fn quiesce(
        self: Arc<Self>,
        call: Call,
        count: u32,
        only: Option<ShardId>,
    ) -> Vec<ShardId> {
        let mut moved = Vec::new();
        let at_rest = self.quiescence.get().map(|it| it(count, only));
        let mut at_rest = at_rest.unwrap_or_else(|| futures::stream::empty().boxed());
        while let Some(shards) = at_rest.next().await {
            let effects = self.step(Event::Quiesced(call, shards.clone()));
            let (mut hand_overs, mut others) = (vec![], vec![]);
            let mut moving = HashSet::new();
            for effect in effects {
                match effect {
                    Effect::HandOver(call, fences, to) => {
                        moving.extend(fences.iter().map(|fence| fence.shard));
                        hand_overs.push((call, fences, to));
                    }
                    other => others.push(other),
                }
            }
            self.carry_out_all(others);
            self.stays(shards.into_iter().filter(|shard| !moving.contains(shard)));
            // One at a time, and what comes to rest meanwhile is the next: each makes a version of the map, which the store makes
            // durable one after the other.
            for (call, fences, to) in hand_overs {
                moved.extend(self.hand_over(call, fences, to).await);
            }
        }
        self.tell(Event::QuiescenceOver(call));
        moved
    }

    /// Returns those of them that have moved for sure.
    async fn hand_over(
        self: &Arc<Self>,
        call: Call,
        fences: Vec<Fence>,
        to: PodId,
    ) -> Vec<ShardId> {
        let moved = self.known(self.store.hand_over(&fences, to).await);
        if let Ok(moved) = &moved {
            for (shard, _) in moved {
                self.departures.end(*shard, true);
            }
            if let Some(moves) = self.moves.get() {
                moves(moved, to);
            }
        }
        let known = moved.iter().flatten().map(|(shard, _)| *shard).collect();
        self.tell(Event::HandedOver(call, moved));
        self.stays(fences.iter().map(|fence| fence.shard));
        known
    }

    /// See [`Ownership::stay`]; does not wait for that.
    fn stays(self: &Arc<Self>, shards: impl Iterator<Item = ShardId>) {
        let (ownership, shards) = (self.clone(), shards.collect());
        tokio::spawn(async move { ownership.stay(shards).await });
    }

    /// Whether nobody is to be woken in this shard, for it is on its way to another process. Takes no lock.
    pub fn is_leaving(&self, shard: ShardId) -> bool {
        self.leaving[shard.0 as usize].load(Ordering::Acquire)
    }

    /// From now on nobody is to be woken in these shards.
    pub fn leave(&self, shards: &[ShardId]) {
        self.departures.begin(shards);
        for shard in shards {
            self.leaving[shard.0 as usize].store(true, Ordering::Release);
        }
    }

    /// These shards are not on their way any more, as soon as it is known whose they are: those that are ours may be used again.
    pub(crate) async fn stay(self: &Arc<Self>, mut shards: Vec<ShardId>) {
        let mut changes = self.changes.subscribe();
        while !shards.is_empty() {
            let is_in_doubt = |shard: &ShardId| self.with_state(|state| state.is_in_doubt(*shard));
            let (doubted, known): (Vec<_>, Vec<_>) = shards.into_iter().partition(is_in_doubt);
            if !known.is_empty() {
                for shard in known {
                    self.departures.end(shard, false);
                    self.leaving[shard.0 as usize].store(false, Ordering::Release);
                }
                // Not before: an alarm that is read now must not be taken for another process's.
                self.gained.send_modify(|count| *count += 1);
                self.changes.send_modify(|count| *count += 1);
            }
            shards = doubted;
            if !shards.is_empty() && changes.changed().await.is_err() {
                return;
            }
        }
    }

    pub(crate) fn departures(&self) -> &Departures {
        &self.departures
    }

    /// Changes with whatever the process owns or may use.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The epoch in which this process has a shard, unless that is on its way to another.
    pub fn serves(&self, shard: ShardId) -> Option<Epoch> {
        self.epoch(shard).filter(|_| !self.is_leaving(shard))
    }

    /// The epoch in which this process has a shard, as far as it knows; also while that is in doubt.
    pub fn epoch(&self, shard: ShardId) -> Option<Epoch> {
        let epoch = self.published.epochs[shard.0 as usize].load(Ordering::Acquire);
        if epoch != 0 {
            return Some(Epoch(epoch));
        }
        self.with_state(|state| state.epoch(shard))
    }

    /// Returns when nothing is left to hand over; for whoever drains, and shares the shards.
    pub async fn handed_over(&self) {
        let mut changes = self.changes.subscribe();
        // The other end is this one's.
        let _ = changes
            .wait_for(|_| self.with_state(State::has_handed_over))
            .await;
    }

    /// Whether the shards are shared with other processes.
    pub fn is_sharing(&self) -> bool {
        self.is_sharing
    }

    /// The store refused this fence: the shard is somebody else's, or in another epoch by now.
    pub fn lost(self: &Arc<Self>, fence: Fence) {
        self.tell(Event::Refused(fence));
    }

    /// A commit's fate is unknown: from this call on nobody gets its fence, and the shard is moved to a new epoch, in which
    /// a load tells what became of it. The future returns when it is; that takes as long as the store fails.
    pub fn settle(self: &Arc<Self>, fence: Fence) -> impl Future<Output = ()> + Send + use<> {
        let mut changes = self.changes.subscribe();
        self.tell(Event::CommitFateUnknown(fence));
        let ownership = self.clone();
        async move {
            while !ownership.with_state(|state| state.is_settled(fence)) {
                if changes.changed().await.is_err() {
                    return;
                }
            }
        }
    }

    /// What the machine needs to know of a failure: nothing. Those who wait do, and people, whom the store tells.
    fn known<T>(&self, result: StoreResult<T>) -> Result<T, FateUnknown> {
        result.map_err(|error| {
            tracing::debug!(%error, "the store failed; asking again");
            *self.failure.lock().unwrap_or_else(PoisonError::into_inner) =
                Some((Instant::now(), error));
            FateUnknown
        })
    }

    fn failure_within(&self, recent: Duration) -> Option<portside_store::Error> {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, error) = failure.as_ref()?;
        (at.elapsed() < recent).then(|| error.clone())
    }

    /// Waits for something that needs the store's answer, but with a store that fails no longer than [`PATIENCE`].
    ///
    /// # Errors
    /// Why it fails.
    pub async fn patiently<T>(
        &self,
        waiting: impl Future<Output = T>,
    ) -> Result<T, portside_store::Error> {
        let mut waiting = std::pin::pin!(waiting);
        loop {
            if let Ok(done) = timeout(PATIENCE, waiting.as_mut()).await {
                return Ok(done);
            }
            if let Some(error) = self.failure_within(PATIENCE) {
                return Err(error);
            }
        }
    }

    fn is_over(&self) -> bool {
        *self.role.borrow() == Role::Over
    }

    /// How often the store has renewed this process's lease.
    pub fn renewals(&self) -> u64 {
        self.with_state(State::renewals)
    }

    /// Who this process is for the store.
    pub fn pod(&self) -> PodId {
        self.pod
    }

    /// There is nothing left to own, or to release.
    pub fn over(self: &Arc<Self>) {
        self.tell(Event::End);
    }

    /// Gives everything up, so that a successor need not wait.
    pub async fn release(self: &Arc<Self>) {
        let mut changes = self.changes.subscribe();
        self.tell(Event::Release);
        loop {
            match self.with_state(State::released) {
                Some(Ok(())) => return,
                Some(Err(FateUnknown)) => {
                    tracing::warn!(
                        "the shards may not be released; a successor waits for the lease to end"
                    );
                    return;
                }
                None if changes.changed().await.is_err() => return,
                None => {}
            }
        }
    }
}

fn report(before: Role, role: Role, ended: Option<Ended>) {
    match (before, role, ended) {
        (_, Role::Over, Some(Ended::DeclaredDead)) => {
            tracing::error!(
                "another process has taken over, because this one did not renew its lease: it takes no more writes and must be started anew"
            );
        }
        (_, Role::Over, Some(Ended::StoreWentBack)) => {
            tracing::error!(
                "the database is older than it was: this process takes no more writes and must be started anew"
            );
        }
        (Role::Active { .. }, Role::Standby, _) => {
            tracing::warn!("the lease has expired, or a shard is lost: waiting for the store");
        }
        _ => {}
    }
}
