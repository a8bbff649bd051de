//! Durable Objects on a cluster: projects of wrangler, deployed as `portside bundle --manifests` writes them.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use hyper::Method;
use portside_testkit::{Site, Socket};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::class::Class;
use crate::cluster::until;
use crate::node::Process;
use crate::test::Test;

/// More than the idle time after which an object sleeps.
const ASLEEP: Duration = Duration::from_secs(13);
const VISITS: &str = "/counters/visits";

/// Applies what the project's configuration becomes, and gives it a route, which only the cluster's users know.
async fn deploy(test: &Arc<Test>, example: &str, name: &str) -> Class {
    let made = Command::new(&test.cluster.settings.portside)
        .arg("bundle")
        .arg(Test::example(example))
        .arg("--manifests")
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), made.stdout).unwrap();
    let class = Class::new(test, name);
    let apply = [
        "apply",
        "--server-side",
        "-f",
        file.path().to_str().unwrap(),
    ];
    class.kubectl(&apply).await;
    let routes = json!([{ "host": test.host(name) }]);
    class.patch(&json!({ "spec": { "routes": routes } })).await;
    class
}

/// All at once, then each is driven, and once more when its pods were replaced.
pub async fn each_example_runs(test: Arc<Test>) {
    let mut classes = vec![];
    for (example, name) in [
        ("counters/legacy", "legacy-counter"),
        ("counters/modern", "counters"),
        ("hibernation-server", "hibernation-server"),
        ("durable-chat", "durable-chat"),
        ("cursor-board", "cursor-board"),
    ] {
        classes.push(deploy(&test, example, name).await);
    }
    for class in &classes {
        class.ready().await;
    }
    let [legacy, modern, hibernation, chat, board] = &classes[..] else {
        unreachable!("five classes were deployed");
    };
    let count = async |site: &Site| site.request(Method::POST, "/+", &[], "").await.json();
    assert_eq!(count(&legacy.site()).await, json!({ "counter": 1 }));
    let add = async |site: &Site| site.post(VISITS, &json!({ "by": 12 })).await.json();
    assert_eq!(add(&modern.site()).await["value"], 12);
    sleeps_and_keeps_its_sockets(&hibernation.site()).await;
    let (mut ada, _) = enter_room(&chat.site(), "Ada").await;
    let (mut grace, _) = enter_room(&chat.site(), "Grace").await;
    ada.send(&json!({ "type": "say", "text": "Hello!" })).await;
    let heard = grace.receive_type("message").await;
    assert_eq!(heard["message"]["text"], "Hello!");
    let mut person = board.site().socket("/boards/plan/socket?name=Ada").await;
    assert_eq!(person.receive().await["notes"], json!([]));
    let note = json!({ "type": "put", "id": "n", "x": 0.25, "y": 0.5, "text": "Milk" });
    person.send(&note).await;
    assert_eq!(person.receive().await["note"]["text"], "Milk");

    for class in &classes {
        let deployment = format!("deployment/{}-workers", class.name);
        class.kubectl(&["rollout", "restart", &deployment]).await;
    }
    for class in &classes {
        let deployment = format!("{}-workers", class.name);
        test.cluster.rolled_out(&test.namespace, &deployment).await;
        class.current().await;
    }
    assert_eq!(count(&legacy.site()).await, json!({ "counter": 2 }));
    assert_eq!(add(&modern.site()).await["value"], 24);
    let (_, welcome) = enter_room(&chat.site(), "Bob").await;
    assert_eq!(welcome["messages"][0]["text"], "Hello!");
    let mut person = board.site().socket("/boards/plan/socket?name=Bob").await;
    assert_eq!(person.receive().await["notes"][0]["text"], "Milk");
}

/// By way of Ingress and gateway, too, the object goes and its sockets stay.
async fn sleeps_and_keeps_its_sockets(site: &Site) {
    let mut socket = site.socket("/websocket").await;
    let ask = async |socket: &mut Socket, text: &str| {
        socket.send_text(text).await;
        socket.receive_type("answer").await
    };
    let before = ask(&mut socket, "Good night").await;
    socket.send_text("ping").await;
    assert_eq!(socket.receive_text().await, "pong");
    tokio::time::sleep(ASLEEP).await;
    let after = ask(&mut socket, "Good morning").await;
    assert_eq!(after["id"], before["id"]);
    let constructed = |answer: &Value| answer["constructed"].as_u64().unwrap();
    assert_eq!(constructed(&after), constructed(&before) + 1);
}

async fn enter_room(site: &Site, name: &str) -> (Socket, Value) {
    let mut socket = site.socket("/rooms/lobby/socket").await;
    socket.send(&json!({ "type": "enter", "name": name })).await;
    let welcome = socket.receive_type("welcome").await;
    (socket, welcome)
}

/// What clients that count have in common.
#[derive(Default)]
struct Clients {
    /// How many values were confirmed to all of them.
    confirmed: AtomicUsize,
    stop: AtomicBool,
}

impl Clients {
    /// Lets them do something.
    async fn work(&self) {
        let enough = self.confirmed.load(Ordering::Relaxed) + 100;
        until("the clients", Duration::from_secs(60), async || match self
            .confirmed
            .load(Ordering::Relaxed)
        {
            confirmed if confirmed >= enough => Ok(()),
            confirmed => Err(format!("{confirmed} confirmed, of {enough}")),
        })
        .await;
    }
}

/// Counts until it is told to stop; gives every value that was confirmed. What failed may have been counted, too.
async fn count(site: Site, clients: Arc<Clients>) -> (Vec<u64>, u64) {
    let (mut confirmed, mut unknown) = (vec![], 0);
    while !clients.stop.load(Ordering::Relaxed) {
        match site.try_request(Method::POST, VISITS, &[], "").await {
            Ok(reply) if reply.status == 200 => {
                confirmed.push(reply.json()["value"].as_u64().unwrap());
                clients.confirmed.fetch_add(1, Ordering::Relaxed);
            }
            _ => unknown += 1,
        }
    }
    (confirmed, unknown)
}

/// SIGKILL under load, three times: each confirmed value was given once, and the next is higher.
pub async fn a_killed_pod_loses_nothing(test: Arc<Test>) {
    let class = deploy(&test, "counters/modern", "counters").await;
    class.ready().await;
    let clients = Arc::<Clients>::default();
    let running: Vec<_> = (0..4)
        .map(|_| tokio::spawn(count(class.site(), Arc::clone(&clients))))
        .collect();
    for _ in 0..3 {
        clients.work().await;
        let (pod, before) = class.all_serve(1).await.remove(0);
        Process::of(&pod, "sidecar").signal(Signal::KILL);
        until("the next process", Duration::from_secs(60), async || {
            let (_, now) = class.all_serve(1).await.remove(0);
            if now.incarnation == before.incarnation {
                Err(format!("{now:?}"))
            } else {
                Ok(())
            }
        })
        .await;
    }
    clients.work().await;
    clients.stop.store(true, Ordering::Relaxed);
    let told = join_all(running).await;
    let (mut confirmed, mut unknown) = (vec![], 0);
    for (values, lost) in told.into_iter().map(Result::unwrap) {
        assert!(values.is_sorted(), "a client went back: {values:?}");
        confirmed.extend(values);
        unknown += lost;
    }
    confirmed.sort_unstable();
    eprintln!("{} confirmed, {unknown} without an answer", confirmed.len());
    assert!(confirmed.len() > 20, "{confirmed:?}");
    assert!(
        confirmed.windows(2).all(|pair| pair[0] < pair[1]),
        "each value once"
    );
    let stored = class.site().get(VISITS).await.json()["value"].as_u64();
    let told = confirmed.last().copied().unwrap();
    assert!(
        (told..=confirmed.len() as u64 + unknown).contains(&stored.unwrap()),
        "told {told}, stored {stored:?}"
    );
}
