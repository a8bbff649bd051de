//! The stateless servers: a few instances of the main module that share the requests.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portside_core::limits::Limits;
use portside_exchange::{FetchError, Request, Response};
use portside_runtime::surface::event::{Event, Fetch, PortFailure, RequestId};
use portside_runtime::surface::host::{Identity, Level};
use portside_runtime::surface::inbox::{Inbox, Rejected};
use portside_runtime::surface::instance::InstanceOptions;
use portside_runtime::surface::storage::Storage;
use portside_runtime::{End, Place, Start};
use tokio::sync::oneshot;

use crate::app::{App, Class};

/// How long a module that is tried out is watched. One that does nothing more has been left alone before that.
const TRIAL: Duration = Duration::from_secs(5);

/// While all are busy with one long-running piece of JavaScript each, more are started, up to this many per core.
const MAX_PER_CORE: usize = 4;

/// The servers of one revision of the class.
pub struct Servers {
    class: Arc<Class>,
    all: Mutex<Vec<Arc<Server>>>,
    usual: usize,
    next_request: AtomicU64,
}

struct Server {
    inbox: Arc<Inbox>,
    requests: AtomicUsize,
    place: Mutex<Option<Place>>,
    /// Why the last instance ended, for the requests that ended with it.
    failure: Mutex<Option<String>>,
}

impl Server {
    fn is_stuck(&self) -> bool {
        self.place
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .is_some_and(Place::is_stuck)
    }

    fn failure(&self) -> String {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure
            .clone()
            .unwrap_or_else(|| "the server's instance ended".to_owned())
    }
}

/// A request on its way; dropping it tells the server that the client is gone.
struct InFlight {
    server: Arc<Server>,
    id: RequestId,
    answered: bool,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.server.requests.fetch_sub(1, Ordering::Relaxed);
        if !self.answered {
            let _ = self.server.inbox.push(Event::FetchAborted { id: self.id });
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
            next_request: AtomicU64::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Server>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs the application's `fetch`.
    pub async fn fetch(&self, app: &Arc<App>, request: Request) -> Result<Response, FetchError> {
        let id = RequestId(self.next_request.fetch_add(1, Ordering::Relaxed));
        let (reply, response) = oneshot::channel();
        let mut event = Event::Fetch(Box::new(Fetch { id, request, reply }));
        let mut in_flight = loop {
            let server = self.choose(app);
            server.requests.fetch_add(1, Ordering::Relaxed);
            let mut in_flight = InFlight {
                server,
                id,
                answered: false,
            };
            match in_flight.server.inbox.push(event) {
                Ok(()) => break in_flight,
                Err(Rejected::Full(_)) => {
                    return Err(FetchError::Overloaded {
                        retry_after_ms: 1_000,
                    });
                }
                Err(Rejected::Closed(returned)) => {
                    // It fell asleep: another takes its place.
                    in_flight.answered = true;
                    self.remove(&in_flight.server);
                    event = returned;
                }
            }
        };
        let answer = tokio::time::timeout(self.class.limits.request, response).await;
        let answer = answer.map_err(|_| FetchError::TimedOut)?;
        in_flight.answered = true;
        answer.unwrap_or_else(|_| Err(FetchError::Failed(in_flight.server.failure())))
    }

    fn remove(&self, server: &Arc<Server>) {
        self.lock().retain(|known| !Arc::ptr_eq(known, server));
    }

    /// The server with the fewest requests among those that are not stuck; a new one if there are none.
    fn choose(&self, app: &Arc<App>) -> Arc<Server> {
        let mut all = self.lock();
        let best = all
            .iter()
            .min_by_key(|server| (server.is_stuck(), server.requests.load(Ordering::Relaxed)));
        if let Some(best) = best {
            let stuck = best.is_stuck();
            let idle = best.requests.load(Ordering::Relaxed) == 0;
            let room = if stuck {
                self.usual * MAX_PER_CORE
            } else {
                self.usual
            };
            if (idle && !stuck) || all.len() >= room {
                return best.clone();
            }
        }
        let limits = &self.class.limits;
        let server = Arc::new(Server {
            inbox: Arc::new(Inbox::new(limits.inbox_messages, limits.inbox_bytes)),
            requests: AtomicUsize::new(0),
            place: Mutex::default(),
            failure: Mutex::default(),
        });
        all.push(server.clone());
        drop(all);
        start(app, &self.class, &server);
        server
    }

    /// Returns when every request has its response.
    pub async fn answered(&self) {
        /// How often to look; nobody waits for this.
        const LOOK: Duration = Duration::from_millis(50);
        while self
            .lock()
            .iter()
            .any(|server| server.requests.load(Ordering::Relaxed) > 0)
        {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Asks every server to end once its requests have.
    pub fn stop(&self) {
        for server in self.lock().iter() {
            let _ = server.inbox.push(Event::Stop);
        }
    }
}

/// What an instance of the server is started with.
fn instance(app: &App, class: &Class, limits: Arc<Limits>, inbox: Arc<Inbox>) -> Start {
    Start {
        options: InstanceOptions {
            identity: Identity::Server,
            bundle: class.bundle.clone(),
            limits,
            input_gate: false,
            env: class.env.clone(),
            storage: Storage::default(),
            inbox,
            host: app.host(),
        },
        module: class.bundle.main.clone(),
    }
}

/// Evaluates the present class's module, as [`App::try_out`] says.
pub async fn try_out(app: &App) -> Result<(), String> {
    let class = app.class();
    let limits = Limits {
        // It ends as soon as it has nothing to do.
        idle: Duration::from_millis(1),
        ..(*class.limits).clone()
    };
    let inbox = Arc::new(Inbox::new(limits.inbox_messages, limits.inbox_bytes));
    let start = instance(app, &class, Arc::new(limits), inbox.clone());
    let (ended, end) = oneshot::channel();
    let started = app.engine().start(start, move |end| {
        let _ = ended.send(end);
    });
    started.map_err(|error| format!("no thread could be started: {error}"))?;
    match tokio::time::timeout(TRIAL, end).await {
        Ok(Ok(End::Failed(failure))) => Err(failure.to_string()),
        Ok(_) => Ok(()),
        Err(_) => {
            // Twice: it need not wait for what it has begun.
            let _ = inbox.push(Event::Stop);
            let _ = inbox.push(Event::Stop);
            Ok(())
        }
    }
}

fn start(app: &Arc<App>, class: &Arc<Class>, server: &Arc<Server>) {
    let start = instance(app, class, class.limits.clone(), server.inbox.clone());
    let (ended_app, ended_class, ended_server) = (app.clone(), class.clone(), server.clone());
    let started = app.engine().start(start, move |end| {
        ended(&ended_app, &ended_class, &ended_server, &end)
    });
    match started {
        Ok(place) => *server.place.lock().unwrap_or_else(PoisonError::into_inner) = Some(place),
        Err(error) => {
            server.inbox.refuse_all(&PortFailure::failed(format!(
                "no thread could be started: {error}"
            )));
        }
    }
}

/// A server's instance ended: the requests it had fail, those that wait get a new one.
fn ended(app: &Arc<App>, class: &Arc<Class>, server: &Arc<Server>, end: &End) {
    if let End::Failed(failure) = end {
        app.log(
            &Identity::Server,
            Level::Error,
            &format!("the server was ended: {failure}"),
        );
        *server
            .failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(failure.to_string());
    }
    let restart = match end {
        End::Slept => false,
        // A request may have come behind the order to stop.
        End::Stopped => !server.inbox.close_if_empty(),
        End::Terminated | End::Failed(_) => true,
    };
    if restart && !app.is_closing() {
        let (app, class, server) = (app.clone(), class.clone(), server.clone());
        app.clone().spawn(async move {
            // A module that cannot be loaded is tried again when somebody asks for it.
            server.inbox.wait_for_event().await;
            start(&app, &class, &server);
        });
    }
}
