//! A thread that runs isolates, many at a time.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;

use crate::watchdog::{Slot, Watchdog};

/// V8 takes about 1 MiB below the point where an isolate is made; the rest is for Rust above it.
const STACK_BYTES: usize = 4 << 20;

type Task = Pin<Box<dyn Future<Output = ()>>>;
type Job = Box<dyn FnOnce(Arc<Slot>) -> Task + Send>;

/// A running thread. Ends when this is dropped and its last instance has ended.
pub struct IsolateThread {
    jobs: mpsc::UnboundedSender<Job>,
    slot: Arc<Slot>,
    instances: Arc<AtomicUsize>,
}

impl IsolateThread {
    /// Starts a thread, watched by `watchdog`.
    pub fn start(watchdog: &Watchdog) -> std::io::Result<Self> {
        let (jobs, mut incoming) = mpsc::unbounded_channel::<Job>();
        let (ready, slot) = std::sync::mpsc::channel();
        std::thread::Builder::new()
            .name("isolates".into())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let slot = Slot::of_this_thread();
                // The starter waits for this, so it is there to receive it.
                let _ = ready.send(slot.clone());
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("the system has room for an event loop");
                let local = tokio::task::LocalSet::new();
                local.block_on(&runtime, async move {
                    while let Some(job) = incoming.recv().await {
                        tokio::task::spawn_local(job(slot.clone()));
                        // Making an isolate takes milliseconds: the next one comes after what the others have to do.
                        tokio::task::yield_now().await;
                    }
                });
                // Instances that still run go on to their end.
                runtime.block_on(local);
            })?;
        let slot = slot.recv().map_err(std::io::Error::other)?;
        watchdog.watch(&slot);
        Ok(Self {
            jobs,
            slot,
            instances: Arc::default(),
        })
    }

    /// Runs an instance here.
    pub fn spawn<F>(&self, job: impl FnOnce(Arc<Slot>) -> F + Send + 'static)
    where
        F: Future<Output = ()> + 'static,
    {
        self.instances.fetch_add(1, Ordering::Relaxed);
        let instances = self.instances.clone();
        let job: Job = Box::new(move |slot| {
            let task = job(slot);
            Box::pin(async move {
                task.await;
                instances.fetch_sub(1, Ordering::Relaxed);
            })
        });
        // The thread reads as long as this sender lives.
        let _ = self.jobs.send(job);
    }

    /// How many instances run here.
    pub fn instances(&self) -> usize {
        self.instances.load(Ordering::Relaxed)
    }

    /// Whether one instance has kept the thread for so long that others here wait noticeably.
    pub fn is_stuck(&self) -> bool {
        self.slot.is_stuck()
    }
}
