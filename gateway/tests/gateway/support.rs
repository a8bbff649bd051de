//! A gateway, and pods whose ownership a test decides.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::{BoxFuture, join_all};
use http::{HeaderMap, Method, Request as HttpRequest, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use portside_crds::class::Route;
use portside_crds::routes::{Claim, ClassKey, Routes};
use portside_crds::sidecar::{Ownership, STATE_HEADER, State, parse_token};
use portside_exchange::{Application, Body, FetchError, Request, Response};
use portside_frontdoor::{Config, FrontDoor, TrustedProxies};
use portside_gateway::{ClassFacts, Endpoint, Gateway, Metrics, Settings, Stopped, Topology};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub type Fetched = Result<Response, FetchError>;
type Handler = dyn Fn(Request) -> BoxFuture<'static, Fetched> + Send + Sync;

/// Far more than any step takes; reached only by a failure.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// The host of the one class.
pub const HOST: &str = "chat.test";

pub async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future)
        .await
        .expect("this takes too long")
}

/// Waits until `condition` holds.
pub async fn until(condition: impl Fn() -> bool) {
    within(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// A sidecar pod as far as a gateway can tell. It lives on threads of its own, so that it can be killed.
pub struct Pod {
    pub endpoint: Endpoint,
    ownership: watch::Sender<(State, u64)>,
    inner: Arc<Inner>,
    lease: Arc<Mutex<Lease>>,
    runtime: Option<Runtime>,
}

/// Which start of the pod this is, and how often its lease has been renewed: twice a second.
struct Lease {
    incarnation: u128,
    before: u64,
    renewed_since: Option<Instant>,
}

impl Lease {
    fn renewals(&self) -> u64 {
        let now = self
            .renewed_since
            .map_or(0, |it| it.elapsed().as_millis() / 500);
        self.before + u64::try_from(now).unwrap()
    }
}

struct Inner {
    ownership: watch::Receiver<(State, u64)>,
    /// Says that it is active and refuses all the same.
    refuses: AtomicBool,
    refused: AtomicUsize,
    asked: Arc<AtomicUsize>,
    silent: watch::Sender<bool>,
    frozen: watch::Sender<bool>,
    running: AtomicUsize,
    handler: Box<Handler>,
}

impl Pod {
    /// A standby whose application is `handler`.
    pub async fn start<F, R>(name: &str, handler: F) -> Self
    where
        F: Fn(Request) -> R + Send + Sync + 'static,
        R: Future<Output = Fetched> + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let silent = watch::Sender::new(false);
        let (sender, ownership) = watch::channel((State::Standby, 0));
        let inner = Arc::new(Inner {
            ownership: ownership.clone(),
            refuses: AtomicBool::new(false),
            refused: AtomicUsize::new(0),
            asked: asked.clone(),
            silent: silent.clone(),
            frozen: watch::Sender::new(false),
            running: AtomicUsize::new(0),
            handler: Box::new(move |request| Box::pin(handler(request))),
        });
        let lease = Arc::new(Mutex::new(Lease {
            incarnation: starts(),
            before: 0,
            renewed_since: Some(Instant::now()),
        }));
        let admin = Arc::new(Admin {
            pod: name.to_owned(),
            ownership,
            lease: lease.clone(),
            asked,
            silent: silent.subscribe(),
        });
        let http = serve(&runtime, inner.clone()).await;
        let admin = serve(&runtime, admin).await;
        Self {
            endpoint: Endpoint {
                pod: name.to_owned(),
                http,
                admin,
            },
            ownership: sender,
            inner,
            lease,
            runtime: Some(runtime),
        }
    }

    /// A standby that answers with its name.
    pub async fn named(name: &'static str) -> Self {
        Self::start(name, move |_| async move { Ok(text(name)) }).await
    }

    /// The same, active since `term`.
    pub async fn active(name: &'static str, term: u64) -> Self {
        let pod = Self::named(name).await;
        pod.becomes(State::Active, term);
        pod
    }

    /// The same, serving beside others.
    pub async fn serving(name: &'static str) -> Self {
        let pod = Self::named(name).await;
        pod.becomes(State::Serving, 0);
        pod
    }

    /// Names this start of it, as other pods would.
    pub fn incarnation(&self) -> String {
        format!("{:032x}", self.lease.lock().unwrap().incarnation)
    }

    /// Is another start of the pod from now on, and serves.
    pub fn starts_anew(&self) {
        *self.lease.lock().unwrap() = Lease {
            incarnation: starts(),
            before: 0,
            renewed_since: Some(Instant::now()),
        };
        self.becomes(State::Serving, 0);
    }

    /// Whether it can renew its lease.
    pub fn has_store(&self, has_store: bool) {
        let mut lease = self.lease.lock().unwrap();
        lease.before = lease.renewals();
        lease.renewed_since = has_store.then(Instant::now);
    }

    /// Stops as a process that gets SIGSTOP, or goes on: it answers nothing, and its lease is not renewed.
    pub fn freezes(&self, frozen: bool) {
        self.has_store(!frozen);
        self.is_silent(frozen);
        self.inner.frozen.send_replace(frozen);
    }

    pub fn becomes(&self, state: State, term: u64) {
        self.ownership.send_replace((state, term));
    }

    /// Answers every request with 421 whatever it says of itself.
    pub fn refuses(&self, refuses: bool) {
        self.inner.refuses.store(refuses, Ordering::SeqCst);
    }

    /// How many requests it has refused.
    pub fn refused(&self) -> usize {
        self.inner.refused.load(Ordering::SeqCst)
    }

    /// How often it was asked whether it is active.
    pub fn asked(&self) -> usize {
        self.inner.asked.load(Ordering::SeqCst)
    }

    /// Keeps what it is to itself for now.
    pub fn is_silent(&self, silent: bool) {
        self.inner.silent.send_replace(silent);
    }

    /// How many requests wait for its application.
    pub fn running(&self) -> usize {
        self.inner.running.load(Ordering::SeqCst)
    }

    /// Ends as a process that is killed.
    pub fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn serve(runtime: &Runtime, application: Arc<dyn Application>) -> SocketAddr {
    let config = Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        trusted_proxies: TrustedProxies::All,
        ..Config::default()
    };
    let serving = runtime.spawn(async move {
        let door = FrontDoor::bind(config, application).await.unwrap();
        let address = door.local_addr();
        tokio::spawn(door.run(std::future::pending()));
        address
    });
    serving.await.unwrap()
}

impl Application for Inner {
    fn fetch(&self, request: Request) -> BoxFuture<'_, Fetched> {
        Box::pin(async {
            let (state, _) = *self.ownership.borrow();
            let refuses = self.refuses.load(Ordering::SeqCst);
            let runs = matches!(state, State::Active | State::Serving);
            if !runs || refuses {
                self.refused.fetch_add(1, Ordering::SeqCst);
                let mut response = respond(421, "not here");
                let state = if refuses { State::Standby } else { state };
                response
                    .headers
                    .insert(STATE_HEADER, state.as_str().parse().unwrap());
                return Ok(response);
            }
            let _running = Running::new(&self.running);
            let fetched = (self.handler)(request).await;
            let mut frozen = self.frozen.subscribe();
            frozen.wait_for(|frozen| !frozen).await.unwrap();
            fetched
        })
    }
}

/// A number that no start of a pod has had.
fn starts() -> u128 {
    static STARTS: AtomicUsize = AtomicUsize::new(1);
    STARTS.fetch_add(1, Ordering::SeqCst) as u128
}

/// One more until dropped.
struct Running<'a>(&'a AtomicUsize);

impl<'a> Running<'a> {
    fn new(running: &'a AtomicUsize) -> Self {
        running.fetch_add(1, Ordering::SeqCst);
        Self(running)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The admin port.
struct Admin {
    pod: String,
    ownership: watch::Receiver<(State, u64)>,
    lease: Arc<Mutex<Lease>>,
    asked: Arc<AtomicUsize>,
    silent: watch::Receiver<bool>,
}

impl Application for Admin {
    fn fetch(&self, request: Request) -> BoxFuture<'_, Fetched> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut ownership = self.ownership.clone();
        let mut silent = self.silent.clone();
        let lease = self.lease.clone();
        Box::pin(async move {
            let (_, query) = request.url.split_once('?').unwrap_or_default();
            let query: BTreeMap<&str, &str> = query
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .collect();
            if let Some(not) = query.get("not") {
                let not = parse_token(not).unwrap();
                let wait = Duration::from_secs(query["wait"].parse().unwrap());
                let _ = timeout(wait, ownership.wait_for(|now| *now != not)).await;
            }
            silent.wait_for(|silent| !silent).await.unwrap();
            let (state, term) = *ownership.borrow();
            let mut answer = Ownership {
                pod: self.pod.clone(),
                state,
                term,
                incarnation: None,
                renewals: None,
            };
            // As an older version, unless it serves.
            if matches!(state, State::Serving | State::Draining) && term == 0 {
                let lease = lease.lock().unwrap();
                answer.incarnation = Some(format!("{:032x}", lease.incarnation));
                answer.renewals = Some(lease.renewals());
            }
            Ok(text(serde_json::to_vec(&answer).unwrap()))
        })
    }
}

pub fn respond(status: u16, body: impl Into<Bytes>) -> Response {
    Response {
        status: StatusCode::from_u16(status).unwrap(),
        reason: Bytes::new(),
        headers: HeaderMap::new(),
        body: Body::Full(body.into()),
        socket: None,
    }
}

pub fn text(body: impl Into<Bytes>) -> Response {
    respond(200, body)
}

/// All of a request's body.
pub async fn read(body: Body) -> Bytes {
    use futures::TryStreamExt;
    match body {
        Body::Empty => Bytes::new(),
        Body::Full(bytes) => bytes,
        Body::Stream(stream) => {
            let chunks: Vec<Bytes> = stream.try_collect().await.unwrap();
            chunks.concat().into()
        }
    }
}

/// A gateway and its clients.
pub struct Cluster {
    pub gateway: Arc<Gateway>,
    pub address: SocketAddr,
    pub metrics: Metrics,
    registry: Registry,
    client: Client<HttpConnector, Sent>,
    pub stopped: Mutex<Option<Stopped>>,
    request_timeout: Duration,
    stop: CancellationToken,
}

pub type Sent = BoxBody<Bytes, std::io::Error>;

pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Reply {
    pub fn reason(&self) -> &str {
        let reason = self.headers.get("portside-reason");
        reason.map_or("", |reason| reason.to_str().unwrap())
    }
}

impl Cluster {
    /// A gateway that knows of no cluster yet.
    pub async fn empty(hold: Duration, trusted: TrustedProxies) -> Self {
        Self::with(hold, trusted, 64 << 20).await
    }

    /// The same, which keeps so many bytes of requests' bodies.
    pub async fn with(hold: Duration, trusted: TrustedProxies, replay_bytes: usize) -> Self {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let settings = Settings {
            hold,
            access_log: true,
            max_message_bytes: 4 << 20,
            replay_bytes,
        };
        let gateway = Arc::new(Gateway::new(settings, metrics.clone()));
        let config = Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            trusted_proxies: trusted,
            ..Config::default()
        };
        let door = FrontDoor::bind(config, gateway.clone()).await.unwrap();
        let address = door.local_addr();
        let stop = CancellationToken::new();
        tokio::spawn(door.run(stop.clone().cancelled_owned()));
        Self {
            gateway,
            address,
            metrics,
            registry,
            client: Client::builder(TokioExecutor::new()).build_http(),
            stopped: Mutex::default(),
            request_timeout: PATIENCE,
            stop,
        }
    }

    /// A gateway in front of one class with these pods.
    pub async fn of(pods: &[&Pod]) -> Self {
        let cluster = Self::empty(PATIENCE, TrustedProxies::None).await;
        cluster.has(pods);
        cluster
    }

    /// The same, where requests wait for a short time only.
    pub async fn impatient(pods: &[&Pod]) -> Self {
        let cluster = Self::empty(Duration::from_millis(300), TrustedProxies::None).await;
        cluster.has(pods);
        cluster
    }

    /// The same, where pods have a limited time to answer.
    pub async fn timed(pods: &[&Pod], request_timeout: Duration) -> Self {
        let mut cluster = Self::empty(PATIENCE, TrustedProxies::None).await;
        cluster.request_timeout = request_timeout;
        cluster.has(pods);
        cluster
    }

    /// The class has these pods from now on.
    pub fn has(&self, pods: &[&Pod]) {
        self.has_classes(&[(HOST, pods)]);
    }

    /// There are these classes from now on, each of a host.
    pub fn has_classes(&self, classes: &[(&str, &[&Pod])]) {
        let mut topology = Topology::default();
        let mut routed = vec![];
        for (host, pods) in classes {
            let key = ClassKey {
                namespace: "shop".into(),
                name: host.split('.').next().unwrap().into(),
            };
            let routes = [Route {
                host: (*host).into(),
                path: "/".into(),
                ..Route::default()
            }];
            let facts = ClassFacts {
                uid: "1".into(),
                stopped: *self.stopped.lock().unwrap(),
                request_timeout: self.request_timeout,
                endpoints: pods.iter().map(|pod| pod.endpoint.clone()).collect(),
            };
            topology.classes.insert(key.clone(), facts);
            routed.push((key, routes));
        }
        topology.routes = Routes::new(routed.iter().map(|(class, routes)| Claim {
            class: class.clone(),
            created: None,
            routes,
        }));
        self.gateway.apply(topology);
    }

    /// The front door begins to end.
    pub fn shut_down(&self) {
        self.stop.cancel();
    }

    pub fn request(&self, method: Method, path: &str) -> http::request::Builder {
        HttpRequest::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address))
            .header(header::HOST, HOST)
    }

    pub async fn send(&self, request: HttpRequest<Sent>) -> http::Response<Incoming> {
        within(self.client.request(request)).await.unwrap()
    }

    pub async fn ask(&self, request: HttpRequest<Sent>) -> Reply {
        let (parts, body) = self.send(request).await.into_parts();
        let body = within(body.collect()).await.unwrap().to_bytes();
        Reply {
            status: parts.status.as_u16(),
            headers: parts.headers,
            text: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    pub async fn get(&self, path: &str) -> Reply {
        let request = self.request(Method::GET, path);
        self.ask(request.body(full("")).unwrap()).await
    }

    /// Sixteen clients post to the pods that answer with what they get, one request after the other, each with a body of its own,
    /// until they are to stop. Each answer is checked, and counted.
    pub async fn post_until(&self, stop: &AtomicBool, answered: &AtomicUsize) {
        let clients = (0..16).map(|client| async move {
            for n in 0.. {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                let id = format!("{client}/{n}");
                let reply = self.post("/", id.clone()).await;
                assert_eq!((reply.status, reply.text), (200, id));
                answered.fetch_add(1, Ordering::SeqCst);
            }
        });
        join_all(clients).await;
    }

    pub async fn post(&self, path: &str, body: impl Into<Bytes>) -> Reply {
        let request = self.request(Method::POST, path);
        self.ask(request.body(full(body)).unwrap()).await
    }

    /// The value of a metric, by the beginning of its line.
    pub fn metric(&self, line: &str) -> f64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let found = text.lines().find_map(|found| found.strip_prefix(line));
        found.map_or(0.0, |value| value.trim().parse().unwrap())
    }

    /// Waits until so many requests wait for a pod.
    pub async fn held(&self, count: i64) {
        until(|| self.metrics.held.get() == count).await;
    }
}

pub fn full(body: impl Into<Bytes>) -> Sent {
    Full::new(body.into())
        .map_err(|never| match never {})
        .boxed()
}

/// An address where nobody listens.
pub async fn nowhere() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}
