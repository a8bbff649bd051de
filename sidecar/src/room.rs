//! Room for instances: how many workers may be awake, and how short of memory the process is.
//!
//! What follows from both, core's [`portside_core::admission`] decides.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use portside_core::admission::{
    Admission, Memory, Pressure, Shortage, admit, default_cap, most_expected,
};
use portside_core::limits::Limits;
use tokio::time::Instant;

use crate::app::App;
use crate::expected;
use crate::memory::{self, Meter};

/// How often memory is looked at when nobody wants room.
const LOOK: Duration = Duration::from_millis(250);

/// While memory is short, malloc is asked this often to give back what ended instances had: it costs a fraction of a second.
const GIVE_BACK: Duration = Duration::from_secs(5);

/// How long isolates that wait take to be given up.
const GIVE_UP: Duration = Duration::from_millis(50);

/// Who wants room sees a look that is no older than this: a hundred instances may start between two of the others.
const FRESH: Duration = Duration::from_millis(20);

/// What a process has room for, and what it did about it.
pub struct Room {
    meter: Meter,
    default_cap: usize,
    /// How much memory the process may use, or the machine has, in bytes.
    size: u64,
    seen: Mutex<Seen>,
    starting: Arc<AtomicUsize>,
    refused: Refused,
    put_to_sleep: AtomicU64,
}

/// The last look at the memory.
struct Seen {
    at: Instant,
    memory: Option<Memory>,
    pressure: Pressure,
}

/// An instance that is being started, and has not taken its memory yet. Until this is dropped.
pub struct Starting(Arc<AtomicUsize>);

impl Drop for Starting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Wakes, and starts of servers, that were refused.
#[derive(Default)]
struct Refused {
    workers: AtomicU64,
    memory: AtomicU64,
}

impl Refused {
    fn of(&self, shortage: Shortage) -> &AtomicU64 {
        match shortage {
            Shortage::Workers => &self.workers,
            Shortage::Memory => &self.memory,
        }
    }
}

impl Room {
    /// By that meter, which is asked for the first time here.
    pub fn new(meter: Meter) -> Self {
        let memory = meter();
        let limit = memory.map(|memory| memory.limit);
        let size = limit.or_else(memory::of_machine).unwrap_or(u64::MAX);
        let seen = Seen {
            at: Instant::now(),
            memory,
            pressure: Pressure::None.after(memory, 0),
        };
        Self {
            meter,
            default_cap: default_cap(size),
            size,
            seen: Mutex::new(seen),
            starting: Arc::default(),
            refused: Refused::default(),
            put_to_sleep: AtomicU64::new(0),
        }
    }

    /// Another instance is being started.
    pub fn starts(&self) -> Starting {
        self.starting.fetch_add(1, Ordering::Relaxed);
        Starting(self.starting.clone())
    }

    /// How many workers of a class with these limits may be awake.
    pub fn cap(&self, limits: &Limits) -> usize {
        limits.awake_workers.unwrap_or(self.default_cap)
    }

    /// How many isolates may wait where workers are about to wake, by the last look at the memory; so many do already.
    pub fn most_expected(&self, waiting: usize) -> usize {
        let (_, memory) = self.last_look();
        most_expected(self.size, memory, waiting)
    }

    /// Whether another worker may be woken beside `awake` ones.
    pub fn admit_worker(&self, awake: usize, limits: &Limits) -> Admission {
        admit(awake, self.cap(limits), self.look(FRESH))
    }

    /// Whether another server may be started beside so many workers and servers. No number of workers stands in its way.
    pub fn admit_server(&self, running: usize) -> Admission {
        admit(running, usize::MAX, self.look(FRESH))
    }

    /// The pressure, and the memory it was judged by, at the last look.
    pub fn last_look(&self) -> (Pressure, Option<Memory>) {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        (seen.pressure, seen.memory)
    }

    /// Somebody was refused.
    pub fn refused(&self, shortage: Shortage) {
        self.refused.of(shortage).fetch_add(1, Ordering::Relaxed);
    }

    /// How many were refused for this.
    pub fn count_refused(&self, shortage: Shortage) -> u64 {
        self.refused.of(shortage).load(Ordering::Relaxed)
    }

    /// So many workers were put to sleep before their time.
    pub fn put_to_sleep(&self, workers: usize) {
        self.put_to_sleep
            .fetch_add(workers as u64, Ordering::Relaxed);
    }

    /// How many workers were put to sleep before their time.
    pub fn count_put_to_sleep(&self) -> u64 {
        self.put_to_sleep.load(Ordering::Relaxed)
    }

    /// The pressure, by a look at the memory that is no older than this.
    fn look(&self, max_age: Duration) -> Pressure {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.at.elapsed() >= max_age {
            seen.memory = (self.meter)();
            seen.at = Instant::now();
        }
        let before = seen.pressure;
        let starting = self.starting.load(Ordering::Relaxed);
        let pressure = before.after(seen.memory, starting);
        seen.pressure = pressure;
        let now = seen.memory;
        drop(seen);
        let (used, limit) = now.map_or((0, 0), |memory| (memory.used, memory.limit));
        match pressure {
            same if same == before => {}
            Pressure::None => tracing::info!(used, limit, "memory is not short any more"),
            Pressure::Short => {
                tracing::warn!(
                    used,
                    limit,
                    "memory is short: idle workers are put to sleep"
                );
            }
            Pressure::NearlyOut => {
                tracing::warn!(used, limit, "memory is nearly used up: no worker is woken");
            }
        }
        pressure
    }
}

/// Looks at the memory as long as the application lives, and makes room when it is short: first by what nobody uses.
pub async fn watch(app: Weak<App>) {
    let mut gave_back: Option<Instant> = None;
    let mut waited = usize::MAX;
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(app) = app.upgrade() else { return };
        let pressure = app.room().look(FRESH);
        let (_, memory) = app.room().last_look();
        let is_tight = pressure != Pressure::None || memory.is_some_and(Memory::is_tight);
        app.isolates().set_tight(is_tight);
        if is_tight || app.is_closing() {
            app.isolates().expect(vec![], 0);
        } else {
            expected::look(&app);
        }
        if pressure == Pressure::None {
            waited = usize::MAX;
            continue;
        }
        // As long as they become fewer: a thread that is stuck does not give its own up.
        let waiting = app.isolates().ready();
        let gives_up_ready = waiting > 0 && waiting < waited;
        waited = waiting;
        if gives_up_ready {
            app.isolates().give_up_ready();
            drop(app);
            tokio::time::sleep(GIVE_UP).await;
        } else {
            app.workers().relieve(&app, pressure);
            drop(app);
        }
        if gives_up_ready || gave_back.is_none_or(|at| at.elapsed() > GIVE_BACK) {
            gave_back = Some(Instant::now());
            // Nothing depends on its end.
            drop(tokio::task::spawn_blocking(portside_runtime::trim_memory));
        }
    }
}

/// The text of a refusal, for developers.
pub fn refusal(shortage: Shortage) -> &'static str {
    match shortage {
        Shortage::Workers => "too many workers are awake",
        Shortage::Memory => "the process is short of memory",
    }
}
