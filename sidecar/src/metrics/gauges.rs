//! What a pod is and has, read when it is asked for: nothing is counted twice, and nobody pays for it in between.

use std::fmt;
use std::sync::Arc;

use portside_core::admission::Shortage;
use portside_crds::sidecar::State;
use portside_router::Target;
use portside_store::ConnectionMeasures;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Unit;

use super::show::Show;
use crate::app::App;
use crate::pod::Pod;

const BYTES: Option<&Unit> = Some(&Unit::Bytes);
const SECONDS: Option<&Unit> = Some(&Unit::Seconds);

/// What a pod is and has.
pub struct PodGauges(pub Arc<Pod>);

impl fmt::Debug for PodGauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PodGauges")
    }
}

impl Collector for PodGauges {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut show = Show(encoder);
        let app = self.0.app();
        pod(&self.0, &mut show)?;
        wakes(app, &mut show)?;
        isolates(app, &mut show)?;
        queues(app, &mut show)?;
        commits(app, &mut show)?;
        store(app, &mut show)?;
        alarms(app, &mut show)?;
        links(app, &mut show)?;
        room(app, &mut show)
    }
}

fn pod(pod: &Pod, show: &mut Show<'_>) -> fmt::Result {
    let ownership = pod.ownership();
    let active = matches!(ownership.state, State::Active | State::Serving);
    let name = "1 while this pod runs workers, alone or beside others";
    show.gauge(("active", None, name), u64::from(active))?;
    let help = "Grows with each change of the pod that is active alone; 0 in all others";
    show.gauge(("term", None, help), ownership.term)?;
    let help = "Requests that have no answer yet";
    show.gauge(("requests_unanswered", None, help), pod.unanswered())?;
    let took = pod.app().ownership().departures().took();
    let help = "From when a shard takes nothing new until it is another pod's";
    show.histogram(("shard_hand_over", SECONDS, help), took)
}

fn wakes(app: &App, show: &mut Show<'_>) -> fmt::Result {
    let help = "Workers in memory";
    show.gauge(("workers_awake", None, help), app.awake())?;
    let help = "From when a sleeping worker or object was addressed until it could handle that";
    show.histogram(("wake_duration", SECONDS, help), app.wakes().took())?;
    let help = "What a wake does, one after the other: waits until the worker is this pod's and nothing of it is being written, \
        loads from the store, gets an isolate (objects get none), evaluates the module or makes the object";
    let phases = app.wakes().phases();
    let phases = phases.map(|(phase, took)| (phase.name(), took));
    show.histograms(("wake_phase", SECONDS, help), "phase", phases)
}

fn isolates(app: &App, show: &mut Show<'_>) -> fmt::Result {
    let measures = app.isolates().measure();
    let help = "Isolates of servers and workers, and those that wait";
    show.gauge(("isolates", None, help), measures.isolates)?;
    let help = "Memory in JavaScript heaps, in each isolate as of its last collection of garbage";
    show.gauge(("isolates_heap", BYTES, help), measures.heap_bytes)?;
    let help = "Memory of ArrayBuffers, WebAssembly and files outside of JavaScript heaps";
    show.gauge(("isolates_external", BYTES, help), measures.external_bytes)?;
    let help = "Processor time of the threads that run JavaScript";
    let cpu = measures.cpu.as_secs_f64();
    show.counter(("javascript_cpu", SECONDS, help), cpu)?;
    let help = "Isolates that wait for workers to wake";
    show.gauge(("isolates_ready", None, help), app.isolates().ready())?;
    let help = "Workers that have woken in an isolate that waited ready";
    let used = app.isolates().ready_used();
    show.counter(("isolates_ready_used", None, help), used)
}

/// How much waits for JavaScript.
fn queues(app: &App, show: &mut Show<'_>) -> fmt::Result {
    let workers = app.workers().all();
    let workers = workers.iter().map(|worker| worker.inbox.len());
    let servers = app.servers().waiting();
    let inboxes = [("workers", workers.collect()), ("servers", servers)];
    let sums = inboxes.iter().map(|(of, each)| (*of, each.iter().sum()));
    let help = "Messages, requests and alarms that wait in inboxes, all together";
    show.gauges::<usize>(("inbox_messages", None, help), "of", sums)?;
    let most = |each: &Vec<usize>| each.iter().max().copied().unwrap_or(0);
    let most = inboxes.iter().map(|(of, each)| (*of, most(each)));
    let help = "The same in the fullest inbox";
    show.gauges(("inbox_messages_most", None, help), "of", most)
}

/// What waits for the store, and how long that takes.
fn commits(app: &App, show: &mut Show<'_>) -> fmt::Result {
    let lanes = app.lanes();
    let help = "Commits that have no answer yet";
    show.gauge(("commits_waiting", None, help), lanes.waiting_commits())?;
    let help = "Keys and values in commits that have no answer yet";
    show.gauge(("commits_waiting", BYTES, help), lanes.waiting_bytes())?;
    let statements = lanes.statements();
    let help = "From when commits were sent to the store, many at a time, until it has answered, or failed";
    show.histogram(("commit_duration", SECONDS, help), &statements.took)?;
    let help = "Commits that were sent to the store at a time";
    show.histogram(("commit_batch", None, help), &statements.commits)
}

fn store(app: &App, show: &mut Show<'_>) -> fmt::Result {
    let measures = app.store().measures();
    let errors = [
        ("failed", measures.failed),
        ("incompatible", measures.incompatible),
    ];
    let help = "Calls of the store that the database refused or did not answer, and of which this version cannot read the answer";
    show.counters(("store_errors", None, help), "kind", errors)?;
    let all = &measures.connections;
    let of = |of: fn(&ConnectionMeasures) -> u32| all.iter().map(move |it| (it.purpose, of(it)));
    let help = "Open connections to the database";
    let open = of(|it| it.open);
    show.gauges(("store_connections", None, help), "purpose", open)?;
    let help = "Open connections to the database that nobody uses";
    let idle = of(|it| it.idle);
    show.gauges(("store_connections_idle", None, help), "purpose", idle)?;
    let help = "The most connections to the database that there may be";
    let limit = of(|it| it.limit);
    show.gauges(("store_connections_limit", None, help), "purpose", limit)?;
    let help = "How often a connection to the database was asked for";
    let asked = all.iter().map(|it| (it.purpose, it.asked));
    show.counters(("store_connections_asked", None, help), "purpose", asked)?;
    let help = "How long those who asked for a connection have waited, all together";
    let waited = all.iter().map(|it| (it.purpose, it.waited.as_secs_f64()));
    show.counters(("store_connections_wait", SECONDS, help), "purpose", waited)
}

fn alarms(app: &App, show: &mut Show<'_>) -> fmt::Result {
    let (late, longest) = app.alarms().overdue();
    let help = "Alarms that are due, and not with their workers: for want of a turn, of room or of a store that answers";
    show.gauge(("alarms_late", None, help), late)?;
    let help = "For how long the earliest of them has been due";
    show.gauge(
        ("alarms_late_longest", SECONDS, help),
        longest.as_secs_f64(),
    )?;
    let help = "From when an alarm was due until its worker had it";
    show.histogram(("alarm_delay", SECONDS, help), app.alarms().delays())
}

/// Where the workers were that this pod's code has reached, if other pods have some.
fn links(app: &App, show: &mut Show<'_>) -> fmt::Result {
    let targets = [("here", Target::Here), ("elsewhere", Target::Elsewhere)];
    let counts = targets.map(|(label, target)| Some((label, app.count_links(target)?)));
    let help = "Ports and calls that servers and workers of this pod have opened, by the pod of their target";
    let counts = counts.into_iter().flatten();
    show.counters(("links_opened", None, help), "target", counts)
}

/// What there is room for, and what was done when there was none.
fn room(app: &App, show: &mut Show<'_>) -> fmt::Result {
    let room = app.room();
    let (pressure, memory) = room.last_look();
    let cap = room.cap(&app.class().limits);
    let help = "The most workers that may be in memory";
    show.gauge(("workers_awake_limit", None, help), cap)?;
    let help = "0: none; 1: idle workers are put to sleep; 2: no worker is woken";
    show.gauge(("memory_pressure", None, help), pressure as u64)?;
    if let Some(memory) = memory {
        let help = "Memory in use, without what the system can take back";
        show.gauge(("memory_used", BYTES, help), memory.used)?;
        let help = "Memory that may be in use";
        show.gauge(("memory_limit", BYTES, help), memory.limit)?;
    }
    let slept = room.count_put_to_sleep();
    let help = "Idle workers that were put to sleep before their time to make room";
    show.counter(("workers_put_to_sleep", None, help), slept)?;
    let shortages = [("workers", Shortage::Workers), ("memory", Shortage::Memory)];
    let refused = shortages.map(|(short, shortage)| (short, room.count_refused(shortage)));
    let help = "Workers that were not woken, and servers not started, for want of room";
    show.counters(("wakes_shed", None, help), "short", refused)
}
