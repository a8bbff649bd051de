//! What is measured.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::ValueEnum;
use hdrhistogram::Histogram;
use portside_store::testing::PostgresServer;
use serde::Serialize;

use crate::http::{Connection, Getter};
use crate::load::{Sample, closed_loop, histogram, micros};
use crate::peer::{App, Peer, Programs, Storage};
use crate::report::Figure;
use crate::{alarms, commits, objects, pods, sleepers, socket, storm};

/// Workers of the loads that go to many.
pub const MANY: usize = 1_000;
/// Members of the room that is broadcast to.
pub const ROOM: usize = 100;
/// Workers that are woken, one after the other.
const SLEEPERS: usize = 200;
/// They are woken one at a time, on a machine that has nothing else to do. `wake-storm` has them come all at once.
pub const BETWEEN_WAKES: Duration = Duration::from_millis(20);
/// How often workers are left alone to fall asleep before the benchmark gives up.
const NIGHTS: u32 = 3;

/// How a load is put on a server.
pub struct Plan {
    /// Clients, where the load is not about their number.
    pub connections: usize,
    /// The time before the measured time, under the same load.
    pub warm_up: Duration,
    /// The measured time.
    pub duration: Duration,
    /// Alarms that are due at one instant.
    pub alarms: usize,
}

/// One thing that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// A stateless `fetch`
    Hello,
    /// A `fetch` that asks a warm worker
    RoundTrip,
    /// Durable increments of one worker
    CounterOne,
    /// Durable increments of 1 000 workers
    CounterMany,
    /// The same on Postgres, without a peer
    CounterManyPostgres,
    /// A WebSocket that echoes
    Echo,
    /// A worker that repeats each message to 100 WebSockets
    Broadcast,
    /// A question to a worker that sleeps and has state
    Wake,
    /// New workers under 16 connections, and what another that is awake suffers from them
    WakeStorm,
    /// Alarms of sleeping workers, all due at one instant
    Alarms,
    /// The memory of 1 000 workers that are awake
    Memory,
    /// From the start of the process to the first answer
    Start,
    /// Round trips and durable increments of 1, 2 and 4 pods
    Pods,
    /// Round trips to a warm worker of the pod that is asked, and of another pod
    RoundTripPods,
    /// A worker that repeats each message to 100 WebSockets, of 1 pod and of 4
    BroadcastPods,
    /// Group commit beside one commit for each write, on one Postgres
    CommitsPostgres,
    /// Sleeping workers are woken by way of 2 pods, of 1 000 and of 1 000 000 that are stored
    RouteAndWake,
    /// A `fetch` that asks 1 000 warm objects
    FetchMany,
    /// A method of a warm object is called
    Call,
    /// A value of one object is read by its key
    GetOne,
    /// Values of 1 000 objects are read
    GetMany,
    /// A row of one object is read by its key
    SelectOne,
    /// Rows of 1 000 objects are read
    SelectMany,
    /// A row of one object is changed, durably
    UpdateOne,
    /// Rows of 1 000 objects are changed
    UpdateMany,
    /// Objects echo on sockets that stay while they sleep
    SleepingEcho,
    /// An object repeats each message to 100 such sockets
    SleepingBroadcast,
    /// 10 000 sockets of an object that sleeps
    SleepingSockets,
    /// 10 000 objects that are awake
    AwakeMany,
}

impl Scenario {
    /// All of them, in the order of the report.
    pub fn all() -> &'static [Self] {
        Self::value_variants()
    }

    /// As it is called in tables.
    pub fn title(self) -> &'static str {
        match self {
            Self::Hello => "hello-world fetch",
            Self::RoundTrip => "round trip to a warm worker",
            Self::CounterOne => "durable counter, 1 worker",
            Self::CounterMany => "durable counter, 1 000 workers",
            Self::CounterManyPostgres => "durable counter, 1 000 workers, Postgres",
            Self::Echo => "WebSocket echo",
            Self::Broadcast => "WebSocket broadcast to 100",
            Self::Wake => "wake of a sleeping worker",
            Self::WakeStorm => "1 200 new workers at once",
            Self::Alarms => "alarms due at one instant",
            Self::Memory => "memory of 1 000 awake workers",
            Self::Start => "process start",
            Self::Pods => "1, 2 and 4 pods",
            Self::RoundTripPods => "round trip to a worker of 2 pods",
            Self::BroadcastPods => "WebSocket broadcast to 100, pods",
            Self::CommitsPostgres => "durable commits on Postgres",
            Self::RouteAndWake => "route to a sleeping worker, and wake",
            Self::FetchMany => "round trips to 1 000 warm objects",
            Self::Call => "call of a method",
            Self::GetOne => "KV read, 1 object",
            Self::GetMany => "KV read, 1 000 objects",
            Self::SelectOne => "SQL read, 1 object",
            Self::SelectMany => "SQL read, 1 000 objects",
            Self::UpdateOne => "durable SQL write, 1 object",
            Self::UpdateMany => "durable SQL write, 1 000 objects",
            Self::SleepingEcho => "echo, hibernatable sockets",
            Self::SleepingBroadcast => "broadcast to 100, hibernatable sockets",
            Self::SleepingSockets => "10 000 sockets of a sleeping object",
            Self::AwakeMany => "10 000 awake objects",
        }
    }

    /// Whether it is about what only objects have.
    pub fn is_of_objects(self) -> bool {
        matches!(
            self,
            Self::FetchMany
                | Self::Call
                | Self::GetOne
                | Self::GetMany
                | Self::SelectOne
                | Self::SelectMany
                | Self::UpdateOne
                | Self::UpdateMany
                | Self::SleepingEcho
                | Self::SleepingBroadcast
                | Self::SleepingSockets
                | Self::AwakeMany
        )
    }

    /// Whether Portside is measured beside itself, with workers.
    pub fn is_of_pods(self) -> bool {
        matches!(
            self,
            Self::Pods
                | Self::RoundTripPods
                | Self::BroadcastPods
                | Self::CommitsPostgres
                | Self::RouteAndWake
        )
    }

    /// Whether this peer has the like.
    pub fn is_for(self, peer: Peer) -> bool {
        let is_portsides = self.is_of_pods() || self == Self::CounterManyPostgres;
        !is_portsides || peer == Peer::Portside
    }

    /// Measures one peer once, on a server of its own.
    pub async fn measure(
        self,
        peer: Peer,
        programs: &Programs,
        plan: &Plan,
    ) -> Result<Vec<Figure>> {
        let postgres = PostgresServer::try_start;
        match self {
            Self::Pods => pods::throughput(programs, plan, &postgres()?).await,
            Self::RoundTripPods => pods::round_trips(programs, plan, &postgres()?).await,
            Self::BroadcastPods => pods::broadcasts(programs, plan, &postgres()?).await,
            Self::CommitsPostgres => commits::commits(programs, plan, &postgres()?).await,
            Self::RouteAndWake => sleepers::route_and_wake(programs, &postgres()?).await,
            _ => self.measure_peer(peer, programs, plan).await,
        }
    }

    async fn measure_peer(
        self,
        peer: Peer,
        programs: &Programs,
        plan: &Plan,
    ) -> Result<Vec<Figure>> {
        let app = match self {
            Self::Hello | Self::Start => App::Hello,
            Self::Wake | Self::Alarms => App::Sleepers,
            _ => App::Workers,
        };
        let postgres = match self {
            Self::CounterManyPostgres => Some(PostgresServer::try_start()?),
            _ => None,
        };
        let database;
        let storage = match &postgres {
            Some(postgres) => {
                database = postgres.database().await;
                Storage::Postgres(&database)
            }
            None => Storage::File,
        };
        let server = programs.start(peer, app, storage).await?;
        let address = server.address;
        let get = |paths| Getter::open_many(address, plan.connections, paths);
        let ask = async |paths: Vec<String>| {
            ask_all(&mut Connection::open(address).await?, &paths).await?;
            let sample = closed_loop(&server, plan, get(paths).await?).await?;
            anyhow::Ok(rates("requests", &sample))
        };
        let figures = match self {
            Self::Hello => rates(
                "requests",
                &closed_loop(&server, plan, get(vec!["/".into()]).await?).await?,
            ),
            Self::RoundTrip => ask(vec!["/ping?one".into()]).await?,
            Self::FetchMany => ask(names("/ping", MANY)).await?,
            Self::Call => ask(vec!["/call?one".into()]).await?,
            Self::GetOne => ask(vec!["/get?one".into()]).await?,
            Self::GetMany => ask(names("/get", MANY)).await?,
            Self::CounterOne => ask(vec!["/add?one".into()]).await?,
            Self::CounterMany | Self::CounterManyPostgres => ask(names("/add", MANY)).await?,
            Self::SelectOne => ask(vec!["/select?one".into()]).await?,
            Self::SelectMany => ask(names("/select", MANY)).await?,
            Self::UpdateOne => ask(vec!["/update?one".into()]).await?,
            Self::UpdateMany => ask(names("/update", MANY)).await?,
            Self::Echo => {
                let clients = socket::Echo::open_many(address, plan.connections).await?;
                rates("messages", &closed_loop(&server, plan, clients).await?)
            }
            Self::SleepingEcho => {
                let clients = objects::echoes(address, plan.connections).await?;
                rates("messages", &closed_loop(&server, plan, clients).await?)
            }
            Self::Broadcast | Self::SleepingBroadcast => {
                let path = match self {
                    Self::Broadcast => "/room?lobby",
                    _ => "/lobby?lobby",
                };
                let paths = vec![path.to_owned(); ROOM];
                let sample = socket::broadcast(&server, plan, &paths).await?;
                rates("deliveries", &sample)
            }
            Self::SleepingSockets => {
                objects::sleeping_sockets(&server, programs.night(peer)).await?
            }
            Self::AwakeMany => objects::awake(&server).await?,
            Self::Wake => wake(programs.night(peer), &mut Connection::open(address).await?).await?,
            Self::WakeStorm => storm::wake_storm(&server).await?,
            Self::Alarms => alarms::alarms(programs.night(peer), &server, plan.alarms).await?,
            Self::Memory => {
                let mut connection = Connection::open(address).await?;
                connection.get("/add?first").await?; // what the first worker alone costs is not per worker
                let (before, uses_before) = (server.resident_bytes()?, server.resident_by_use()?);
                ask_all(&mut connection, &names("/add", MANY)).await?;
                let (after, uses) = (server.resident_bytes()?, server.resident_by_use()?);
                let each = |name, after: u64, before| {
                    let grown = after.saturating_sub(before);
                    Figure::less(name, grown as f64 / 1000.0 / MANY as f64)
                };
                vec![
                    each("kB a worker", after, before),
                    each("V8's pages, kB", uses.v8_pages, uses_before.v8_pages),
                    each("malloc, kB", uses.malloc, uses_before.malloc),
                    each("files, kB", uses.files, uses_before.files),
                    each("other, kB", uses.other, uses_before.other),
                ]
            }
            Self::Start => vec![
                Figure::less("ms", server.start.as_secs_f64() * 1e3),
                Figure::less("MB, idle", server.resident_bytes()? as f64 / 1e6),
            ],
            Self::Pods
            | Self::RoundTripPods
            | Self::BroadcastPods
            | Self::CommitsPostgres
            | Self::RouteAndWake => bail!("{} has servers of its own", self.title()),
        };
        server.stop().await?;
        Ok(figures)
    }
}

/// Paths that differ in the worker's name, in their query.
pub fn names(path: &str, count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("{path}?worker-{number}"))
        .collect()
}

async fn ask_all(connection: &mut Connection, paths: &[String]) -> Result<()> {
    for path in paths {
        connection.get(path).await?;
    }
    Ok(())
}

/// The figures of a load. CPU time is the server's alone.
pub fn rates(what: &str, sample: &Sample) -> Vec<Figure> {
    let done = sample.latency.len() as f64;
    let mut figures = vec![Figure::more(
        format!("{what}/s"),
        done / sample.elapsed.as_secs_f64(),
    )];
    if !sample.cpu.is_zero() {
        figures.push(Figure::more(
            format!("{what}/CPU-s"),
            done / sample.cpu.as_secs_f64(),
        ));
    }
    figures.extend(latencies(&sample.latency));
    figures
}

pub fn latencies(latency: &Histogram<u64>) -> [Figure; 2] {
    let millis = |quantile| latency.value_at_quantile(quantile) as f64 / 1e3;
    [
        Figure::less("p50 ms", millis(0.5)),
        Figure::less("p99 ms", millis(0.99)),
    ]
}

/// Leaves workers alone until they sleep, then asks each for what it has stored. Their answers say which of
/// them have been asleep; only those count.
async fn wake(night: Duration, connection: &mut Connection) -> Result<Vec<Figure>> {
    ask_all(connection, &names("/add", SLEEPERS)).await?;
    for _ in 0..NIGHTS {
        tokio::time::sleep(night).await;
        let mut latency = histogram();
        for path in names("/read", SLEEPERS) {
            tokio::time::sleep(BETWEEN_WAKES).await;
            let asked = Instant::now();
            let answer = connection.get(&path).await?;
            let took = asked.elapsed();
            match answer.as_ref() {
                b"1 woken" => {
                    latency.saturating_record(micros(took));
                }
                b"1 awake" => {}
                other => bail!("{path} answers {}", String::from_utf8_lossy(other)),
            }
        }
        if latency.len() as usize * 10 >= SLEEPERS * 9 {
            return Ok(latencies(&latency).into());
        }
    }
    bail!("after {NIGHTS} times {night:?} most workers are still awake")
}
