//! Pods in one process: each with a router, and with workers whose code is in Rust; between them connections as there are
//! between pods, over pipes.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::{Arc, Mutex, Weak};
use std::task::Poll;
use std::time::Duration;

use portside_core::ids::{Epoch, SHARDS, ShardId, WorkerKey};
use portside_core::limits::Limits;
use portside_router::places::{At, Here, NotHere, Place, Places};
use portside_router::{Line, Router};
use portside_wire::driver;
use portside_wire::limits::Limits as LineLimits;
use portside_wire::tls::{Fingerprint, Key};
use portside_worker::activation::{Activation, Progress};
use portside_worker::engine::Shared;
use portside_worker::event::{Delivered, Incoming, Stop};
use portside_worker::host::{Identity, Log, LogLine};
use portside_worker::inbox::Inbox;
use portside_worker::instance::Instance;
use portside_worker::link::{Failure, Opening, Receive, Rejected};
use portside_worker::moves::take_along;
use portside_worker::testing::{Scripted, options};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, spawn_local, yield_now};

/// What workers do: each gets the events of its instances.
pub type Code = Rc<dyn Fn(&Shared, &WorkerKey, Delivered)>;

pub fn shard(key: &WorkerKey) -> ShardId {
    key.id().shard(SHARDS)
}

/// Lets everybody else have so many turns.
pub async fn turns(count: usize) {
    for _ in 0..count {
        yield_now().await;
    }
}

/// A pod.
pub struct Pod {
    pub router: Arc<Router>,
    pub places: Arc<Known>,
    pub home: Arc<Home>,
    key: Key,
}

/// Whoever serves the two ends of each connection.
type Drivers = BTreeMap<(usize, usize), [JoinHandle<()>; 2]>;

/// Pods, and the connections between them.
pub struct World {
    pub pods: Vec<Pod>,
    drivers: RefCell<Drivers>,
}

impl World {
    /// So many pods, all connected. Must be called in a `LocalSet`.
    pub async fn new(pods: usize, code: Code) -> Self {
        let pods = (0..pods).map(|number| Pod::new(number, code.clone()));
        Self::of(pods.collect()).await
    }

    /// These pods, all connected.
    pub async fn of(pods: Vec<Pod>) -> Self {
        let drivers = RefCell::default();
        let world = Self { pods, drivers };
        for one in 0..world.pods.len() {
            for other in 0..one {
                world.connect(one, other).await;
            }
        }
        world
    }

    pub async fn connect(&self, one: usize, other: usize) {
        let (near, far) = tokio::io::duplex(64 << 10);
        let (dialer, listener) = (&self.pods[one], &self.pods[other]);
        let (known, unknown) = (dialer.key.fingerprint(), listener.key.fingerprint());
        let peers = Arc::new(move |peer: &Fingerprint| *peer == known);
        let limits = LineLimits::default();
        let (dialed, accepted) = tokio::join!(
            driver::dial(near, &dialer.key, unknown, limits),
            driver::accept(far, &listener.key, peers, limits),
        );
        let (dialed, accepted) = (dialed.unwrap(), accepted.unwrap());
        let handles = [(one, other, dialed), (other, one, accepted)].map(|(at, to, made)| {
            let (links, driver) = made;
            let (line, pod) = (Line::new(links), &self.pods[at]);
            pod.places.lines.lock().unwrap().insert(to, line.clone());
            pod.places.changed();
            let router = Arc::downgrade(&pod.router);
            spawn_local(async move {
                line.run(driver, router).await;
            })
        });
        self.drivers.borrow_mut().insert((one, other), handles);
    }

    /// The connection breaks.
    pub fn cut(&self, one: usize, other: usize) {
        let handles = self.drivers.borrow_mut().remove(&(one, other)).unwrap();
        handles.iter().for_each(JoinHandle::abort);
    }

    /// A pod hears that another is not among those that are there any more.
    pub fn has_left(&self, at: usize, other: usize) {
        let line = self.pods[at].places.lines.lock().unwrap().remove(&other);
        line.unwrap().leave();
    }

    /// The pod gets the shard of this worker, which nobody has; who knows of it at once.
    pub fn give(&self, key: &WorkerKey, pod: usize, epoch: u64, who_knows: &[usize]) {
        self.pods[pod].places.own(shard(key), Some(epoch));
        self.tell(key, pod, epoch, who_knows);
    }

    pub fn tell(&self, key: &WorkerKey, pod: usize, epoch: u64, who: &[usize]) {
        for at in who {
            self.pods[*at].places.learn(shard(key), pod, Epoch(epoch));
        }
    }

    /// The worker leaves this pod, which does not say whose it is until it has left.
    pub async fn leave(&self, key: &WorkerKey, pod: usize) {
        let pod = &self.pods[pod];
        pod.places.is_on_its_way(shard(key), true);
        self.leave_at_once(key, pod).await;
        pod.places.is_on_its_way(shard(key), false);
    }

    /// The worker leaves this pod, which says at once that it has it not.
    pub async fn leave_unannounced(&self, key: &WorkerKey, pod: usize) {
        self.leave_at_once(key, &self.pods[pod]).await;
    }

    /// The worker's pod opens nothing more there.
    pub fn stop_serving(&self, key: &WorkerKey, pod: usize) {
        self.pods[pod].places.own(shard(key), None);
    }

    async fn leave_at_once(&self, key: &WorkerKey, pod: &Pod) {
        pod.places.own(shard(key), None);
        let worker = pod.home.awake.lock().unwrap().get(key).cloned();
        if let Some(inbox) = worker {
            inbox.leave();
            inbox.stop(Stop::WhenSettled);
            let mut gone = pod.home.gone.subscribe();
            while pod.home.awake.lock().unwrap().contains_key(key) {
                gone.changed().await.unwrap();
            }
        }
    }
}

impl Pod {
    fn new(number: usize, code: Code) -> Self {
        let (wake, woken) = mpsc::unbounded_channel();
        let home = Arc::new(Home {
            awake: Mutex::default(),
            wake,
            gone: watch::Sender::new(()),
        });
        let pod = Self::with(number, home.clone(), home.clone());
        let router = Arc::downgrade(&pod.router);
        spawn_local(run_workers(home, router, woken, code));
        pod
    }

    /// A pod whose workers are reached by `here`.
    pub fn with(number: usize, here: Arc<dyn Here>, home: Arc<Home>) -> Self {
        let places = Arc::new(Known {
            number,
            owned: Mutex::default(),
            on_their_way: Mutex::default(),
            map: Mutex::default(),
            lines: Mutex::default(),
            changes: watch::Sender::new(0),
        });
        Self {
            router: Router::new(here, places.clone()),
            places,
            home,
            key: Key::generate().unwrap(),
        }
    }
}

/// What a pod knows of places.
pub struct Known {
    number: usize,
    owned: Mutex<HashMap<ShardId, Epoch>>,
    on_their_way: Mutex<HashSet<ShardId>>,
    map: Mutex<HashMap<ShardId, (usize, Epoch)>>,
    lines: Mutex<HashMap<usize, Arc<Line>>>,
    changes: watch::Sender<u64>,
}

impl Known {
    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    fn own(&self, shard: ShardId, epoch: Option<u64>) {
        let mut owned = self.owned.lock().unwrap();
        match epoch {
            Some(epoch) => owned.insert(shard, Epoch(epoch)),
            None => owned.remove(&shard),
        };
        drop(owned);
        self.changed();
    }

    pub fn is_on_its_way(&self, shard: ShardId, is: bool) {
        let mut on_their_way = self.on_their_way.lock().unwrap();
        match is {
            true => on_their_way.insert(shard),
            false => on_their_way.remove(&shard),
        };
        drop(on_their_way);
        self.changed();
    }

    fn learn(&self, shard: ShardId, pod: usize, epoch: Epoch) {
        let mut map = self.map.lock().unwrap();
        let known = map.entry(shard).or_insert((pod, epoch));
        if known.1 < epoch {
            *known = (pod, epoch);
        }
        drop(map);
        self.changed();
    }
}

impl Places for Known {
    fn place(&self, shard: ShardId) -> Place {
        if self.owned.lock().unwrap().contains_key(&shard) {
            return Place::Here;
        }
        let Some((pod, epoch)) = self.map.lock().unwrap().get(&shard).copied() else {
            return Place::Unknown;
        };
        match self.lines.lock().unwrap().get(&pod) {
            Some(line) if pod != self.number && line.links().is_connected() => {
                let line = line.clone();
                Place::At(At { line, epoch })
            }
            _ => Place::Unknown,
        }
    }

    fn owned(&self, shard: ShardId, _: Epoch) -> Result<Epoch, NotHere> {
        if self.on_their_way.lock().unwrap().contains(&shard) {
            return Err(NotHere::OnItsWay);
        }
        let owned = self.owned.lock().unwrap().get(&shard).copied();
        owned.ok_or(NotHere::Elsewhere(None, Epoch(0)))
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn misdirected(&self, shard: ShardId, epoch: Epoch) {
        let mut map = self.map.lock().unwrap();
        if map.get(&shard).is_some_and(|known| known.1 <= epoch) {
            map.remove(&shard);
        }
    }
}

/// The workers of a pod.
pub struct Home {
    awake: Mutex<HashMap<WorkerKey, Arc<Inbox>>>,
    wake: mpsc::UnboundedSender<(WorkerKey, Arc<Inbox>)>,
    gone: watch::Sender<()>,
}

impl Here for Home {
    fn open(&self, to: &WorkerKey, opening: Opening) -> Result<Option<Arc<dyn Receive>>, Opening> {
        let limits = Limits::default();
        let mut awake = self.awake.lock().unwrap();
        let inbox = awake.entry(to.clone()).or_insert_with(|| {
            let inbox = Arc::new(Inbox::new(limits.inbox_messages, limits.inbox_bytes));
            self.wake.send((to.clone(), inbox.clone())).unwrap();
            inbox
        });
        match inbox.receive(Incoming::Opened(opening)) {
            Ok(()) => Ok(Some(inbox.clone())),
            Err(
                Rejected::Closed(Incoming::Opened(opening))
                | Rejected::Full(Incoming::Opened(opening)),
            ) => Err(opening),
            Err(_) => unreachable!("it comes back as it was"),
        }
    }

    fn deliver(&self, _: &WorkerKey, _: Incoming) -> Result<(), Failure> {
        unreachable!("there are only links")
    }
}

impl Default for Home {
    fn default() -> Self {
        Self {
            awake: Mutex::default(),
            wake: mpsc::unbounded_channel().0,
            gone: watch::Sender::new(()),
        }
    }
}

struct Silent;

impl Log for Silent {
    fn log(&self, _: LogLine<'_>) {}
}

async fn run_workers(
    home: Arc<Home>,
    router: Weak<Router>,
    mut woken: mpsc::UnboundedReceiver<(WorkerKey, Arc<Inbox>)>,
    code: Code,
) {
    while let Some((key, inbox)) = woken.recv().await {
        let (home, router, code) = (home.clone(), router.clone(), code.clone());
        spawn_local(async move {
            run_worker(&router, &key, &inbox, code).await;
            let along = take_along(&inbox);
            for unheard in along {
                let Some(router) = router.upgrade() else {
                    return;
                };
                let opener = unheard.opening.end.peer();
                let target = router.open_along(&key, unheard.opening);
                if let Some(opener) = opener {
                    opener.reopened(target.clone());
                }
                for incoming in unheard.after {
                    let _ = target.receive(incoming);
                }
            }
            // Not before: whoever opens a link now gets another inbox, and comes behind.
            home.awake.lock().unwrap().remove(&key);
            home.gone.send_replace(());
            if let Some(router) = router.upgrade() {
                router.look();
            }
        });
    }
}

/// One instance, until it ends.
async fn run_worker(router: &Weak<Router>, key: &WorkerKey, inbox: &Arc<Inbox>, code: Code) {
    let Some(router) = router.upgrade() else {
        return;
    };
    let options = options(
        Identity::Worker(key.clone()),
        inbox,
        router,
        Arc::new(Silent),
    );
    let instance: Shared = Rc::new(RefCell::new(Instance::new(options)));
    let key = key.clone();
    let engine = Scripted::new(instance.clone(), move |instance: &Shared, event| {
        code(instance, &key, event);
        Ok(())
    });
    let mut activation = Activation::new(instance, engine, Duration::ZERO);
    poll_fn(|cx| match activation.poll(cx, Duration::ZERO) {
        Progress::Ended(_) => Poll::Ready(()),
        Progress::Waiting(_) => Poll::Pending,
    })
    .await;
}
