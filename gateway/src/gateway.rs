//! The gateway as the front door's application: which class a request is for, and sending it to that class's pod.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::future::BoxFuture;
use http::{HeaderValue, Uri};
use portside_crds::routes::{ClassKey, Routes};
use portside_exchange::{Application, Body, FetchError, REQUEST_ID, Refused, Request, Response};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::Record;
use crate::class::{Class, Hold};
use crate::headers;
use crate::metrics::Metrics;
use crate::refusal::Refusal;
use crate::share::Room;
use crate::topology::Topology;

/// What an operator may set.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long a request waits for an active pod.
    pub hold: Duration,
    /// Whether each request is logged.
    pub access_log: bool,
    /// Bytes of a WebSocket message; more from a pod close the client's connection with 1009.
    pub max_message_bytes: usize,
    /// Bytes of request bodies that are kept, of all requests together, in case they have to be sent again. One class gets
    /// at most a quarter, less when others use the rest. A request that finds no room is sent only once.
    pub replay_bytes: usize,
}

/// Routes requests to the active pods of their classes.
pub struct Gateway {
    pub(crate) settings: Settings,
    pub(crate) metrics: Metrics,
    pub(crate) hold: Arc<Hold>,
    /// Of [`Settings::replay_bytes`].
    replays: Arc<Room>,
    /// WebSockets.
    pub(crate) tasks: TaskTracker,
    closing: CancellationToken,
    /// Nothing before the cluster is known.
    table: RwLock<Option<Arc<Table>>>,
}

/// Where requests go. Never changed, only replaced.
struct Table {
    routes: Routes,
    classes: HashMap<ClassKey, Arc<Class>>,
}

impl Gateway {
    /// A gateway that knows no class: until [`Gateway::apply`] requests are told to come again.
    #[must_use]
    pub fn new(settings: Settings, metrics: Metrics) -> Self {
        let closing = CancellationToken::new();
        Self {
            replays: Room::new(settings.replay_bytes),
            settings,
            hold: Arc::new(Hold::new(metrics.clone(), closing.clone())),
            metrics,
            tasks: TaskTracker::new(),
            closing,
            table: RwLock::default(),
        }
    }

    /// Routes by this from now on. Call from one task, on a tokio runtime: it starts to ask the pods which of them is
    /// active.
    pub fn apply(&self, topology: Topology) {
        let before = self.table();
        let known = |key| before.as_ref().and_then(|table| table.classes.get(key));
        let mut classes = HashMap::new();
        for (key, facts) in &topology.classes {
            let class = match known(key).filter(|class| class.uid == facts.uid) {
                Some(class) => Arc::clone(class),
                None => Arc::new(Class::new(
                    key.clone(),
                    facts.uid.clone(),
                    self.replays.share(),
                )),
            };
            class.update(facts, &self.metrics);
            classes.insert(key.clone(), class);
        }
        let table = Arc::new(Table {
            routes: topology.routes,
            classes,
        });
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&table));
        for (key, class) in before.iter().flat_map(|before| &before.classes) {
            let stays = table
                .classes
                .get(key)
                .is_some_and(|now| Arc::ptr_eq(now, class));
            if !stays {
                class.end();
            }
        }
    }

    /// Requests wait no longer for a pod to become active: the gateway is about to end.
    pub fn stop_holding(&self) {
        self.closing.cancel();
    }

    /// Waits until the pods know that their WebSockets are closed. Call when the front door has ended.
    pub async fn finish(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn table(&self) -> Option<Arc<Table>> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.clone()
    }

    fn class(&self, host: &str, path: &str) -> Result<Arc<Class>, Refusal> {
        let table = self.table().ok_or(Refusal::Starting)?;
        let class = table
            .routes
            .find(host, path)
            .and_then(|key| table.classes.get(key));
        class.cloned().ok_or(Refusal::NoRoute)
    }

    async fn answer(&self, request: Request) -> Response {
        // The front door makes absolute URLs of what clients send.
        let target = request.url.parse::<Uri>().unwrap_or_default();
        let routed_by = headers::asked_host(&request.headers, target.host().unwrap_or_default());
        let (host, path) = (routed_by.as_deref().unwrap_or_default(), target.path());
        let id = request.headers.get(REQUEST_ID).cloned();
        let id = id.unwrap_or_else(|| HeaderValue::from_static("-"));
        let mut record = Record::new(
            &self.metrics,
            self.settings.access_log,
            &request.method,
            (host, path),
            id.clone(),
        );
        let class = match routed_by {
            Some(_) => self.class(host, path),
            None => Err(Refusal::NoRoute),
        };
        let answered = match class {
            Ok(class) => {
                record.class = Some(class.key.clone());
                let deadline = Instant::now() + self.settings.hold;
                self.forward(&class, request, &target, deadline, record)
                    .await
            }
            Err(refusal) => Err((refusal, record)),
        };
        answered.unwrap_or_else(|(refusal, mut record)| {
            let response = refusal.response(&id);
            record.status = Some(response.status.as_u16());
            if let Body::Full(text) = &response.body {
                record.bytes = text.len() as u64;
            }
            response
        })
    }
}

impl Application for Gateway {
    fn fetch(&self, request: Request) -> BoxFuture<'_, Result<Response, FetchError>> {
        Box::pin(async { Ok(self.answer(request).await) })
    }

    fn refused(&self, request: Refused<'_>) {
        let mut record = Record::new(
            &self.metrics,
            self.settings.access_log,
            request.method,
            (request.host, request.path),
            request.id.clone(),
        );
        record.status = Some(request.status.as_u16());
    }
}
