//! What happens to workers, for those who follow it from outside: that they wake, go to sleep, come and go.
//!
//! Nothing is kept while nobody follows, for then it would cost each wake a question to the store. Who comes back within a minute goes
//! on where it was; who comes later, or has fallen behind, is told so and has to look anew.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use portside_core::ids::{PodId, WorkerId, WorkerKey};
use portside_manage::{Before, Event, State, Worker};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};

use crate::app::App;

/// How many events are kept for those who come back.
const KEPT: usize = 10_000;
/// How many may wait to be told; it takes a question to the store to tell one.
const UNTOLD: usize = 10_000;
/// How long a process that ends waits for those to be told that happened last.
const LAST: Duration = Duration::from_secs(1);
/// For how long events are kept that nobody follows any more.
const LINGER: Duration = Duration::from_secs(60);

/// The events of one start of a process.
pub(crate) struct Events {
    /// No two starts have the same.
    start: String,
    /// Whether they are kept.
    followed: AtomicBool,
    happens: mpsc::Sender<Happened>,
    kept: Mutex<Kept>,
    /// The number of the last event, for those who wait for the next.
    last: watch::Sender<u64>,
}

enum Happened {
    /// It woke; whether anything was stored of it.
    Woke { worker: WorkerKey, stored: bool },
    /// It went to sleep.
    Slept(WorkerKey),
    /// What is stored of it has changed, while it slept.
    Stored(WorkerKey),
    /// Whoever asked wants to know when all before this has been told.
    Asked(oneshot::Sender<()>),
}

struct Kept {
    /// The number of the last event.
    seq: u64,
    events: VecDeque<Told>,
    followers: usize,
    /// When the last follower left.
    since: Instant,
    /// It has ended: there will be no more.
    is_over: bool,
}

struct Told {
    worker: WorkerId,
    /// What it was after it.
    after: Before,
    line: Bytes,
}

impl Kept {
    /// Where the event of this number is, or will be; nothing if it is not known any more.
    fn position(&self, seq: u64) -> Option<usize> {
        let first = self.seq + 1 - self.events.len() as u64;
        let position = seq.checked_sub(first)?;
        usize::try_from(position)
            .ok()
            .filter(|it| *it <= self.events.len())
    }

    /// What is kept does not tell all any more.
    fn forget(&mut self) {
        self.events.clear();
        self.seq += 1;
    }
}

/// The pod does not have what followed any more, or never had it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unknown;

impl Events {
    /// Of the process with this name, which is part of an application that it is given to when that is there.
    pub(crate) fn start(pod: PodId, app: Weak<App>) -> Arc<Self> {
        let (happens, happened) = mpsc::channel(UNTOLD);
        let events = Arc::new(Self {
            start: format!("{:032x}", pod.0),
            followed: AtomicBool::new(false),
            happens,
            kept: Mutex::new(Kept {
                seq: 0,
                events: VecDeque::new(),
                followers: 0,
                since: Instant::now(),
                is_over: false,
            }),
            last: watch::Sender::new(0),
        });
        tokio::spawn(tell(Arc::downgrade(&events), happened, app));
        events
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker has an instance; whether anything was stored of it before.
    pub(crate) fn woke(&self, worker: &WorkerKey, stored: bool) {
        self.happens(|| Happened::Woke {
            worker: worker.clone(),
            stored,
        });
    }

    /// A worker's instance is gone. The next one does not begin before this is called.
    pub(crate) fn slept(&self, worker: &WorkerKey) {
        self.happens(|| Happened::Slept(worker.clone()));
    }

    /// What is stored of a worker without an instance has changed.
    pub(crate) fn stored(&self, worker: &WorkerKey) {
        self.happens(|| Happened::Stored(worker.clone()));
    }

    fn happens(&self, what: impl FnOnce() -> Happened) {
        if !self.followed.load(Ordering::SeqCst) {
            return;
        }
        if self.happens.try_send(what()).is_err() {
            // More than can be told.
            self.forget();
        }
    }

    /// There will be no more events: all workers sleep, and that has been told.
    pub(crate) async fn end(&self) {
        let is_told = timeout(LAST, self.all_told()).await.is_ok();
        let mut kept = self.lock();
        if !is_told {
            kept.forget();
        }
        kept.is_over = true;
        drop(kept);
        self.last.send_modify(|_| ());
    }

    /// Something has happened that nobody is told.
    fn forget(&self) {
        self.lock().forget();
        self.last.send_modify(|_| ());
    }

    async fn all_told(&self) {
        let (tell, told) = oneshot::channel();
        if self.happens.send(Happened::Asked(tell)).await.is_ok() {
            // Nobody answers once the application is gone.
            let _ = told.await;
        }
    }

    /// Follows from now on, or from after an event of one start of a process.
    ///
    /// # Errors
    /// What came after that one is not known any more.
    pub(crate) async fn follow(
        self: &Arc<Self>,
        after: Option<(&str, u64)>,
    ) -> Result<Follower, Unknown> {
        let mut follower = self.follower(after)?;
        if after.is_none() {
            // What happened before is no news.
            self.all_told().await;
            follower.seq = self.lock().seq;
        }
        Ok(follower)
    }

    fn follower(self: &Arc<Self>, after: Option<(&str, u64)>) -> Result<Follower, Unknown> {
        let mut kept = self.lock();
        if let Some((start, seq)) = after {
            let is_known = start == self.start && kept.position(seq.saturating_add(1)).is_some();
            if !is_known || !self.followed.load(Ordering::SeqCst) {
                return Err(Unknown);
            }
        }
        if !self.followed.swap(true, Ordering::SeqCst) {
            kept.forget();
        }
        kept.followers += 1;
        Ok(Follower {
            seq: after.map_or(kept.seq, |(_, seq)| seq),
            last: self.last.subscribe(),
            events: self.clone(),
        })
    }

    fn tell(&self, before: Before, worker: Worker, key: &WorkerKey, gone: bool) {
        let after = match worker.state {
            _ if gone => Before::Absent,
            State::Awake => Before::Awake,
            State::Asleep => Before::Asleep,
        };
        let mut kept = self.lock();
        let seq = kept.seq + 1;
        let event = Event::Change {
            seq,
            before,
            worker: Box::new(worker),
            gone,
        };
        kept.seq = seq;
        kept.events.push_back(Told {
            worker: key.id(),
            after,
            line: line(&event),
        });
        if kept.events.len() > KEPT {
            kept.events.pop_front();
        }
        drop(kept);
        self.last.send_replace(seq);
    }

    /// What was told last of a worker, of late.
    fn last_told(&self, worker: WorkerId) -> Option<Before> {
        let kept = self.lock();
        let mut events = kept.events.iter().rev();
        Some(events.find(|told| told.worker == worker)?.after)
    }

    /// Keeps nothing that nobody has followed for a while.
    fn rest(&self) {
        let mut kept = self.lock();
        if kept.followers == 0 && kept.since.elapsed() >= LINGER {
            self.followed.store(false, Ordering::SeqCst);
            kept.forget();
        }
    }
}

/// Somebody who follows.
pub(crate) struct Follower {
    events: Arc<Events>,
    seq: u64,
    last: watch::Receiver<u64>,
}

impl Follower {
    /// The first line of what it is told.
    pub(crate) fn begin(&self) -> Bytes {
        line(&Event::Begin {
            start: self.events.start.clone(),
            seq: self.seq,
        })
    }

    /// The lines that come next, when there are some. After the last there is nothing: then the process ends, or this follower has
    /// fallen behind.
    pub(crate) async fn next(&mut self, patience: Duration) -> Option<Bytes> {
        let until = Instant::now() + patience;
        loop {
            self.last.borrow_and_update();
            if let Some(lines) = self.take()? {
                return Some(lines);
            }
            tokio::select! {
                changed = self.last.changed() => changed.ok()?,
                () = tokio::time::sleep_until(until) => return Some(line(&Event::Alive { seq: self.seq })),
            }
        }
    }

    /// What is there now.
    fn take(&mut self) -> Option<Option<Bytes>> {
        let kept = self.events.lock();
        let known = kept.position(self.seq + 1)?;
        let mut lines = Vec::new();
        for told in kept.events.range(known..) {
            lines.extend_from_slice(&told.line);
        }
        self.seq = kept.seq;
        if lines.is_empty() && kept.is_over {
            return None;
        }
        Some((!lines.is_empty()).then(|| lines.into()))
    }

    /// Whether there will be no more: the process ends in order.
    pub(crate) fn is_over(&self) -> bool {
        self.events.lock().is_over
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut kept = self.events.lock();
        kept.followers -= 1;
        kept.since = Instant::now();
    }
}

/// A line of JSON.
pub(crate) fn line(event: &Event) -> Bytes {
    // Texts, numbers and lists: nothing of it cannot be written.
    let mut line = serde_json::to_vec(event).unwrap_or_default();
    line.push(b'\n');
    line.into()
}

/// Tells what happens, in order, until the application is gone.
async fn tell(events: Weak<Events>, mut happened: mpsc::Receiver<Happened>, app: Weak<App>) {
    loop {
        let next = tokio::select! {
            next = happened.recv() => next,
            () = sleep(LINGER) => {
                let Some(events) = events.upgrade() else { return };
                events.rest();
                continue;
            }
        };
        let (Some(next), Some(events)) = (next, events.upgrade()) else {
            return;
        };
        let Some(app) = app.upgrade() else { return };
        events.rest();
        let (key, before, is_awake) = match next {
            Happened::Woke { worker, stored } => {
                let before = if stored {
                    Before::Asleep
                } else {
                    Before::Absent
                };
                (worker, before, true)
            }
            Happened::Slept(worker) => (worker, Before::Awake, false),
            Happened::Stored(worker) => (worker, Before::Asleep, false),
            Happened::Asked(asked) => {
                let _ = asked.send(());
                continue;
            }
        };
        // What happened is told a little later, and what is stored may be of after that: who is told is told one story.
        let before = events.last_told(key.id()).unwrap_or(before);
        match app.worker_as_of_event(&key, is_awake).await {
            // It has been told.
            Ok((_, true)) if before == Before::Absent => {}
            Ok((worker, gone)) => events.tell(before, worker, &key, gone),
            // What is not known cannot be told.
            Err(_) => events.forget(),
        }
    }
}
