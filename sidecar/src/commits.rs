//! Commits that no instance has made: alarms that come due or are set by hand, and changes from outside.

use portside_core::alarm::{Alarm, AlarmChange};
use portside_core::alarms::Fate;
use portside_core::ids::{Fence, WorkerKey};
use portside_core::write::WriteBatch;
use portside_store::{Commit, Error as StoreError, Outcome};

use crate::app::App;

/// The alarm that is stored of a worker, if it has one; nothing if this process cannot read that.
pub async fn stored_alarm(app: &App, key: &WorkerKey) -> Option<Option<Alarm>> {
    let id = key.id();
    let fence = app.ownership().settled_fence(id).await?;
    match app.store().load(fence, id, 1, 1).await {
        Ok(Some(loaded)) => Some(loaded.alarm),
        Ok(None) => {
            app.ownership().lost(fence);
            None
        }
        // The store says it, once.
        Err(_) => None,
    }
}

/// Stores a change of a worker's alarm that no instance has made. Says what became of it, unless this process does not own the
/// worker.
pub async fn store_alarm(app: &App, key: &WorkerKey, change: AlarmChange) -> Option<Fate> {
    let Some(fence) = app.ownership().settled_fence(key.id()).await else {
        app.alarms().retry_failed(key);
        return None;
    };
    let batch = WriteBatch {
        alarm: change,
        ..WriteBatch::default()
    };
    Some(fate(&commit(app, fence, key, batch).await))
}

/// Commits what no instance has written. Alarms, and who owns the worker, follow what becomes of it.
///
/// # Errors
/// The store does not say whether it is durable.
pub(crate) async fn commit(
    app: &App,
    fence: Fence,
    key: &WorkerKey,
    batch: WriteBatch,
) -> Result<Outcome, StoreError> {
    let ticket = app.alarms().submitted(key, batch.alarm);
    let committing = app.lanes().submit(Commit {
        fence,
        worker: key.clone(),
        batch,
    });
    let committed = committing.await;
    match committed {
        Ok(Outcome::Committed) => {}
        Ok(Outcome::Fenced) => app.ownership().lost(fence),
        Err(_) => app.ownership().settle(fence).await,
    }
    app.alarms().settled(key, ticket, fate(&committed));
    committed
}

fn fate(committed: &Result<Outcome, StoreError>) -> Fate {
    match committed {
        Ok(Outcome::Committed) => Fate::Committed,
        Ok(Outcome::Fenced) => Fate::Refused,
        Err(_) => Fate::Unknown,
    }
}
