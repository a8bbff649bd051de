//! Several pods of one class on one store: one is active, the others wait, and nothing is lost in between.

use std::sync::Arc;
use std::time::Duration;

use portside_crds::sidecar::State;
use portside_exchange::{Application, Body, FetchError, Request, Response};
use portside_sidecar::metrics::Metrics;
use portside_sidecar::{App, Called, Config, DrainLimits, Ownership, Pod, Spill};
use portside_store::Store;
use prometheus_client::registry::Registry;

use crate::app::{Setup, eventually, isolates, open, text};
use crate::held::{HeldStore, Mode};
use crate::{Case, cases};

/// These tests.
pub const CASES: &[Case] = cases![
    the_first_pod_is_active_and_the_second_runs_nothing,
    a_drained_pod_answers_what_it_has_and_its_successor_finds_all_of_it,
    a_response_that_streams_is_sent_to_its_end,
    an_expired_lease_is_no_right_to_answer_and_a_renewed_one_is,
    an_answer_that_waits_for_the_lease_leaves_when_a_draining_pod_renews_it,
    a_pod_that_was_declared_dead_is_over_and_a_later_term_is_active,
    a_pod_that_does_not_want_the_shards_keeps_nobody_from_them,
    of_several_standbys_one_becomes_active,
    a_pod_whose_claims_answer_was_lost_is_active,
    of_two_pods_that_each_have_a_part_one_becomes_active,
    what_a_standby_evaluates_may_wait_for_workers,
    a_standby_that_leaves_waits_for_nothing,
    code_that_cannot_run_is_found_before_it_has_to,
];

/// `/add` adds one; `/slow` does so after the test has changed something else.
const SERVER: &str = r#"
const ask = (question) => new Promise((resolve, reject) => {
  const { port } = new ServerlessWorker("./counter.js", "a");
  port.onmessage = (event) => resolve(event.data);
  port.onclose = (event) => reject(new Error(event.code));
  port.postMessage(question);
});
export default {
  async fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname === "/stream") {
      const { readable, writable } = new TransformStream();
      const writer = writable.getWriter();
      writer.write(new TextEncoder().encode("begun, "));
      setTimeout(() => { writer.write(new TextEncoder().encode("ended")); writer.close(); }, 300);
      return new Response(readable, { headers: { "portside-state": "active" } });
    }
    if (pathname === "/slow") await new Promise((resolve) => setTimeout(resolve, 300));
    return new Response(String(await ask("add")));
  },
};"#;

/// A worker that counts what it is told.
pub const COUNTER: &str = r#"
let count = await storage.get("count") ?? 0;
export default {
  connect({ ports: [port] }) {
    port.onmessage = () => {
      storage.put("count", ++count);
      port.postMessage(count);
    };
  },
};"#;

struct Running {
    pod: Arc<Pod>,
    ownership: Arc<Ownership>,
}

/// A pod that waits for the shards.
async fn pod(store: &Arc<dyn Store>, server: &str) -> Running {
    let setup = Setup::new(&[("server.js", server), ("counter.js", COUNTER)]);
    let ownership = Ownership::register(store.clone(), "test").await.unwrap();
    let config = Config {
        class: setup.class(),
        store: store.clone(),
        ownership: ownership.clone(),
        servers: 1,
        log: Box::new(|_| {}),
        reached: None,
        memory: portside_sidecar::memory::unlimited(),
        spill: Spill::default(),
        sharing: None,
        called: Called::default(),
    };
    let app = App::start(isolates(), config);
    let metrics = Metrics::register(&mut Registry::default());
    let pod = Pod::new("test".into(), app, ownership.clone(), metrics);
    let claiming = ownership.clone();
    tokio::spawn(async move { claiming.claim().await });
    Running { pod, ownership }
}

impl Running {
    fn state(&self) -> State {
        self.pod.ownership().state
    }

    async fn becomes(&self, state: State) {
        let met = eventually(async || self.state() == state).await;
        assert!(met, "{:?} instead of {state:?}", self.state());
    }

    async fn fetch(&self, path: &str) -> Result<Response, FetchError> {
        let request = Request {
            method: http::Method::GET,
            url: format!("http://app.test{path}"),
            headers: http::HeaderMap::new(),
            body: Body::Empty,
            websocket: false,
        };
        self.pod.fetch(request).await
    }

    /// The count after one more, or the refusal's state.
    async fn add(&self, path: &str) -> Result<u32, String> {
        let response = self.fetch(path).await.unwrap();
        if response.status == 421 {
            return Err(response.headers["portside-state"]
                .to_str()
                .unwrap()
                .to_owned());
        }
        assert_eq!(response.status, 200);
        Ok(text(response.body).await.parse().unwrap())
    }

    async fn leave(&self) {
        self.pod.drain(DrainLimits::default()).await;
        self.pod.app().shut_down().await;
    }
}

async fn the_first_pod_is_active_and_the_second_runs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let first = pod(&store, SERVER).await;
    first.becomes(State::Active).await;
    let second = pod(&store, SERVER).await;
    assert_eq!(first.add("/add").await, Ok(1));
    assert_eq!(second.add("/add").await, Err("standby".to_owned()));
    assert_eq!(first.add("/add").await, Ok(2));
}

async fn a_drained_pod_answers_what_it_has_and_its_successor_finds_all_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let first = pod(&store, SERVER).await;
    first.becomes(State::Active).await;
    let second = pod(&store, SERVER).await;
    let term = first.pod.ownership().term;
    let noticed = first.pod.ownership_other_than((State::Active, term));

    let running = futures::future::join_all((0..5).map(|_| first.add("/slow")));
    let leave = async {
        tokio::time::sleep(Duration::from_millis(50)).await; // the requests are in
        tokio::join!(first.leave(), noticed);
    };
    let late = async {
        first.becomes(State::Draining).await;
        first.add("/add").await
    };
    let (answers, (), late) = tokio::join!(running, leave, late);
    assert_eq!(late, Err("draining".to_owned()));
    let mut counts: Vec<u32> = answers.into_iter().map(Result::unwrap).collect();
    counts.sort_unstable();
    assert_eq!(counts, [1, 2, 3, 4, 5]);

    second.becomes(State::Active).await;
    assert!(second.pod.ownership().term > term);
    assert_eq!(second.add("/add").await, Ok(6));
}

async fn a_response_that_streams_is_sent_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let running = pod(&store, SERVER).await;
    running.becomes(State::Active).await;
    let response = running.fetch("/stream").await.unwrap();
    // What a pod says of itself is not the application's to say.
    assert!(!response.headers.contains_key("portside-state"));
    let (text, ()) = tokio::join!(text(response.body), running.leave());
    assert_eq!(text, "begun, ended");
}

async fn an_expired_lease_is_no_right_to_answer_and_a_renewed_one_is() {
    let store = HeldStore::new().await;
    let running = pod(&(store.clone() as Arc<dyn Store>), SERVER).await;
    running.becomes(State::Active).await;
    let term = running.pod.ownership().term;
    assert_eq!(running.add("/add").await, Ok(1));

    store.set(Mode::Dead);
    running.becomes(State::Standby).await;
    assert_eq!(running.add("/add").await, Err("standby".to_owned()));

    store.set(Mode::Open);
    running.becomes(State::Active).await;
    assert_eq!(running.pod.ownership().term, term, "nobody else was active");
    assert_eq!(running.add("/add").await, Ok(2));
}

async fn an_answer_that_waits_for_the_lease_leaves_when_a_draining_pod_renews_it() {
    let store = HeldStore::new().await;
    let running = pod(&(store.clone() as Arc<dyn Store>), SERVER).await;
    running.becomes(State::Active).await;

    store.set(Mode::Held);
    let answer = running.add("/add");
    let meanwhile = async {
        store.is_asked().await;
        store.hold_renewals(true);
        running.ownership.drain();
        assert!(eventually(async || !running.ownership.is_leased()).await);
        store.set(Mode::Open);
        // Its write is durable, and the answer held: if it is not yet, then this test proves less.
        tokio::time::sleep(Duration::from_millis(200)).await;
        store.hold_renewals(false);
    };
    let both = futures::future::join(answer, meanwhile);
    let (answer, ()) = tokio::time::timeout(Duration::from_secs(8), both)
        .await
        .expect("the answer leaves when the lease is renewed");
    assert_eq!(answer, Ok(1));
}

async fn a_pod_that_does_not_want_the_shards_keeps_nobody_from_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    // It comes before all others, is alive, and its code is still being tried out.
    let first = portside_core::ids::PodId(1);
    store.register(first, "first").await.unwrap();
    let renewing = store.clone();
    let renewing = tokio::spawn(async move {
        for number in 1.. {
            assert!(renewing.renew(first, number, false).await.unwrap());
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
    let second = pod(&store, SERVER).await;
    second.becomes(State::Active).await;
    renewing.abort();
}

async fn a_pod_that_was_declared_dead_is_over_and_a_later_term_is_active() {
    let held = HeldStore::new().await;
    let inner = held.inner();
    let paused = pod(&(held.clone() as Arc<dyn Store>), SERVER).await;
    paused.becomes(State::Active).await;
    let term = paused.pod.ownership().term;
    assert_eq!(paused.add("/add").await, Ok(1));

    // As if its process were stopped: it neither renews nor writes.
    held.set(Mode::Dead);
    let successor = pod(&inner, SERVER).await;
    successor.becomes(State::Active).await;
    assert!(successor.pod.ownership().term > term);
    assert_eq!(successor.add("/add").await, Ok(2));

    held.set(Mode::Open);
    paused.becomes(State::Draining).await;
    assert_eq!(paused.add("/add").await, Err("draining".to_owned()));
    assert_eq!(successor.add("/add").await, Ok(3));
}

async fn of_several_standbys_one_becomes_active() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let mut pods = vec![];
    for _ in 0..4 {
        pods.push(pod(&store, SERVER).await);
    }
    let mut count = 0;
    while !pods.is_empty() {
        let active = |pods: &[Running]| {
            let states = pods.iter().map(Running::state);
            states.filter(|state| *state == State::Active).count()
        };
        assert!(eventually(async || active(&pods) == 1).await);
        let place = pods.iter().position(|pod| pod.state() == State::Active);
        let last = pods.remove(place.unwrap());
        count += 1;
        assert_eq!(last.add("/add").await, Ok(count));
        last.leave().await;
    }
}

async fn a_pod_whose_claims_answer_was_lost_is_active() {
    let store = HeldStore::new().await;
    store.lose(1, 0);
    let running = pod(&(store.clone() as Arc<dyn Store>), SERVER).await;
    running.becomes(State::Active).await;
    let lost = eventually(async || store.to_lose() == 0);
    assert!(lost.await, "no claim's answer was lost");
    assert_eq!(running.add("/add").await, Ok(1));
}

/// Both stores: a pod that is alive has half of the shards when another, which comes before it, wants them all.
async fn of_two_pods_that_each_have_a_part_one_becomes_active() {
    let dir = tempfile::tempdir().unwrap();
    let server = portside_store::testing::PostgresServer::shared();
    let postgres = portside_store::open(&server.database().await, "test").await;
    for store in [open(dir.path()).await, postgres.unwrap()] {
        let first = Ownership::register(store.clone(), "a").await.unwrap();
        let second = Ownership::register(store.clone(), "b").await.unwrap();
        // As if each had claimed at the same time as the other, and not heard of it.
        let half = portside_core::ids::SHARDS / 2;
        assert_eq!(store.claim(first.pod(), half).await.unwrap().len(), 2_048);
        assert_eq!(store.claim(second.pod(), half).await.unwrap().len(), 2_048);
        let (one, other) = (first.clone(), second.clone());
        let claim = tokio::spawn(async move { one.claim().await });
        let other_claim = tokio::spawn(async move { other.claim().await });
        let active = || usize::from(first.is_active()) + usize::from(second.is_active());
        assert!(eventually(async || active() == 1).await);
        first.release().await;
        second.release().await;
        let _ = tokio::join!(claim, other_claim);
    }
}

/// A pod that is active, and a standby whose server asked a worker when it was tried out.
async fn with_a_standby_that_asks(dir: &tempfile::TempDir) -> (Running, Running) {
    let store = open(dir.path()).await;
    let first = pod(&store, SERVER).await;
    first.becomes(State::Active).await;
    let asks = format!("{SERVER}\nawait ask('add');");
    let second = pod(&store, &asks).await;
    assert_eq!(second.pod.app().try_out().await, Ok(()));
    (first, second)
}

async fn what_a_standby_evaluates_may_wait_for_workers() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = with_a_standby_that_asks(&dir).await;
    assert_eq!(second.state(), State::Standby);
    first.leave().await;
    second.becomes(State::Active).await;
    // Once for its trial, once for the instance that serves, once for the request.
    assert_eq!(second.add("/add").await, Ok(3));
}

/// Not even for what its trial has asked a worker, which never began.
async fn a_standby_that_leaves_waits_for_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = with_a_standby_that_asks(&dir).await;
    assert_eq!(second.pod.app().awake(), 1, "it waits for the shards");
    let app = second.pod.app();
    let left = tokio::time::timeout(Duration::from_secs(5), app.shut_down()).await;
    assert!(left.is_ok(), "it waited for a worker that has not begun");
    assert_eq!(first.add("/add").await, Ok(1));
    first.leave().await;
}

async fn code_that_cannot_run_is_found_before_it_has_to() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    for (server, why) in [
        ("const a = 1;\nthrow new Error('boom');", "server.js:2:7"),
        (
            "await new Promise((resolve) => setTimeout(resolve, 50));\ngone();",
            "gone is not defined",
        ),
        ("await new Promise(() => {});", "never resolved"),
    ] {
        let running = pod(&store, server).await;
        let refused = running.pod.app().try_out().await.unwrap_err();
        assert!(refused.contains(why), "{refused}");
        running.ownership.release().await;
    }
    let running = pod(&store, SERVER).await;
    assert_eq!(running.pod.app().try_out().await, Ok(()));
}
