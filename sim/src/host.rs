//! What the worker crate's instances have around them in one process: inboxes, the way to the store, and the lease.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Wake, Waker};

use portside_core::alarm::Alarm;
use portside_core::ids::{Fence, WorkerKey};
use portside_core::keys::KeyRange;
use portside_core::write::{Value, WriteBatch};
use portside_worker::activation::End;
use portside_worker::event::{Control, Incoming};
use portside_worker::hibernation::Sockets;
use portside_worker::host::{
    CommitTicket, Error, Fabric, Ledger, Log, LogLine, Reading, RequestName,
};
use portside_worker::inbox::Inbox;
use portside_worker::link::{Failure, Kind, Opening, Receive, Rejected};
use portside_worker::route::Route;

use crate::links::Links;
use crate::random::Random;

/// Messages and bytes of an inbox.
const INBOX: (usize, usize) = (10_000, 64 << 20);
/// Bytes that may wait for the client of a socket.
const SOCKET_BYTES: usize = 16 << 20;

/// Something an instance wants from the store.
pub(crate) struct Submitted {
    pub key: usize,
    pub fence: Fence,
    pub batch: WriteBatch,
    pub ticket: CommitTicket,
}

/// What the instances of a process share.
pub(crate) struct Host {
    keys: Vec<WorkerKey>,
    /// Where links are opened, if their targets may be in other pods.
    links: Option<Arc<Links>>,
    /// By worker: the inbox, if it is awake or on its way.
    inboxes: Mutex<Vec<Option<Arc<Inbox>>>>,
    submitted: Mutex<VecDeque<Submitted>>,
    outdated: Mutex<VecDeque<(usize, Alarm)>>,
    /// Objects that have ended, and how.
    ended: Mutex<VecDeque<(usize, End)>>,
    /// By object: its sockets, as long as it is awake or has a client.
    sockets: Mutex<Vec<Weak<Sockets>>>,
    is_leased: AtomicBool,
    /// By shard: the fence that is given.
    fences: Mutex<Vec<Option<Fence>>>,
    /// Decides which turns are killed: so many of a thousand.
    random: Mutex<Random>,
    killed: AtomicU64,
    now_ms: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Host {
    pub fn new(keys: Vec<WorkerKey>, random: Random, links: Option<Arc<Links>>) -> Arc<Self> {
        Arc::new(Self {
            links,
            inboxes: Mutex::new(keys.iter().map(|_| None).collect()),
            sockets: Mutex::new(keys.iter().map(|_| Weak::new()).collect()),
            ended: Mutex::default(),
            keys,
            submitted: Mutex::default(),
            outdated: Mutex::default(),
            is_leased: AtomicBool::new(false),
            fences: Mutex::default(),
            random: Mutex::new(random),
            killed: AtomicU64::new(0),
            now_ms: AtomicU64::new(0),
        })
    }

    /// What holds until the next event.
    pub fn is_now(&self, now_ms: u64, is_leased: bool, killed: u64) {
        self.now_ms.store(now_ms, Ordering::Relaxed);
        self.killed.store(killed, Ordering::Relaxed);
        self.is_leased.store(is_leased, Ordering::Relaxed);
    }

    /// These fences are given from now on.
    pub fn gives(&self, fences: Vec<Option<Fence>>) {
        *lock(&self.fences) = fences;
    }

    /// The wall clock's time.
    pub fn now_ms(&self) -> i64 {
        self.now_ms.load(Ordering::Relaxed) as i64
    }

    /// Whether a turn is killed in the middle.
    pub fn kills(&self) -> bool {
        let killed = self.killed.load(Ordering::Relaxed);
        killed > 0 && lock(&self.random).chance(killed)
    }

    pub fn next_submitted(&self) -> Option<Submitted> {
        lock(&self.submitted).pop_front()
    }

    pub fn next_outdated(&self) -> Option<(usize, Alarm)> {
        lock(&self.outdated).pop_front()
    }

    /// An object that lived with others is gone.
    pub fn ends(&self, key: usize, end: End) {
        lock(&self.ended).push_back((key, end));
    }

    pub fn next_ended(&self) -> Option<(usize, End)> {
        lock(&self.ended).pop_front()
    }

    /// The sockets of an object.
    pub fn sockets(self: &Arc<Self>, key: usize) -> Arc<Sockets> {
        let mut all = lock(&self.sockets);
        all[key].upgrade().unwrap_or_else(|| {
            let (address, fabric) = (self.keys[key].clone(), self.clone());
            let new = Sockets::new(address, fabric, SOCKET_BYTES, Arc::default());
            all[key] = Arc::downgrade(&new);
            new
        })
    }

    /// The process is over: what waits in it waits for nothing.
    pub fn forget(&self) {
        lock(&self.inboxes).iter_mut().for_each(|it| *it = None);
        self.links.iter().for_each(|links| links.forget());
    }

    pub fn inbox(&self, key: usize) -> Option<Arc<Inbox>> {
        lock(&self.inboxes)[key].clone()
    }

    /// Nobody reads there any more.
    pub fn forget_inbox(&self, key: usize) {
        lock(&self.inboxes)[key] = None;
    }

    /// Tells every instance to look again: what it waits for may leave, or it may be over.
    pub fn tell_all(&self) {
        for inbox in lock(&self.inboxes).iter().flatten() {
            inbox.tell(Control::Renewed);
        }
    }

    /// Gives a worker something, waking it if it sleeps.
    pub fn deliver(&self, key: usize, mut incoming: Incoming) -> Result<Arc<Inbox>, Incoming> {
        let mut inboxes = lock(&self.inboxes);
        loop {
            let new = || Arc::new(Inbox::new(INBOX.0, INBOX.1));
            let inbox = inboxes[key].get_or_insert_with(new);
            match inbox.receive(incoming) {
                Ok(()) => return Ok(inbox.clone()),
                Err(Rejected::Full(returned)) => return Err(returned),
                Err(Rejected::Closed(returned)) => {
                    inboxes[key] = None;
                    incoming = returned;
                }
            }
        }
    }
}

impl Fabric for Host {
    fn open(&self, to: &WorkerKey, opening: Opening) -> Option<Arc<dyn Receive>> {
        match &self.links {
            Some(links) if matches!(opening.kind, Kind::Port) => {
                Some(Route::open(links.clone(), to, opening)?)
            }
            Some(links) => links.open(to, opening),
            None => self.open_here(to, opening),
        }
    }

    fn deliver(&self, to: &WorkerKey, incoming: Incoming) -> Result<(), Failure> {
        let key = self.keys.iter().position(|key| key == to);
        let key = key.ok_or_else(|| Failure::unavailable("there is no such worker"))?;
        match self.deliver(key, incoming) {
            Ok(_) => Ok(()),
            Err(_) => Err(Failure::overloaded("too many wait")),
        }
    }
}

impl Host {
    fn open_here(&self, to: &WorkerKey, opening: Opening) -> Option<Arc<dyn Receive>> {
        let key = self.keys.iter().position(|key| key == to)?;
        match self.deliver(key, Incoming::Opened(opening)) {
            Ok(inbox) => Some(inbox),
            Err(Incoming::Opened(opening)) => {
                opening.end.refuse(Failure::overloaded("too many wait"));
                None
            }
            Err(_) => None,
        }
    }
}

impl Log for Host {
    fn log(&self, _: LogLine<'_>) {}
}

/// The durable state of one instance of a worker.
pub(crate) struct Book {
    pub host: Arc<Host>,
    pub key: usize,
    pub fence: Fence,
}

impl Ledger for Book {
    fn commit(&self, batch: WriteBatch, _: Option<RequestName>, ticket: CommitTicket) {
        let (key, fence) = (self.key, self.fence);
        lock(&self.host.submitted).push_back(Submitted {
            key,
            fence,
            batch,
            ticket,
        });
    }

    fn read(&self, _: Vec<String>) -> Reading<BTreeMap<String, Value>> {
        Box::pin(async { Err(Error::Store("everything is loaded".to_owned())) })
    }

    fn list(&self, _: KeyRange) -> Reading<Vec<(String, Value)>> {
        Box::pin(async { Err(Error::Store("everything is loaded".to_owned())) })
    }

    fn is_leased(&self) -> bool {
        self.host.is_leased.load(Ordering::Relaxed)
    }

    fn is_owned(&self) -> bool {
        let fences = lock(&self.host.fences);
        let given = fences.get(self.fence.shard.0 as usize).copied().flatten();
        given == Some(self.fence)
    }

    fn alarm_outdated(&self, alarm: Alarm) {
        lock(&self.host.outdated).push_back((self.key, alarm));
    }
}

/// Says whether somebody was woken.
#[derive(Debug, Default)]
pub(crate) struct Woken(AtomicBool);

impl Woken {
    /// A waker, and what it sets. It is set already: nobody has looked yet.
    pub fn new() -> (Arc<Self>, Waker) {
        let woken = Arc::new(Self(AtomicBool::new(true)));
        (woken.clone(), Waker::from(woken))
    }

    pub fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}
