//! Ends JavaScript that runs too long without giving its thread back.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use deno_core::v8;

/// How often running slices are looked at; a limit is met this late at most.
const TICK: Duration = Duration::from_millis(5);

/// What one thread is running, for the watchdog to see.
pub struct Slot {
    state: Mutex<State>,
    clock: libc::clockid_t,
}

#[derive(Default)]
struct State {
    running: Option<Running>,
    /// Grows with each slice, so that two looks can tell whether it is still the same one.
    slices: u64,
    /// The slice and the thread's CPU time when the watchdog first saw it.
    seen: Option<(u64, Duration)>,
}

struct Running {
    handle: v8::IsolateHandle,
    limit: Duration,
    ended: bool,
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
            clock,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A slice begins; after `limit` of CPU time it is ended.
    pub fn begin(&self, handle: &v8::IsolateHandle, limit: Duration) {
        let mut state = self.lock();
        state.slices += 1;
        state.running = Some(Running {
            handle: handle.clone(),
            limit,
            ended: false,
        });
    }

    /// The slice is over. Returns whether the watchdog ended it: then the isolate must be discarded.
    pub fn finish(&self) -> bool {
        self.lock()
            .running
            .take()
            .is_some_and(|running| running.ended)
    }

    /// For how long the current slice has run, as far as the watchdog knows. Zero between slices.
    pub fn stuck_for(&self) -> Duration {
        let state = self.lock();
        match (&state.running, state.seen) {
            (Some(_), Some((slice, since))) if slice == state.slices => {
                self.cpu_time().saturating_sub(since)
            }
            _ => Duration::ZERO,
        }
    }

    /// Looks at the slice. Under the lock, so that the end of a slice and its termination cannot cross.
    fn inspect(&self) {
        let mut state = self.lock();
        let slices = state.slices;
        if state.running.is_none() {
            return;
        }
        let now = self.cpu_time();
        match state.seen {
            Some((slice, since)) if slice == slices => {
                if let Some(running) = &mut state.running
                    && now.saturating_sub(since) >= running.limit
                {
                    running.ended = true;
                    running.handle.terminate_execution();
                }
            }
            _ => state.seen = Some((slices, now)),
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
#[derive(Default)]
pub struct Watchdog {
    slots: Mutex<Vec<Weak<Slot>>>,
}

impl Watchdog {
    /// Starts the thread that looks; it ends with the last reference to the watchdog.
    pub fn start() -> Arc<Self> {
        let watchdog = Arc::new(Self::default());
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

    fn look(&self) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|slot| match slot.upgrade() {
            Some(slot) => {
                slot.inspect();
                true
            }
            None => false,
        });
    }
}
