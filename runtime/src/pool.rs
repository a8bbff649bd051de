//! Starts instances and chooses their threads.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deno_core::JsRuntime;
use portside_worker::activation::End;
use portside_worker::instance::InstanceOptions;

use crate::javascript;
use crate::thread::IsolateThread;
use crate::trim::Trimmer;
use crate::watchdog::Watchdog;

/// A thread that one instance has kept for longer gets no new ones meanwhile.
const STUCK: Duration = Duration::from_millis(20);

/// What to start.
pub struct Start {
    /// Who, with what, connected to what.
    pub options: InstanceOptions,
    /// The module to evaluate, a path in the bundle.
    pub module: String,
}

/// Where an instance runs.
#[derive(Clone)]
pub struct Place(Arc<IsolateThread>);

impl Place {
    /// Whether one instance has kept the thread for so long that others there wait noticeably.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        self.0.stuck_for() > STUCK
    }
}

/// The process's isolates and their threads.
pub struct IsolatePool {
    threads: Mutex<Vec<Arc<IsolateThread>>>,
    max_threads: usize,
    watchdog: Arc<Watchdog>,
    trimmer: Arc<Trimmer>,
}

impl IsolatePool {
    /// An engine with at most `max_threads` threads, started as they are needed.
    ///
    /// More threads than cores are wanted: instances on different threads cannot delay each other beyond their share of
    /// the CPU, those on one thread wait for each other's JavaScript.
    ///
    /// Must be called on the main thread before others run JavaScript: V8's memory protection keys are inherited.
    #[must_use]
    pub fn new(max_threads: usize) -> Self {
        // Set before V8 starts. The per-instance limit is checked after each slice; this bounds a single memory.
        deno_core::v8::V8::set_flags_from_string("--wasm-max-mem-pages=16384");
        // The unroller also takes loops' checks for termination away, from `for (;;) new Array(1000).fill(1)` for one:
        // then neither the CPU limit nor the heap limit could end it.
        deno_core::v8::V8::set_flags_from_string("--no-turboshaft-loop-unrolling");
        JsRuntime::init_platform(None);
        portside_surface::choose_cryptography();
        Self {
            threads: Mutex::default(),
            max_threads: max_threads.max(1),
            watchdog: Watchdog::start(),
            trimmer: Trimmer::start(),
        }
    }

    /// Starts an instance; `ended` is called once, on its thread, after the isolate is gone.
    ///
    /// # Errors
    /// The system has no room for another thread.
    pub fn start(
        &self,
        start: Start,
        ended: impl FnOnce(End) + Send + 'static,
    ) -> std::io::Result<Place> {
        let thread = self.choose()?;
        let trimmer = self.trimmer.clone();
        thread.spawn(move |slot| async move {
            let end = javascript::run(start, slot).await;
            trimmer.ended();
            ended(end);
        });
        Ok(Place(thread))
    }

    /// The least loaded thread that is not stuck, or a new one while there may be more.
    fn choose(&self) -> std::io::Result<Arc<IsolateThread>> {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let best = threads
            .iter()
            .min_by_key(|thread| (thread.stuck_for() > STUCK, thread.instances()))
            .filter(|best| best.instances() == 0 || threads.len() >= self.max_threads)
            .cloned();
        if let Some(best) = best {
            return Ok(best);
        }
        let thread = Arc::new(IsolateThread::start(&self.watchdog)?);
        threads.push(thread.clone());
        Ok(thread)
    }
}
