//! Starts instances and chooses their threads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use deno_core::JsRuntime;
use portside_core::bundle::Bundle;
use portside_core::ids::WorkerKey;
use portside_core::limits::Limits;
use portside_surface::objects::database::Stored;
use portside_worker::activation::End;
use portside_worker::cell::Cell;
use portside_worker::host::Identity;
use portside_worker::instance::InstanceOptions;

use crate::inspector::Inspector;
use crate::javascript;
use crate::measures::{Gauge, Measures};
use crate::ready::{Recipe, Reserve};
use crate::script::Scripts;
use crate::thread::IsolateThread;
use crate::trim::Trimmer;
use crate::watchdog::{Unstoppable, Watchdog};

/// Threads whose numbers of instances differ by less than this are loaded alike.
const ALIKE: usize = 8;

/// What to start.
pub struct Start {
    /// Who, with what, connected to what.
    pub options: InstanceOptions,
    /// The module to evaluate, a path in the bundle.
    pub module: String,
    /// Where objects are sent that are to live with it.
    pub cell: Arc<Cell<Stored>>,
    /// Whether its module is only tried out: then it waits for no debugger.
    pub is_trial: bool,
}

/// Workers of one script that are about to wake.
pub struct Expected {
    /// One of them.
    pub worker: WorkerKey,
    /// The application.
    pub bundle: Arc<Bundle>,
    /// What each may use.
    pub limits: Arc<Limits>,
    /// How many they are.
    pub count: usize,
}

/// Where an instance runs.
#[derive(Clone)]
pub struct Place(Arc<IsolateThread>);

impl Place {
    /// Whether one instance has kept the thread for so long that others there wait noticeably.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        self.0.is_stuck()
    }
}

/// Threads of instances that are alike in how long they keep one.
struct Group {
    threads: Vec<Arc<IsolateThread>>,
    max: usize,
}

/// The process's isolates and their threads.
pub struct IsolatePool {
    groups: Mutex<Groups>,
    scripts: Scripts,
    watchdog: Arc<Watchdog>,
    trimmer: Arc<Trimmer>,
    reserve: Arc<Reserve>,
    /// Some are told to come.
    is_expecting: AtomicBool,
    inspector: Option<Arc<Inspector>>,
}

struct Groups {
    /// One thread per core, for instances of scripts that are brief: few threads have less to wake and to wait for.
    brief: Group,
    /// Many threads, for all others: instances on different threads cannot delay each other beyond their share of the
    /// CPU, those on one thread wait for each other's JavaScript.
    other: Group,
}

impl IsolatePool {
    /// A pool with one thread for each of `cores` for scripts that are known to be brief, and `others` for all others.
    /// Threads are started as they are needed.
    ///
    /// `give_up` is called, once, when JavaScript runs on that V8 cannot end: then the process should end, for a thread and
    /// all the instances there are lost. It must not wait for instances.
    ///
    /// Must be called on the main thread before others run JavaScript: V8's memory protection keys are inherited.
    #[must_use]
    pub fn new(
        cores: usize,
        others: usize,
        give_up: impl Fn(&Unstoppable) + Send + Sync + 'static,
    ) -> Self {
        // Set before V8 starts. How large a WebAssembly memory may be is known only once there are instances; what freezing
        // would guard of the flags it guards against code that can write anywhere.
        deno_core::v8::V8::set_flags_from_string("--no-freeze-flags-after-init");
        // The unroller also takes loops' checks for termination away, from `for (;;) new Array(1000).fill(1)` for one:
        // then neither the CPU limit nor the heap limit could end it.
        deno_core::v8::V8::set_flags_from_string("--no-turboshaft-loop-unrolling");
        // The baseline compiler has its functions in larger batches: with V8's 4 KiB it compiles, in each instance that
        // wakes, some forty functions that are seldom called again, a seventh of what a wake costs.
        deno_core::v8::V8::set_flags_from_string("--baseline-batch-compilation-threshold=65536");
        // V8's own way opens a file and reads a page of it, three times for each isolate.
        deno_core::v8::V8::set_entropy_source(|bytes: &mut [u8]| getrandom::fill(bytes).is_ok());
        JsRuntime::init_platform(None);
        portside_surface::choose_cryptography();
        let trimmer = Trimmer::start();
        Self {
            groups: Mutex::new(Groups {
                brief: Group::of(cores),
                other: Group::of(others),
            }),
            scripts: Scripts::default(),
            watchdog: Watchdog::start(Box::new(give_up)),
            reserve: Arc::new(Reserve::new(trimmer.clone())),
            trimmer,
            is_expecting: AtomicBool::new(false),
            inspector: None,
        }
    }

    /// The same, whose isolates can be inspected, each on a thread of its own as long as there are not more than `threads`: one
    /// that is paused keeps its thread. If they are to wait, each begins to run once a debugger attaches and says so.
    #[must_use]
    pub fn inspected(
        threads: usize,
        they_wait: bool,
        give_up: impl Fn(&Unstoppable) + Send + Sync + 'static,
    ) -> (Self, Arc<Inspector>) {
        let inspector = Arc::new(Inspector::new(they_wait));
        let pool = Self {
            inspector: Some(inspector.clone()),
            ..Self::new(threads, threads, give_up)
        };
        (pool, inspector)
    }

    /// As [`IsolatePool::new`], with isolates that can be inspected if they are asked for: these have threads of their own.
    #[must_use]
    pub fn inspected_on_request(
        cores: usize,
        others: usize,
        give_up: impl Fn(&Unstoppable) + Send + Sync + 'static,
    ) -> (Self, Arc<Inspector>) {
        let inspector = Arc::new(Inspector::on_request());
        let pool = Self {
            inspector: Some(inspector.clone()),
            ..Self::new(cores, others, give_up)
        };
        (pool, inspector)
    }

    /// Starts an instance; `begun` is called on its thread once the isolate is made, or cannot be, with what shows how much that uses, and
    /// `ended` once after it is gone.
    ///
    /// # Errors
    /// The system has no room for another thread.
    pub fn start(
        &self,
        start: Start,
        begun: impl FnOnce(Option<Gauge>) + Send + 'static,
        ended: impl FnOnce(End) + Send + 'static,
    ) -> std::io::Result<Place> {
        let script = self.scripts.of(&start.options.bundle, &start.module);
        let who = &start.options.identity;
        let inspector = self.inspector.clone().filter(|it| it.takes(who));
        let thread = match &inspector {
            // It ends with its instance. Nobody else is to wait while that is held up.
            Some(inspector) if inspector.is_on_request() => {
                Arc::new(IsolateThread::start(&self.watchdog, &self.reserve)?)
            }
            _ => self.choose(script.history.is_brief())?,
        };
        let trimmer = self.trimmer.clone();
        thread.spawn(move |here| async move {
            let end = javascript::run(start, script, here, inspector, begun).await;
            trimmer.ended();
            ended(end);
        });
        Ok(Place(thread))
    }

    /// How many threads it has started.
    #[must_use]
    pub fn threads(&self) -> usize {
        let groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        groups.brief.threads.len() + groups.other.threads.len()
    }

    /// What its isolates have and use, all together.
    #[must_use]
    pub fn measure(&self) -> Measures {
        let groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let threads = groups.brief.threads.iter().chain(&groups.other.threads);
        threads.fold(Measures::default(), |mut sum, thread| {
            sum += thread.measure();
            sum
        })
    }

    /// Bytes of compiled code that it keeps for instances that come.
    #[must_use]
    pub fn code_bytes(&self) -> usize {
        self.scripts.code_bytes()
    }

    /// How many isolates wait ready for workers that wake.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.reserve.count()
    }

    /// How many workers have woken in an isolate that waited ready.
    #[must_use]
    pub fn ready_used(&self) -> u64 {
        self.reserve.used()
    }

    /// Ends the JavaScript that an instance runs at this moment, if it does: the instance fails, as at its limit of CPU time. One that has
    /// given its thread back goes on.
    pub fn interrupt(&self, who: &Identity) {
        self.watchdog.interrupt(who);
    }

    /// These workers are about to wake, and no others: isolates wait ready for them, as far as time allows, if their scripts are
    /// known to be brief; none is made while `most` wait, whatever for. What is made for workers that do not wake is given up after a
    /// minute. To be told several times a second, as long as they are to come.
    pub fn expect(&self, all: Vec<Expected>, most: usize) {
        self.reserve.set_most(most);
        let recipes: Vec<_> = all.into_iter().filter_map(|one| self.recipe(one)).collect();
        let is_expecting = !recipes.is_empty();
        if !self.is_expecting.swap(is_expecting, Ordering::Relaxed) && !is_expecting {
            return;
        }
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        if is_expecting {
            groups.brief.fill(&self.watchdog, &self.reserve);
        }
        let threads = &groups.brief.threads;
        for (place, thread) in threads.iter().enumerate() {
            // Each its part of every script's.
            let part = |(recipe, count): &(Recipe, usize)| {
                (recipe.clone(), (count + place) / threads.len())
            };
            thread.expect(recipes.iter().map(part).collect());
        }
    }

    /// What to make for workers that are about to wake; nothing if that would be of no use.
    fn recipe(&self, expected: Expected) -> Option<(Recipe, usize)> {
        let module = expected.worker.script().to_owned();
        let script = self.scripts.of(&expected.bundle, &module);
        let recipe = Recipe {
            who: Identity::Worker(expected.worker),
            bundle: expected.bundle,
            module,
            script,
            limits: expected.limits,
            inspector: None,
        };
        let is_of_use = recipe.script.history.is_brief();
        is_of_use.then_some((recipe, expected.count))
    }

    /// Whether isolates that wait are no use to this worker, for its own is to be inspected.
    #[must_use]
    pub fn inspects(&self, worker: &WorkerKey) -> bool {
        let who = || Identity::Worker(worker.clone());
        self.inspector.as_ref().is_some_and(|it| it.takes(&who()))
    }

    /// Whether memory is too tight to have more isolates wait.
    pub fn set_tight(&self, is_tight: bool) {
        self.reserve.set_tight(is_tight);
    }

    /// Gives up the isolates that wait, soon after: about a thousand in a second on each thread that is not stuck.
    pub fn give_up_ready(&self) {
        self.each_thread(|thread| thread.give_up_ready(|_| true));
    }

    /// No instance of this application will start any more: gives up those that wait for one.
    pub fn forget(&self, bundle: &Arc<Bundle>) {
        self.each_thread(|thread| {
            let bundle = bundle.clone();
            thread.give_up_ready(move |recipe| Arc::ptr_eq(&recipe.bundle, &bundle));
        });
    }

    fn each_thread(&self, f: impl Fn(&IsolateThread)) {
        let groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let threads = groups.brief.threads.iter().chain(&groups.other.threads);
        threads.for_each(|thread| f(thread));
    }

    fn choose(&self, brief: bool) -> std::io::Result<Arc<IsolateThread>> {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        if brief {
            let thread = groups.brief.choose(&self.watchdog, &self.reserve)?;
            if !thread.is_stuck() {
                return Ok(thread);
            }
        }
        groups.other.choose(&self.watchdog, &self.reserve)
    }
}

impl Group {
    fn of(threads: usize) -> Self {
        Self {
            threads: Vec::new(),
            max: threads.max(1),
        }
    }

    /// Starts all threads that there may be, as far as the system has room for them.
    fn fill(&mut self, watchdog: &Watchdog, reserve: &Arc<Reserve>) {
        while self.threads.len() < self.max && self.add(watchdog, reserve).is_ok() {}
    }

    fn add(
        &mut self,
        watchdog: &Watchdog,
        reserve: &Arc<Reserve>,
    ) -> std::io::Result<Arc<IsolateThread>> {
        let thread = Arc::new(IsolateThread::start(watchdog, reserve)?);
        self.threads.push(thread.clone());
        Ok(thread)
    }

    /// The least loaded thread that is not stuck, or a new one while there may be more. Of those that are loaded nearly alike
    /// one where isolates wait.
    fn choose(
        &mut self,
        watchdog: &Watchdog,
        reserve: &Arc<Reserve>,
    ) -> std::io::Result<Arc<IsolateThread>> {
        let best = self
            .threads
            .iter()
            .min_by_key(|thread| {
                let instances = thread.instances();
                let none_waits = thread.ready() == 0;
                (thread.is_stuck(), instances / ALIKE, none_waits, instances)
            })
            .filter(|best| best.instances() == 0 || self.threads.len() >= self.max);
        if let Some(best) = best {
            return Ok(best.clone());
        }
        self.add(watchdog, reserve)
    }
}
