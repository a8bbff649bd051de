//! Clients that never stop, and remember what they asked and what they were told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clap::ValueEnum;
use hyper::Method;
use portside_testkit::{Failed, Reply, Site, Socket};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::check::value;
use crate::history::{Action, Instances, Micros, Operation};

/// Clients that ask over HTTP, each on a new connection, and over WebSockets, some operations on each.
const HTTP_CLIENTS: u32 = 10;
const SOCKET_CLIENTS: u32 = 6;
/// How many of those over HTTP go to the pods themselves, where there are any.
const DIRECT_CLIENTS: u32 = 3;
/// How long such a client waits for one pod.
const POD_PATIENCE: Duration = Duration::from_secs(3);
const OPERATIONS_PER_SOCKET: usize = 30;
/// Of 100 appends over a socket, how many are followed by others without waiting, and how many they are together.
const BURSTS: u32 = 20;
const BURST: usize = 4;
/// Workers that are asked at any time.
const WORKERS: usize = 10;
/// Appends after which another worker takes a worker's place.
const APPENDS_PER_WORKER: u32 = 150;
/// When a client gives up.
const PATIENCE: Duration = Duration::from_secs(12);

/// A part of the load, which can be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Part {
    /// Turns that write half and loop until the CPU limit.
    Half,
    /// Alarms that do so when they are delivered first.
    Spin,
    /// Alarms.
    Later,
    /// Workers that tell others.
    Relay,
    /// WebSockets.
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
struct Wanted {
    worker: String,
    action: Action,
    message: Value,
}

/// The load, running.
#[derive(Debug)]
pub struct Load {
    /// What the clients share.
    pub shared: Arc<Shared>,
    clients: JoinSet<()>,
}

impl Load {
    /// Starts the clients.
    #[must_use]
    pub fn start(
        site: Site,
        pods: watch::Receiver<Vec<Site>>,
        seed: u64,
        without: &[Part],
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
        });
        let mut random = fastrand::Rng::with_seed(seed);
        let mut clients = JoinSet::new();
        let sockets = if without.contains(&Part::Sockets) {
            0
        } else {
            SOCKET_CLIENTS
        };
        for client in 0..HTTP_CLIENTS + sockets {
            let (shared, random) = (shared.clone(), random.fork());
            if client < HTTP_CLIENTS {
                clients.spawn(async move { over_http(&shared, client, random).await });
            } else {
                clients.spawn(async move { over_sockets(&shared, client, random).await });
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

    fn is_direct(&self, client: u32) -> bool {
        client < DIRECT_CLIENTS
            && !self.without.contains(&Part::Direct)
            && !self.pods.borrow().is_empty()
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// What a client does next, at one of the workers or at the one given.
    fn choose(&self, random: &mut fastrand::Rng, at: Option<usize>) -> (usize, Wanted) {
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
        let worker = format!("list-{}", place.worker);
        let dice = random.u32(..1000);
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
            535..540 => {
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
    fn append(&self, index: usize) -> Wanted {
        let value = self.next_value.fetch_add(1, Ordering::Relaxed);
        let place = &mut lock(&self.places)[index];
        place.appends += 1;
        Wanted {
            worker: format!("list-{}", place.worker),
            action: Action::Append(value),
            message: json!({"operation": "append", "value": value}),
        }
    }

    /// Asks over HTTP and remembers it.
    async fn ask(&self, client: u32, wanted: &Wanted, get: bool) -> Operation {
        let invoked = self.now();
        let path = format!("/list/{}", wanted.worker);
        let reply = if self.is_direct(client) {
            self.request_pods(&path, &wanted.message).await
        } else {
            self.request(&path, &wanted.message, get).await
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

    fn remember(
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
async fn rest(random: &mut fastrand::Rng, well: bool) {
    let millis = if well {
        random.u64(..40)
    } else {
        random.u64(50..250)
    };
    sleep(Duration::from_millis(millis)).await;
}

async fn over_sockets(shared: &Shared, client: u32, mut random: fastrand::Rng) {
    while !shared.stopped() {
        let (index, wanted) = shared.choose(&mut random, None);
        let worker = wanted.worker.clone();
        let path = format!("/list/{worker}");
        let opening = timeout(PATIENCE, shared.site.try_socket(&path)).await;
        let Ok(Ok(mut socket)) = opening else {
            rest(&mut random, false).await;
            continue;
        };
        let mut next = Some(wanted);
        for number in 0..OPERATIONS_PER_SOCKET {
            let wanted = match next.take() {
                Some(wanted) => wanted,
                None => shared.choose(&mut random, Some(index)).1,
            };
            let mut burst = vec![wanted];
            if matches!(burst[0].action, Action::Append(_)) && random.u32(..100) < BURSTS {
                burst.extend((1..BURST).map(|_| shared.append(index)));
            }
            if shared.stopped() || burst.iter().any(|wanted| wanted.worker != worker) {
                break;
            }
            let well = exchange(shared, client, &mut socket, burst, number * BURST).await;
            rest(&mut random, well).await;
            // An answer may still be on its way on this one.
            if !well {
                break;
            }
        }
    }
}

/// Sends operations one right after another, waits for the answers and remembers them. Whether all were answered.
async fn exchange(
    shared: &Shared,
    client: u32,
    socket: &mut Socket,
    mut burst: Vec<Wanted>,
    first_id: usize,
) -> bool {
    let mut open: Vec<(usize, Micros, Option<u32>)> = Vec::new();
    let mut broke = None;
    let mut after = None;
    for (place, wanted) in burst.iter_mut().enumerate() {
        wanted.message["id"] = json!(first_id + place);
        open.push((place, shared.now(), after));
        after = value(wanted.action);
        if socket.try_send(&wanted.message.to_string()).await.is_err() {
            broke = Some("the socket broke".to_owned());
            break;
        }
    }
    while broke.is_none() && !open.is_empty() {
        let reply = match timeout(PATIENCE, socket.try_receive()).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(_)) => {
                broke = Some("the socket broke".to_owned());
                break;
            }
            Err(_) => {
                broke = Some("no answer in time".to_owned());
                break;
            }
        };
        let asked =
            |(place, ..): &(usize, Micros, Option<u32>)| reply["id"] == burst[*place].message["id"];
        let Some(found) = open.iter().position(asked) else {
            broke = Some(format!("an answer to another question: {reply}"));
            break;
        };
        let (place, invoked, after) = open.remove(found);
        let operation = shared.remember(client, &burst[place], invoked, after, Ok(reply));
        // The worker threw, and answers the others all the same.
        if let Err(why) = operation.outcome {
            broke = Some(why);
        }
    }
    for (place, invoked, after) in open {
        let why = broke.clone().unwrap_or_default();
        shared.remember(client, &burst[place], invoked, after, Err(why));
    }
    broke.is_none()
}
