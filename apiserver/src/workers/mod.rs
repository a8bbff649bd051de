//! What clients ask of workers, and are answered.

mod list;
mod one;
mod subresource;
mod watch;

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use tokio::sync::{Semaphore, watch as channel};
use tokio_util::sync::CancellationToken;

use crate::answer::Answer;
use crate::follow::{Expired, Follows, Scope};
use crate::known::{Classes, Known};
use crate::metrics::Metrics;
use crate::object;
use crate::pods::Pods;
use crate::query::Query;
use crate::route::Target;
use crate::shape::Shape;
use crate::status::Refusal;

/// How many watches may be open.
const WATCHES: usize = 2_000;
/// How many pages may be put together at once: each takes some MB while it is.
const PAGES: usize = 32;

/// The workers of all classes.
pub struct Workers {
    pods: Arc<Pods>,
    known: channel::Receiver<Arc<Classes>>,
    follows: Arc<Follows>,
    metrics: Metrics,
    watches: Arc<Semaphore>,
    pages: Semaphore,
    /// Ends watches.
    stop: CancellationToken,
}

/// A request of somebody who may ask that.
#[derive(Debug)]
pub struct Request<'r> {
    /// The method.
    pub method: &'r Method,
    /// Of what.
    pub target: &'r Target,
    /// The URL's query.
    pub query: &'r str,
    /// The header `Accept`.
    pub accept: &'r str,
    /// What comes along.
    pub body: Bytes,
}

impl Workers {
    /// Those of these classes. `stop` ends watches.
    #[must_use]
    pub fn new(
        pods: Arc<Pods>,
        known: channel::Receiver<Arc<Classes>>,
        follows: Arc<Follows>,
        metrics: Metrics,
        stop: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self {
            pods,
            known,
            follows,
            metrics,
            watches: Arc::new(Semaphore::new(WATCHES)),
            pages: Semaphore::new(PAGES),
            stop,
        })
    }

    /// Whether a `resourceVersion` is of this process.
    #[must_use]
    pub fn counts(&self, version: u64) -> bool {
        self.follows.counts(version)
    }

    /// The time at which this process started, in milliseconds.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.follows.start()
    }

    /// Answers.
    ///
    /// # Errors
    ///
    /// It cannot be answered; the refusal says why.
    pub async fn answer(self: &Arc<Self>, request: Request<'_>) -> Result<Answer, Refusal> {
        let Target {
            namespace,
            name,
            subresource,
        } = request.target;
        let Some((namespace, name)) = namespace.as_ref().zip(name.as_ref()) else {
            let query = Query::parse(request.query)?;
            let shape = Shape::parse(request.accept, query.include)?;
            let namespace = namespace.as_deref();
            return if query.watches {
                self.watch(namespace, query, shape).await
            } else {
                self.list(namespace, query, shape).await
            };
        };
        match subresource {
            Some(subresource) => {
                self.subresource(namespace, name, subresource, request)
                    .await
            }
            None if *request.method == Method::DELETE => {
                self.delete(namespace, name, request).await
            }
            None => self.get(namespace, name, request).await,
        }
    }

    /// The class of a worker's object, and the worker's id.
    fn find<'n>(&self, namespace: &str, name: &'n str) -> Result<(Known, &'n str), Refusal> {
        let found = object::parse_name(name).and_then(|(class, id)| {
            let known = self.known.borrow().get(namespace, class).cloned();
            Some((known?, id))
        });
        found.ok_or_else(|| Refusal::not_found(name))
    }
}

/// The classes that a list or a watch is of.
fn scope(namespace: Option<&str>, query: &Query) -> Scope {
    Scope {
        namespace: namespace.map(str::to_owned),
        class: query.selector.class().map(str::to_owned),
    }
}

/// What is said to whoever comes with a `resourceVersion` after which not everything is known.
fn expired(_: Expired) -> Refusal {
    Refusal::expired(
        "what happened after this resourceVersion is not known here any more: list again",
    )
}
