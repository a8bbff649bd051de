//! The other pods of an application that share its shards: which shards they have, and connections to them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use portside_core::ids::{Epoch, PodId, SHARDS, ShardId};
use portside_core::ownership::Role;
use portside_core::ownership::members::{KeyFingerprint, MapVersion, Membership, Peer, Revision};
use portside_exchange::credit::Window;
use portside_router::places::{At, NotHere, Place, Places};
use portside_router::{Line, Router};
use portside_store::Store;
use portside_wire::driver::{self, Driver, Links};
use portside_wire::limits::Limits;
use portside_wire::tls::Fingerprint;
pub use portside_wire::tls::Key;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{sleep, timeout};

use crate::ownership::Ownership;

/// The newest version of the protocol between pods that this process speaks.
pub const PROTOCOL: u32 = 1;

/// A pod that could not be reached is not tried again before.
const REDIAL: Duration = Duration::from_millis(200);

/// How long it takes at most until a connection is there, or will not be.
const CONNECT: Duration = Duration::from_secs(2);

/// What may be on its way on a link, one message aside that waits alone: as much of a body as in one process, so that whoever
/// reads slowly is not sent more. Messages of ports beyond it wait with their senders, whose limits are their own.
const LINK_WINDOW: Window = Window {
    messages: 1_000,
    bytes: 1 << 20,
};

fn limits() -> Limits {
    Limits {
        window: LINK_WINDOW,
        ..Limits::default()
    }
}

/// So many may be making a connection to this pod at a time; each takes some seconds at most.
const MAX_HANDSHAKES: usize = 64;

/// The map is read no more often than this, however many calls are sent astray.
const READ_INTERVAL: Duration = Duration::from_millis(20);

/// The other pods, as this one knows them.
pub struct Peers {
    itself: Weak<Self>,
    key: Key,
    store: Arc<dyn Store>,
    ownership: Arc<Ownership>,
    router: OnceLock<Weak<Router>>,
    state: Mutex<State>,
    /// Changes when shards are elsewhere, or can be reached that could not be before.
    changes: watch::Sender<u64>,
    /// The map is to be read.
    look: Notify,
    /// The process's own: whoever opens a link may be on a thread that runs JavaScript.
    spawner: Handle,
}

struct State {
    /// By shard; nothing where the owner is not known, or has not what it was known to have.
    map: Vec<Option<(PodId, Epoch)>>,
    version: Option<MapVersion>,
    /// Those of which some pod has said that it has them not, since the map was read.
    astray: HashSet<ShardId>,
    /// By shard: the newest epoch in which another pod has believed it here.
    asked: Box<[Epoch]>,
    peers: HashMap<PodId, Known>,
    /// What the map was when these were alive.
    met: Option<MapVersion>,
    /// The map has named a pod that is not among them.
    knows_too_few: bool,
}

/// A pod that is alive.
struct Known {
    peer: Peer,
    /// Where links are opened: the first connection, so that they arrive in order.
    line: Option<Arc<Line>>,
    /// All that there are: both pods may have made one at the same time.
    all: Vec<Arc<Line>>,
    /// Since when somebody tries to reach it, or has tried in vain.
    dialed: Option<Instant>,
    /// Whether it wants shards. One that drains does not.
    wants: bool,
}

impl Peers {
    /// Those of the application that `ownership` is of. `key` is what it has announced. Needs a tokio runtime.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, ownership: Arc<Ownership>, key: Key) -> Arc<Self> {
        Arc::new_cyclic(|itself| Self {
            itself: itself.clone(),
            key,
            store,
            ownership,
            router: OnceLock::new(),
            state: Mutex::new(State {
                map: vec![None; SHARDS as usize],
                version: None,
                astray: HashSet::new(),
                asked: vec![Epoch(0); SHARDS as usize].into(),
                peers: HashMap::new(),
                met: None,
                knows_too_few: false,
            }),
            changes: watch::Sender::new(0),
            look: Notify::new(),
            spawner: Handle::current(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Follows who is there and who has what, and listens to the others. `router` opens what they open to workers here.
    pub(crate) fn start(self: &Arc<Self>, router: &Arc<Router>, listener: TcpListener) {
        let _ = self.router.set(Arc::downgrade(router));
        let peers = self.itself.clone();
        self.ownership.tell_of_moves(Box::new(move |moved, to| {
            if let Some(peers) = peers.upgrade() {
                peers.learn(
                    moved
                        .iter()
                        .map(|(shard, epoch)| (*shard, Some(to), *epoch)),
                );
            }
        }));
        tokio::spawn(follow(Arc::downgrade(self)));
        tokio::spawn(follow_own(Arc::downgrade(self)));
        tokio::spawn(listen(Arc::downgrade(self), listener));
    }

    /// Takes who is alive; forgets all others. Nothing is done for what is older than what was taken before.
    fn meet(&self, membership: Membership) {
        let mut state = self.lock();
        let version = Some(membership.map_version);
        if version < state.met {
            return;
        }
        state.met = version;
        // Those that say how they are reached.
        let members = membership.participants.into_iter();
        let members = members.filter_map(|it| Some((it.member.pod, it.peer?, it.member.wants)));
        let mut known = std::mem::take(&mut state.peers);
        for (pod, peer, wants) in members.filter(|(pod, ..)| *pod != self.ownership.pod()) {
            let before = known.remove(&pod).filter(|before| before.peer == peer);
            let new = || Known {
                peer,
                line: None,
                all: vec![],
                dialed: None,
                wants,
            };
            let known = before.unwrap_or_else(new);
            state.peers.insert(pod, Known { wants, ..known });
        }
        drop(state);
        // What it still sends is not heard.
        for gone in known.into_values() {
            for line in gone.all {
                match gone.wants {
                    // It was declared dead.
                    true => line.links().end(),
                    // It has said before that it would leave.
                    false => line.leave(),
                }
            }
        }
    }

    async fn read_map(&self) {
        let (since, astray) = {
            let mut state = self.lock();
            (state.version, std::mem::take(&mut state.astray))
        };
        // A store that fails says so itself.
        let Ok(changes) = self.store.shard_map(since).await else {
            self.lock().astray.extend(astray);
            return;
        };
        self.learn((changes.assignments.into_iter()).map(|it| (it.shard, it.owner, it.epoch)));
        let mut state = self.lock();
        let is_unknown = |shard: &ShardId| state.map[shard.0 as usize].is_none();
        if since.is_some() && astray.iter().any(is_unknown) {
            // It has not changed since, and what it was is forgotten: all of it is read.
            state.version = None;
            self.look.notify_one();
        } else {
            state.version = Some(changes.version);
        }
    }

    /// Takes who has which shards, in which epochs.
    fn learn(&self, assignments: impl Iterator<Item = (ShardId, Option<PodId>, Epoch)>) {
        let mut state = self.lock();
        let mut has_changed = false;
        for (shard, owner, epoch) in assignments {
            let new = owner.map(|owner| (owner, epoch));
            if let Some(slot) = state.map.get_mut(shard.0 as usize)
                && slot.is_none_or(|(_, known)| known <= epoch)
                && *slot != new
            {
                *slot = new;
                has_changed = true;
            }
        }
        drop(state);
        if has_changed {
            self.changed();
        }
    }

    /// Reads who is there.
    async fn read_members(&self) {
        if let Ok(membership) = self.store.members().await {
            self.lock().knows_too_few = false;
            self.meet(membership);
            self.changed();
        }
    }

    /// Where the pod is reached, if there is a connection; else one is made.
    fn line(&self, state: &mut State, pod: PodId) -> Option<Arc<Line>> {
        let known = state.peers.get_mut(&pod)?;
        if let Some(line) = &known.line
            && line.links().is_connected()
        {
            return Some(line.clone());
        }
        if known.dialed.is_none_or(|since| since.elapsed() >= CONNECT) {
            known.dialed = Some(Instant::now());
            self.spawner
                .spawn(dial(self.itself.clone(), pod, known.peer.clone()));
        }
        None
    }

    /// A connection is there.
    fn connected(self: &Arc<Self>, pod: PodId, links: Links, driver: Driver<TcpStream>) {
        let Some(router) = self.router.get().cloned() else {
            return;
        };
        let line = Line::new(links);
        match self.lock().peers.get_mut(&pod) {
            Some(known) => {
                known.dialed = None;
                let is_connected = |it: &Arc<Line>| it.links().is_connected();
                if !known.line.as_ref().is_some_and(is_connected) {
                    known.line = Some(line.clone());
                }
                known.all.retain(is_connected);
                known.all.push(line.clone());
            }
            None => return,
        }
        self.changed();
        let peers = Arc::downgrade(self);
        tokio::spawn(async move {
            let ending = line.clone().run(driver, router).await;
            tracing::debug!(pod = format!("{:032x}", pod.0), %ending, "the connection to another pod is over");
            let Some(peers) = peers.upgrade() else { return };
            if let Some(known) = peers.lock().peers.get_mut(&pod)
                && known.line.as_ref().is_some_and(|it| Arc::ptr_eq(it, &line))
            {
                known.line = None;
            }
        });
    }

    /// The pod that has a shard, as far as this one knows.
    pub(crate) fn owner(&self, shard: ShardId) -> Option<PodId> {
        if self.ownership.epoch(shard).is_some() {
            return Some(self.ownership.pod());
        }
        let owner = self.lock().map.get(shard.0 as usize).copied().flatten();
        owner.map(|(pod, _)| pod)
    }

    fn who_has(&self, key: Fingerprint) -> Option<PodId> {
        let state = self.lock();
        let known = state.peers.iter().find(|(_, it)| it.peer.key.0 == key.0);
        known.map(|(pod, _)| *pod)
    }
}

impl Places for Peers {
    fn place(&self, shard: ShardId) -> Place {
        let ownership = &self.ownership;
        if ownership.is_leaving(shard) {
            return Place::Unknown;
        }
        if ownership.epoch(shard).is_some() {
            return Place::Here;
        }
        let mut state = self.lock();
        let owner = state.map.get(shard.0 as usize).copied().flatten();
        let Some((pod, epoch)) = owner else {
            self.look.notify_one();
            return Place::Unknown;
        };
        if pod == ownership.pod() || !state.peers.contains_key(&pod) {
            state.knows_too_few |= pod != ownership.pod();
            self.look.notify_one();
            return Place::Unknown;
        }
        match self.line(&mut state, pod) {
            Some(line) => Place::At(At { line, epoch }),
            None => Place::Unknown,
        }
    }

    fn owned(&self, shard: ShardId, asked: Epoch) -> Result<Epoch, NotHere> {
        let ownership = &self.ownership;
        // Also while that is in doubt: whoever loads the worker waits until it is not.
        if let Some(epoch) = ownership.serves(shard) {
            return Ok(epoch);
        }
        if ownership.is_leaving(shard) {
            return Err(NotHere::OnItsWay);
        }
        let known = self.lock().map.get(shard.0 as usize).copied().flatten();
        let elsewhere = known.filter(|(pod, _)| *pod != ownership.pod());
        if let Some((pod, epoch)) = elsewhere.filter(|(_, epoch)| *epoch >= asked) {
            return Err(NotHere::Elsewhere(Some(pod), epoch));
        }
        if *ownership.role().borrow() == Role::Over {
            return Err(NotHere::Elsewhere(None, Epoch(0)));
        }
        // Perhaps it was given to this pod, which has not heard of that. Once it has looked it knows, whoever asks.
        let is_news = {
            let mut state = self.lock();
            let slot = &mut state.asked[shard.0 as usize];
            std::mem::replace(slot, asked.max(*slot)) < asked
        };
        if is_news {
            ownership.may_have_been_given();
        }
        Err(NotHere::OnItsWay)
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn misdirected(&self, shard: ShardId, epoch: Epoch) {
        let mut state = self.lock();
        // What another pod says is no more than a reason to look: the store knows.
        let slot = state.map.get_mut(shard.0 as usize);
        if let Some(slot) = slot.filter(|slot| slot.is_none_or(|(_, known)| known <= epoch)) {
            *slot = None;
            state.astray.insert(shard);
        }
        drop(state);
        self.look.notify_one();
        self.changed();
    }
}

/// Reads who is there and who has what, whenever that may have changed.
async fn follow(peers: Weak<Peers>) {
    let Some(mut members) = peers.upgrade().map(|peers| peers.ownership.members()) else {
        return;
    };
    while let Some(peers) = peers.upgrade() {
        let membership = members.borrow_and_update().clone();
        let look = peers.look.notified();
        if let Some(membership) = membership {
            let version = Some(membership.map_version);
            peers.meet(membership);
            let is_old = peers.lock().version < version;
            if is_old {
                peers.read_map().await;
            }
        }
        if peers.lock().knows_too_few {
            peers.read_members().await;
        }
        tokio::select! {
            changed = members.changed() => if changed.is_err() { return },
            () = look => peers.read_map().await,
        }
        drop(peers);
        sleep(READ_INTERVAL).await;
    }
}

/// Passes on that this pod itself has other shards.
async fn follow_own(peers: Weak<Peers>) {
    let Some(mut changes) = peers.upgrade().map(|peers| peers.ownership.changes()) else {
        return;
    };
    while changes.changed().await.is_ok() {
        let Some(peers) = peers.upgrade() else { return };
        peers.changed();
    }
}

async fn dial(peers: Weak<Peers>, pod: PodId, peer: Peer) {
    let Some(key) = peers.upgrade().map(|peers| peers.key.clone()) else {
        return;
    };
    let KeyFingerprint(fingerprint) = peer.key;
    let made = timeout(CONNECT, async {
        let stream = TcpStream::connect(&peer.address).await;
        let stream = stream.map_err(|error| error.to_string())?;
        let _ = stream.set_nodelay(true);
        let made = driver::dial(stream, &key, Fingerprint(fingerprint), limits()).await;
        made.map_err(|error| error.to_string())
    });
    let made = made
        .await
        .unwrap_or_else(|_| Err("it takes too long".to_owned()));
    let Some(peers) = peers.upgrade() else { return };
    match made {
        Ok((links, driver)) => peers.connected(pod, links, driver),
        Err(error) => {
            tracing::debug!(
                address = peer.address,
                error,
                "another pod cannot be reached"
            );
            sleep(REDIAL).await;
            if let Some(known) = peers.lock().peers.get_mut(&pod) {
                known.dialed = None;
            }
            peers.changed();
        }
    }
}

async fn listen(peers: Weak<Peers>, listener: TcpListener) {
    let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection of another pod could not be taken");
                sleep(REDIAL).await;
                continue;
            }
        };
        let Some(here) = peers.upgrade() else { return };
        let Ok(handshake) = handshakes.clone().acquire_owned().await else {
            return;
        };
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let who = here.clone();
            let known = Arc::new(move |key: &Fingerprint| who.who_has(*key).is_some());
            let accepted = driver::accept(stream, &here.key, known, limits()).await;
            drop(handshake);
            match accepted {
                Ok((links, driver)) => {
                    if let Some(pod) = here.who_has(links.peer()) {
                        here.connected(pod, links, driver);
                    }
                }
                // Whoever is a member tries again.
                Err(error) => tracing::debug!(%error, "a connection from elsewhere was refused"),
            }
        });
    }
}

/// What a pod announces that others reach at this address, as `host:port`.
#[must_use]
pub fn peer(address: String, revision: u64, key: &Key) -> Peer {
    Peer {
        address,
        revision: Revision(revision),
        protocol: PROTOCOL,
        key: KeyFingerprint(key.fingerprint().0),
    }
}
