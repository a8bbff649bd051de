//! Isolates that wait ready for instances that come: with the surface and the modules of one script in them, and nothing of
//! the application evaluated. Each is used once.
//!
//! They are made when their thread has nothing else to do, so that a wake need not wait until one is made.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use deno_core::{JsRuntime, ModuleId};
use portside_core::bundle::Bundle;
use portside_core::limits::Limits;
use portside_worker::host::Identity;
use tokio::sync::Notify;

use crate::demand::Demand;
use crate::dispatch::Dispatch;
use crate::isolate::Isolate;
use crate::javascript::shown;
use crate::loader::BundleLoader;
use crate::script::Script;
use crate::watchdog::{Slot, Watched};

/// How long none may be used before it is given up.
const PERIOD: Duration = Duration::from_secs(30);

/// The most that wait on one thread, of all scripts.
const MOST: usize = 16;

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
        let loader = Rc::new(BundleLoader::new(recipe.bundle.clone(), script.clone()));
        let mut isolate = Isolate::new(loader.clone(), limits, script.parts.clone());
        let who = recipe.who.clone();
        let watched = Watched::new(who, isolate.usage(), limits.cpu, script.clone());
        slot.begin(&watched);
        let loaded = isolate.with(|runtime| {
            let dispatch = Dispatch::start(runtime)?;
            match load(runtime, &recipe.module) {
                Ok(module) => Ok((dispatch, module)),
                Err(message) => {
                    drop(dispatch);
                    Err(message)
                }
            }
        });
        slot.finish();
        // Of what a limit has ended V8 says nothing.
        let (dispatch, module) = loaded.map_err(|message| match isolate.exhausted() {
            Some(memory) => format!("{memory} went over its limit"),
            None => message,
        })?;
        Ok(Self {
            isolate,
            loader,
            dispatch,
            module,
        })
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

/// Loads a module and all it imports; everything is in memory, so this does not wait.
fn load(runtime: &mut JsRuntime, module: &str) -> Result<ModuleId, String> {
    let url = BundleLoader::url(module).map_err(|error| error.to_string())?;
    let mut loading = Box::pin(runtime.load_main_es_module(&url));
    let mut cx = Context::from_waker(Waker::noop());
    match loading.as_mut().poll(&mut cx) {
        Poll::Ready(loaded) => loaded.map_err(shown),
        Poll::Pending => Err("its modules are not all in the bundle".to_owned()),
    }
}

/// What all threads of a process know about isolates that wait ready.
#[derive(Default)]
pub struct Reserve {
    is_short: AtomicBool,
    count: AtomicUsize,
    used: AtomicU64,
}

impl Reserve {
    /// How many wait.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// How many were used.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether memory is short: then none is made. Returns whether that is news.
    pub fn set_short(&self, is_short: bool) -> bool {
        self.is_short.swap(is_short, Ordering::Relaxed) != is_short
    }
}

/// Those that wait on one thread.
pub struct Stock {
    shelves: RefCell<Vec<Shelf>>,
    /// Another is wanted.
    wanted: Notify,
    reserve: Arc<Reserve>,
}

/// Those of one script.
struct Shelf {
    recipe: Recipe,
    ready: Vec<Ready>,
    demand: Demand,
}

impl Stock {
    /// An empty one.
    pub fn new(reserve: Arc<Reserve>) -> Self {
        Self {
            shelves: RefCell::default(),
            wanted: Notify::new(),
            reserve,
        }
    }

    /// Takes one for an instance that starts now, if one waits.
    pub fn take(&self, recipe: &Recipe) -> Option<Ready> {
        let mut shelves = self.shelves.borrow_mut();
        let known = shelves
            .iter()
            .position(|shelf| shelf.recipe.is_like(recipe));
        let place = known.unwrap_or_else(|| {
            shelves.push(Shelf {
                recipe: recipe.clone(),
                ready: vec![],
                demand: Demand::default(),
            });
            shelves.len() - 1
        });
        let shelf = &mut shelves[place];
        shelf.recipe.who = recipe.who.clone();
        let ready = shelf.ready.pop();
        match ready {
            Some(_) => {
                self.reserve.count.fetch_sub(1, Ordering::Relaxed);
                self.reserve.used.fetch_add(1, Ordering::Relaxed);
                shelf.demand.taken(shelf.ready.len());
            }
            None => shelf.demand.missed(),
        }
        self.wanted.notify_one();
        ready
    }

    /// Gives all of them up.
    pub fn clear(&self) {
        let shelves = std::mem::take(&mut *self.shelves.borrow_mut());
        shelves
            .into_iter()
            .for_each(|shelf| self.discard(shelf.ready));
    }

    /// Makes those that are wanted, when this thread has nothing else to do, and gives up those that are not used. Never
    /// returns.
    pub async fn keep(&self, slot: &Slot, parks: &Notify) {
        let mut periods = tokio::time::interval(PERIOD);
        loop {
            tokio::select! {
                () = self.wanted.notified() => {}
                _ = periods.tick() => self.end_period(),
            }
            while self.missing().is_some() {
                pause(slot, parks).await;
                if let Some(recipe) = self.missing() {
                    self.make(&recipe, slot);
                }
            }
        }
    }

    /// What to make next.
    fn missing(&self) -> Option<Recipe> {
        if self.reserve.is_short.load(Ordering::Relaxed) {
            return None;
        }
        let shelves = self.shelves.borrow();
        let count: usize = shelves.iter().map(|shelf| shelf.ready.len()).sum();
        let missing = shelves
            .iter()
            .filter(|shelf| shelf.recipe.script.history.is_brief())
            .find(|shelf| count < MOST && shelf.ready.len() < shelf.demand.wanted());
        missing.map(|shelf| shelf.recipe.clone())
    }

    fn make(&self, recipe: &Recipe, slot: &Slot) {
        let made = Ready::new(recipe, slot);
        let mut shelves = self.shelves.borrow_mut();
        let known = shelves
            .iter()
            .position(|shelf| shelf.recipe.is_like(recipe));
        match (made, known) {
            (Ok(ready), Some(known)) => {
                self.reserve.count.fetch_add(1, Ordering::Relaxed);
                shelves[known].ready.push(ready);
            }
            (Ok(ready), None) => ready.discard(),
            // Whoever starts an instance hears why that cannot be.
            (Err(_), Some(known)) => {
                let shelf = shelves.remove(known);
                drop(shelves);
                self.discard(shelf.ready);
            }
            (Err(_), None) => {}
        }
    }

    fn end_period(&self) {
        let mut unused = vec![];
        self.shelves.borrow_mut().retain_mut(|shelf| {
            let count = shelf.demand.end_period(shelf.ready.len());
            unused.extend(shelf.ready.drain(..count));
            !shelf.demand.is_over()
        });
        self.discard(unused);
    }

    fn discard(&self, unused: Vec<Ready>) {
        self.reserve
            .count
            .fetch_sub(unused.len(), Ordering::Relaxed);
        unused.into_iter().for_each(Ready::discard);
    }
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
