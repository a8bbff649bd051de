//! Pods of one class on one store that share its workers: they move from one pod to another, with all that is open to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use portside_crds::sidecar::{OWNER_HEADER, State};
use portside_exchange::{Application, Body, FetchError, Request, Response};
use portside_sidecar::metrics::Metrics;
use portside_sidecar::peers::{self, Key};
use portside_sidecar::{App, Called, Config, DrainLimits, Ownership, Pod, Spill};
use portside_store::Store;
use portside_wire::driver;
use portside_wire::limits::Limits;
use portside_wire::tls::Fingerprint;
use prometheus_client::registry::Registry;
use tokio::net::TcpStream;

use crate::app::{Setup, eventually, isolates, open, sharing, text};
use crate::objects::with_objects;
use crate::{Case, cases};

/// These tests.
pub const CASES: &[Case] = cases![
    r023_r031_r076_a_port_stays_open_and_in_order_while_its_worker_moves,
    calls_of_an_object_go_on_in_order_while_it_moves,
    r076_alarms_fire_once_wherever_their_workers_are,
    r007_r010_r076_pods_of_one_revision_share_the_workers_and_one_that_leaves_gives_its_own,
    who_owns_what_a_request_used_is_said,
    r020_workers_call_workers_of_other_pods,
    r028_a_worker_hears_once_that_the_pod_of_a_caller_is_gone,
    r077_pods_take_links_from_each_other_only,
    none_serves_while_a_pod_has_workers_that_cannot_be_reached,
];

/// A pod.
pub struct Running {
    pub name: String,
    pub app: Arc<App>,
    pub pod: Arc<Pod>,
    ownership: Arc<Ownership>,
}

/// A pod of this revision, which wants its share, with a name of its own.
pub async fn pod(store: &Arc<dyn Store>, setup: &Setup, revision: u64) -> Running {
    static PODS: AtomicUsize = AtomicUsize::new(0);
    let name = format!("pod-{}", PODS.fetch_add(1, Ordering::Relaxed));
    let (ownership, sharing) = sharing(store, &name, revision).await;
    let config = Config {
        class: setup.class(),
        store: store.clone(),
        ownership: ownership.clone(),
        servers: 1,
        log: Box::new(|_| {}),
        reached: None,
        memory: portside_sidecar::memory::unlimited(),
        spill: Spill::default(),
        sharing: Some(sharing),
        called: Called {
            pod: Some(name.clone()),
            revision: Some(revision.to_string()),
        },
    };
    let app = App::start(isolates(), config);
    let metrics = Metrics::register(&mut Registry::default());
    let pod = Pod::new("test".into(), app.clone(), ownership.clone(), metrics);
    let claiming = ownership.clone();
    tokio::spawn(async move { claiming.claim().await });
    Running {
        name,
        app,
        pod,
        ownership,
    }
}

impl Running {
    fn shards(&self) -> usize {
        self.ownership.shards().len()
    }

    /// Waits until it has so many shards.
    pub async fn has(&self, shards: usize) {
        let met = eventually(async || self.shards() == shards).await;
        assert!(met, "{} shards instead of {shards}", self.shards());
    }

    /// Waits until it serves.
    pub async fn serves(&self) {
        assert!(eventually(async || self.pod.ownership().state == State::Serving).await);
    }

    async fn fetch(&self, path: &str) -> Response {
        self.try_fetch(path).await.unwrap()
    }

    async fn try_fetch(&self, path: &str) -> Result<Response, FetchError> {
        let request = Request {
            method: http::Method::GET,
            url: format!("http://app.test{path}"),
            headers: [(
                http::HeaderName::from_static("x-request-id"),
                path.parse().unwrap(),
            )]
            .into_iter()
            .collect(),
            body: Body::Empty,
            websocket: false,
        };
        self.pod.fetch(request).await
    }

    pub async fn get(&self, path: &str) -> String {
        text(self.fetch(path).await.body).await
    }

    /// Ends it in order.
    pub async fn leave(self) {
        self.pod.drain(DrainLimits::default()).await;
        self.app.shut_down().await;
        // As the process does, for those who have not heard that it is gone.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// All shards.
pub const ALL: usize = 4096;

/// What the server of one pod answers that asks a worker of another, while that moves to a third.
async fn asked_while_it_moves(setup: &Setup) -> String {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let before = pod(&store, setup, 1).await;
    before.has(ALL).await;
    let caller = pod(&store, setup, 0).await;
    caller.serves().await;
    let answer = tokio::spawn(async move {
        let answer = caller.get("/").await;
        caller.leave().await;
        answer
    });
    assert!(eventually(async || before.app.awake() == 1).await);
    let after = pod(&store, setup, 2).await;
    after.has(ALL).await;
    let answer = answer.await.unwrap();
    before.leave().await;
    after.leave().await;
    answer
}

async fn r023_r031_r076_a_port_stays_open_and_in_order_while_its_worker_moves() {
    let server = r#"
        const wait = (time) => new Promise((resolve) => setTimeout(resolve, time));
        export default {
          // Sends numbers until the worker has moved, and some more; answers with what came back.
          async fetch() {
            const { port } = new ServerlessWorker("./echo.js", "a");
            const heard = [];
            port.onmessage = ({ data }) => heard.push(data);
            port.onclose = ({ code }) => heard.push(code);
            let sent = 0;
            for (let more = 30; more > 0;) {
              port.postMessage(sent++);
              if (sent % 7 === 0 || sent > heard.length + 100) await wait(1);
              if (heard.includes("again")) more--;
            }
            while (heard.length < sent + 2) await wait(5);
            return Response.json([sent, heard]);
          },
        };"#;
    let echo = r#"
        let sum = (await storage.get("sum")) ?? 0;
        export default {
          connect({ ports: [port], reconnected }) {
            port.postMessage(reconnected ? "again" : "new");
            port.onmessage = ({ data }) => {
              sum += data;
              storage.put("sum", sum);
              port.postMessage(data === 0 ? "first" : data);
            };
          },
        };"#;
    let setup = Setup::new(&[("server.js", server), ("echo.js", echo)]);
    let answer = asked_while_it_moves(&setup).await;
    let (sent, heard): (u64, Vec<serde_json::Value>) = serde_json::from_str(&answer).unwrap();
    let numbers: Vec<u64> = heard.iter().filter_map(serde_json::Value::as_u64).collect();
    assert_eq!(numbers, (1..sent).collect::<Vec<_>>(), "{heard:?}");
    let words: Vec<&str> = heard.iter().filter_map(serde_json::Value::as_str).collect();
    assert_eq!(words, ["new", "first", "again"]);
}

async fn calls_of_an_object_go_on_in_order_while_it_moves() {
    let module = r#"
        import { DurableObject } from "cloudflare:workers";
        const wait = (time) => new Promise((resolve) => setTimeout(resolve, time));
        export class Log extends DurableObject {
          constructor(ctx, env) {
            super(ctx, env);
            ctx.storage.sql.exec("CREATE TABLE IF NOT EXISTS log (number INTEGER PRIMARY KEY AUTOINCREMENT, value INTEGER)");
          }
          add(value) {
            this.ctx.storage.sql.exec("INSERT INTO log (value) VALUES (?)", value);
            return value;
          }
          all() {
            return this.ctx.storage.sql.exec("SELECT value FROM log ORDER BY number").toArray().map(({ value }) => value);
          }
        }
        export default {
          async fetch(request, env) {
            const log = env.LOG.getByName("a");
            const calls = [];
            for (let n = 0; n < 600; n++) {
              calls.push(log.add(n));
              if (n % 5 === 0) await wait(2);
            }
            await Promise.all(calls);
            return Response.json(await log.all());
          },
        };"#;
    let setup = with_objects(module, &[("LOG", "Log")]);
    let answer = asked_while_it_moves(&setup).await;
    let values: Vec<u64> = serde_json::from_str(&answer).unwrap();
    assert_eq!(values, (0..600).collect::<Vec<_>>());
}

async fn r076_alarms_fire_once_wherever_their_workers_are() {
    let server = r#"
        const ask = (name, question) => new Promise((resolve, reject) => {
          const { port } = new ServerlessWorker("./alarm.js", name);
          port.onmessage = ({ data }) => { port.close(); resolve(data); };
          port.onclose = ({ code }) => reject(new Error(code));
          port.postMessage(question);
        });
        const names = Array.from({ length: 40 }, (_, n) => `w${n}`);
        export default {
          async fetch(request) {
            const { pathname } = new URL(request.url);
            return Response.json(await Promise.all(names.map((name) => ask(name, pathname))));
          },
        };"#;
    let worker = r#"
        export default {
          connect({ ports: [port] }) {
            port.onmessage = async ({ data }) => {
              if (data === "/arm") await setAlarm(Date.now() + 1500);
              port.postMessage((await storage.get("fired")) ?? 0);
            };
          },
          async alarm() {
            storage.put("fired", ((await storage.get("fired")) ?? 0) + 1);
          },
        };"#;
    let setup = Setup::new(&[("server.js", server), ("alarm.js", worker)]);
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let before = pod(&store, &setup, 1).await;
    before.has(ALL).await;
    before.get("/arm").await;
    // Half of them move, and then all that are left.
    let after = pod(&store, &setup, 1).await;
    after.has(ALL / 2).await;
    before.leave().await;
    after.has(ALL).await;
    let once = serde_json::to_string(&vec![1; 40]).unwrap();
    let mut last = String::new();
    let met = eventually(async || {
        last = after.get("/read").await;
        last == once
    });
    assert!(met.await, "{last}");
    // None is left that could come again.
    let none_left = eventually(async || {
        let shards = after.ownership.shards();
        let alarms = store.alarms(&shards, None, i64::MAX, 1).await;
        alarms.unwrap().is_empty()
    });
    assert!(none_left.await);
    assert_eq!(after.get("/read").await, once);
    after.leave().await;
}

pub const COUNTERS: &[(&str, &str)] = &[
    (
        "server.js",
        r#"
        export default {
          fetch: (request) => new Promise((resolve, reject) => {
            const { port } = new ServerlessWorker("./counter.js", new URL(request.url).pathname);
            let why = "";
            port.onmessage = ({ data }) => { port.close(); resolve(new Response(data)); };
            port.onerror = ({ message }) => why = message;
            port.onclose = ({ code }) => reject(new Error(`${code}: ${why}`));
            port.postMessage("add");
          }),
        };"#,
    ),
    (
        "counter.js",
        r#"
        let count = (await storage.get("count")) ?? 0;
        export default {
          connect({ ports: [port] }) {
            port.onmessage = () => {
              storage.put("count", ++count);
              port.postMessage(count);
            };
          },
        };"#,
    ),
];

async fn r007_r010_r076_pods_of_one_revision_share_the_workers_and_one_that_leaves_gives_its_own() {
    let setup = Setup::new(COUNTERS);
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let pods = [
        pod(&store, &setup, 1).await,
        pod(&store, &setup, 1).await,
        pod(&store, &setup, 1).await,
    ];
    let shares = || pods.iter().map(Running::shards).collect::<Vec<_>>();
    let even = eventually(async || {
        let mut shares = shares();
        shares.sort_unstable();
        shares == [1365, 1365, 1366]
    });
    assert!(even.await, "{:?}", shares());
    let names: Vec<String> = (0..30).map(|name| format!("/{name}")).collect();
    for (round, pod) in pods.iter().enumerate() {
        for name in &names {
            assert_eq!(pod.get(name).await, (round + 1).to_string());
        }
    }
    assert!(pods.iter().all(|pod| pod.app.awake() > 0), "each has some");
    let [first, second, third] = pods;
    // While one leaves, another is asked: nothing fails.
    let asked = tokio::spawn(async move {
        for round in 4..8 {
            for name in &names {
                assert_eq!(second.get(name).await, round.to_string());
            }
        }
        second
    });
    first.leave().await;
    let second = asked.await.unwrap();
    second.has(ALL / 2).await;
    third.leave().await;
    second.has(ALL).await;
    second.leave().await;
}

async fn who_owns_what_a_request_used_is_said() {
    let setup = Setup::new(COUNTERS);
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let owner = pod(&store, &setup, 1).await;
    owner.has(ALL).await;
    let other = pod(&store, &setup, 0).await;
    for pod in [&owner, &other] {
        pod.serves().await;
        let response = pod.fetch("/a").await;
        let said = response.headers[OWNER_HEADER].to_str().unwrap().to_owned();
        assert_eq!(Some(said), owner.pod.ownership().incarnation);
    }
    other.leave().await;
    owner.leave().await;
}

async fn r020_workers_call_workers_of_other_pods() {
    let server = r#"
        const ask = (script, name, question) => new Promise((resolve, reject) => {
          const { port } = new ServerlessWorker(script, name);
          port.onmessage = ({ data }) => { port.close(); resolve(data); };
          port.onclose = ({ code }) => reject(new Error(code));
          port.postMessage(question);
        });
        const names = Array.from({ length: 8 }, (_, n) => `${n}`);
        export default {
          async fetch() {
            const sums = await Promise.all(names.map((name) => ask("./sum.js", name, names)));
            return Response.json(sums);
          },
        };"#;
    let sum = r#"
        const ask = (name) => new Promise((resolve, reject) => {
          const { port } = new ServerlessWorker("./count.js", name);
          port.onmessage = ({ data }) => { port.close(); resolve(data); };
          port.onclose = ({ code }) => reject(new Error(code));
          port.postMessage(1);
        });
        export default {
          connect({ ports: [port] }) {
            port.onmessage = async ({ data: names }) => {
              const counts = await Promise.all(names.map(ask));
              port.postMessage(counts.length);
            };
          },
        };"#;
    let count = r#"
        let count = 0;
        export default {
          connect({ ports: [port] }) {
            port.onmessage = ({ data }) => port.postMessage(count += data);
          },
        };"#;
    let modules = [("server.js", server), ("sum.js", sum), ("count.js", count)];
    let setup = Setup::new(&modules);
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let pods = [pod(&store, &setup, 1).await, pod(&store, &setup, 1).await];
    for pod in &pods {
        pod.has(ALL / 2).await;
    }
    assert_eq!(pods[0].get("/").await, "[8,8,8,8,8,8,8,8]");
    // Of sixteen workers each pod has some, of either script, and each of one script asks all of the other.
    assert!(pods.iter().all(|pod| pod.app.awake() > 0));
    assert_eq!(pods[0].app.awake() + pods[1].app.awake(), 16);
    for pod in pods {
        pod.leave().await;
    }
}

async fn r028_a_worker_hears_once_that_the_pod_of_a_caller_is_gone() {
    let server = r#"
        export default {
          fetch: (request) => new Promise((resolve, reject) => {
            const { pathname } = new URL(request.url);
            const { port } = new ServerlessWorker("./room.js", "a");
            port.onclose = ({ code }) => reject(new Error(code));
            port.onmessage = ({ data }) => resolve(Response.json(data));
            port.postMessage(pathname);
          }),
        };"#;
    let room = r#"
        let stays = 0, gone = 0;
        export default {
          connect({ ports: [port] }) {
            port.onmessage = ({ data }) => {
              // Who stays gets no answer.
              if (data !== "/stay") return port.postMessage([stays, gone]);
              stays++;
              port.onclose = () => gone++;
            };
          },
        };"#;
    let setup = Setup::new(&[("server.js", server), ("room.js", room)]);
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let owner = pod(&store, &setup, 1).await;
    owner.has(ALL).await;
    let caller = pod(&store, &setup, 0).await;
    caller.serves().await;
    let app = caller.app.clone();
    let asked = tokio::spawn(async move { caller.try_fetch("/stay").await.is_ok() });
    assert!(eventually(async || owner.get("/").await == "[1,0]").await);
    // It does not drain.
    app.shut_down().await;
    assert!(eventually(async || owner.get("/").await == "[1,1]").await);
    assert!(!asked.await.unwrap());
    assert_eq!(owner.get("/").await, "[1,1]");
    owner.leave().await;
}

async fn r077_pods_take_links_from_each_other_only() {
    let setup = Setup::new(COUNTERS);
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let owner = pod(&store, &setup, 1).await;
    owner.has(ALL).await;
    let members = store.members().await.unwrap();
    let peer = members.participants[0].peer.as_ref().unwrap();
    let dial = async |key: &Key| {
        let stream = TcpStream::connect(&peer.address).await.unwrap();
        let whom = Fingerprint(peer.key.0);
        driver::dial(stream, key, whom, Limits::default()).await
    };
    let stranger = Key::generate().unwrap();
    assert!(dial(&stranger).await.is_err());
    // Whoever has said in the store who they are is no stranger.
    let known = peers::peer("127.0.0.1:1".to_owned(), 1, &stranger);
    let registered = Ownership::register_sharing(store.clone(), "test", &known).await;
    assert!(eventually(async || dial(&stranger).await.is_ok()).await);
    drop(registered);
    owner.app.shut_down().await;
}

async fn none_serves_while_a_pod_has_workers_that_cannot_be_reached() {
    let setup = Setup::new(COUNTERS);
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let alone = Ownership::acquire(store.clone(), "alone").await.unwrap();
    let new = pod(&store, &setup, 1).await;
    let has_looked_around = async || new.ownership.members().borrow().is_some();
    assert!(eventually(has_looked_around).await);
    assert_eq!(new.pod.ownership().state, State::Standby);
    assert_eq!(new.fetch("/a").await.status, 421);
    alone.release().await;
    new.serves().await;
    assert_eq!(new.get("/a").await, "1");
    new.leave().await;
}
