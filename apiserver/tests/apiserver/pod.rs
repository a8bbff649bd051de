//! Pods: they answer as `sidecar/` does, or worse.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use portside_manage::{PATH, Page, State, Worker, Workers};
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use url::form_urlencoded;

use crate::pki::{Authority, provider};

type Answer = UnsyncBoxBody<Bytes, Infallible>;

/// Of so many workers in each of 4096 shards a pod may tell that stores none of them here.
pub const EACH: u32 = 49;
const SHARDS: u32 = 4096;

/// A pod. Cloning gives another handle.
#[derive(Clone)]
pub struct Pod(Arc<Inner>);

struct Inner {
    namespace: String,
    name: String,
    address: SocketAddr,
    state: Mutex<Told>,
    count: watch::Sender<usize>,
    cut: Mutex<CancellationToken>,
}

#[derive(Default)]
struct Told {
    token: String,
    start: u32,
    workers: BTreeMap<u32, Worker>,
    /// Beside these, workers with all numbers there may be.
    many: bool,
    elsewhere: HashSet<u32>,
    /// The connection is cut at questions that begin so.
    cut_at: Option<String>,
    /// What is said instead, by the beginning of the question.
    instead: Vec<(String, String)>,
    /// What has happened since the start.
    events: Vec<Value>,
    asked: Vec<String>,
}

/// The worker with a number: it is in that shard, or, beyond all shards, in the one of the rest.
pub fn id(number: u32) -> String {
    format!("{number:08x}{:024x}", 0)
}

pub fn worker(number: u32) -> Worker {
    Worker {
        id: id(number),
        address: format!("room.js#{number}"),
        script: Some("room.js".into()),
        class: None,
        name: Some(number.to_string()),
        object_id: None,
        state: State::Asleep,
        awake_since: None,
        last_active: None,
        pod: None,
        revision: None,
        usage: None,
        alarm: None,
        keys: Some(1),
        bytes: 10,
    }
}

impl Pod {
    /// One that lets in whom `authority` has signed.
    pub async fn start(namespace: &str, name: &str, authority: &Authority) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let this = Self(Arc::new(Inner {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            address: listener.local_addr().unwrap(),
            state: Mutex::default(),
            count: watch::Sender::new(0),
            cut: Mutex::default(),
        }));
        let token = format!("{namespace}/{name}/uid-{name}/runtime.portside.dev");
        this.say_token(&token);
        let acceptor = acceptor(authority);
        let pod = this.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, pod) = (acceptor.clone(), pod.clone());
                let cut = pod.0.cut.lock().unwrap().clone();
                tokio::spawn(cut.run_until_cancelled_owned(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let answer = service_fn(move |request| {
                        let pod = pod.clone();
                        async move { Ok::<_, Infallible>(pod.answer(request).await) }
                    });
                    let server = http2::Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(stream), answer).await;
                }));
            }
        });
        this
    }

    /// As the cluster knows it.
    pub fn object(&self, class: &str, ready: bool) -> Value {
        let Inner {
            namespace,
            name,
            address,
            ..
        } = &*self.0;
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "namespace": namespace, "name": name, "uid": format!("uid-{name}"),
                "labels": { "portside.dev/class": class, "portside.dev/component": "sidecar" },
            },
            "spec": { "containers": [{
                "name": "sidecar", "ports": [{ "name": "manage", "containerPort": address.port() }],
            }] },
            "status": {
                "phase": "Running", "podIP": address.ip().to_string(),
                "conditions": [{ "type": "Ready", "status": if ready { "True" } else { "False" } }],
            },
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut Told) -> T) -> T {
        let mut told = self.0.state.lock().unwrap();
        let changed = change(&mut told);
        self.0.count.send_replace(told.events.len());
        changed
    }

    pub fn say_token(&self, token: &str) {
        self.change(|it| it.token = token.to_owned());
    }

    /// Answers this to questions that begin so.
    pub fn say_instead(&self, begin: &str, text: &str) {
        self.change(|it| it.instead.push((begin.to_owned(), text.to_owned())));
    }

    /// Answers as it should again.
    pub fn say_no_more(&self) {
        self.change(|it| it.instead.clear());
    }

    pub fn cut_at(&self, begin: &str) {
        self.change(|it| it.cut_at = Some(begin.to_owned()));
    }

    pub fn has_many(&self) {
        self.change(|it| it.many = true);
    }

    /// These are stored.
    pub fn store(&self, numbers: impl IntoIterator<Item = u32>) {
        self.change(|it| {
            it.workers
                .extend(numbers.into_iter().map(|number| (number, worker(number))))
        });
    }

    /// Another pod has it.
    pub fn give_up(&self, number: u32) {
        self.change(|it| it.elsewhere.insert(number));
    }

    pub fn asked(&self) -> Vec<String> {
        self.change(|it| it.asked.clone())
    }

    pub fn wake(&self, number: u32) {
        let pod = self.0.name.clone();
        self.change(|it| {
            let known = it.workers.contains_key(&number);
            let worker = it.workers.entry(number).or_insert_with(|| worker(number));
            worker.state = State::Awake;
            worker.pod = Some(pod);
            let worker = worker.clone();
            it.tell(if known { "asleep" } else { "absent" }, &worker, false);
        });
    }

    pub fn sleep(&self, number: u32) {
        self.change(|it| {
            it.workers.insert(number, worker(number));
            it.tell("awake", &worker(number), false);
        });
    }

    pub fn remove(&self, number: u32) {
        self.change(|it| {
            let removed = it.workers.remove(&number).unwrap();
            it.tell("asleep", &removed, true);
        });
    }

    /// Tells what it will.
    pub fn tell(&self, event: Value) {
        self.change(|it| it.events.push(event));
    }

    /// Ends all connections.
    pub fn cut(&self) {
        let mut cut = self.0.cut.lock().unwrap();
        cut.cancel();
        *cut = CancellationToken::new();
    }

    /// Is another process from now on.
    pub fn restart(&self) {
        self.change(|it| {
            it.start += 1;
            it.events.clear();
        });
        self.cut();
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Answer> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let path = head.uri.path().strip_prefix(PATH).unwrap().to_owned();
        let query = head.uri.query().unwrap_or_default();
        let query: HashMap<String, String> = form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect();
        let asked = format!("{} {}", head.method, head.uri.path_and_query().unwrap());
        let asked = asked.replace(PATH, "");
        let cut_at = self.change(|it| it.cut_at.clone());
        if cut_at.is_some_and(|begin| asked.starts_with(&begin)) {
            self.change(|it| it.asked.push(asked));
            self.cut();
            return std::future::pending().await;
        }
        let instead = self.change(|it| {
            it.asked.push(asked.clone());
            let mut instead = it.instead.iter();
            instead
                .find(|(begin, _)| asked.starts_with(&**begin))
                .cloned()
        });
        if let Some((_, text)) = instead {
            return said(200, text);
        }
        match &*path {
            "/identity" => said(
                200,
                json!({ "token": self.change(|it| it.token.clone()) }).to_string(),
            ),
            "/workers" => said(200, self.change(|it| it.page(&query))),
            "/events" => self.follow(&query),
            _ => self.one(
                &head.method,
                path.strip_prefix("/workers/").unwrap_or_default(),
                &query,
                &body,
            ),
        }
    }

    fn one(
        &self,
        method: &Method,
        path: &str,
        query: &HashMap<String, String>,
        body: &Bytes,
    ) -> Response<Answer> {
        let (id, what) = path.split_once('/').unwrap_or((path, ""));
        // An address ends with the number, an id begins with it.
        let number = match id.strip_prefix("room%2Ejs%23") {
            Some(number) => number.parse().unwrap(),
            None => u32::from_str_radix(&id[..8], 16).unwrap(),
        };
        let found = self.change(|it| {
            let elsewhere = it.elsewhere.contains(&number);
            (!elsewhere).then(|| it.workers.get(&number).cloned())
        });
        let Some(found) = found else {
            return said(
                421,
                json!({ "error": "another pod has this worker" }).to_string(),
            );
        };
        let Some(found) = found else {
            return said(404, json!({ "error": "it is not stored" }).to_string());
        };
        match (method, what) {
            (&Method::GET, "") => said(200, serde_json::to_string(&found).unwrap()),
            (&Method::DELETE, "") => {
                self.remove(number);
                said(204, String::new())
            }
            (&Method::POST, "wake") => {
                self.wake(number);
                said(204, String::new())
            }
            (&Method::POST, "exec") if body.is_empty() => {
                said(409, json!({ "error": "Uncaught Error: no" }).to_string())
            }
            (&Method::PUT, "key") => said(204, String::new()),
            (&Method::GET, "log") if query.contains_key("follow") => {
                let line = Bytes::from("a line\n".repeat(1 << 12));
                let lines = stream::repeat_with(move || Ok(Frame::data(line.clone())));
                Response::new(StreamBody::new(lines).boxed_unsync())
            }
            (&Method::GET, "log") => said(200, format!("a line, tail {:?}\n", query.get("tail"))),
            _ => said(
                200,
                json!({ "echo": String::from_utf8_lossy(body) }).to_string(),
            ),
        }
    }

    fn follow(&self, query: &HashMap<String, String>) -> Response<Answer> {
        let (start, len) = self.change(|it| (it.start.to_string(), it.events.len()));
        if query.get("start").is_some_and(|it| *it != start) {
            return said(410, json!({ "error": "begin anew" }).to_string());
        }
        // One that has ended says so again.
        let now = self.change(|it| len - it.events.iter().filter(|it| it["type"] == "end").count());
        let after = query.get("after").map_or(now, |it| it.parse().unwrap());
        let begin = json!({ "type": "begin", "start": start, "seq": after });
        let begin = stream::once(async move { format!("{begin}\n") });
        let begun = (self.clone(), self.0.count.subscribe(), after);
        let news = stream::unfold(begun, |(pod, mut count, at)| async move {
            count.wait_for(|it| *it > at).await.ok()?;
            let new = pod.change(|it| it.events.get(at..).unwrap_or_default().to_vec());
            let lines: String = new.iter().map(|it| format!("{it}\n")).collect();
            Some((lines, (pod, count, at + new.len())))
        });
        let frames = begin.chain(news).map(|it| Ok(Frame::data(Bytes::from(it))));
        Response::new(StreamBody::new(frames).boxed_unsync())
    }
}

impl Told {
    fn tell(&mut self, before: &str, worker: &Worker, gone: bool) {
        let seq = self.events.len() + 1;
        self.events.push(json!({
            "type": "change", "seq": seq, "before": before, "worker": worker, "gone": gone,
        }));
    }

    fn page(&self, query: &HashMap<String, String>) -> String {
        let limit: usize = query["limit"].parse().unwrap();
        let after = query
            .get("after")
            .map(|it| u32::from_str_radix(&it[..8], 16).unwrap());
        let place = |number: u32| (number % SHARDS, number);
        let is_wanted = |it: &&Worker| {
            let awake = query.get("state").is_none_or(|_| it.state == State::Awake);
            awake
                && query
                    .get("script")
                    .is_none_or(|script| it.script.as_ref() == Some(script))
        };
        let page: Workers = if self.many {
            let first = after.map_or(0, |it| it % SHARDS * EACH + it / SHARDS + 1);
            let numbers = (first..SHARDS * EACH).map(|it| it / EACH + it % EACH * SHARDS);
            page(numbers.map(worker).take(limit + 1).collect(), limit)
        } else {
            let mut all: Vec<u32> = self.workers.keys().copied().collect();
            all.sort_by_key(|it| place(*it));
            let rest = all
                .iter()
                .filter(|it| after.is_none_or(|after| place(**it) > place(after)));
            let workers = rest.map(|it| &self.workers[it]).filter(is_wanted);
            page(workers.take(limit + 1).cloned().collect(), limit)
        };
        serde_json::to_string(&page).unwrap()
    }
}

fn page(mut items: Vec<Worker>, limit: usize) -> Workers {
    let goes_on = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| goes_on).map(|it| it.id.clone());
    Page { items, next }
}

fn said(status: u16, text: String) -> Response<Answer> {
    let mut answer = Response::new(Full::new(Bytes::from(text)).boxed_unsync());
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    answer
}

fn acceptor(authority: &Authority) -> TlsAcceptor {
    let roots = Arc::new(authority.roots());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
    let made = rcgen::generate_simple_self_signed(vec!["pod".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(verifier.unwrap())
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config).into()
}
