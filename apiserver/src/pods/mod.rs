//! Asks pods.

mod connection;
mod identity;
mod tls;
pub mod workers;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use kube::Client;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use portside_manage::PATH;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout};
use url::form_urlencoded;

use crate::certificate::Certificate;
use crate::dial::Windows;
use crate::known::{Classes, Pod};
use crate::metrics::Metrics;
use connection::Connection;

/// How long an answer may take to begin: a worker that is to end has some seconds, an expression half a minute.
const PATIENCE: Duration = Duration::from_secs(60);
/// A pod that did not answer is not tried again for so long, and for so many times as long as it took: a list must not wait for one
/// that is gone at each page.
const REST: Duration = Duration::from_secs(1);
const PARTS: u32 = 5;

/// How much of a streamed answer may wait to be read. Within a cluster that slows nobody down.
const SLOW_WINDOW: u32 = 64 << 10;
/// More answers than a pod gives at a time on one connection: as hyper has it, and pods with it, 200.
const MOST_STREAMS: u32 = 256;

/// How many connections are opened at once.
const OPENING: usize = 64;

/// A question to a pod.
#[derive(Debug, Clone)]
pub struct Question {
    method: Method,
    /// Below [`PATH`], with its query.
    path: String,
    body: Bytes,
    connection: Which,
}

/// Which of the connections to a pod.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
enum Which {
    /// Of answers that are read as they come.
    #[default]
    Prompt,
    /// Of those that a client takes, when it likes.
    Slow,
}

impl Which {
    fn windows(self) -> Windows {
        match self {
            Self::Prompt => Windows::default(),
            // There is room for all at once: none that nobody reads keeps anything from another.
            Self::Slow => Windows {
                stream: SLOW_WINDOW,
                connection: SLOW_WINDOW * MOST_STREAMS,
            },
        }
    }
}

impl Question {
    /// Of a path, whose parts may have any characters.
    #[must_use]
    pub fn new(method: Method, parts: &[&str], query: &[(&str, &str)]) -> Self {
        let mut path = String::new();
        for part in parts {
            path.push('/');
            path.extend(utf8_percent_encode(part, NON_ALPHANUMERIC));
        }
        if !query.is_empty() {
            path.push('?');
            let begin = path.len();
            let mut pairs = form_urlencoded::Serializer::for_suffix(path, begin);
            pairs.extend_pairs(query);
            path = pairs.finish();
        }
        Self {
            method,
            path,
            body: Bytes::new(),
            connection: Which::default(),
        }
    }

    /// Whether it may be asked again, whatever became of it.
    fn is_safe(&self) -> bool {
        self.method.is_safe()
    }

    /// The same with a body of JSON.
    #[must_use]
    pub fn with(mut self, body: Bytes) -> Self {
        self.body = body;
        self
    }

    /// The same, with an answer of which no more is read than a client takes.
    #[must_use]
    pub fn streamed(mut self) -> Self {
        self.connection = Which::Slow;
        self
    }

    fn request(self) -> http::Result<Request<Full<Bytes>>> {
        Request::builder()
            .method(self.method)
            .uri(format!("https://pod{PATH}{}", self.path))
            .body(Full::new(self.body))
    }
}

/// A pod did not answer: why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("pod {pod} does not answer: {why}")]
pub struct NoAnswer {
    /// Its namespace and name.
    pub pod: String,
    /// The cause.
    pub why: String,
    /// Whether it may have done all the same what it was asked for.
    pub heard: bool,
}

impl NoAnswer {
    fn of(pod: &Pod, why: impl Into<String>) -> Self {
        Self {
            pod: format!("{}/{}", pod.namespace, pod.name),
            why: why.into(),
            heard: true,
        }
    }
}

/// Connections to pods: one to each that is asked, and another for answers that clients take when they like.
pub struct Pods {
    client: Client,
    own: watch::Receiver<Option<Certificate>>,
    metrics: Metrics,
    /// By the pods' uids, and where they are: one whose node starts anew may come back elsewhere.
    slots: Mutex<HashMap<(Place, Which), Arc<Slot>>>,
    /// Connections that may be opened at once.
    opening: Semaphore,
    /// Pages larger than usual that may be read at once.
    large: Semaphore,
}

type Place = (String, SocketAddr);

fn place(pod: &Pod) -> Place {
    (pod.uid.clone(), pod.address)
}

/// Who comes while a connection is opened waits for that one.
type Slot = tokio::sync::Mutex<Opened>;

#[derive(Default)]
enum Opened {
    #[default]
    NotYet,
    Connected(Connection),
    /// Until when it is left alone, and why.
    Failed(Instant, String),
}

impl Pods {
    /// Asks with the certificate that there is then. `client` is asked who a pod is.
    #[must_use]
    pub fn new(
        client: Client,
        own: watch::Receiver<Option<Certificate>>,
        metrics: Metrics,
    ) -> Self {
        Self {
            client,
            own,
            metrics,
            slots: Mutex::default(),
            opening: Semaphore::new(OPENING),
            large: Semaphore::new(workers::LARGE),
        }
    }

    /// Asks a pod.
    ///
    /// # Errors
    ///
    /// It does not answer, or is not who it should be.
    pub async fn ask(&self, pod: &Pod, question: Question) -> Result<Response<Incoming>, NoAnswer> {
        let no_answer = |why: String| NoAnswer::of(pod, why);
        let connected = self.connection(pod, question.connection).await;
        let mut connection = connected.map_err(|why| NoAnswer {
            heard: false,
            ..no_answer(why)
        })?;
        let request = question.request();
        let request = request.map_err(|error| no_answer(error.to_string()))?;
        match timeout(PATIENCE, connection.send(request)).await {
            Ok(answer) => answer.map_err(|error| no_answer(error.to_string())),
            Err(_) => Err(no_answer("it takes too long".to_owned())),
        }
    }

    async fn connection(&self, pod: &Pod, which: Which) -> Result<Connection, String> {
        let slot = Arc::clone(self.lock().entry((place(pod), which)).or_default());
        let mut opened = slot.lock().await;
        match &*opened {
            Opened::Connected(connection) if !connection.is_over() => return Ok(connection.clone()),
            Opened::Failed(until, why) if Instant::now() < *until => return Err(why.clone()),
            _ => {}
        }
        // It is never closed.
        let _one_of_few = self.opening.acquire().await;
        let own = self.own.borrow().clone();
        let begun = Instant::now();
        let made = match own {
            Some(own) => Connection::open(&self.client, &own, pod, which.windows()).await,
            None => Err("this server has no certificate yet".to_owned()),
        };
        self.metrics.connected(made.is_ok());
        *opened = match &made {
            Ok(connection) => Opened::Connected(connection.clone()),
            Err(why) => {
                tracing::debug!(
                    namespace = pod.namespace,
                    pod = pod.name,
                    why,
                    "a pod does not answer"
                );
                let rest = REST.max(begun.elapsed() * PARTS);
                Opened::Failed(Instant::now() + rest, why.clone())
            }
        };
        made
    }

    /// Ends the connections to pods that are gone.
    pub fn keep(&self, classes: &Classes) {
        let pods = classes.of(None).flat_map(|it| &it.pods);
        let there: HashSet<Place> = pods.map(|it| place(it)).collect();
        self.lock().retain(|(it, _), _| there.contains(it));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(Place, Which), Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether another pod has the worker (RFC 9110 section 15.5.20).
fn is_elsewhere(answer: &Response<Incoming>) -> bool {
    answer.status() == StatusCode::MISDIRECTED_REQUEST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_encoded() {
        let query = [("prefix", "a b"), ("limit", "5")];
        let question = Question::new(Method::GET, &["workers", "a/b#c", "keys"], &query);
        let request = question.request().unwrap();
        assert_eq!(
            request.uri().to_string(),
            "https://pod/cdn-cgi/portside/workers/a%2Fb%23c/keys?prefix=a+b&limit=5"
        );
    }
}
