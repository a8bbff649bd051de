//! An operator whose API server is a function.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use kube::Client;
use kube::client::Body;
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tower::BoxError;

use super::http_routes::HttpRoutes;
use super::queue::Queue;
use super::testkit::settings;
use super::{Context, Memory};
use crate::caches::{self, Caches};
use crate::certificates::Trusted;
use crate::metrics::Metrics;

pub(crate) mod store;

/// One request to the API server.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub method: String,
    pub path: String,
    pub body: Value,
}

impl Asked {
    /// Whether it is to write an object of this plural.
    pub(crate) fn writes(&self, plural: &str) -> bool {
        let parts: Vec<&str> = self.path.split('/').collect();
        self.method == "PATCH" && parts.len() > 2 && parts[parts.len() - 2] == plural
    }

    /// Whether it is to write a class's status.
    pub(crate) fn writes_status(&self) -> bool {
        self.method == "PATCH" && self.path.ends_with("/status")
    }
}

/// What the API server has been asked.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<Asked>>>);

impl Log {
    /// Those requests.
    pub(crate) fn find(&self, is_wanted: impl Fn(&Asked) -> bool) -> Vec<Asked> {
        let all = self.0.lock().unwrap();
        all.iter().filter(|one| is_wanted(one)).cloned().collect()
    }
}

/// An API server that answers like this, as code and body.
pub(crate) fn client(
    answer: impl Fn(&Asked) -> (u16, Value) + Send + Sync + 'static,
) -> (Client, Log) {
    let log = Log::default();
    let answer = Arc::new(answer);
    let asked = log.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (answer, asked) = (Arc::clone(&answer), asked.clone());
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let one = Asked {
                method: head.method.to_string(),
                path: head.uri.path().to_owned(),
                body: serde_json::from_slice(&body).unwrap_or_default(),
            };
            let (code, value) = answer(&one);
            asked.0.lock().unwrap().push(one);
            let body = Full::new(Bytes::from(value.to_string()));
            Ok::<_, BoxError>(Response::builder().status(code).body(body)?)
        }
    });
    (Client::new(service, "default"), log)
}

/// What an API server says that has nothing yet and takes everything.
pub(crate) fn as_asked(asked: &Asked) -> (u16, Value) {
    match &*asked.method {
        "GET" => failure(404, "not found"),
        _ => (200, asked.body.clone()),
    }
}

/// An error.
pub(crate) fn failure(code: u16, message: &str) -> (u16, Value) {
    let reason = match code {
        404 => "NotFound",
        409 => "Conflict",
        _ => "",
    };
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure",
        "message": message, "reason": reason, "code": code,
    });
    (code, status)
}

/// An operator that knows what is in `caches`.
pub(crate) fn context(client: Client, caches: Caches) -> Arc<Context> {
    let reporter = Reporter {
        controller: "portside-operator".to_owned(),
        instance: None,
    };
    Arc::new(Context {
        recorder: Recorder::new(client.clone(), reporter),
        settings: settings(),
        metrics: Metrics::register(&mut Registry::default(), caches.clone()),
        caches,
        queue: Queue::default(),
        gateway: reflector::store().0,
        http_routes: HttpRoutes::new().0,
        trusted: Trusted::default(),
        memory: Memory::default(),
        client,
    })
}

/// Caches with nothing in them.
pub(crate) fn nothing() -> Caches {
    caches::new().0
}
