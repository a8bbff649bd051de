//! Ends JavaScript that runs too long without giving its thread back, and says when it cannot be ended. Has it look at its
//! memory meanwhile.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use portside_worker::host::Identity;

use crate::isolate::Usage;
use crate::measures::{Isolates, Measures};
use crate::script::Script;

/// How often running slices are looked at; a limit is met this late at most.
const TICK: Duration = Duration::from_millis(5);

/// A slice of more CPU time is long: others on its thread wait noticeably.
const LONG: Duration = Duration::from_millis(20);

/// How much CPU time a slice may use after it was ended. Some functions of V8 never look whether they shall end
/// (`indexOf` on an array of 2^53 elements), and nothing but the end of the process stops those. Those that do look, and
/// a collection of garbage in between, are done long before.
const GRACE: Duration = Duration::from_secs(5);

/// JavaScript that goes on although it was ended. Its thread is lost, with all the instances there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unstoppable {
    /// Whose it is.
    pub who: Identity,
    /// The limit of CPU time at which it was ended.
    pub limit: Duration,
}

impl fmt::Display for Unstoppable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.who {
            Identity::Server => f.write_str("the server")?,
            Identity::Worker(key) => write!(f, "the worker {key}")?,
            Identity::Object(object) => write!(f, "the object {object}")?,
        }
        write!(
            f,
            " went over its limit of {:?} of CPU time inside of a function of V8 that cannot be ended (one on a huge \
             array, or on an iterator without an end): the process has to end",
            self.limit
        )
    }
}

/// Hears, once and on the watchdog's thread, of JavaScript that cannot be ended.
pub type GiveUp = Box<dyn Fn(&Unstoppable) + Send + Sync>;

/// What one thread is running, for the watchdog to see, and the isolates that it has.
pub struct Slot {
    state: Mutex<State>,
    /// Those that there are, whether they run or not.
    pub isolates: Isolates,
    clock: libc::clockid_t,
}

#[derive(Default)]
struct State {
    /// What runs, and since when.
    running: Option<(Arc<Watched>, Instant)>,
    /// What the watchdog knows of the slice that runs, once it has seen it.
    seen: Option<Seen>,
    /// How many slices have begun.
    slices: u64,
}

/// A slice that runs.
#[derive(Clone, Copy)]
struct Seen {
    /// The thread's CPU time when the watchdog first saw it.
    since: Duration,
    /// It was found to be long.
    long: bool,
}

/// An instance, as the watchdog knows it.
pub struct Watched {
    who: Identity,
    usage: Arc<Usage>,
    limit: Duration,
    script: Arc<Script>,
    /// How many debuggers it has, if it can have any. While it has one, no time counts.
    debuggers: Option<Arc<AtomicUsize>>,
    ended: AtomicBool,
    /// It was ended because somebody wanted that, not at its limit.
    interrupted: AtomicBool,
}

impl Watched {
    /// An instance whose isolate is ended after `limit` of CPU time in one slice.
    pub fn new(who: Identity, usage: Arc<Usage>, limit: Duration, script: Arc<Script>) -> Self {
        Self {
            who,
            usage,
            limit,
            script,
            debuggers: None,
            ended: AtomicBool::new(false),
            interrupted: AtomicBool::new(false),
        }
    }

    /// The same, with so many debuggers at each moment.
    pub fn debugged_by(self, debuggers: Option<Arc<AtomicUsize>>) -> Self {
        Self { debuggers, ..self }
    }

    fn is_debugged(&self) -> bool {
        let debuggers = self.debuggers.as_ref();
        debuggers.is_some_and(|count| count.load(Ordering::SeqCst) > 0)
    }

    /// What to say if the watchdog ended one of its slices.
    pub fn exceeded(&self) -> Option<String> {
        let limit = self.limit;
        self.is_ended().then(|| {
            if self.interrupted.load(Ordering::Relaxed) {
                return "one event went on after the instance was to end".to_owned();
            }
            format!("one event used more than {limit:?} of CPU time")
        })
    }

    /// Whether the watchdog ended one of its slices: then the isolate must be discarded.
    pub fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
        self.usage.terminate();
    }
}

impl Slot {
    /// The calling thread's slot.
    #[expect(unsafe_code, reason = "pthread calls")]
    pub fn of_this_thread() -> Arc<Self> {
        let mut clock = 0;
        // SAFETY: the calling thread exists, and `clock` is a valid place to write to.
        let failed = unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &raw mut clock) };
        assert_eq!(failed, 0, "this thread has a CPU clock");
        Arc::new(Self {
            state: Mutex::default(),
            isolates: Isolates::default(),
            clock,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A slice begins; after its limit of CPU time it is ended.
    pub fn begin(&self, watched: &Arc<Watched>) {
        let mut state = self.lock();
        state.running = Some((watched.clone(), Instant::now()));
        state.seen = None;
        state.slices += 1;
    }

    /// The slice is over. Under the lock, so that the end of a slice and its termination cannot cross.
    pub fn finish(&self) {
        let (running, seen) = {
            let mut state = self.lock();
            (state.running.take(), state.seen.take())
        };
        let Some((running, since)) = running else {
            return;
        };
        running.usage.has_run(since.elapsed());
        if !seen.is_some_and(|seen| seen.long) {
            running.script.history.short_stretch();
        }
    }

    /// Ends the slice that runs here, if it is that one's.
    fn interrupt(&self, who: &Identity) {
        let state = self.lock();
        if let Some((running, _)) = &state.running
            && running.who == *who
        {
            running.interrupted.store(true, Ordering::Relaxed);
            running.end();
        }
    }

    /// How many slices have begun here.
    pub fn slices(&self) -> u64 {
        self.lock().slices
    }

    /// Whether one instance has kept the thread for so long that others there wait noticeably, as far as the watchdog
    /// knows.
    pub fn is_stuck(&self) -> bool {
        self.lock().seen.is_some_and(|seen| seen.long)
    }

    /// Looks at the slice. Says if it cannot be ended.
    fn inspect(&self) -> Option<Unstoppable> {
        let mut state = self.lock();
        let State { running, seen, .. } = &mut *state;
        let (running, _) = running.as_ref()?;
        running.usage.look();
        let now = self.cpu_time();
        let Some(seen) = seen else {
            *seen = Some(Seen {
                since: now,
                long: false,
            });
            return None;
        };
        if running.is_debugged() {
            seen.since = now;
        }
        let used = now.saturating_sub(seen.since);
        if used > LONG && !seen.long {
            seen.long = true;
            running.script.history.long_stretch();
        }
        if used >= running.limit {
            running.end();
        }
        (used >= running.limit + GRACE).then(|| Unstoppable {
            who: running.who.clone(),
            limit: running.limit,
        })
    }

    /// What its isolates have, and the thread has used.
    pub fn measure(&self) -> Measures {
        Measures {
            cpu: self.cpu_time(),
            ..self.isolates.measure()
        }
    }

    #[expect(unsafe_code, reason = "clock_gettime")]
    fn cpu_time(&self) -> Duration {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: `time` is a valid place to write to. A thread that ended makes this fail and leaves zero.
        unsafe { libc::clock_gettime(self.clock, &raw mut time) };
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        Duration::from_secs(seconds)
            + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or(0))
    }
}

/// The slots of an engine's threads.
pub struct Watchdog {
    slots: Mutex<Vec<Weak<Slot>>>,
    give_up: GiveUp,
    gave_up: AtomicBool,
}

impl Watchdog {
    /// Starts the thread that looks; it ends with the last reference to the watchdog. `give_up` is called for JavaScript
    /// that cannot be ended.
    pub fn start(give_up: GiveUp) -> Arc<Self> {
        let watchdog = Arc::new(Self {
            slots: Mutex::default(),
            give_up,
            gave_up: AtomicBool::new(false),
        });
        let watched = Arc::downgrade(&watchdog);
        std::thread::Builder::new()
            .name("watchdog".into())
            .spawn(move || {
                while let Some(watchdog) = watched.upgrade() {
                    watchdog.look();
                    drop(watchdog);
                    std::thread::sleep(TICK);
                }
            })
            .expect("the system has room for a thread");
        watchdog
    }

    /// Watches another thread.
    pub fn watch(&self, slot: &Arc<Slot>) {
        self.slots
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::downgrade(slot));
    }

    /// Ends the slice that an instance runs now, if it does.
    pub fn interrupt(&self, who: &Identity) {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slots = slots.iter().filter_map(Weak::upgrade);
        slots.for_each(|slot| slot.interrupt(who));
    }

    fn look(&self) {
        let mut unstoppable = None;
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|slot| match slot.upgrade() {
            Some(slot) => {
                unstoppable = slot.inspect().or(unstoppable.take());
                true
            }
            None => false,
        });
        drop(slots);
        if let Some(unstoppable) = unstoppable
            && !self.gave_up.swap(true, Ordering::Relaxed)
        {
            (self.give_up)(&unstoppable);
        }
    }
}
