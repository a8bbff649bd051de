//! An application in this process: made from a class and a store, answering requests until it is shut down.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use portside_assets::Assets;
use portside_core::alarms::POSTPONED_MS;
use portside_core::bundle::Bundle;
use portside_core::compatibility::Compatibility;
use portside_core::cron::Cron;
use portside_core::ids::{PodId, ShardId, WorkerKey};
use portside_core::limits::Limits;
use portside_core::migrations::ObjectClass;
use portside_core::variable::Variables;
use portside_exchange::{Application, FetchError, Request, Response};
use portside_objectdb::Spill;
use portside_router::places::Here;
use portside_router::{Router, Target};
use portside_runtime::IsolatePool;
use portside_store::Store;
use portside_store::lanes::Lanes;
use portside_worker::caches::Caches;
use portside_worker::caller::Call;
use portside_worker::event::{Incoming, Stop};
use portside_worker::hibernation::Kept;
use portside_worker::host::{Fabric, Identity, Level, Log, LogLine, RequestName, name_of};
use portside_worker::link::{Failure, Opening, Ran, Receive, Scheduled};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::alarms::Alarms;
use crate::assets;
use crate::commits::stored_alarm;
use crate::count::One;
use crate::crons::{self, Runs};
use crate::events::Events;
use crate::held::{self, Ways};
use crate::hibernation;
use crate::lines::Lines;
use crate::manage::Inspects;
use crate::memory::Meter;
use crate::ownership::Ownership;
use crate::peers::Peers;
use crate::room::{self, Room};
use crate::servers::{self, Servers};
use crate::uses::{Look, Noting, Uses};
use crate::wakes::Wakes;
use crate::workers::Workers;

/// How long runs of `scheduled`, and then workers, may take to finish what they are doing on shutdown.
const GRACE: Duration = Duration::from_secs(10);

/// How long requests may take to be answered by old code, and workers after that to part from each other. All others wait
/// meanwhile.
const ANSWER: Duration = Duration::from_secs(5);
const PARTING: Duration = Duration::from_millis(500);

/// One revision of a class: code and configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Class {
    /// The code.
    pub bundle: Arc<Bundle>,
    /// What each instance may use.
    pub limits: Arc<Limits>,
    /// The server's `env`.
    pub env: Arc<Variables>,
    /// What is served as it is, before the server is asked.
    pub assets: Option<Arc<Assets>>,
    /// The classes of Durable Objects that the server's module exports.
    pub objects: Arc<[ObjectClass]>,
    /// Whether each of their objects has an isolate of its own.
    pub isolates_objects: bool,
    /// What the code was written for.
    pub compatibility: Arc<Compatibility>,
    /// Whether a worker's events wait while a storage operation is under way.
    pub input_gate: bool,
    /// When the server's `scheduled` handler runs.
    pub crons: Arc<[Cron]>,
}

/// Where the application's log goes.
pub type LogSink = Box<dyn Fn(LogLine<'_>) + Send + Sync>;

/// What a request has reached.
#[derive(Debug, Clone, Copy)]
pub enum Reached<'r> {
    /// A worker or an object. Of an object also what its id comes from, if whoever called it knew.
    Worker(&'r WorkerKey, Option<&'r str>),
    /// A static asset, by its path.
    Asset(&'r str),
}

/// Whom to tell what a request, by its name, has reached.
pub type ReachedSink = Box<dyn Fn(&RequestName, Reached<'_>) + Send + Sync>;

/// How to start an application.
pub struct Config {
    /// What to run.
    pub class: Class,
    /// Where its state is.
    pub store: Arc<dyn Store>,
    /// The right to run its workers. What is addressed to one waits until this process is active.
    pub ownership: Arc<Ownership>,
    /// How many server instances share the requests while none is stuck.
    pub servers: usize,
    /// Its log.
    pub log: LogSink,
    /// Who wants to know what requests reach, if somebody does.
    pub reached: Option<ReachedSink>,
    /// Tells how much memory the process uses.
    pub memory: Meter,
    /// How much of an object's database is in memory, and where the rest of it is.
    pub spill: Spill,
    /// The other pods that share the shards, and where they reach this one; none if this process has all shards.
    pub sharing: Option<Sharing>,
    /// What the process is called among those that run the application.
    pub called: Called,
}

/// What a process is called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Called {
    /// The pod's name, if it is a pod.
    pub pod: Option<String>,
    /// The revision of the application, if that has one.
    pub revision: Option<String>,
}

/// How a process shares the shards of its application with others.
pub struct Sharing {
    /// The others.
    pub peers: Arc<Peers>,
    /// Where they reach this one, as it has announced.
    pub listener: TcpListener,
}

/// What became of an alarm that was fired by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fired {
    /// Its handler has succeeded, or has failed as often as it is tried.
    Handled,
    /// Its handler has failed. It is tried again.
    Failed,
    /// None is set.
    NoAlarm,
    /// It is being delivered already.
    UnderWay,
    /// The worker is another process's, or nobody's at the moment.
    Elsewhere,
}

/// A running application.
pub struct App {
    itself: Weak<App>,
    isolates: Arc<IsolatePool>,
    store: Arc<dyn Store>,
    ownership: Arc<Ownership>,
    lanes: Lanes,
    alarms: Arc<Alarms>,
    workers: Workers,
    wakes: Arc<Wakes>,
    room: Room,
    current: watch::Sender<Current>,
    /// Held by the one that changes the revision.
    changing: tokio::sync::Mutex<()>,
    server_count: usize,
    closing: AtomicBool,
    /// Wakes those who wait for that.
    closes: Notify,
    /// Held by the one that stores when a cron is due.
    crons: tokio::sync::Mutex<()>,
    runs: Runs,
    log: LogSink,
    reached: Option<ReachedSink>,
    spawner: Handle,
    surroundings: Arc<Surroundings>,
    /// Where links are opened, if shards are shared.
    shared: Option<Shared>,
    spill: Spill,
    /// Those of its code, whatever the revision.
    caches: Arc<Caches>,
    /// Hibernatable WebSockets that are held, wherever their objects are.
    kept: Ways,
    called: Called,
    inspects: OnceLock<Inspects>,
    events: Arc<Events>,
    lines: Lines,
}

/// What a process has that shares the shards with others.
struct Shared {
    peers: Arc<Peers>,
    router: Arc<Router>,
    uses: Arc<Uses>,
    fabric: Arc<Noting>,
}

impl Shared {
    fn start(sharing: Sharing, app: Weak<App>) -> Self {
        let Sharing { peers, listener } = sharing;
        let router = Router::new(Arc::new(Surroundings(app.clone())), peers.clone());
        peers.start(&router, listener);
        let uses = Arc::<Uses>::default();
        let fabric = Arc::new(Noting {
            app,
            uses: Arc::downgrade(&uses),
            router: router.clone(),
        });
        Self {
            peers,
            router,
            uses,
            fabric,
        }
    }
}

/// What runs.
pub(crate) struct Current {
    class: Arc<Class>,
    servers: Arc<Servers>,
    /// It is about to be replaced: requests wait.
    is_leaving: bool,
}

/// Lets the requests that wait for another revision go on when it is dropped.
struct Waiting<'a>(&'a App);

impl<'a> Waiting<'a> {
    fn begin(app: &'a App) -> Self {
        app.current.send_modify(|current| current.is_leaving = true);
        Self(app)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let current = &self.0.current;
        current.send_modify(|current| current.is_leaving = false);
    }
}

/// An application as its instances reach it. Weak, for the application owns them.
pub(crate) struct Surroundings(Weak<App>);

impl Here for Surroundings {
    fn open(&self, to: &WorkerKey, opening: Opening) -> Result<Option<Arc<dyn Receive>>, Opening> {
        let Some(app) = self.0.upgrade() else {
            let failure = "the application is gone";
            opening.end.refuse(Failure::unavailable(failure));
            return Ok(None);
        };
        app.workers.open(&app, to, opening)
    }

    fn deliver(&self, to: &WorkerKey, incoming: Incoming) -> Result<(), Failure> {
        match self.0.upgrade() {
            Some(app) => app.workers.tell(&app, to, incoming),
            None => Err(Failure::unavailable("the application is gone")),
        }
    }
}

impl Fabric for Surroundings {
    fn open(&self, to: &WorkerKey, opening: Opening) -> Option<Arc<dyn Receive>> {
        let opened = Here::open(self, to, opening);
        opened.unwrap_or_else(|opening| {
            // Who shares no shards gives none away.
            opening
                .end
                .refuse(Failure::unavailable("the worker leaves"));
            None
        })
    }

    fn deliver(&self, to: &WorkerKey, incoming: Incoming) -> Result<(), Failure> {
        Here::deliver(self, to, incoming)
    }
}

impl Log for Surroundings {
    fn log(&self, line: LogLine<'_>) {
        if let Some(app) = self.0.upgrade() {
            app.write(line);
        }
    }
}

impl App {
    /// Starts to serve. Needs a tokio runtime.
    #[must_use]
    pub fn start(isolates: Arc<IsolatePool>, config: Config) -> Arc<Self> {
        let Config {
            class,
            store,
            ownership,
            servers,
            log,
            reached,
            memory,
            spill,
            sharing,
            called,
        } = config;
        let class = Arc::new(class);
        let quiesces = ownership.clone();
        let app = Arc::new_cyclic(|itself| Self {
            itself: itself.clone(),
            isolates,
            lanes: Lanes::new(&store),
            store,
            events: Events::start(ownership.pod(), itself.clone()),
            called,
            inspects: OnceLock::new(),
            lines: Lines::default(),
            ownership,
            alarms: Arc::default(),
            workers: Workers::default(),
            wakes: Arc::default(),
            room: Room::new(memory),
            current: watch::Sender::new(Current {
                servers: Arc::new(Servers::new(class.clone(), servers)),
                class,
                is_leaving: false,
            }),
            changing: tokio::sync::Mutex::default(),
            server_count: servers,
            closing: AtomicBool::new(false),
            closes: Notify::new(),
            crons: tokio::sync::Mutex::default(),
            runs: Runs::default(),
            log,
            reached,
            spawner: Handle::current(),
            surroundings: Arc::new(Surroundings(itself.clone())),
            shared: sharing.map(|sharing| Shared::start(sharing, itself.clone())),
            spill,
            caches: Arc::default(),
            kept: Ways::default(),
        });
        let weak = Arc::downgrade(&app);
        if app.is_sharing() {
            let weak = weak.clone();
            quiesces.quiesce_by(Box::new(move |count, only| match weak.upgrade() {
                Some(app) => app.quiesce(count, only).boxed(),
                None => futures::stream::empty().boxed(),
            }));
        }
        let alarms = app.alarms.clone().run(
            app.store.clone(),
            app.ownership.clone(),
            move |worker, alarm, turn| {
                let app = weak.upgrade().filter(|app| !app.is_closing());
                let Some(app) = app else { return true };
                if !crons::is_cron(worker) {
                    return app.workers.alarm(&app, worker, alarm, turn);
                }
                let due = crons::due(app.clone(), worker.clone(), alarm, turn);
                app.spawn(due);
                true
            },
        );
        let ownership = app.ownership.clone();
        tokio::spawn(async move {
            ownership.decided().await;
            alarms.await;
        });
        tokio::spawn(crons::keep(Arc::downgrade(&app)));
        tokio::spawn(room::watch(Arc::downgrade(&app)));
        tokio::spawn(hibernation::watch(Arc::downgrade(&app)));
        tokio::spawn(let_instances_look(
            Arc::downgrade(&app),
            app.ownership.looks(),
        ));
        app
    }

    /// Evaluates the server's module in an instance of its own, which serves nobody. If this process is not active, what
    /// the module says to workers waits, so one that asks them something before it is done counts as sound.
    ///
    /// # Errors
    /// Why the module cannot be used, with the place.
    pub async fn try_out(&self) -> Result<(), String> {
        servers::try_out(self, &self.class()).await
    }

    /// Runs another revision from now on. State and alarms stay.
    ///
    /// One revision runs at a time: new requests wait until those before them are answered by the old code, for some
    /// seconds at most; then workers are stopped, with the ports that are open still, and the new code begins. Responses
    /// that stream, and requests that took too long, keep their servers of the old code for some seconds more. Its sockets
    /// are closed with 1012, or leave. Hibernatable ones stay.
    ///
    /// # Errors
    /// The module of the new server cannot be loaded, for this reason. Nothing has changed then.
    pub async fn replace(&self, class: Class) -> Result<(), String> {
        let class = Arc::new(class);
        servers::try_out(self, &class).await?;
        let _one_at_a_time = self.changing.lock().await;
        let waiting = Waiting::begin(self);
        if timeout(ANSWER, self.servers().answered()).await.is_err() {
            tracing::warn!("some requests were not answered in time by the code before");
        }
        self.workers.stop_all(Stop::WhenQuiet);
        // Open ports, and handlers that take long, do not keep a worker of old code awake for longer.
        let _ = timeout(PARTING, self.workers.all_asleep()).await;
        let servers = Arc::new(Servers::new(class.clone(), self.server_count));
        let (old, replaced) = (self.servers(), self.class());
        self.current.send_modify(|current| {
            current.class = class;
            current.servers = servers;
        });
        self.cut_off_all();
        self.workers.forget_crashes();
        self.isolates.forget(&replaced.bundle);
        drop(waiting);
        self.spawn(async move { old.retire().await });
        Ok(())
    }

    /// Lets no run of `scheduled` begin from now on, and returns when those under way have ended. After `grace` they are cut off,
    /// which is logged. What comes due is left to whoever runs the application next.
    pub async fn drain(&self, grace: Duration) {
        self.runs.end(grace).await;
    }

    /// Ends every instance after its writes, and gives the shards up. Call when no more requests come. Unless it is drained, that
    /// comes first.
    ///
    /// Workers that have not begun are turned away at once: a standby has nothing to wait for.
    pub async fn shut_down(&self) {
        self.drain(GRACE).await;
        self.closing.store(true, Ordering::SeqCst);
        self.closes.notify_waiters();
        self.servers().stop(Stop::WhenQuiet);
        self.workers.stop_all(Stop::WhenQuiet);
        if timeout(GRACE, self.workers.all_asleep()).await.is_err() {
            self.cut_off_all();
            if timeout(GRACE, self.workers.all_asleep()).await.is_err() {
                tracing::warn!(
                    workers = self.workers.count(),
                    "workers did not stop in time"
                );
            }
        }
        self.workers.leave_sockets(|_| true);
        self.lanes.flush().await;
        self.ownership.release().await;
        // Not before: who follows must not keep others from the shards.
        self.events.end().await;
    }

    /// Runs the server's `scheduled` handler now, and returns when it and what it gave to `waitUntil` have settled. The cron need
    /// not be one of the class's, and its next run stays as it is.
    ///
    /// # Errors
    /// It did not run, or not to its end. That the handler threw is none.
    pub async fn scheduled(&self, scheduled: Scheduled) -> Result<Ran, FetchError> {
        let run = self.runs.begin().ok_or(FetchError::ShuttingDown)?;
        let ran = run.unless_cut_off(self, &scheduled, self.run(&scheduled));
        ran.await.unwrap_or(Err(FetchError::ShuttingDown))
    }

    /// The same, for a run that counts already.
    pub(crate) async fn run(&self, scheduled: &Scheduled) -> Result<Ran, FetchError> {
        let (app, servers, _unanswered) = self.begin().await?;
        servers.scheduled(&app, scheduled).await
    }

    /// Delivers a worker's alarm now, whenever it is due, and returns when its handler has ended.
    ///
    /// # Errors
    /// It could not be delivered.
    pub async fn fire_alarm(&self, worker: &WorkerKey) -> Result<Fired, FetchError> {
        let (app, ..) = self.begin().await?;
        let alarm = match stored_alarm(self, worker).await {
            Some(Some(alarm)) => alarm,
            Some(None) => return Ok(Fired::NoAlarm),
            None if self.is_sharing() => return Ok(Fired::Elsewhere),
            None => {
                return Err(FetchError::Unavailable(
                    "the alarm cannot be read".to_owned(),
                ));
            }
        };
        let Some(turn) = self.alarms.take(worker, alarm).await else {
            return Ok(Fired::UnderWay);
        };
        if !self.workers.alarm(&app, worker, alarm, turn) {
            self.alarms.postponed(worker);
            let retry_after_ms = POSTPONED_MS.unsigned_abs();
            return Err(FetchError::Overloaded { retry_after_ms });
        }
        let is_to_be_retried = self.alarms.outcome(worker, alarm).await;
        Ok(if is_to_be_retried {
            Fired::Failed
        } else {
            Fired::Handled
        })
    }

    /// What an event needs that comes from outside: this application, if it goes on, and the servers for it.
    async fn begin(&self) -> Result<(Arc<Self>, Arc<Servers>, One), FetchError> {
        let app = self.if_open().ok_or(FetchError::ShuttingDown)?;
        let (servers, unanswered) = self.servers_for_request().await;
        if app.is_closing() {
            return Err(FetchError::ShuttingDown);
        }
        Ok((app, servers, unanswered))
    }

    /// Changes with the class.
    pub(crate) fn classes(&self) -> watch::Receiver<Current> {
        self.current.subscribe()
    }

    /// Those of `scheduled`.
    pub(crate) fn runs(&self) -> &Runs {
        &self.runs
    }

    /// Held by the one that stores when a cron is due.
    pub(crate) fn crons(&self) -> &tokio::sync::Mutex<()> {
        &self.crons
    }

    /// A request has reached a worker.
    pub(crate) fn reached(&self, request: &RequestName, worker: &WorkerKey, name: Option<&str>) {
        if let Some(reached) = &self.reached {
            reached(request, Reached::Worker(worker, name));
        }
    }

    /// A request has reached an asset.
    pub(crate) fn reached_asset(&self, request: &RequestName, path: &str) {
        if let Some(reached) = &self.reached {
            reached(request, Reached::Asset(path));
        }
    }

    /// Itself, unless it is closing.
    pub(crate) fn if_open(&self) -> Option<Arc<Self>> {
        self.itself.upgrade().filter(|app| !app.is_closing())
    }

    pub(crate) fn weak(&self) -> Weak<Self> {
        self.itself.clone()
    }

    /// The present revision.
    pub fn class(&self) -> Arc<Class> {
        self.current.borrow().class.clone()
    }

    pub(crate) fn servers(&self) -> Arc<Servers> {
        self.current.borrow().servers.clone()
    }

    /// The servers for a request, which counts as one of theirs until it is answered.
    async fn servers_for_request(&self) -> (Arc<Servers>, One) {
        loop {
            {
                let current = self.current.borrow();
                if !current.is_leaving {
                    return (current.servers.clone(), current.servers.will_answer());
                }
            }
            let mut changes = self.current.subscribe();
            // The sender lives as long as `self`.
            let _ = changes.wait_for(|current| !current.is_leaving).await;
        }
    }

    pub(crate) fn isolates(&self) -> &IsolatePool {
        &self.isolates
    }

    pub(crate) fn spill(&self) -> &Spill {
        &self.spill
    }

    pub(crate) fn store(&self) -> &dyn Store {
        self.store.as_ref()
    }

    pub(crate) fn ownership(&self) -> &Arc<Ownership> {
        &self.ownership
    }

    pub(crate) fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    pub(crate) fn alarms(&self) -> &Alarms {
        &self.alarms
    }

    /// How many workers are awake.
    pub fn awake(&self) -> usize {
        self.workers.count()
    }

    /// What it has room for, and whom it refused.
    pub(crate) fn room(&self) -> &Room {
        &self.room
    }

    pub(crate) fn workers(&self) -> &Workers {
        &self.workers
    }

    /// How long workers took to wake.
    pub(crate) fn wakes(&self) -> &Arc<Wakes> {
        &self.wakes
    }

    pub(crate) fn surroundings(&self) -> Arc<Surroundings> {
        self.surroundings.clone()
    }

    /// Where instances open links.
    pub(crate) fn fabric(&self) -> Arc<dyn Fabric> {
        match &self.shared {
            Some(shared) => shared.fabric.clone(),
            None => self.surroundings.clone(),
        }
    }

    /// Whether other processes have some of the shards.
    pub(crate) fn is_sharing(&self) -> bool {
        self.shared.is_some()
    }

    /// How many links to workers of such a place were opened here; nothing where no others have shards.
    pub(crate) fn count_links(&self, target: Target) -> Option<u64> {
        let shared = self.shared.as_ref()?;
        Some(shared.router.count_opened(target))
    }

    /// Looks what the request uses first, if it has a name, and that may be elsewhere.
    pub(crate) fn look_what_it_uses(&self, request: &Request) -> Option<Look<'_>> {
        let shared = self.shared.as_ref()?;
        Some(shared.uses.of(name_of(request)?))
    }

    /// The process that has a shard, as far as this one knows.
    pub(crate) fn owner(&self, shard: ShardId) -> Option<PodId> {
        self.shared.as_ref()?.peers.owner(shard)
    }

    /// Whether a shard is this process's, and not on its way to another.
    pub(crate) fn may_wake(&self, shard: ShardId) -> bool {
        // Who shares none has all.
        !self.is_sharing() || self.ownership.serves(shard).is_some()
    }

    /// Reaches workers wherever they are, if shards are shared.
    pub(crate) fn router(&self) -> Option<&Arc<Router>> {
        Some(&self.shared.as_ref()?.router)
    }

    /// From now on debuggers may look at workers of this process, once each is asked for.
    pub fn inspected_by(&self, inspects: Inspects) {
        // The first stays.
        let _ = self.inspects.set(inspects);
    }

    /// How they do, if they may.
    pub(crate) fn inspects(&self) -> Option<&Inspects> {
        self.inspects.get()
    }

    /// What this process is called.
    pub(crate) fn called(&self) -> &Called {
        &self.called
    }

    /// What happens to its workers.
    pub(crate) fn events(&self) -> &Arc<Events> {
        &self.events
    }

    /// What it has logged of late.
    pub(crate) fn lines(&self) -> &Lines {
        &self.lines
    }

    pub(crate) fn kept_ways(&self) -> &Ways {
        &self.kept
    }

    /// Has the WebSockets leave that the server's code lets be opened again, and returns when they have, or some seconds later.
    pub async fn depart(&self) {
        self.servers().depart().await;
    }

    /// Has the hibernatable WebSockets leave whose objects are elsewhere, and that have their way through this process. Those of its
    /// own objects leave with them.
    pub async fn depart_kept(&self) {
        self.kept.depart().await;
    }

    /// Takes a hibernatable WebSocket in that is held, as it is kept; the object is not woken.
    ///
    /// # Errors
    /// It cannot be taken in here, or now.
    pub async fn adopt(&self, kept: Bytes) -> Result<Response, FetchError> {
        let malformed =
            || FetchError::Failed("what is kept of a WebSocket cannot be read".to_owned());
        let address = Kept::decode(kept.clone()).ok_or_else(malformed)?.address;
        let (call, opening) = Call::adopt(kept);
        if let Some(target) = self.fabric().open(&address, opening) {
            call.opened(target);
        }
        let answer = timeout(self.class().limits.request, call.answer).await;
        let answer = answer.map_err(|_| FetchError::TimedOut)?;
        let gone = |_| Err(Failure::unavailable("the object's process is gone"));
        let mut response = answer.unwrap_or_else(gone).map_err(FetchError::from)?;
        held::at_the_edge(&mut response, true, &self.kept, &self.kept);
        Ok(response)
    }

    pub(crate) fn caches(&self) -> &Arc<Caches> {
        &self.caches
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    /// Returns when it begins to close.
    pub(crate) async fn closes(&self) {
        let closes = self.closes.notified();
        if !self.is_closing() {
            closes.await;
        }
    }

    /// A line of the application's log that this process writes about one of its parts.
    pub(crate) fn log_error(&self, source: &Identity, text: &str) {
        self.write(LogLine {
            source,
            level: Level::Error,
            text,
            request: None,
        });
    }

    fn write(&self, line: LogLine<'_>) {
        self.lines.write(line);
        (self.log)(line);
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.spawner.spawn(task);
    }
}

impl Application for App {
    fn fetch(&self, request: Request) -> BoxFuture<'_, Result<Response, FetchError>> {
        async move {
            let (app, servers, _unanswered) = self.begin().await?;
            match servers.assets() {
                Some(assets) if !assets.is_for_server(&request) => {
                    assets::answer(Some(app), assets, request).await
                }
                _ => servers.fetch(&app, request).await,
            }
        }
        .boxed()
    }
}

/// Tells the workers when the lease covers the moment again, and when one of them may be over.
async fn let_instances_look(app: Weak<App>, mut looks: watch::Receiver<u64>) {
    while looks.changed().await.is_ok() {
        let Some(app) = app.upgrade() else { return };
        app.workers.lease_renewed();
    }
}
