//! A thread that runs isolates, many at a time.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use portside_worker::host::Identity;
use tokio::sync::{Notify, mpsc};

use crate::measures::Measures;
use crate::ready::{Ready, Recipe, Reserve, Stock};
use crate::trim::Trimmer;
use crate::watchdog::{Slot, Watchdog};

/// V8 takes about 1 MiB below the point where an isolate is made; the rest is for Rust above it.
const STACK_BYTES: usize = 4 << 20;

type Task = Pin<Box<dyn Future<Output = ()>>>;
type Job = Box<dyn FnOnce(Rc<Here>) -> Task + Send>;

/// What a thread has for the instances that run on it.
pub struct Here {
    /// What it is running.
    pub slot: Arc<Slot>,
    /// Isolates that wait for instances of scripts that are known to be brief.
    stock: Stock,
}

impl Here {
    /// Who counts what has ended.
    pub fn trimmer(&self) -> Arc<Trimmer> {
        self.stock.trimmer()
    }

    /// Takes an isolate that waits for a worker. There is one server of a class, so none waits for that.
    pub fn take_ready(&self, recipe: &Recipe) -> Option<Ready> {
        let is_brief = recipe.script.history.is_brief();
        let is_worker = matches!(recipe.who, Identity::Worker(_));
        (is_brief && is_worker).then(|| self.stock.take(recipe))?
    }
}

/// A running thread. Ends when this is dropped and its last instance has ended.
pub struct IsolateThread {
    jobs: mpsc::UnboundedSender<Job>,
    slot: Arc<Slot>,
    instances: Arc<AtomicUsize>,
    ready: Arc<AtomicUsize>,
}

impl IsolateThread {
    /// Starts a thread, watched by `watchdog`.
    pub fn start(watchdog: &Watchdog, reserve: &Arc<Reserve>) -> std::io::Result<Self> {
        let (jobs, incoming) = mpsc::unbounded_channel::<Job>();
        let (begun, slot) = std::sync::mpsc::channel();
        let ready = Arc::<AtomicUsize>::default();
        let (reserve, count) = (reserve.clone(), ready.clone());
        std::thread::Builder::new()
            .name("isolates".into())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let here = Rc::new(Here {
                    slot: Slot::of_this_thread(),
                    stock: Stock::new(reserve, count),
                });
                // The starter waits for this, so it is there to receive it.
                let _ = begun.send(here.slot.clone());
                run(here, incoming);
            })?;
        let slot = slot.recv().map_err(std::io::Error::other)?;
        watchdog.watch(&slot);
        Ok(Self {
            jobs,
            slot,
            instances: Arc::default(),
            ready,
        })
    }

    /// Runs an instance here.
    pub fn spawn<F>(&self, job: impl FnOnce(Rc<Here>) -> F + Send + 'static)
    where
        F: Future<Output = ()> + 'static,
    {
        self.instances.fetch_add(1, Ordering::Relaxed);
        let instances = self.instances.clone();
        self.send(move |here| {
            let task = job(here);
            async move {
                task.await;
                instances.fetch_sub(1, Ordering::Relaxed);
            }
        });
    }

    /// Gives up the isolates that wait here for these scripts.
    pub fn give_up_ready(&self, of: impl Fn(&Recipe) -> bool + Send + 'static) {
        self.send(|here| async move { here.stock.give_up(of).await });
    }

    /// So many instances are to come soon; of other scripts none.
    pub fn expect(&self, all: Vec<(Recipe, usize)>) {
        self.send(|here| async move { here.stock.expect(&all) });
    }

    fn send<F>(&self, job: impl FnOnce(Rc<Here>) -> F + Send + 'static)
    where
        F: Future<Output = ()> + 'static,
    {
        let job: Job = Box::new(|here| Box::pin(job(here)));
        // The thread reads as long as this sender lives.
        let _ = self.jobs.send(job);
    }

    /// How many isolates wait here.
    pub fn ready(&self) -> usize {
        self.ready.load(Ordering::Relaxed)
    }

    /// How many instances run here.
    pub fn instances(&self) -> usize {
        self.instances.load(Ordering::Relaxed)
    }

    /// What the isolates here have, and the thread has used.
    pub fn measure(&self) -> Measures {
        self.slot.measure()
    }

    /// Whether one instance has kept the thread for so long that others here wait noticeably.
    pub fn is_stuck(&self) -> bool {
        self.slot.is_stuck()
    }
}

/// Runs what comes, until there is nobody left who could send it and all of it has ended.
fn run(here: Rc<Here>, mut incoming: mpsc::UnboundedReceiver<Job>) {
    let parks = Arc::new(Notify::new());
    let parking = parks.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .on_thread_park(move || parking.notify_waiters())
        .build()
        .expect("the system has room for an event loop");
    let local = tokio::task::LocalSet::new();
    let keeper = here.clone();
    let keeping = local.spawn_local(async move { keeper.stock.keep(&keeper.slot, &parks).await });
    local.block_on(&runtime, async {
        while let Some(job) = incoming.recv().await {
            tokio::task::spawn_local(job(here.clone()));
            // Making an isolate takes milliseconds: the next one comes after what the others have to do.
            tokio::task::yield_now().await;
        }
        keeping.abort();
        here.stock.give_up(|_| true).await;
    });
    // Instances that still run go on to their end.
    runtime.block_on(local);
}
