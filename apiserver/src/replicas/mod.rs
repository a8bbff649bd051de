//! The other replicas of this server: what only one of them can answer is passed on to it, whichever was asked.
//!
//! A `resourceVersion` is of one start of one replica (see [`crate::follow`]). Which one's it is nothing says, so the others are asked
//! in turn, the one whose start is written in it first; those whose it is not answer 421. A replica proves itself with the certificate
//! that all of them share, and says for whom it asks as the cluster's API server does; who that is, and whether they may, is asked
//! again there. What comes from a replica is never passed on.

mod connection;
mod feed;
mod passed;
mod trust;

pub use feed::{Own, follow};
pub use trust::is_replica;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::header::{ACCEPT, HeaderName, HeaderValue};
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use http_body_util::Empty;
use hyper::body::Incoming;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::answer::Answer;
use crate::certificate::{Certificate, Roots};
use crate::follow::start_of;
use crate::status::Refusal;
use feed::Replica;

/// Where a replica says at which time it started, in milliseconds.
pub const START: HeaderName = HeaderName::from_static("portside-start");

/// How long an answer may take to begin: a page waits for pods.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many requests may be passed on at once. Each has its own connection: of two watches over one, the slower would hold up the other.
const PASSED_ON: usize = 1_000;

/// The other replicas.
pub struct Replicas {
    ready: watch::Receiver<Vec<Replica>>,
    own: watch::Receiver<Option<Certificate>>,
    roots: watch::Receiver<Option<Roots>>,
    room: Arc<Semaphore>,
    /// When which one started, as it said last.
    starts: Mutex<HashMap<Replica, u64>>,
    /// Ends watches.
    stop: CancellationToken,
}

/// What is passed on.
#[derive(Debug)]
pub struct Question<'q> {
    /// The path and the query.
    pub uri: &'q Uri,
    /// The header `Accept`.
    pub accept: &'q str,
    /// Who asks, in the headers of the cluster's API server.
    pub user: &'q HeaderMap,
    /// The `resourceVersion` that is another's.
    pub version: u64,
    /// Whether it is a watch.
    pub watches: bool,
}

impl Replicas {
    /// Those of `ready`. `own` is the certificate that is shown to them, `roots` are who signs theirs. `stop` ends watches.
    #[must_use]
    pub fn new(
        ready: watch::Receiver<Vec<Replica>>,
        own: watch::Receiver<Option<Certificate>>,
        roots: watch::Receiver<Option<Roots>>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            ready,
            own,
            roots,
            room: Arc::new(Semaphore::new(PASSED_ON)),
            starts: Mutex::default(),
            stop,
        }
    }

    fn starts(&self) -> MutexGuard<'_, HashMap<Replica, u64>> {
        self.starts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer of the replica whose version it is; nothing if no replica says so.
    ///
    /// # Errors
    ///
    /// Too many requests are passed on already.
    pub async fn answer(&self, question: &Question<'_>) -> Result<Option<Answer>, Refusal> {
        let replicas = self.in_turn(question.version);
        if replicas.is_empty() {
            return Ok(None);
        }
        let permit = Arc::clone(&self.room).try_acquire_owned();
        let permit = permit
            .map_err(|_| Refusal::too_many("too many requests are passed on to other replicas"))?;
        for replica in replicas {
            match self.ask(&replica, question).await {
                Ok(answer) if is_refused(answer.status()) => {}
                Ok(answer) => {
                    let stop = self.stop.clone();
                    return Ok(Some(passed::back(answer, question.watches, permit, stop)));
                }
                Err(why) => {
                    tracing::warn!(replica = %replica.name, %why, "another replica does not answer");
                }
            }
        }
        Ok(None)
    }

    /// All that are ready, the one whose start is written in the version first. One that has counted for long has come beyond its own.
    fn in_turn(&self, version: u64) -> Vec<Replica> {
        let mut replicas = self.ready.borrow().clone();
        let mut starts = self.starts();
        starts.retain(|it, _| replicas.contains(it));
        let wanted = start_of(version);
        replicas.sort_by_key(|it| starts.get(it) != Some(&wanted));
        replicas
    }

    async fn ask(
        &self,
        replica: &Replica,
        question: &Question<'_>,
    ) -> Result<Response<Incoming>, String> {
        let own = self.own.borrow().clone();
        let roots = self.roots.borrow().clone();
        let (own, roots) = own.zip(roots).ok_or("there is no certificate yet")?;
        let mut connection = connection::open(replica.address, &own, roots).await?;
        let request = request(question)?;
        let answer = timeout(PATIENCE, connection.send_request(request)).await;
        let answer = answer.map_err(|_| "no answer begins".to_owned())?;
        let answer = answer.map_err(|error| error.to_string())?;
        let start = answer.headers().get(START);
        if let Some(start) = start.and_then(|it| it.to_str().ok()?.parse().ok()) {
            self.starts().insert(replica.clone(), start);
        }
        Ok(answer)
    }
}

/// It is not its own, or it does not take us for a replica.
fn is_refused(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::MISDIRECTED_REQUEST | StatusCode::UNAUTHORIZED
    )
}

/// With nothing of what the client sent but what is named here.
fn request(question: &Question<'_>) -> Result<Request<Empty<bytes::Bytes>>, String> {
    let path = question.uri.path_and_query().map_or("/", |it| it.as_str());
    let uri = format!("https://{}{path}", portside_manage::API_SERVER);
    let request = Request::get(uri).body(Empty::new());
    let mut request = request.map_err(|error| error.to_string())?;
    *request.headers_mut() = question.user.clone();
    if let Ok(accept) = HeaderValue::from_str(question.accept) {
        request.headers_mut().insert(ACCEPT, accept);
    }
    Ok(request)
}
