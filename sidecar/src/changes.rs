//! Changes of workers that people ask for: to wake, to sleep, and to have another state. Nobody else changes a worker's state but
//! its own code; here that happens while no instance of it runs, and what is sent to it meanwhile waits.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use portside_core::ids::{Fence, WorkerId, WorkerKey};
use portside_core::write::WriteBatch;
use portside_store::{Error as StoreError, Outcome};
use portside_worker::event::Stop;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use crate::app::App;
use crate::commits::commit;
use crate::leaving::{RUN, SETTLE};
use crate::start::NotLoaded;
use crate::workers::Worker;

/// How long whoever wakes a worker waits for it: until its state is loaded.
const BEGIN: Duration = Duration::from_secs(10);
/// And how long it waits before it tries again.
const AGAIN: Duration = Duration::from_millis(20);

/// Why a worker was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unchanged {
    /// It is another process's, or nobody's at the moment.
    #[error("this process does not have the worker")]
    Elsewhere,
    /// What was wanted cannot be, for this reason.
    #[error("{0}")]
    Refused(String),
    /// The database does not answer, or what it answered to the change is lost: it may have happened.
    #[error("{0}")]
    Unknown(String),
}

impl Unchanged {
    /// [`Unchanged::Refused`], for this reason.
    pub(crate) fn refused(why: impl ToString) -> Self {
        Self::Refused(why.to_string())
    }
}

impl From<NotLoaded> for Unchanged {
    fn from(reason: NotLoaded) -> Self {
        match reason {
            NotLoaded::NotOurs => Self::Elsewhere,
            NotLoaded::Store(error) => error.into(),
            NotLoaded::Failed(reason) => Self::Refused(reason),
        }
    }
}

impl From<StoreError> for Unchanged {
    fn from(error: StoreError) -> Self {
        Self::Unknown(error.to_string())
    }
}

/// What is to be written of a worker: it is asked once no instance runs, so that what is stored is all there is.
pub type Change =
    Box<dyn FnOnce(Arc<App>, Fence) -> BoxFuture<'static, Result<WriteBatch, Unchanged>> + Send>;

impl App {
    /// Starts an instance of the worker, unless it has one, and returns when that has begun. It sleeps again when its time is up.
    ///
    /// # Errors
    /// There is no room, the worker is another process's, or it does not begin.
    pub async fn wake(&self, key: &WorkerKey) -> Result<(), Unchanged> {
        let app = self.if_open().ok_or_else(shutting_down)?;
        let begun = async {
            loop {
                self.must_have(key.id())?;
                let woken = app.workers().wake(&app, key);
                let worker = woken.map_err(|failure| Unchanged::Refused(failure.message))?;
                if worker.woken().await {
                    return Ok(());
                }
                // It was on its way out, or failed, after which it cannot be woken for a while.
                sleep(AGAIN).await;
            }
        };
        let too_long = || Unchanged::Unknown("the worker has not begun yet".to_owned());
        timeout(BEGIN, begun).await.map_err(|_| too_long())?
    }

    /// Ends the worker's instance as if new code had come: its handlers may go on for some seconds, and what it wrote is durable
    /// when this returns. Its ports and WebSockets are closed. Whatever is sent to it wakes it again.
    ///
    /// # Errors
    /// The worker is another process's, or what it wrote may not be durable.
    pub async fn put_to_sleep(&self, key: &WorkerKey) -> Result<(), Unchanged> {
        let nothing: Change = Box::new(|_, _| async { Ok(WriteBatch::default()) }.boxed());
        self.change(key, nothing).await
    }

    /// # Errors
    /// [`Unchanged::Elsewhere`] unless this process owns the worker.
    pub(crate) fn must_have(&self, worker: WorkerId) -> Result<(), Unchanged> {
        let fence = self.ownership().fence(worker);
        fence.map(drop).ok_or(Unchanged::Elsewhere)
    }

    /// Ends the worker's instance, if it has one, and makes durable what `change` makes of what is stored. The next instance begins with
    /// that; what is sent to the worker meanwhile waits for it. Goes on if whoever asked for it goes away.
    ///
    /// # Errors
    /// Nothing has changed, but for [`Unchanged::Unknown`].
    pub async fn change(&self, key: &WorkerKey, change: Change) -> Result<(), Unchanged> {
        let app = self.if_open().ok_or_else(shutting_down)?;
        self.must_have(key.id())?;
        let (tell, told) = oneshot::channel();
        let (spawner, key) = (app.clone(), key.clone());
        spawner.spawn(async move {
            let changed = match app.workers().hold(&app, &key) {
                Some(hold) => changed(&app, hold.worker(), change).await,
                None => Err(Unchanged::Elsewhere),
            };
            // Who does not wait any more need not know.
            let _ = tell.send(changed);
        });
        told.await.unwrap_or_else(|_| Err(shutting_down()))
    }
}

fn shutting_down() -> Unchanged {
    Unchanged::refused("the application is shutting down")
}

async fn changed(app: &Arc<App>, worker: &Worker, change: Change) -> Result<(), Unchanged> {
    let _one_at_a_time = worker.changing.lock().await;
    worker.inbox.withhold(true);
    worker.inbox.stop(Stop::WhenSettled);
    if timeout(SETTLE, worker.vacated()).await.is_err() {
        app.cut_off(worker);
        if timeout(RUN, worker.vacated()).await.is_err() {
            app.interrupt(worker);
            app.ownership().patiently(worker.vacated()).await?;
        }
    }
    let fence = app.ownership().settled_fence(worker.id).await;
    let fence = fence.ok_or(Unchanged::Elsewhere)?;
    let batch = change(app.clone(), fence).await?;
    if batch.is_empty() {
        return Ok(());
    }
    match commit(app, fence, &worker.key, batch).await? {
        Outcome::Committed => Ok(()),
        Outcome::Fenced => Err(Unchanged::Elsewhere),
    }
}
