//! Isolates that wait ready for instances that come: with the surface and the modules of one script in them, and nothing of
//! the application evaluated. Each is used once.
//!
//! They are made when their thread has nothing else to do, so that a wake need not wait until one is made: some where instances
//! have started, and as many as are told to come.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use deno_core::futures::FutureExt;
use deno_core::{JsRuntime, ModuleId};
use portside_core::bundle::Bundle;
use portside_core::limits::Limits;
use portside_surface::lifecycle;
use portside_worker::host::Identity;
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;

use crate::demand::Demand;
use crate::dispatch::Dispatch;
use crate::inspector::Inspector;
use crate::isolate::Isolate;
use crate::javascript::shown;
use crate::loader::BundleLoader;
use crate::script::Script;
use crate::trim::Trimmer;
use crate::watchdog::{Slot, Watched};

/// How often those are given up that the time since has not used.
const PERIOD: Duration = Duration::from_secs(30);

/// The most that wait on one thread, of all scripts, but for those that are told to come. Each takes about 3 ms to make, and 2.2 MB.
const MOST: usize = 16;

/// The same, in a process.
const MOST_IN_PROCESS: usize = 64;

/// A thread that has run no JavaScript for so long has nothing to do, most likely.
const QUIET: Duration = Duration::from_millis(5);

/// How often to look whether it has been quiet, before the next moment without work must do.
const LOOKS: usize = 20;

/// What an isolate is made for: any instance of one script, with these limits.
#[derive(Clone)]
pub struct Recipe {
    /// Who needs it; of those that wait, who needed the one before.
    pub who: Identity,
    /// The application.
    pub bundle: Arc<Bundle>,
    /// The script's module.
    pub module: String,
    /// What is known of the script.
    pub script: Arc<Script>,
    /// What it may use.
    pub limits: Arc<Limits>,
    /// Who wants to inspect it, if somebody does.
    pub inspector: Option<Arc<Inspector>>,
}

impl Recipe {
    /// Whether what is made for one can be used for the other.
    fn is_like(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.script, &other.script) && self.limits == other.limits
    }
}

/// An isolate in which an instance can begin. Must be discarded if none does.
pub struct Ready {
    pub isolate: Isolate,
    pub loader: Rc<BundleLoader>,
    pub dispatch: Dispatch,
    /// What is to be evaluated.
    pub module: ModuleId,
}

impl Ready {
    /// Makes one. Takes about 3 ms, and longer the first time that the script's modules are compiled.
    ///
    /// # Errors
    /// The module, or one that it imports, does not exist or is not JavaScript, or a limit was met.
    pub fn new(recipe: &Recipe, slot: &Slot) -> Result<Self, String> {
        let Recipe { script, limits, .. } = recipe;
        let is_inspected = recipe.inspector.is_some();
        let bundle = recipe.bundle.clone();
        let loader = Rc::new(BundleLoader::new(bundle, script.clone(), is_inspected));
        let mut isolate = Isolate::new(loader.clone(), limits, script.parts.clone());
        slot.isolates.add(&isolate.usage());
        let who = recipe.who.clone();
        let watched = Watched::new(who, isolate.usage(), limits.cpu, script.clone());
        let watched = Arc::new(watched);
        slot.begin(&watched);
        let loaded = isolate.with(|runtime| {
            let dispatch = Dispatch::start(runtime)?;
            if is_inspected {
                // Not later: debuggers see no module that was compiled before. Not sooner: V8 looks at the console.
                lifecycle::is_inspected(&mut runtime.op_state().borrow_mut());
                runtime.maybe_init_inspector();
            }
            match load(runtime, &recipe.module, Use::Main) {
                Ok(module) => Ok((dispatch, module)),
                Err(message) => {
                    drop(dispatch);
                    Err(message)
                }
            }
        });
        slot.finish();
        // Of what a limit has ended V8 says nothing, or that it succeeded.
        let limit = watched.exceeded().or_else(|| {
            let memory = loaded.is_err().then(|| isolate.exhausted()).flatten()?;
            Some(format!("{memory} went over its limit"))
        });
        match (loaded, limit) {
            (Ok((dispatch, module)), None) => Ok(Self {
                isolate,
                loader,
                dispatch,
                module,
            }),
            (Ok((dispatch, _)), Some(limit)) => {
                isolate.with(move |_| drop(dispatch));
                Err(limit)
            }
            (Err(message), limit) => Err(limit.unwrap_or(message)),
        }
    }

    fn discard(self) {
        let Self {
            mut isolate,
            dispatch,
            ..
        } = self;
        isolate.with(move |_| drop(dispatch));
    }
}

/// What a module is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// It is the one that is evaluated.
    Main,
    /// That imports it.
    Dependency,
}

/// Loads a module and all it imports; everything is in memory, so this does not wait.
pub fn load(runtime: &mut JsRuntime, module: &str, usage: Use) -> Result<ModuleId, String> {
    let url = BundleLoader::url(module).map_err(|error| error.to_string())?;
    let mut loading = match usage {
        Use::Main => runtime.load_main_es_module(&url).boxed_local(),
        Use::Dependency => runtime.load_side_es_module(&url).boxed_local(),
    };
    let mut cx = Context::from_waker(Waker::noop());
    match loading.as_mut().poll(&mut cx) {
        Poll::Ready(loaded) => loaded.map_err(shown),
        Poll::Pending => Err("its modules are not all in the bundle".to_owned()),
    }
}

/// What all threads of a process know about isolates that wait ready.
pub struct Reserve {
    /// Memory is too tight to make more.
    is_tight: AtomicBool,
    /// Of those that wait for instances that are told to come, and all others.
    most: AtomicUsize,
    count: AtomicUsize,
    used: AtomicU64,
    trimmer: Arc<Trimmer>,
}

impl Reserve {
    /// Of a process whose memory `trimmer` trims.
    pub fn new(trimmer: Arc<Trimmer>) -> Self {
        Self {
            is_tight: AtomicBool::new(false),
            most: AtomicUsize::new(0),
            count: AtomicUsize::new(0),
            used: AtomicU64::new(0),
            trimmer,
        }
    }

    /// How many wait.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// How many were used.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether memory is too tight to make more.
    pub fn set_tight(&self, is_tight: bool) {
        self.is_tight.store(is_tight, Ordering::Relaxed);
    }

    /// No more are made for instances that are told to come while so many wait, whatever for.
    pub fn set_most(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    fn is_full(&self) -> bool {
        self.count() >= self.most.load(Ordering::Relaxed)
    }

    fn is_tight(&self) -> bool {
        self.is_tight.load(Ordering::Relaxed)
    }
}

/// Those that wait on one thread.
pub struct Stock {
    shelves: RefCell<Vec<Shelf>>,
    /// To be discarded: no task holds them while it waits, for tasks can be aborted.
    given_up: RefCell<Vec<Ready>>,
    /// Another may be wanted.
    wanted: Notify,
    /// How many there are.
    count: Arc<AtomicUsize>,
    reserve: Arc<Reserve>,
}

/// Those of one script.
struct Shelf {
    recipe: Recipe,
    ready: Vec<Ready>,
    demand: Demand,
    /// How many instances are told to come.
    expected: usize,
}

impl Shelf {
    /// Whether fewer wait than this.
    fn lacks(&self, wanted: usize) -> bool {
        self.ready.len() < wanted && self.recipe.script.history.is_brief()
    }
}

impl Stock {
    /// An empty one, whose size others see in `count`.
    pub fn new(reserve: Arc<Reserve>, count: Arc<AtomicUsize>) -> Self {
        Self {
            shelves: RefCell::default(),
            given_up: RefCell::default(),
            wanted: Notify::new(),
            count,
            reserve,
        }
    }

    /// Who counts what has ended in the process.
    pub fn trimmer(&self) -> Arc<Trimmer> {
        self.reserve.trimmer.clone()
    }

    /// Takes one for an instance that starts now, if one waits.
    pub fn take(&self, recipe: &Recipe) -> Option<Ready> {
        let mut shelves = self.shelves.borrow_mut();
        let shelf = shelf_of(&mut shelves, recipe);
        shelf.recipe.who = recipe.who.clone();
        shelf.expected = shelf.expected.saturating_sub(1);
        let ready = shelf.ready.pop();
        match ready {
            Some(_) => {
                self.lost_one();
                self.reserve.used.fetch_add(1, Ordering::Relaxed);
                shelf.demand.taken(shelf.ready.len());
            }
            None => shelf.demand.missed(),
        }
        self.wanted.notify_one();
        ready
    }

    /// So many instances are to come soon; of other scripts none.
    pub fn expect(&self, all: &[(Recipe, usize)]) {
        let mut shelves = self.shelves.borrow_mut();
        shelves.iter_mut().for_each(|shelf| shelf.expected = 0);
        for (recipe, count) in all {
            shelf_of(&mut shelves, recipe).expected = *count;
        }
        self.wanted.notify_one();
    }

    /// Gives up those of these scripts, and forgets what is known of these.
    pub async fn give_up(&self, of: impl Fn(&Recipe) -> bool) {
        let given_up: Vec<Shelf> = self
            .shelves
            .borrow_mut()
            .extract_if(.., |shelf| of(&shelf.recipe))
            .collect();
        self.discard(given_up.into_iter().flat_map(|shelf| shelf.ready))
            .await;
    }

    /// Makes those that are wanted, when this thread has nothing else to do, and gives up those that are not used. Never
    /// returns.
    pub async fn keep(&self, slot: &Slot, parks: &Notify) {
        tokio::join!(self.make_wanted(slot, parks), self.end_periods());
    }

    async fn make_wanted(&self, slot: &Slot, parks: &Notify) {
        loop {
            if self.missing().is_none() {
                self.wanted.notified().await;
                continue;
            }
            pause(slot, parks).await;
            while let Some(recipe) = self.missing() {
                self.make(&recipe, slot).await;
                let before = slot.slices();
                tokio::task::yield_now().await;
                // Those that are told to come have no time to lose, as long as nobody else has anything to do.
                if !self.is_expecting() || slot.slices() != before {
                    break;
                }
            }
        }
    }

    /// Whether some are missing for instances that are told to come.
    fn is_expecting(&self) -> bool {
        let shelves = self.shelves.borrow();
        shelves.iter().any(|shelf| shelf.lacks(shelf.expected))
    }

    /// What to make next: one of the script that has the fewest.
    fn missing(&self) -> Option<Recipe> {
        if self.reserve.is_tight() {
            return None;
        }
        let has_room =
            self.count.load(Ordering::Relaxed) < MOST && self.reserve.count() < MOST_IN_PROCESS;
        let expects = !self.reserve.is_full();
        let shelves = self.shelves.borrow();
        let missing = shelves
            .iter()
            .filter(|shelf| {
                (has_room && shelf.lacks(shelf.demand.wanted()))
                    || (expects && shelf.lacks(shelf.expected))
            })
            .min_by_key(|shelf| shelf.ready.len());
        missing.map(|shelf| shelf.recipe.clone())
    }

    async fn make(&self, recipe: &Recipe, slot: &Slot) {
        let Ok(made) = Ready::new(recipe, slot) else {
            // Whoever starts an instance hears why that cannot be.
            return self.give_up(|known| known.is_like(recipe)).await;
        };
        // Nothing else has run here since it was missing.
        let mut shelves = self.shelves.borrow_mut();
        let known = shelves
            .iter_mut()
            .find(|shelf| shelf.recipe.is_like(recipe));
        match known {
            Some(shelf) => {
                self.count.fetch_add(1, Ordering::Relaxed);
                self.reserve.count.fetch_add(1, Ordering::Relaxed);
                shelf.ready.push(made);
            }
            None => made.discard(),
        }
    }

    async fn end_periods(&self) {
        let mut periods = tokio::time::interval(PERIOD);
        periods.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            periods.tick().await;
            let mut unused = vec![];
            self.shelves.borrow_mut().retain_mut(|shelf| {
                // Told again several times a second, as long as they are to come.
                let expected = std::mem::take(&mut shelf.expected);
                let others = shelf.ready.len().saturating_sub(expected);
                let count = shelf.demand.end_period(others);
                unused.extend(shelf.ready.drain(..count));
                !shelf.demand.is_over() || !shelf.ready.is_empty()
            });
            self.discard(unused.into_iter()).await;
        }
    }

    /// One after the other: each takes about a millisecond.
    async fn discard(&self, unused: impl Iterator<Item = Ready>) {
        self.given_up.borrow_mut().extend(unused);
        loop {
            let Some(ready) = self.given_up.borrow_mut().pop() else {
                return;
            };
            self.lost_one();
            ready.discard();
            self.reserve.trimmer.ended();
            tokio::task::yield_now().await;
        }
    }

    fn lost_one(&self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
        self.reserve.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The one for instances of this recipe; a new one, if there is none.
fn shelf_of<'s>(shelves: &'s mut Vec<Shelf>, recipe: &Recipe) -> &'s mut Shelf {
    let known = shelves
        .iter()
        .position(|shelf| shelf.recipe.is_like(recipe));
    let place = known.unwrap_or_else(|| {
        shelves.push(Shelf {
            recipe: recipe.clone(),
            ready: vec![],
            demand: Demand::default(),
            expected: 0,
        });
        shelves.len() - 1
    });
    &mut shelves[place]
}

/// Returns when the thread has been quiet for a while, or at the next moment without work if it is not quiet for long.
async fn pause(slot: &Slot, parks: &Notify) {
    for _ in 0..LOOKS {
        let before = slot.slices();
        tokio::time::sleep(QUIET).await;
        if slot.slices() == before {
            return;
        }
    }
    parks.notified().await;
}
