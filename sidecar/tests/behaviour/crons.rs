//! The server's `scheduled` handler: when it runs, how often, and what it is given; and alarms that are fired by hand.

use std::sync::Arc;
use std::time::Duration;

use portside_core::alarm::{Alarm, AlarmChange};
use portside_core::ids::WorkerKey;
use portside_core::variable::Value;
use portside_core::write::WriteBatch;
use portside_exchange::FetchError;
use portside_sidecar::metrics::Metrics;
use portside_sidecar::{
    App, Called, Config, DrainLimits, Fired, Ownership, Pod, Ran, Scheduled, Spill,
};
use portside_store::{Commit, Outcome, Store};
use prometheus_client::registry::Registry;

use crate::app::{Setup, TestApp, eventually, isolates, open};
use crate::held::{HeldStore, Mode};
use crate::lab::lab;
use crate::{Case, cases};

/// These tests.
pub const CASES: &[Case] = cases![
    a_cron_is_armed_for_its_next_time_and_only_once,
    what_came_due_while_nobody_was_there_is_one_run,
    a_cron_that_the_class_has_no_longer_does_not_run,
    a_run_waits_until_its_time_is_taken_for_good,
    a_time_whose_claim_is_of_unknown_fate_is_run_once,
    of_two_pods_one_runs_what_is_due,
    a_pod_that_lost_its_shards_meanwhile_runs_nothing,
    another_revision_has_other_crons,
    a_run_lasts_until_all_that_it_waits_for_has_settled,
    what_is_thrown_is_logged_and_told,
    a_server_without_the_handler_says_so,
    a_run_that_is_under_way_is_waited_for_when_the_process_ends,
    a_run_that_is_under_way_is_waited_for_when_the_pod_drains,
    a_run_that_takes_too_long_is_cut_off_and_logged,
    what_comes_due_in_a_process_that_drains_is_its_successors,
    an_alarm_is_fired_by_hand,
];

/// Far from the present, so that it comes due only as a test has it.
const YEARLY: &str = "0 0 1 1 *";

/// Each run is kept by a worker; `/` gives them all.
const SERVER: &str = r#"
const ask = (question) => new Promise((resolve, reject) => {
  const { port } = new ServerlessWorker("./runs.js", "all");
  port.onmessage = (event) => resolve(event.data);
  port.onclose = (event) => reject(new Error(event.code));
  port.postMessage(question);
});
export default {
  async fetch() {
    return Response.json(await ask(null));
  },
  async scheduled(controller, env, ctx) {
    console.log("it runs");
    const { cron, scheduledTime, type } = controller;
    await ask([cron, scheduledTime, type, env.WHERE, typeof ctx.waitUntil].join(" "));
  },
};"#;

const RUNS: &str = r#"
const runs = await storage.get("runs") ?? [];
export default {
  connect({ ports: [port] }) {
    port.onmessage = ({ data }) => {
      if (data !== null) storage.put("runs", (runs.push(data), runs));
      port.postMessage(runs);
    };
  },
};"#;

const MISSED: &str = r#"["0 0 1 1 * 60000 scheduled here function"]"#;

fn setup(crons: &[&'static str], store: &Arc<dyn Store>) -> Setup {
    Setup {
        crons: crons.to_vec(),
        env: vec![("WHERE".to_owned(), Value::Text("here".to_owned()))],
        store: Some(store.clone()),
        ..Setup::new(&[("server.js", SERVER), ("runs.js", RUNS)])
    }
}

fn key(cron: &str) -> WorkerKey {
    WorkerKey::new("/crons", cron).unwrap()
}

/// When a cron is due next, as a pod has stored it.
async fn stored(store: &dyn Store, cron: &str) -> Option<i64> {
    let due = store
        .alarms(&all_shards(), None, i64::MAX, 100)
        .await
        .unwrap();
    let due = due.iter().find(|due| due.worker == key(cron));
    due.map(|due| due.alarm.scheduled)
}

fn all_shards() -> Vec<portside_core::ids::ShardId> {
    (0..portside_core::ids::SHARDS)
        .map(portside_core::ids::ShardId)
        .collect()
}

/// As a pod that went down left it: the cron was due in the first minute of 1970.
async fn is_overdue(store: &Arc<dyn Store>, cron: &str) {
    is_due(store, key(cron), 60_000).await;
}

async fn is_due(store: &Arc<dyn Store>, worker: WorkerKey, time: i64) {
    let ownership = Ownership::acquire(store.clone(), "before").await.unwrap();
    let commit = Commit {
        fence: ownership.fence(worker.id()).unwrap(),
        worker,
        batch: WriteBatch {
            alarm: AlarmChange::Set(Alarm::at(time)),
            ..WriteBatch::default()
        },
    };
    let outcomes = store.commit(&[commit]).await.unwrap();
    assert_eq!(outcomes, [Outcome::Committed]);
    ownership.release().await;
}

async fn is_armed(store: &dyn Store, cron: &str) {
    let armed = eventually(async || stored(store, cron).await.is_some_and(|at| at > 60_000));
    assert!(armed.await, "{:?}", stored(store, cron).await);
}

async fn a_cron_is_armed_for_its_next_time_and_only_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let app = setup(&[YEARLY, "30 5 * * *"], &store).start().await;
    is_armed(&*store, YEARLY).await;
    is_armed(&*store, "30 5 * * *").await;
    let first = stored(&*store, YEARLY).await;
    assert_eq!(first.unwrap() % 86_400_000, 0);
    let daily = stored(&*store, "30 5 * * *").await;
    assert_eq!(daily.unwrap() % 86_400_000, (5 * 60 + 30) * 60_000);
    assert_eq!(app.text("/").await, "[]");
    app.stop().await;
    let app = setup(&[YEARLY], &store).start().await;
    assert_eq!(app.text("/").await, "[]");
    assert_eq!(stored(&*store, YEARLY).await, first);
}

async fn what_came_due_while_nobody_was_there_is_one_run() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    is_overdue(&store, YEARLY).await;
    let app = setup(&[YEARLY], &store).start().await;
    app.eventually("/", MISSED).await;
    is_armed(&*store, YEARLY).await;
    app.stop().await;
    let app = setup(&[YEARLY], &store).start().await;
    assert_eq!(app.text("/").await, MISSED);
}

async fn a_cron_that_the_class_has_no_longer_does_not_run() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    is_overdue(&store, YEARLY).await;
    let app = setup(&["30 5 * * *"], &store).start().await;
    is_armed(&*store, "30 5 * * *").await;
    let gone = eventually(async || stored(&*store, YEARLY).await.is_none());
    assert!(gone.await);
    assert_eq!(app.text("/").await, "[]");
}

async fn a_run_waits_until_its_time_is_taken_for_good() {
    let held = HeldStore::new().await;
    let store: Arc<dyn Store> = held.clone();
    is_overdue(&store, YEARLY).await;
    held.set(Mode::Held);
    let before = held.count_asked();
    let app = setup(&[YEARLY], &store).start().await;
    let claims = eventually(async || held.count_asked() > before);
    assert!(claims.await, "it is to be stored");
    assert_eq!(app.text("/").await, "[]");
    held.set(Mode::Open);
    app.eventually("/", MISSED).await;
}

async fn a_time_whose_claim_is_of_unknown_fate_is_run_once() {
    let held = HeldStore::new().await;
    let store: Arc<dyn Store> = held.clone();
    is_overdue(&store, YEARLY).await;
    held.set(Mode::Failing);
    let before = held.count_asked();
    let app = setup(&[YEARLY], &store).start().await;
    let claims = eventually(async || held.count_asked() > before + 1);
    assert!(claims.await, "it is tried again");
    held.set(Mode::Open);
    app.eventually("/", MISSED).await;
    is_armed(&*store, YEARLY).await;
    assert_eq!(app.text("/").await, MISSED);
}

async fn of_two_pods_one_runs_what_is_due() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    is_overdue(&store, YEARLY).await;
    let first = setup(&[YEARLY], &store).start().await;
    first.eventually("/", MISSED).await;
    // Its successor has the shards, and finds what it has left.
    let (_, second) = tokio::join!(first.stop(), setup(&[YEARLY], &store).start());
    is_armed(&*store, YEARLY).await;
    assert_eq!(second.text("/").await, MISSED);
}

/// The first pod is held up while it takes a time; the second one runs it meanwhile.
async fn a_pod_that_lost_its_shards_meanwhile_runs_nothing() {
    let held = HeldStore::new().await;
    let (slow, fast): (Arc<dyn Store>, _) = (held.clone(), held.behind());
    is_overdue(&fast, YEARLY).await;
    held.set(Mode::Held);
    let before = held.count_asked();
    let first = setup(&[YEARLY], &slow).start().await;
    let claims = eventually(async || held.count_asked() > before);
    assert!(claims.await, "it is to be stored");
    held.hold_renewals(true);
    let second = setup(&[YEARLY], &fast).start().await;
    second.eventually("/", MISSED).await;

    held.hold_renewals(false);
    held.set(Mode::Open);
    let is_over = eventually(async || first.get("/").await.0 != 200).await;
    assert!(is_over, "its lease has ended");
    assert_eq!(first.count_logged("it runs"), 0);
    assert_eq!(second.count_logged("it runs"), 1);
    assert_eq!(second.text("/").await, MISSED);
}

async fn another_revision_has_other_crons() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let app = setup(&[], &store).start().await;
    assert_eq!(app.text("/").await, "[]");
    let class = setup(&[YEARLY], &store).class();
    app.replace(class).await.unwrap();
    is_armed(&*store, YEARLY).await;
}

fn by_hand(cron: &str) -> Scheduled {
    Scheduled {
        time: 1_234,
        cron: cron.to_owned(),
    }
}

async fn a_run_lasts_until_all_that_it_waits_for_has_settled() {
    let server = r#"
        import { WorkerEntrypoint } from "cloudflare:workers";
        let waited = "";
        const after = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
        export default class extends WorkerEntrypoint {
          fetch() { return new Response(waited); }
          async scheduled(controller) {
            controller.noRetry();
            this.ctx.waitUntil(after(20).then(() => {
              waited += "first ";
              this.ctx.waitUntil(after(20).then(() => waited += `${controller.cron} ${controller.scheduledTime}`));
            }));
          }
        }"#;
    let app = Setup {
        servers: 1,
        ..Setup::new(&[("server.js", server)])
    };
    let app = app.start().await;
    let ran = app.app.scheduled(by_hand("x")).await.unwrap();
    let expected = Ran {
        succeeded: true,
        no_retry: true,
    };
    assert_eq!(ran, expected);
    assert_eq!(app.text("/").await, "first x 1234");
}

async fn what_is_thrown_is_logged_and_told() {
    let server = r#"
        export default {
          scheduled({ cron }, env, ctx) {
            if (cron === "throws") throw new Error("thrown by hand");
            ctx.waitUntil(Promise.reject(new Error("rejected by hand")));
          },
        };"#;
    let app = Setup::new(&[("server.js", server)]).start().await;
    let failed = Ran {
        succeeded: false,
        no_retry: false,
    };
    assert_eq!(app.app.scheduled(by_hand("throws")).await, Ok(failed));
    app.expect_log("scheduled(): Error: thrown by hand").await;
    assert_eq!(app.app.scheduled(by_hand("waits")).await, Ok(failed));
    app.expect_log("waitUntil(): Error: rejected by hand").await;
}

async fn a_server_without_the_handler_says_so() {
    let server = "export default { fetch() { return new Response(); } };";
    let app = Setup::new(&[("server.js", server)]).start().await;
    let ran = app.app.scheduled(by_hand("x")).await.unwrap();
    assert!(!ran.succeeded);
    app.expect_log("does not export a scheduled() function")
        .await;
}

/// Its `scheduled` says that it has begun, takes its time, and then needs a worker.
const SLOW: &str = r#"
export default {
  async scheduled() {
    console.log("it has begun");
    await new Promise((resolve) => setTimeout(resolve, 500));
    const { port } = new ServerlessWorker("./runs.js", "all");
    await new Promise((resolve, reject) => {
      port.onmessage = resolve;
      port.onclose = ({ code }) => reject(new Error(code));
      port.postMessage("ran");
    });
    console.log("it is at its end");
  },
};"#;

fn slow(store: &Arc<dyn Store>) -> Setup {
    Setup {
        crons: vec![YEARLY],
        store: Some(store.clone()),
        ..Setup::new(&[("server.js", SLOW), ("runs.js", RUNS)])
    }
}

async fn a_run_that_is_under_way_is_waited_for_when_the_process_ends() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    is_overdue(&store, YEARLY).await;
    let app = slow(&store).start().await;
    app.expect_log("it has begun").await;
    app.app.shut_down().await;
    assert!(app.logged("it is at its end"), "{:?}", app.log.lock());
    let app = setup(&[], &store).start().await;
    assert_eq!(app.text("/").await, r#"["ran"]"#);
}

async fn a_run_that_is_under_way_is_waited_for_when_the_pod_drains() {
    let dir = tempfile::tempdir().unwrap();
    let app = Arc::new(slow(&open(dir.path()).await).start().await);
    let metrics = Metrics::register(&mut Registry::default());
    let ownership = Ownership::register(app.store.clone(), "not asked")
        .await
        .unwrap();
    let pod = Pod::new("test".to_owned(), app.app.clone(), ownership, metrics);
    let running = app.clone();
    let by_hand = tokio::spawn(async move { running.app.scheduled(by_hand("x")).await });
    app.expect_log("it has begun").await;
    pod.drain(DrainLimits::default()).await;
    assert!(app.logged("it is at its end"), "{:?}", app.log.lock());
    assert!(by_hand.await.unwrap().unwrap().succeeded);
    assert_eq!(
        app.app.scheduled(self::by_hand("x")).await,
        Err(FetchError::ShuttingDown)
    );
}

async fn a_run_that_takes_too_long_is_cut_off_and_logged() {
    let server = r#"
        export default {
          scheduled() { console.log("it has begun"); return new Promise((resolve) => setTimeout(resolve, 60_000)); },
        };"#;
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    is_overdue(&store, YEARLY).await;
    let app = Setup {
        crons: vec![YEARLY],
        store: Some(store),
        ..Setup::new(&[("server.js", server)])
    };
    let app = app.start().await;
    app.expect_log("it has begun").await;
    app.app.drain(Duration::from_millis(50)).await;
    let line = r#"scheduled() of the cron "0 0 1 1 *" for 1970-01-01T00:01:00Z was cut off"#;
    assert!(app.logged(line), "{:?}", app.log.lock());
}

/// A worker's alarm, which is due later, tells that what is due has been looked at.
async fn what_comes_due_in_a_process_that_drains_is_its_successors() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    is_overdue(&store, YEARLY).await;
    let marker = WorkerKey::new("marker.js", "").unwrap();
    is_due(&store, marker, 120_000).await;
    let mut setup = setup(&[YEARLY], &store);
    setup.add(
        "marker.js",
        "export default { alarm() { console.log('the marker') } };",
    );
    let (logged, mut log) = tokio::sync::mpsc::unbounded_channel();
    let ownership = Ownership::register(store.clone(), "first").await.unwrap();
    let config = Config {
        class: setup.class(),
        store: store.clone(),
        ownership: ownership.clone(),
        servers: 1,
        log: Box::new(move |line| drop(logged.send(line.text.to_owned()))),
        reached: None,
        memory: portside_sidecar::memory::unlimited(),
        spill: Spill::default(),
        sharing: None,
        called: Called::default(),
    };
    let app = App::start(isolates(), config);
    app.drain(Duration::ZERO).await;
    ownership.claim().await.unwrap();
    let first = log.recv().await.unwrap();
    assert_eq!(first, "the marker");
    app.shut_down().await;
    assert_eq!(stored(&*store, YEARLY).await, Some(60_000));
    assert_eq!(log.try_recv().ok(), None);

    let successor = setup.start().await;
    successor.eventually("/", MISSED).await;
}

const ALARMED: &str = r#"
export async function alarm({ scheduledTime, retryCount }) {
  const handled = await storage.get("handled") ?? [];
  storage.put("handled", [...handled, [scheduledTime, retryCount]]);
  if (await storage.get("throws")) throw new Error("not this time");
}
export const jobs = {
  set: (time) => setAlarm(Number(time)),
  throws: () => storage.put("throws", true),
  get: () => getAlarm(),
  handled: () => storage.get("handled"),
};"#;

async fn an_alarm_is_fired_by_hand() {
    let app: TestApp = lab(ALARMED).start().await;
    let worker = WorkerKey::new("worker.js", "a").unwrap();
    let fire = async || app.owner().fire_alarm(&worker).await.unwrap();
    assert_eq!(fire().await, Fired::NoAlarm);
    // In the year 2100: neither due, nor in memory.
    app.text("/a/set?4102444800000").await;
    assert_eq!(fire().await, Fired::Handled);
    assert_eq!(app.text("/a/handled").await, "[[4102444800000,0]]");
    assert_eq!(app.text("/a/get").await, "null");
    assert_eq!(fire().await, Fired::NoAlarm);

    app.text("/a/throws").await;
    app.text("/a/set?4102444800000").await;
    assert_eq!(fire().await, Fired::Failed);
    assert_eq!(fire().await, Fired::Failed, "not when it is due either");
    let handled = "[[4102444800000,0],[4102444800000,0],[4102444800000,1]]";
    // What a handler that throws has written before is kept.
    assert_eq!(app.text("/a/handled").await, handled);
    assert_eq!(app.text("/a/get").await, "4102444800000");
}
