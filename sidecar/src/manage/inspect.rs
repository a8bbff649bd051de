//! Letting debuggers look at the isolate of one worker: only that one's, only of this process, and only by a path that nobody can guess.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use portside_core::ids::WorkerKey;
use portside_core::limits::Limits;
use portside_core::objects::class_of;
use portside_manage::Inspected;
use portside_runtime::Inspector;
use portside_worker::host::Identity;
use tokio::sync::OnceCell;
use tokio::time::{sleep, timeout};

use crate::app::App;
use crate::changes::Unchanged;

/// How long an isolate may take to be there once its worker was woken.
const BEGIN: Duration = Duration::from_secs(10);
/// How often it is looked whether it is.
const LOOK: Duration = Duration::from_millis(20);
/// For how long a worker waits for its debugger before it falls asleep.
const WAITS: Duration = Duration::from_secs(5 * 60);
/// What a limit of real time is for an isolate that may be held up.
const UNHURRIED: Duration = Duration::from_secs(24 * 60 * 60);

/// Where debuggers connect.
#[derive(Debug, Clone)]
pub struct Desk {
    /// The port, on the loopback address.
    pub port: u16,
    /// What comes before an isolate's secret in the path of its WebSocket.
    pub path: String,
}

/// Begins to listen for debuggers.
pub type Listen =
    Box<dyn Fn(Arc<Inspector>) -> BoxFuture<'static, Result<Desk, String>> + Send + Sync>;

/// How workers of this process are inspected.
pub struct Inspects {
    inspector: Arc<Inspector>,
    listen: Listen,
    desk: OnceCell<Desk>,
}

impl Inspects {
    /// By that inspector, for debuggers that are listened for once they are wanted.
    #[must_use]
    pub fn new(inspector: Arc<Inspector>, listen: Listen) -> Self {
        Self {
            inspector,
            listen,
            desk: OnceCell::new(),
        }
    }

    /// The worker's limits, if it is held up by debuggers: handlers wait for as long as somebody looks.
    pub(crate) fn limits(&self, key: &WorkerKey, limits: Arc<Limits>) -> Arc<Limits> {
        if !self.inspector.is_wanted(key) {
            return limits;
        }
        let limits = (*limits).clone();
        Arc::new(Limits {
            start: UNHURRIED,
            wait_until: UNHURRIED,
            idle: limits.idle.max(WAITS),
            ..limits
        })
    }
}

impl App {
    /// Has debuggers leave that one, or all: what they have paused goes on.
    pub(crate) fn send_debuggers_away(&self, who: Option<&Identity>) {
        if let Some(inspects) = self.inspects() {
            inspects.inspector.detach(who);
        }
    }

    /// Lets debuggers of this machine attach to the worker's isolate: to the next one, so one that is awake is put to sleep first.
    ///
    /// # Errors
    /// It cannot be inspected, or does not begin.
    pub(crate) async fn inspect_worker(&self, key: &WorkerKey) -> Result<Inspected, Unchanged> {
        self.must_have(key.id())?;
        let Some(inspects) = self.inspects() else {
            return Err(Unchanged::refused(
                "no worker of this process can be inspected: for portside dev, start it with --inspect",
            ));
        };
        if class_of(key).is_some() {
            return Err(Unchanged::refused(
                "a Durable Object shares the isolate of a server with others, so it cannot be inspected alone: portside dev --inspect can",
            ));
        }
        let desk = inspects
            .desk
            .get_or_try_init(|| (inspects.listen)(inspects.inspector.clone()));
        let desk = desk.await.map_err(|why| {
            Unchanged::refused(format!("debuggers cannot be listened for: {why}"))
        })?;
        let who = Identity::Worker(key.clone());
        // Of its isolates those can be inspected that begin before this is left, in whichever way.
        let wish = inspects.inspector.want(key);
        let _wish = wish.ok_or_else(|| {
            Unchanged::Unknown("somebody else is about to inspect the worker: ask again".to_owned())
        })?;
        let secret = || inspects.inspector.secret_of(&who);
        if secret().is_none() && self.workers().get(key).is_some() {
            self.put_to_sleep(key).await?;
        }
        self.wake(key).await?;
        let begun = async {
            loop {
                if let Some(secret) = secret() {
                    return secret;
                }
                sleep(LOOK).await;
            }
        };
        let too_long = |_| Unchanged::Unknown("the worker has not begun yet: ask again".to_owned());
        let secret = timeout(BEGIN, begun).await.map_err(too_long)?;
        Ok(Inspected {
            pod: self.called().pod.clone(),
            port: desk.port,
            path: format!("{}{secret}", desk.path),
        })
    }
}
