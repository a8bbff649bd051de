//! An application under test, made from source texts.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use portside_assets::Assets;
use portside_core::bundle::{Bundle, Module, ModuleKind};
use portside_core::compatibility::Compatibility;
use portside_core::limits::Limits;
use portside_exchange::{Application, Body, FetchError, Request, Response};
use portside_frontdoor::{Config as DoorConfig, FrontDoor};
use portside_runtime::IsolatePool;
use portside_sidecar::memory::{Meter, unlimited};
use portside_sidecar::{
    App, Called, Class, Config, Identity, Level, Ownership, Peers, Sharing, Spill, peers,
};
use portside_store::Store;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::sharing::ALL;

static ISOLATES: OnceLock<Arc<IsolatePool>> = OnceLock::new();

/// Starts V8; the main thread does, before there are others.
pub fn start_isolates() {
    ISOLATES.get_or_init(|| {
        Arc::new(IsolatePool::new(2, 64, |unstoppable| {
            println!("{unstoppable}");
            std::process::abort();
        }))
    });
}

/// The engine that all tests share.
pub fn isolates() -> Arc<IsolatePool> {
    ISOLATES.get().unwrap().clone()
}

/// How long a condition may take to become true. Generous: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What to run; `Setup::new(&[("server.js", "…"), …])` and change what the test needs.
pub struct Setup {
    /// The server's module.
    pub main: String,
    pub modules: Vec<(String, ModuleKind, Vec<u8>)>,
    pub limits: Limits,
    pub input_gate: bool,
    pub env: portside_core::variable::Variables,
    /// Classes of Durable Objects.
    pub objects: Vec<portside_core::migrations::ObjectClass>,
    /// Whether each object has an isolate of its own.
    pub isolates_objects: bool,
    /// Its static assets.
    pub assets: Option<Arc<Assets>>,
    /// What the code was written for.
    pub compatibility: Compatibility,
    /// When the server's `scheduled` handler runs.
    pub crons: Vec<&'static str>,
    /// Server instances that share the requests.
    pub servers: usize,
    /// The isolates and their threads; else those that all tests share.
    pub isolates: Option<Arc<IsolatePool>>,
    /// An existing store, to start a second time on the same state; else a fresh SQLite file.
    pub store: Option<Arc<dyn Store>>,
    /// Tells how much memory is used; else there is no limit.
    pub memory: Option<Meter>,
    /// Where the parts of databases are that are not in memory.
    pub spill: Spill,
}

impl Setup {
    pub fn new(modules: &[(&str, &str)]) -> Self {
        Self {
            main: "server.js".to_owned(),
            modules: modules
                .iter()
                .map(|(path, code)| {
                    (
                        (*path).to_owned(),
                        ModuleKind::JavaScript,
                        code.as_bytes().to_vec(),
                    )
                })
                .collect(),
            limits: Limits::default(),
            input_gate: false,
            env: vec![],
            objects: vec![],
            isolates_objects: false,
            assets: None,
            compatibility: Compatibility::default(),
            crons: vec![],
            servers: 2,
            isolates: None,
            store: None,
            memory: None,
            // So that databases of tests have pages in files, too.
            spill: Spill {
                after_bytes: 20_000,
                ..Spill::default()
            },
        }
    }

    /// Adds a JavaScript module.
    pub fn add(&mut self, path: &str, code: &str) {
        let code = code.as_bytes().to_vec();
        self.modules
            .push((path.to_owned(), ModuleKind::JavaScript, code));
    }

    pub fn class(&self) -> Class {
        let module = |kind, code: &Vec<u8>| Module {
            kind,
            code: code.as_slice().into(),
            source_map: None,
        };
        let modules: BTreeMap<_, _> = self
            .modules
            .iter()
            .map(|(path, kind, code)| (path.clone(), module(*kind, code)))
            .collect();
        Class {
            bundle: Arc::new(Bundle {
                main: self.main.clone(),
                modules,
            }),
            limits: Arc::new(self.limits.clone()),
            env: Arc::new(self.env.clone()),
            objects: self.objects.clone().into(),
            isolates_objects: self.isolates_objects,
            assets: self.assets.clone(),
            compatibility: Arc::new(self.compatibility.clone()),
            input_gate: self.input_gate,
            crons: self
                .crons
                .iter()
                .map(|cron| cron.parse().unwrap())
                .collect(),
        }
    }

    /// Starts it.
    pub async fn start(self) -> TestApp {
        let dir = tempfile::tempdir().unwrap();
        let class = self.class();
        let store = match self.store {
            Some(store) => store,
            None => open(dir.path()).await,
        };
        let log: Arc<Mutex<Vec<LogLine>>> = Arc::default();
        let isolates = self.isolates.unwrap_or_else(isolates);
        let memory = Arc::new(self.memory.unwrap_or_else(unlimited));
        let start = |ownership, sharing| {
            let (written, memory) = (log.clone(), memory.clone());
            let config = Config {
                class: class.clone(),
                ownership,
                store: store.clone(),
                servers: self.servers,
                log: Box::new(move |line| {
                    lines(&written).push(LogLine {
                        source: line.source.clone(),
                        level: line.level,
                        text: line.text.to_owned(),
                        request: line.request.map(ToOwned::to_owned),
                    });
                }),
                reached: None,
                memory: Box::new(move || memory()),
                spill: self.spill.clone(),
                sharing,
                called: Called::default(),
            };
            App::start(isolates.clone(), config)
        };
        let (app, owner) = if are_apart() {
            // Of two revisions the newer has all workers.
            let mut apps = vec![];
            for revision in [1, 0] {
                let (ownership, sharing) = sharing(&store, "test", revision).await;
                apps.push(start(ownership.clone(), Some(sharing)));
                ownership.claim().await.unwrap();
                let has_its_share =
                    eventually(async || revision == 0 || ownership.shards().len() == ALL);
                assert!(has_its_share.await);
            }
            (apps.remove(1), apps.pop())
        } else {
            let ownership = Ownership::acquire(store.clone(), "test").await.unwrap();
            (start(ownership, None), None)
        };
        TestApp {
            app,
            owner,
            store,
            log,
            _dir: dir,
        }
    }
}

/// Whether the workers of each application are in another pod than the server that is asked.
pub fn are_apart() -> bool {
    std::env::var_os("PORTSIDE_TEST_APART").is_some()
}

/// A pod of this name and revision that shares the shards with others, and wants none yet.
pub async fn sharing(
    store: &Arc<dyn Store>,
    name: &str,
    revision: u64,
) -> (Arc<Ownership>, Sharing) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let key = peers::Key::generate().unwrap();
    let peer = peers::peer(listener.local_addr().unwrap().to_string(), revision, &key);
    let ownership = Ownership::register_sharing(store.clone(), name, &peer);
    let ownership = ownership.await.unwrap();
    let peers = Peers::new(store.clone(), ownership.clone(), key);
    (ownership, Sharing { peers, listener })
}

/// Opens the SQLite store of a folder.
pub async fn open(dir: &Path) -> Arc<dyn Store> {
    let url = format!("sqlite:{}", dir.join("state.sqlite").display());
    portside_store::open(&url, "test").await.unwrap()
}

/// A line of the application's log.
#[derive(Debug, Clone)]
#[allow(dead_code, reason = "all of it is shown when a test fails")]
pub struct LogLine {
    pub source: Identity,
    pub level: Level,
    pub text: String,
    pub request: Option<String>,
}

/// The lines of the log, whatever has failed while somebody read them.
fn lines(log: &Mutex<Vec<LogLine>>) -> MutexGuard<'_, Vec<LogLine>> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A running application.
pub struct TestApp {
    pub app: Arc<App>,
    /// The pod that has the workers, if it is another.
    pub owner: Option<Arc<App>>,
    pub store: Arc<dyn Store>,
    pub log: Arc<Mutex<Vec<LogLine>>>,
    _dir: tempfile::TempDir,
}

impl TestApp {
    /// Sends a request with a text body; the path begins with a slash.
    pub async fn request(
        &self,
        method: &str,
        path: &str,
        body: &str,
    ) -> Result<Response, FetchError> {
        let request = Request {
            method: method.parse().unwrap(),
            url: format!("http://app.test{path}"),
            headers: http::HeaderMap::new(),
            body: if body.is_empty() {
                Body::Empty
            } else {
                Body::Full(body.to_owned().into())
            },
            websocket: false,
        };
        self.app.fetch(request).await
    }

    /// Asks for a WebSocket on a path.
    pub async fn upgrade(&self, path: &str) -> Response {
        self.try_upgrade(path).await.unwrap()
    }

    /// The same, which may fail.
    pub async fn try_upgrade(&self, path: &str) -> Result<Response, FetchError> {
        let mut headers = http::HeaderMap::new();
        headers.insert("upgrade", http::HeaderValue::from_static("websocket"));
        let request = Request {
            method: http::Method::GET,
            url: format!("http://app.test{path}"),
            headers,
            body: Body::Empty,
            websocket: true,
        };
        self.app.fetch(request).await
    }

    /// GETs a path; gives the status and the body's text. A failure of the application is a 500 with its message.
    pub async fn get(&self, path: &str) -> (u16, String) {
        match self.request("GET", path, "").await {
            Ok(response) => (response.status.as_u16(), text(response.body).await),
            Err(error) => (500, error.to_string()),
        }
    }

    /// GETs a path and expects 200.
    pub async fn text(&self, path: &str) -> String {
        let (status, text) = self.get(path).await;
        assert_eq!(status, 200, "{path}: {text}\n{:?}", lines(&self.log));
        text
    }

    /// GETs a path until its text is as wanted.
    pub async fn eventually(&self, path: &str, wanted: &str) {
        let mut last = String::new();
        let met = eventually(async || {
            last = self.text(path).await;
            last == wanted
        });
        assert!(met.await, "{path}: {last:?} instead of {wanted:?}");
    }

    /// Whether the log has a line with this text by now.
    pub fn logged(&self, text: &str) -> bool {
        lines(&self.log).iter().any(|line| line.text.contains(text))
    }

    /// How many lines of the log have this text by now.
    pub fn count_logged(&self, text: &str) -> usize {
        let log = lines(&self.log);
        log.iter().filter(|line| line.text.contains(text)).count()
    }

    /// Waits for a line with this text in the log.
    pub async fn expect_log(&self, text: &str) {
        let met = eventually(async || self.logged(text)).await;
        assert!(met, "no {text:?} in {:?}", lines(&self.log));
    }

    /// The pod that has the workers.
    pub fn owner(&self) -> &Arc<App> {
        self.owner.as_ref().unwrap_or(&self.app)
    }

    /// How many workers are awake.
    pub fn awake(&self) -> usize {
        self.owner().awake()
    }

    /// Runs another revision.
    pub async fn replace(&self, class: Class) -> Result<(), String> {
        if let Some(owner) = &self.owner {
            owner.replace(class.clone()).await?;
        }
        self.app.replace(class).await
    }

    /// Ends it in order; gives its store for the next start.
    pub async fn stop(self) -> Arc<dyn Store> {
        self.app.shut_down().await;
        if let Some(owner) = self.owner {
            owner.shut_down().await;
        }
        self.store
    }
}

/// A running application with a front door, so that its workers can reach its server.
pub struct Peered {
    pub app: TestApp,
    pub peer: SocketAddr,
    stop: CancellationToken,
}

impl Peered {
    pub async fn start(setup: Setup) -> Self {
        let app = setup.start().await;
        let config = DoorConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            ..DoorConfig::default()
        };
        let door = FrontDoor::bind(config, app.app.clone()).await.unwrap();
        let peer = door.local_addr();
        let stop = CancellationToken::new();
        tokio::spawn(door.run(stop.clone().cancelled_owned()));
        Self { app, peer, stop }
    }

    pub async fn end(self) {
        self.stop.cancel();
        self.app.stop().await;
    }
}

/// Waits until `condition` holds; `false` if it does not within [`PATIENCE`].
pub async fn eventually(mut condition: impl AsyncFnMut() -> bool) -> bool {
    let give_up = tokio::time::Instant::now() + PATIENCE;
    loop {
        if condition().await {
            return true;
        }
        if tokio::time::Instant::now() > give_up {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A body's text.
pub async fn text(body: Body) -> String {
    use futures::StreamExt;
    let bytes = match body {
        Body::Empty => vec![],
        Body::Full(bytes) => bytes.to_vec(),
        Body::Stream(stream) => {
            let chunks: Vec<_> = stream.collect().await;
            chunks
                .into_iter()
                .flat_map(|chunk| chunk.unwrap().to_vec())
                .collect()
        }
    };
    String::from_utf8(bytes).unwrap()
}
