//! Clients that never stop, and remember what they asked and what they were told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clap::ValueEnum;
use hyper::Method;
use portside_testkit::{Failed, Reply, Site};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::history::{Action, Instances, Micros, Operation};
use crate::{counting, sockets};

/// Clients that ask over HTTP, each on a new connection, then those over WebSockets: some ask one by one, others watch.
const HTTP_CLIENTS: u32 = 10;
const FIRST_WATCHER: u32 = HTTP_CLIENTS + 6;
const FIRST_COUNTER: u32 = FIRST_WATCHER + 4;
/// And those that count on WebSockets that outlive pods.
const CLIENTS: u32 = FIRST_COUNTER + 4;
/// How many of those over HTTP go to the pods themselves, where there are any.
const DIRECT_CLIENTS: u32 = 3;
/// How long such a client waits for one pod.
const POD_PATIENCE: Duration = Duration::from_secs(3);
/// Workers that are asked at any time.
const WORKERS: usize = 10;
/// One worker in so many is a book.
const BOOK_IN: u32 = 3;
/// Appends after which another worker takes a worker's place.
const APPENDS_PER_WORKER: u32 = 150;
/// When a client gives up.
pub const PATIENCE: Duration = Duration::from_secs(12);

/// A part of the load, which can be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Part {
    /// Turns that write half and loop until the CPU limit.
    Half,
    /// Alarms that do so when they are delivered first.
    Spin,
    /// Workers that end themselves, with what others have asked of them.
    Last,
    /// Alarms.
    Later,
    /// Workers that tell others.
    Relay,
    /// Books: lists whose entries are read from the store, appended in transactions, and that delete keys.
    Books,
    /// WebSockets, also those that outlive pods.
    Sockets,
    /// Requests to pods without the gateway, one after another until one does not say 421.
    Direct,
}

impl Part {
    /// Its name, as on the command line.
    #[must_use]
    pub fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// What all clients share.
#[derive(Debug)]
pub struct Shared {
    site: Site,
    pods: watch::Receiver<Vec<Site>>,
    began: Instant,
    without: BTreeSet<Part>,
    stop: AtomicBool,
    next_value: AtomicU32,
    places: Mutex<Vec<Place>>,
    instances: Mutex<Instances>,
    operations: Mutex<BTreeMap<String, Vec<Operation>>>,
    wrong: Mutex<Vec<String>>,
    counted: AtomicU32,
}

#[derive(Debug, Clone)]
struct Place {
    worker: u32,
    appends: u32,
    spun: bool,
    halved: bool,
}

/// An operation as it is sent.
#[derive(Debug)]
pub struct Wanted {
    /// At which worker.
    pub worker: String,
    /// What it is in the history.
    pub action: Action,
    /// What the application gets.
    pub message: Value,
}

/// The load, running.
#[derive(Debug)]
pub struct Load {
    /// What the clients share.
    pub shared: Arc<Shared>,
    clients: JoinSet<()>,
}

impl Load {
    /// Starts the clients. `is_planned`: all that will be done to pods is done in order.
    #[must_use]
    pub fn start(
        site: Site,
        pods: watch::Receiver<Vec<Site>>,
        seed: u64,
        without: &[Part],
        is_planned: bool,
    ) -> Self {
        let place = |worker| Place {
            worker,
            appends: 0,
            spun: false,
            halved: false,
        };
        let shared = Arc::new(Shared {
            site,
            pods,
            began: Instant::now(),
            without: without.iter().copied().collect(),
            stop: AtomicBool::new(false),
            next_value: AtomicU32::new(0),
            places: Mutex::new((0..WORKERS as u32).map(place).collect()),
            instances: Mutex::default(),
            operations: Mutex::default(),
            wrong: Mutex::default(),
            counted: AtomicU32::new(0),
        });
        let mut random = fastrand::Rng::with_seed(seed);
        let mut clients = JoinSet::new();
        let count = if without.contains(&Part::Sockets) {
            HTTP_CLIENTS
        } else {
            CLIENTS
        };
        for client in 0..count {
            let (shared, random) = (shared.clone(), random.fork());
            match client {
                0..HTTP_CLIENTS => {
                    clients.spawn(async move { over_http(&shared, client, random).await });
                }
                HTTP_CLIENTS..FIRST_WATCHER => {
                    clients
                        .spawn(async move { sockets::one_by_one(&shared, client, random).await });
                }
                FIRST_COUNTER..CLIENTS => {
                    clients.spawn(async move {
                        counting::count(&shared, client, is_planned, random).await;
                    });
                }
                _ => {
                    clients.spawn(async move { sockets::watch(&shared, client, random).await });
                }
            }
        }
        Self { shared, clients }
    }

    /// Ends the clients, each after what it is at.
    pub async fn finish(mut self) -> Arc<Shared> {
        self.shared.stop.store(true, Ordering::Relaxed);
        while self.clients.join_next().await.is_some() {}
        self.shared
    }
}

impl Shared {
    /// Now, in microseconds since the load began.
    #[must_use]
    pub fn now(&self) -> Micros {
        Micros::try_from(self.began.elapsed().as_micros()).unwrap_or(Micros::MAX)
    }

    /// A number came back on a WebSocket that outlives pods.
    pub fn came_back(&self) {
        self.counted.fetch_add(1, Ordering::Relaxed);
    }

    /// How many did.
    #[must_use]
    pub fn counted(&self) -> u32 {
        self.counted.load(Ordering::Relaxed)
    }

    /// Something was wrong with numbers on a WebSocket that outlives pods.
    pub fn is_wrong(&self, what: String) {
        lock(&self.wrong).push(what);
    }

    /// All that was.
    #[must_use]
    pub fn wrong(&self) -> Vec<String> {
        lock(&self.wrong).clone()
    }

    /// What there is of each worker, by name.
    #[must_use]
    pub fn operations(&self) -> BTreeMap<String, Vec<Operation>> {
        lock(&self.operations).clone()
    }

    /// Asks for all of a worker's list, and remembers it as `client`'s. `None` if there is no answer.
    pub async fn read(&self, client: u32, worker: &str) -> Option<Operation> {
        let wanted = Wanted {
            worker: worker.to_owned(),
            action: Action::Read,
            message: json!({"id": 0, "operation": "read", "from": "storage"}),
        };
        let operation = self.ask(client, &wanted, true).await;
        operation.outcome.is_ok().then_some(operation)
    }

    /// How often a relay's mirror was reached: by ports, and by messages. `None` if there is no answer. Asking counts as
    /// well, so it may be asked once.
    pub async fn mirror(&self, worker: &str, value: u32) -> Option<(u64, u64)> {
        let message = json!({"id": 0, "operation": "read"});
        let path = format!("/mirror/{worker}%20{value}");
        let reply = self.request(&path, &message, false).await.ok()?;
        Some((reply["opened"].as_u64()?, reply["told"].as_u64()?))
    }

    /// Where clients send requests.
    #[must_use]
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// The pods, if this client goes to them: some of those over HTTP, and every other one of those over WebSockets.
    #[must_use]
    pub fn pods(&self, client: u32) -> Vec<Site> {
        let direct = match client {
            0..HTTP_CLIENTS => client < DIRECT_CLIENTS,
            HTTP_CLIENTS..CLIENTS => client.is_multiple_of(2),
            _ => false,
        };
        if !direct || self.without.contains(&Part::Direct) {
            return Vec::new();
        }
        self.pods.borrow().clone()
    }

    /// The worker that is asked since the shortest time.
    #[must_use]
    pub fn newest(&self) -> String {
        let places = lock(&self.places);
        let newest = places.iter().min_by_key(|place| place.appends);
        self.name(newest.map_or(0, |place| place.worker))
    }

    fn name(&self, worker: u32) -> String {
        let is_book = worker % BOOK_IN == 1 && !self.without.contains(&Part::Books);
        format!("{}-{worker}", if is_book { "book" } else { "list" })
    }

    /// Whether clients are to end.
    #[must_use]
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// What a client does next, at one of the workers or at the one given.
    pub fn choose(&self, random: &mut fastrand::Rng, at: Option<usize>) -> (usize, Wanted) {
        let mut places = lock(&self.places);
        let index = at.unwrap_or_else(|| random.usize(..places.len()));
        if places[index].appends >= APPENDS_PER_WORKER && at.is_none() {
            let worker = places.iter().map(|place| place.worker).max().unwrap_or(0) + 1;
            places[index] = Place {
                worker,
                appends: 0,
                spun: false,
                halved: false,
            };
        }
        let place = &mut places[index];
        let worker = self.name(place.worker);
        // A book's appends and reads are its only operations.
        let dice = match is_book(&worker) {
            true => random.u32(..2) * 999,
            false => random.u32(..1000),
        };
        let has = |part| !self.without.contains(&part);
        let from = if random.bool() { "memory" } else { "storage" };
        if dice < 450 {
            let message = json!({"operation": "read", "from": from});
            return (
                index,
                Wanted {
                    worker,
                    action: Action::Read,
                    message,
                },
            );
        }
        let value = self.next_value.fetch_add(1, Ordering::Relaxed);
        let (action, message) = match dice {
            450..480 if has(Part::Relay) => (
                Action::Relay(value),
                json!({"operation": "relay", "value": value}),
            ),
            480..530 if has(Part::Later) => {
                // Alarms before that have been written when it spins: once each worker.
                let spins = has(Part::Spin) && !place.spun && dice < 485;
                place.spun |= spins;
                let after = random.u32(100..800);
                let message =
                    json!({"operation": "later", "value": value, "after": after, "spins": spins});
                (Action::Later(value), message)
            }
            530..535 if has(Part::Half) && !place.halved => {
                place.halved = true;
                let message = json!({"operation": "half", "value": value, "memory": random.bool()});
                (Action::Half(value), message)
            }
            535..540 if has(Part::Last) => {
                let message = json!({"operation": "last", "value": value});
                (Action::Append(value), message)
            }
            _ => (
                Action::Append(value),
                json!({"operation": "append", "value": value}),
            ),
        };
        place.appends += 1;
        (
            index,
            Wanted {
                worker,
                action,
                message,
            },
        )
    }

    /// One more append at the worker that has this place now.
    pub fn append(&self, index: usize) -> Wanted {
        let value = self.next_value.fetch_add(1, Ordering::Relaxed);
        let place = &mut lock(&self.places)[index];
        place.appends += 1;
        Wanted {
            worker: self.name(place.worker),
            action: Action::Append(value),
            message: json!({"operation": "append", "value": value}),
        }
    }

    /// Asks over HTTP and remembers it.
    async fn ask(&self, client: u32, wanted: &Wanted, get: bool) -> Operation {
        let invoked = self.now();
        let path = path(&wanted.worker);
        let reply = if self.pods(client).is_empty() {
            self.request(&path, &wanted.message, get).await
        } else {
            self.request_pods(&path, &wanted.message).await
        };
        self.remember(client, wanted, invoked, None, reply)
    }

    /// An operation's answer; why there is none, which never says that it was not done.
    async fn request(&self, path: &str, message: &Value, get: bool) -> Result<Value, String> {
        let asking = async {
            let text = message.to_string();
            if get {
                let path = format!("{path}?operation={}", escaped(&text));
                self.site.try_request(Method::GET, &path, &[], "").await
            } else {
                self.site.try_request(Method::POST, path, &[], &text).await
            }
        };
        let reply = timeout(PATIENCE, asking).await;
        parsed(reply.map_err(|_| "no answer in time".to_owned())?)
    }

    /// The same, from whichever pod is active: what a pod refuses with 421, or does not even take, it has not done.
    async fn request_pods(&self, path: &str, message: &Value) -> Result<Value, String> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let pods = self.pods.borrow().clone();
            for pod in pods {
                let text = message.to_string();
                let asking = pod.try_request(Method::POST, path, &[], &text);
                match timeout(POD_PATIENCE, asking).await {
                    Err(_) => return Err("no answer of a pod in time".to_owned()),
                    Ok(Ok(reply)) if reply.status == MISDIRECTED => {}
                    Ok(Err(error)) if is_refused(&error) => {}
                    Ok(reply) => return parsed(reply),
                }
            }
            sleep(Duration::from_millis(50)).await;
        }
        Err("no pod is active".to_owned())
    }

    /// Adds an operation that is over, whatever its end.
    pub fn remember(
        &self,
        client: u32,
        wanted: &Wanted,
        invoked: Micros,
        after: Option<u32>,
        reply: Result<Value, String>,
    ) -> Operation {
        let completed = self.now();
        let outcome = reply.and_then(|reply| lock(&self.instances).parse(wanted.action, &reply));
        let operation = Operation {
            client,
            at_pod: !self.pods(client).is_empty(),
            after,
            action: wanted.action,
            invoked,
            completed,
            outcome,
        };
        let mut operations = lock(&self.operations);
        operations
            .entry(wanted.worker.clone())
            .or_default()
            .push(operation.clone());
        operation
    }
}

/// Whether a worker of this name is a book.
#[must_use]
pub fn is_book(worker: &str) -> bool {
    worker.starts_with("book-")
}

/// Where a worker is.
#[must_use]
pub fn path(worker: &str) -> String {
    let script = if is_book(worker) { "book" } else { "list" };
    format!("/{script}/{worker}")
}

/// A pod's refusal of a request that it has not run.
const MISDIRECTED: u16 = 421;

fn is_refused(error: &Failed) -> bool {
    let error = error.downcast_ref::<std::io::Error>();
    error.is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
}

fn parsed(reply: Result<Reply, Failed>) -> Result<Value, String> {
    let reply = reply.map_err(|_| "the connection broke".to_owned())?;
    if reply.status != 200 {
        return Err(format!("status {}", reply.status));
    }
    serde_json::from_str(reply.text()).map_err(|_| "not JSON".to_owned())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// For a query: JSON of letters, digits and the few signs that it has.
fn escaped(text: &str) -> String {
    text.replace('"', "%22")
        .replace('{', "%7B")
        .replace('}', "%7D")
}

async fn over_http(shared: &Shared, client: u32, mut random: fastrand::Rng) {
    while !shared.stopped() {
        let (_, wanted) = shared.choose(&mut random, None);
        let get = wanted.action == Action::Read && random.bool();
        let operation = shared.ask(client, &wanted, get).await;
        rest(&mut random, operation.outcome.is_ok()).await;
    }
}

/// Time to think, or until it may be better.
pub async fn rest(random: &mut fastrand::Rng, well: bool) {
    let millis = if well {
        random.u64(..40)
    } else {
        random.u64(50..250)
    };
    sleep(Duration::from_millis(millis)).await;
}
