//! The stateless servers: a few instances of the main module that share the requests.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt;
use portside_assets::Assets;
use portside_core::alarm::Alarm;
use portside_core::ids::WorkerId;
use portside_core::keys::KeyRange;
use portside_core::limits::Limits;
use portside_core::write::{Value, WriteBatch};
use portside_exchange::{FetchError, Request, Response};
use portside_runtime::surface::objects::database::Stored;
use portside_runtime::{Place, Start};
use portside_worker::activation::{End, Failure as Ended};
use portside_worker::caller::{Call, Refused};
use portside_worker::cell::{Arrival, Cell};
use portside_worker::event::Stop;
use portside_worker::host::{CommitTicket, Error, Identity, Ledger, Reading, RequestName};
use portside_worker::inbox::Inbox;
use portside_worker::instance::InstanceOptions;
use portside_worker::link::{Failure, Ran, Scheduled};
use portside_worker::storage::Storage;
use tokio::sync::oneshot;

use crate::app::{App, Class};
use crate::assets;
use crate::count::{Count, One};
use crate::crashes::Crashes;
use crate::held::{self, Ways};

/// How long a process that owns no workers yet waits for a module that is tried out: it may wait for one.
const TRIAL: Duration = Duration::from_secs(5);

/// How long servers of old code go on for the requests that they have.
const RETIREMENT: Duration = Duration::from_secs(10);

/// While all are busy with one long-running piece of JavaScript each, more are started, up to this many per core.
const MAX_PER_CORE: usize = 4;

/// How long a run of the `scheduled` handler may take, what it gives to `waitUntil` included: as on Cloudflare.
const RUN: Duration = Duration::from_secs(15 * 60);

/// The same with these limits: longer where a request may take longer, which is so while debuggers may hold it up.
fn run_limit(limits: &Limits) -> Duration {
    RUN.max(limits.request)
}

const OVERLOADED: FetchError = FetchError::Overloaded {
    retry_after_ms: 1_000,
};

/// The servers of one revision of the class.
pub struct Servers {
    class: Arc<Class>,
    all: Mutex<Vec<Arc<Server>>>,
    usual: usize,
    failures: Failures,
    unanswered: Count,
    /// WebSockets that their code lets be opened again.
    reopened: Ways,
}

/// What keeps the servers' module from being loaded. Servers that were started together fail together: that counts once.
#[derive(Default)]
struct Failures {
    count: Crashes<()>,
    last: Mutex<Option<(Instant, String)>>,
}

impl Failures {
    /// The module of a server that was started at `began` could not be loaded.
    fn record(&self, began: Instant, reason: String) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if last.as_ref().is_none_or(|(failed, _)| *failed <= began) {
            self.count.record(&(), now);
        }
        *last = Some((now, reason));
    }

    /// Why no server is started now; nothing if one may be.
    fn waiting(&self) -> Option<String> {
        let wait = self.count.waiting(&(), Instant::now())?;
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, reason) = last.as_ref()?;
        let wait = wait.as_millis();
        Some(format!(
            "the server failed repeatedly and is not started again for another {wait} ms: {reason}"
        ))
    }
}

struct Server {
    inbox: Arc<Inbox>,
    /// Those that have no answer yet.
    requests: AtomicUsize,
    /// The same, and those whose answers stream still.
    unfinished: Count,
    place: Mutex<Option<Place>>,
    /// Where objects are sent that are to live in its present isolate.
    cell: Mutex<Arc<Cell<Stored>>>,
}

impl Server {
    fn cell(&self) -> MutexGuard<'_, Arc<Cell<Stored>>> {
        self.cell.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stuck(&self) -> bool {
        self.place
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .is_some_and(Place::is_stuck)
    }
}

/// A request, or a run of a handler, on its way; dropping it before its answer tells the server that the client is gone.
struct InFlight<A> {
    server: Arc<Server>,
    call: Call<A>,
    answered: bool,
    unfinished: Option<One>,
}

impl<A> Drop for InFlight<A> {
    fn drop(&mut self) {
        self.server.requests.fetch_sub(1, Ordering::Relaxed);
        if !self.answered {
            self.call.abort();
        }
    }
}

impl Servers {
    /// `usual` servers of this class; each starts with its first request.
    pub fn new(class: Arc<Class>, usual: usize) -> Self {
        Self {
            class,
            all: Mutex::default(),
            usual: usual.max(1),
            failures: Failures::default(),
            unanswered: Count::default(),
            reopened: Ways::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Server>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is served without them.
    pub fn assets(&self) -> Option<&Assets> {
        self.class.assets.as_deref()
    }

    /// Runs the application's `fetch`.
    pub async fn fetch(
        self: &Arc<Self>,
        app: &Arc<App>,
        mut request: Request,
    ) -> Result<Response, FetchError> {
        let holds = held::holds(&mut request.headers);
        let mut unsent = Some(Box::new(request));
        let mut in_flight = self.send(app, |inbox| {
            // It comes back whenever it was not taken.
            let request = unsent.take().ok_or(Refused::Overloaded)?;
            Call::send(request, inbox).map_err(|(why, returned)| {
                unsent = Some(returned);
                why
            })
        })?;
        let answer = tokio::time::timeout(self.class.limits.request, &mut in_flight.call.answer);
        let answer = answer.await.map_err(|_| FetchError::TimedOut)?;
        in_flight.answered = true;
        let mut answer = answer
            .unwrap_or_else(|_| Err(ended_early()))
            .map_err(FetchError::from);
        if let (Ok(response), Some(unfinished)) = (&mut answer, in_flight.unfinished.take()) {
            unfinished.until_sent(response);
        }
        if let Ok(response) = &mut answer {
            held::at_the_edge(response, holds, &self.reopened, app.kept_ways());
        }
        answer
    }

    /// Has the WebSockets leave that their code lets be opened again. Returns when they have, or some seconds later.
    pub async fn depart(&self) {
        self.reopened.depart().await;
    }

    /// Counts a request until it is answered. For whoever is about to [`Servers::fetch`].
    pub fn will_answer(&self) -> One {
        self.unanswered.one()
    }

    /// Runs the application's `scheduled`.
    pub async fn scheduled(
        self: &Arc<Self>,
        app: &Arc<App>,
        scheduled: &Scheduled,
    ) -> Result<Ran, FetchError> {
        let mut in_flight = self.send(app, |inbox| Call::scheduled(scheduled.clone(), inbox))?;
        let limit = run_limit(&self.class.limits);
        let answer = tokio::time::timeout(limit, &mut in_flight.call.answer).await;
        let answer = answer.map_err(|_| FetchError::TimedOut)?;
        in_flight.answered = true;
        answer
            .unwrap_or_else(|_| Err(ended_early()))
            .map_err(FetchError::from)
    }

    /// Has one of the servers take something, as `attempt` gives it to its inbox.
    fn send<A>(
        self: &Arc<Self>,
        app: &Arc<App>,
        mut attempt: impl FnMut(&Arc<Inbox>) -> Result<Call<A>, Refused>,
    ) -> Result<InFlight<A>, FetchError> {
        loop {
            let server = self.choose(app)?;
            match attempt(&server.inbox) {
                Ok(call) => {
                    server.requests.fetch_add(1, Ordering::Relaxed);
                    return Ok(InFlight {
                        unfinished: Some(server.unfinished.one()),
                        server,
                        call,
                        answered: false,
                    });
                }
                Err(Refused::Overloaded) => return Err(OVERLOADED),
                // Another takes its place.
                Err(Refused::Asleep) => self.remove(&server),
            }
        }
    }

    fn remove(&self, server: &Arc<Server>) {
        self.lock().retain(|known| !Arc::ptr_eq(known, server));
    }

    /// The server with the fewest requests among those that are not stuck; a new one if there are none, and room for one.
    fn choose(self: &Arc<Self>, app: &Arc<App>) -> Result<Arc<Server>, FetchError> {
        let all = self.lock();
        let best = all
            .iter()
            .min_by_key(|server| (server.is_stuck(), server.requests.load(Ordering::Relaxed)))
            .cloned();
        if let Some(best) = &best {
            let stuck = best.is_stuck();
            let idle = best.requests.load(Ordering::Relaxed) == 0;
            let room = if stuck {
                self.usual * MAX_PER_CORE
            } else {
                self.usual
            };
            if (idle && !stuck) || all.len() >= room {
                return Ok(best.clone());
            }
        }
        if let Some(reason) = self.failures.waiting() {
            return Err(FetchError::Failed(reason));
        }
        if app.workers().make_room_for_server(app, all.len()).is_err() {
            return best.ok_or(OVERLOADED);
        }
        self.start_another(app, all)
    }

    fn start_another(
        self: &Arc<Self>,
        app: &Arc<App>,
        mut all: MutexGuard<'_, Vec<Arc<Server>>>,
    ) -> Result<Arc<Server>, FetchError> {
        let limits = &self.class.limits;
        let server = Arc::new(Server {
            inbox: Arc::new(Inbox::new(limits.inbox_messages, limits.inbox_bytes)),
            requests: AtomicUsize::new(0),
            unfinished: Count::default(),
            place: Mutex::default(),
            cell: Mutex::default(),
        });
        all.push(server.clone());
        drop(all);
        if let Err(reason) = start(app, self, &server) {
            self.remove(&server);
            return Err(FetchError::Failed(reason));
        }
        Ok(server)
    }

    /// Gives an object an isolate to live in: that of a server, always the same one while there are as many, or its own.
    ///
    /// # Errors
    /// There is no server, for this reason.
    pub fn admit(
        self: &Arc<Self>,
        app: &Arc<App>,
        id: WorkerId,
        mut arrival: Arrival<Stored>,
    ) -> Result<(), String> {
        if self.class.isolates_objects {
            return self.admit_alone(app, arrival);
        }
        let [.., last] = id.0;
        loop {
            let all = self.lock();
            let known = all.get(usize::from(last) % self.usual).cloned();
            let server = match known {
                Some(server) => {
                    drop(all);
                    server
                }
                None => match self.failures.waiting() {
                    Some(reason) => return Err(reason),
                    None => self
                        .start_another(app, all)
                        .map_err(|error| error.to_string())?,
                },
            };
            match server.cell().admit(arrival) {
                Ok(()) => return Ok(()),
                Err(returned) => {
                    // Another takes its place.
                    self.remove(&server);
                    arrival = *returned;
                }
            }
        }
    }

    /// Starts an isolate, which is over when the object is gone.
    fn admit_alone(
        self: &Arc<Self>,
        app: &Arc<App>,
        mut arrival: Arrival<Stored>,
    ) -> Result<(), String> {
        if let Some(reason) = self.failures.waiting() {
            return Err(reason);
        }
        let limits = &self.class.limits;
        let inbox = Arc::new(Inbox::new(limits.inbox_messages, limits.inbox_bytes));
        let stop = StopOnDrop(inbox.clone());
        let ended = arrival.ended;
        arrival.ended = Box::new(move |end| {
            ended(end);
            drop(stop);
        });
        let start = instance(app, &self.class, inbox, None);
        // Nobody can have closed it.
        let _ = start.cell.admit(arrival);
        let (ended_app, ended_servers) = (app.clone(), self.clone());
        let began = Instant::now();
        let started = app.isolates().start(
            start,
            |_| {},
            move |end| ended_servers.record(&ended_app, began, end),
        );
        started.map_err(|error| format!("no thread could be started: {error}"))?;
        Ok(())
    }

    /// Writes down why an isolate ended.
    fn record(&self, app: &App, began: Instant, end: End) {
        if let End::Failed(failure) = end {
            let text = format!("the server was ended: {failure}");
            app.log_error(&Identity::Server, &text);
            if let Ended::Load(reason) = failure {
                self.failures.record(began, reason);
            }
        }
    }

    /// Returns when every request has its response.
    pub async fn answered(&self) {
        self.unanswered.none().await;
    }

    /// Ends each server once it has finished its requests, or when their time is up; then its sockets are closed with 1012.
    pub async fn retire(&self) {
        self.depart().await;
        self.stop(Stop::WhenQuiet);
        let servers = self.lock().clone();
        let each = servers.iter().map(|server| async move {
            let _ = tokio::time::timeout(RETIREMENT, server.unfinished.none()).await;
            server.inbox.stop(Stop::WhenFlushed);
        });
        futures::future::join_all(each).await;
    }

    /// What waits in the inbox of each.
    pub fn waiting(&self) -> Vec<usize> {
        let servers = self.lock();
        servers.iter().map(|server| server.inbox.len()).collect()
    }

    /// Asks every server to end.
    pub fn stop(&self, stop: Stop) {
        for server in self.lock().iter() {
            server.inbox.stop(stop);
        }
    }
}

fn ended_early() -> Failure {
    Failure::failed("the server's instance ended before it answered")
}

/// What an instance of the server is started with.
fn instance(app: &App, class: &Class, inbox: Arc<Inbox>, ledger: Option<Arc<dyn Ledger>>) -> Start {
    Start {
        options: InstanceOptions {
            identity: Identity::Server,
            bundle: class.bundle.clone(),
            limits: class.limits.clone(),
            input_gate: false,
            env: class.env.clone(),
            assets: assets::bound(app, class),
            compatibility: class.compatibility.clone(),
            classes: class.objects.clone(),
            caches: app.caches().clone(),
            storage: Storage::default(),
            sockets: None,
            inbox,
            fabric: app.fabric(),
            ledger,
            log: app.surroundings(),
        },
        module: class.bundle.main.clone(),
        cell: Arc::default(),
        is_trial: false,
    }
}

/// Evaluates a class's main module, as [`App::try_out`] says.
pub async fn try_out(app: &App, class: &Class) -> Result<(), String> {
    let limits = &class.limits;
    let inbox = Arc::new(Inbox::new(limits.inbox_messages, limits.inbox_bytes));
    // Whatever it has begun is not waited for.
    let _stop = StopOnDrop(inbox.clone());
    let (loaded, is_loaded) = oneshot::channel();
    let trial = Trial(Mutex::new(Some(loaded)));
    let start = Start {
        is_trial: true,
        ..instance(app, class, inbox, Some(Arc::new(trial)))
    };
    let (ended, end) = oneshot::channel();
    let started = app.isolates().start(
        start,
        |_| {},
        move |end| {
            let _ = ended.send(end);
        },
    );
    started.map_err(|error| format!("no thread could be started: {error}"))?;
    let trial = async {
        // The trial is dropped with the instance.
        if is_loaded.await.is_ok() {
            return Ok(());
        }
        match end.await {
            Ok(End::Failed(failure)) => Err(failure.to_string()),
            _ => Ok(()),
        }
    };
    if app.ownership().is_active() {
        return trial.await;
    }
    tokio::time::timeout(TRIAL, trial).await.unwrap_or(Ok(()))
}

/// Tells when the module of a server that is tried out is evaluated.
struct Trial(Mutex<Option<oneshot::Sender<()>>>);

impl Ledger for Trial {
    fn commit(&self, _: WriteBatch, _: Option<RequestName>, ticket: CommitTicket) {
        ticket.settle(Err(Error::NoStorage));
    }

    fn read(&self, _: Vec<String>) -> Reading<BTreeMap<String, Value>> {
        std::future::ready(Err(Error::NoStorage)).boxed()
    }

    fn list(&self, _: KeyRange) -> Reading<Vec<(String, Value)>> {
        std::future::ready(Err(Error::NoStorage)).boxed()
    }

    fn is_leased(&self) -> bool {
        true
    }

    fn is_owned(&self) -> bool {
        true
    }

    fn loaded(&self) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaded) = waiting.take() {
            // Nobody may be waiting any more.
            let _ = loaded.send(());
        }
    }

    fn alarm_outdated(&self, _: Alarm) {}
}

struct StopOnDrop(Arc<Inbox>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop(Stop::WhenFlushed);
    }
}

/// Starts an instance of the server; the error says why there is none.
fn start(app: &Arc<App>, servers: &Arc<Servers>, server: &Arc<Server>) -> Result<(), String> {
    let start = instance(app, &servers.class, server.inbox.clone(), None);
    *server.cell() = start.cell.clone();
    let (ended_app, ended_servers, ended_server) = (app.clone(), servers.clone(), server.clone());
    let began = Instant::now();
    let started = app.isolates().start(
        start,
        |_| {},
        move |end| {
            ended(&ended_app, &ended_servers, &ended_server, began, end);
        },
    );
    let place = started.map_err(|error| format!("no thread could be started: {error}"))?;
    *server.place.lock().unwrap_or_else(PoisonError::into_inner) = Some(place);
    Ok(())
}

/// A server's instance ended: the requests it had fail, those that wait get a new one, if one may be started.
fn ended(app: &Arc<App>, servers: &Arc<Servers>, server: &Arc<Server>, began: Instant, end: End) {
    servers.record(app, began, end);
    server.inbox.forget_instance();
    // Once it is closed, another takes its place when somebody asks.
    while !server.inbox.close_if_empty() {
        if app.is_closing() {
            let closes = "the application is shutting down";
            server.inbox.refuse_all(&Failure::unavailable(closes));
            continue;
        }
        let started = match servers.failures.waiting() {
            Some(reason) => Err(reason),
            None => start(app, servers, server),
        };
        match started {
            Ok(()) => return,
            Err(reason) => server.inbox.refuse_all(&Failure::failed(reason)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_may_take_as_long_as_a_request_may_that_is_debugged() {
        let mut limits = Limits::default();
        assert_eq!(run_limit(&limits), Duration::from_secs(900));
        limits.request = Duration::from_secs(86_400);
        assert_eq!(run_limit(&limits), limits.request);
    }
}
