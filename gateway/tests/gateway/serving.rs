//! Pods that serve beside each other.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use futures::future::join_all;
use http::Method;
use http_body_util::BodyExt;
use portside_crds::sidecar::State;
use portside_exchange::{Body, Lasts, Request, Response, Socket, SocketSender, outgoing};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_tungstenite::client_async;

use crate::support::{Cluster, HOST, Pod, full, nowhere, read, respond, text, until, within};

/// Longer than it takes to see that a lease is over, and much shorter than any other limit.
const LEASE_IS_OVER: Duration = Duration::from_secs(10);

/// Sends requests until each of so many pods has answered one.
async fn all_answer(cluster: &Cluster, pods: usize) {
    let mut seen = BTreeMap::new();
    within(async {
        while seen.len() < pods {
            let reply = cluster.get("/").await;
            assert_eq!(reply.status, 200);
            *seen.entry(reply.text).or_insert(0) += 1;
        }
    })
    .await;
}

/// The pod drains, the gateway knows, and what it had is answered.
async fn drained(pod: &Pod) {
    let asked = pod.asked();
    pod.becomes(State::Draining, 0);
    until(|| pod.asked() > asked && pod.running() == 0).await;
}

#[tokio::test]
async fn all_pods_that_serve_get_requests_and_others_get_none() {
    let pods = [
        Pod::serving("a").await,
        Pod::serving("b").await,
        Pod::serving("c").await,
    ];
    let standby = Pod::named("d").await;
    let cluster = Cluster::of(&[&pods[0], &pods[1], &pods[2], &standby]).await;
    all_answer(&cluster, 3).await;
    drained(&pods[0]).await;
    for _ in 0..50 {
        assert_ne!(cluster.get("/").await.text, "a");
    }
    assert_eq!(standby.refused(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_pods_drain_and_come_back_and_every_request_runs_once_without_waiting() {
    let runs = Arc::new(Mutex::new(HashMap::<String, usize>::new()));
    let mut pods = vec![];
    for name in ["a", "b", "c"] {
        let runs = runs.clone();
        let pod = Pod::start(name, move |request: Request| {
            let runs = runs.clone();
            async move {
                let id = String::from_utf8(read(request.body).await.to_vec()).unwrap();
                *runs.lock().unwrap().entry(id.clone()).or_default() += 1;
                tokio::time::sleep(Duration::from_millis(1)).await;
                Ok(text(id))
            }
        })
        .await;
        pod.becomes(State::Serving, 0);
        pods.push(pod);
    }
    let cluster = Cluster::of(&[&pods[0], &pods[1], &pods[2]]).await;
    assert_eq!(cluster.post("/", "first").await.status, 200);
    let waited = || cluster.metric("portside_gateway_cold_start_seconds_count");
    let before = waited();
    let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(1));
    let load = cluster.post_until(&stop, &answered);
    let changing = async {
        for round in 0..12 {
            let before = answered.load(Ordering::SeqCst);
            until(|| answered.load(Ordering::SeqCst) > before + 50).await;
            // One of the three, or two at once.
            for away in 0..=round % 2 {
                drained(&pods[(round + away) % 3]).await;
            }
            for away in 0..=round % 2 {
                pods[(round + away) % 3].starts_anew();
            }
            let back = &pods[round % 3];
            let asked = back.asked();
            until(|| back.asked() > asked).await;
        }
        stop.store(true, Ordering::SeqCst);
    };
    tokio::join!(load, changing);
    let runs = runs.lock().unwrap();
    assert_eq!(runs.len(), answered.load(Ordering::SeqCst));
    assert!(runs.values().all(|times| *times == 1));
    let errors = cluster.metric("portside_gateway_requests_total{status=\"5xx\"}");
    assert_eq!((errors, waited()), (0.0, before), "failed and waited");
}

#[tokio::test]
async fn pods_take_over_from_one_that_was_active_alone() {
    let old = Pod::active("old", 7).await;
    let pods = [Pod::named("a").await, Pod::named("b").await];
    let cluster = Cluster::of(&[&old, &pods[0], &pods[1]]).await;
    assert_eq!(cluster.get("/").await.text, "old");
    old.becomes(State::Draining, 0);
    let (reply, ()) = tokio::join!(cluster.get("/"), async {
        cluster.held(1).await;
        pods[0].becomes(State::Serving, 0);
        pods[1].becomes(State::Serving, 0);
    });
    assert_eq!(reply.status, 200);
    all_answer(&cluster, 2).await;
    // And back, when an older version is installed again.
    drained(&pods[0]).await;
    drained(&pods[1]).await;
    // Before: the next question may be there at once, and the one after it half a minute later.
    let asked = old.asked();
    old.becomes(State::Standby, 0);
    let (reply, ()) = tokio::join!(cluster.get("/"), async {
        cluster.held(1).await;
        until(|| old.asked() > asked).await;
        old.becomes(State::Active, 9);
    });
    assert_eq!(reply.text, "old");
}

#[tokio::test]
async fn what_one_pod_refuses_another_answers_at_once() {
    let (refusing, other) = (Pod::serving("a").await, Pod::serving("b").await);
    let cluster = Cluster::of(&[&refusing, &other]).await;
    all_answer(&cluster, 2).await;
    let waited = || cluster.metric("portside_gateway_cold_start_seconds_count");
    let before = waited();
    refusing.refuses(true);
    // It insists that it serves, and gets others as soon as it was asked again.
    within(async {
        while refusing.refused() < 2 {
            let replies = join_all((0..20).map(|n| cluster.post("/", format!("{n}")))).await;
            assert!(
                replies
                    .iter()
                    .all(|it| (it.status, &*it.text) == (200, "b"))
            );
        }
    })
    .await;
    assert_eq!(waited(), before);
}

#[tokio::test]
async fn a_state_that_only_later_versions_know_means_not_run_too() {
    let refused = Arc::new(AtomicBool::new(false));
    let before = refused.clone();
    let pod = Pod::start("a", move |_| {
        let mut response = text("run");
        if !before.swap(true, Ordering::SeqCst) {
            response = respond(421, "");
            let state = "pondering".parse().unwrap();
            response.headers.insert("portside-state", state);
        }
        async { Ok(response) }
    });
    let pod = pod.await;
    pod.becomes(State::Serving, 0);
    let cluster = Cluster::of(&[&pod]).await;
    assert_eq!(cluster.post("/", "once").await.text, "run");
    assert!(refused.load(Ordering::SeqCst));
}

#[tokio::test]
async fn what_cannot_be_sent_to_one_pod_is_sent_to_another_at_once() {
    let (mut gone, other) = (Pod::serving("a").await, Pod::serving("b").await);
    gone.endpoint.http = nowhere().await;
    let cluster = Cluster::of(&[&gone, &other]).await;
    let began = Instant::now();
    for n in 0..50 {
        assert_eq!(cluster.post("/", format!("{n}")).await.text, "b");
    }
    assert!(cluster.metric("portside_gateway_retries_total{cause=\"unsent\"}") > 5.0);
    assert!(began.elapsed() < Duration::from_secs(5), "it pauses");
}

/// A pod that answers requests for `/hang` when it is told to.
async fn hanging(name: &'static str) -> (Pod, Arc<Notify>) {
    let go = Arc::new(Notify::new());
    let going = go.clone();
    let pod = Pod::start(name, move |request| {
        let going = going.clone();
        async move {
            if request.url.ends_with("/hang") {
                going.notified().await;
            }
            Ok(text(name))
        }
    })
    .await;
    pod.becomes(State::Serving, 0);
    (pod, go)
}

#[tokio::test]
async fn a_slow_pod_gets_less() {
    let (slow, go) = hanging("a").await;
    let quick = Pod::serving("b").await;
    let cluster = Cluster::of(&[&slow]).await;
    let (reply, ()) = tokio::join!(cluster.get("/hang"), async {
        until(|| slow.running() == 1).await;
        cluster.has(&[&slow, &quick]);
        within(async { while cluster.get("/").await.text != "b" {} }).await;
        for _ in 0..50 {
            assert_eq!(cluster.get("/").await.text, "b");
        }
        go.notify_one();
    });
    assert_eq!(reply.text, "a");
    all_answer(&cluster, 2).await;
}

#[tokio::test]
async fn a_pod_that_dies_silently_keeps_nobody_waiting_for_much_longer_than_its_lease() {
    let (dead, _go) = hanging("a").await;
    let other = Pod::serving("b").await;
    let cluster = Cluster::of(&[&dead]).await;
    let began = Instant::now();
    let (get, post, ()) =
        tokio::join!(cluster.get("/hang"), cluster.post("/hang", "once"), async {
            until(|| dead.running() == 2).await;
            dead.freezes(true);
            cluster.has(&[&dead, &other]);
            // Its first answer is known when it is asked again.
            until(|| other.asked() > 1).await;
            for _ in 0..50 {
                let began = Instant::now();
                assert_eq!(cluster.get("/").await.text, "b");
                assert!(began.elapsed() < Duration::from_secs(2), "others wait");
            }
        });
    assert_eq!((get.status, &*get.text), (200, "b"));
    assert_eq!(
        (post.status, post.reason()),
        (502, "Lost"),
        "it may have run"
    );
    assert!(began.elapsed() < LEASE_IS_OVER, "{:?}", began.elapsed());
    // It was only stopped for a while.
    dead.freezes(false);
    all_answer(&cluster, 2).await;
}

/// A pod whose responses have no end until the test says something.
async fn streaming(name: &'static str) -> (Pod, tokio::sync::broadcast::Sender<&'static str>) {
    let (sender, _) = tokio::sync::broadcast::channel(16);
    let source = sender.clone();
    let pod = Pod::start(name, move |request| {
        let receiver = source.subscribe();
        async move {
            if !request.url.ends_with("/stream") {
                return Ok(text(name));
            }
            let events = futures::stream::unfold(receiver, |mut receiver| async {
                let event = receiver.recv().await.ok()?;
                Some((Ok(Bytes::from(event)), receiver))
            });
            Ok(Response {
                body: Body::Stream(Box::pin(events)),
                ..text("")
            })
        }
    })
    .await;
    pod.becomes(State::Serving, 0);
    (pod, sender)
}

#[tokio::test]
async fn nothing_of_a_pod_reaches_a_client_after_its_lease() {
    let (old, events) = streaming("a").await;
    let other = Pod::serving("b").await;
    let cluster = Cluster::of(&[&old]).await;
    let request = cluster.request(Method::GET, "/stream").body(full(""));
    let mut body = cluster.send(request.unwrap()).await.into_body();
    cluster.has(&[&old, &other]);
    old.has_store(false);
    // While nobody has taken over, as far as can be told, it is heard.
    events.send("still here").unwrap();
    let frame = within(body.frame()).await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "still here");
    let began = Instant::now();
    assert!(within(body.frame()).await.unwrap().is_err());
    assert!(began.elapsed() < LEASE_IS_OVER, "{:?}", began.elapsed());
    for _ in 0..20 {
        assert_eq!(cluster.get("/").await.text, "b");
    }
    old.has_store(true);
    all_answer(&cluster, 2).await;
}

#[tokio::test]
async fn while_the_store_is_away_requests_wait_and_nobody_is_cut_off() {
    let (one, events) = streaming("a").await;
    let other = Pod::serving("b").await;
    let cluster = Cluster::of(&[&one]).await;
    let request = cluster.request(Method::GET, "/stream").body(full(""));
    let body = cluster.send(request.unwrap()).await.into_body();
    let mut body = body.into_data_stream();
    cluster.has(&[&one, &other]);
    within(async { while cluster.get("/").await.text != "b" {} }).await;
    for pod in [&one, &other] {
        pod.has_store(false);
    }
    // Until their leases are over.
    let waiting = loop {
        let mut request = Box::pin(cluster.get("/"));
        tokio::select! {
            reply = &mut request => assert_eq!(reply.status, 200),
            () = cluster.held(1) => break request,
        }
    };
    let (asked, others) = (one.asked(), other.asked());
    until(|| one.asked() > asked + 2 && other.asked() > others + 2).await;
    one.has_store(true);
    let asked = one.asked();
    until(|| one.asked() > asked).await;
    other.has_store(true);
    assert_eq!(within(waiting).await.status, 200);
    all_answer(&cluster, 2).await;
    events.send("still here").unwrap();
    let event = within(body.next()).await.unwrap().unwrap();
    assert_eq!(event, "still here");
}

/// Pods that say of a request for `/NAME/…` that the pod called so owns what it uses.
struct Owners {
    pods: Vec<Pod>,
    incarnations: Arc<Mutex<HashMap<String, String>>>,
    go: Arc<Notify>,
}

impl Owners {
    async fn of(names: &[&'static str]) -> Self {
        let incarnations = Arc::new(Mutex::new(HashMap::new()));
        let go = Arc::new(Notify::new());
        let mut pods = vec![];
        for &name in names {
            let (owners, go) = (incarnations.clone(), go.clone());
            let pod = Pod::start(name, move |request| {
                let (owners, go) = (owners.clone(), go.clone());
                async move {
                    if request.headers.contains_key("portside-owner") {
                        return Ok(respond(400, "clients do not say that"));
                    }
                    if request.headers.contains_key("x-hang") {
                        go.notified().await;
                    }
                    let mut response = match request.websocket {
                        true => Response {
                            socket: Some(echo()),
                            ..respond(101, "")
                        },
                        false => text(name),
                    };
                    let path = request.url.rsplit_once(".test/").unwrap().1;
                    let owner = path.split('/').next().unwrap();
                    if let Some(id) = owners.lock().unwrap().get(owner) {
                        let id: &String = id;
                        response
                            .headers
                            .insert("portside-owner", id.parse().unwrap());
                    }
                    response.headers.insert("x-pod", name.parse().unwrap());
                    Ok(response)
                }
            });
            let pod = pod.await;
            pod.becomes(State::Serving, 0);
            let id = pod.incarnation();
            incarnations.lock().unwrap().insert(name.into(), id);
            pods.push(pod);
        }
        Self {
            pods,
            incarnations,
            go,
        }
    }

    async fn cluster(&self) -> Cluster {
        let cluster = Cluster::of(&self.pods.iter().collect::<Vec<_>>()).await;
        all_answer(&cluster, self.pods.len()).await;
        cluster
    }
}

fn echo() -> Socket {
    let (outbox, outgoing) = outgoing();
    let incoming = SocketSender::new(16, move |delivery| outbox.send(delivery.message));
    Socket {
        outgoing,
        incoming,
        lasts: Lasts::No,
    }
}

/// Where so many requests of a path go.
async fn where_to(cluster: &Cluster, path: &str, count: usize) -> BTreeMap<String, usize> {
    let mut pods = BTreeMap::new();
    for _ in 0..count {
        let request = cluster.request(Method::GET, path);
        let request = request.header("portside-owner", "0");
        let reply = cluster.ask(request.body(full("")).unwrap()).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert!(!reply.headers.contains_key("portside-owner"));
        *pods.entry(reply.text).or_insert(0) += 1;
    }
    pods
}

#[tokio::test]
async fn requests_go_to_the_owner_of_what_their_path_used() {
    let owners = Owners::of(&["a", "b", "c"]).await;
    let cluster = owners.cluster().await;
    for owner in ["a", "b", "c"] {
        let path = format!("/{owner}/room");
        where_to(&cluster, &path, 1).await;
        assert_eq!(
            where_to(&cluster, &path, 20).await,
            [(owner.into(), 20)].into()
        );
    }
    // What it used moves, and then its owner drains.
    let id = owners.pods[2].incarnation();
    owners.incarnations.lock().unwrap().insert("b".into(), id);
    assert_eq!(
        where_to(&cluster, "/b/room", 1).await,
        [("b".into(), 1)].into()
    );
    assert_eq!(
        where_to(&cluster, "/b/room", 20).await,
        [("c".into(), 20)].into()
    );
    drained(&owners.pods[2]).await;
    let others = where_to(&cluster, "/b/room", 30).await;
    assert!(others.len() == 2 && !others.contains_key("c"), "{others:?}");
}

#[tokio::test]
async fn an_owner_that_is_much_busier_than_others_is_not_preferred() {
    let owners = Owners::of(&["a", "b"]).await;
    let cluster = owners.cluster().await;
    where_to(&cluster, "/b/room", 1).await;
    let hang = || {
        let request = cluster.request(Method::GET, "/b/room");
        cluster.ask(request.header("x-hang", "1").body(full("")).unwrap())
    };
    let busy = join_all((0..17).map(|_| hang()));
    let (replies, ()) = tokio::join!(busy, async {
        until(|| owners.pods[1].running() == 17).await;
        assert_eq!(
            where_to(&cluster, "/b/room", 5).await,
            [("a".into(), 5)].into()
        );
        owners.go.notify_one();
        until(|| owners.pods[1].running() == 16).await;
        within(async { while where_to(&cluster, "/b/room", 1).await.contains_key("a") {} }).await;
        owners.go.notify_waiters();
    });
    assert!(replies.iter().all(|it| it.text == "b"));
}

#[tokio::test]
async fn websockets_go_to_the_owner_and_otherwise_where_fewer_are() {
    let owners = Owners::of(&["a", "b"]).await;
    let cluster = owners.cluster().await;
    let dial = async |path: &str| {
        let stream = TcpStream::connect(cluster.address).await.unwrap();
        let url = format!("ws://{HOST}{path}");
        let (socket, response) = within(client_async(url, stream)).await.unwrap();
        assert!(!response.headers().contains_key("portside-owner"));
        let pod = response.headers()["x-pod"].to_str().unwrap().to_owned();
        (socket, pod)
    };
    let mut sockets = vec![];
    for n in 0..10 {
        sockets.push(dial(&format!("/nobody/{n}")).await);
    }
    let at_a = sockets.iter().filter(|(_, pod)| pod == "a").count();
    assert_eq!(at_a, 5, "as many at each");
    sockets.push(dial("/b/room").await);
    for _ in 0..5 {
        sockets.push(dial("/b/room").await);
        assert_eq!(sockets.last().unwrap().1, "b");
    }
    // They do not weigh against requests.
    all_answer(&cluster, 2).await;
}
