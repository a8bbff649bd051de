//! A worker's durable state, as one instance of it reaches it.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use futures::FutureExt;
use portside_core::alarm::Alarm;
use portside_core::alarms::Fate;
use portside_core::ids::{Fence, SHARDS};
use portside_core::keys::KeyRange;
use portside_core::write::{Value, WriteBatch};
use portside_store::{Commit, Outcome};
use portside_worker::host::{CommitTicket, Error, Ledger, Reading, RequestName};

use crate::app::App;
use crate::ownership::Ownership;
use crate::workers::Worker;

/// The state of the worker's present instance, and its right to write. It writes in the epoch in which its state was
/// loaded and in no newer one: were a commit of unknown fate followed by one in the next epoch, the latter could build on
/// what was lost.
pub struct WorkerLedger {
    app: Weak<App>,
    ownership: Arc<Ownership>,
    worker: Arc<Worker>,
    fence: Fence,
}

impl WorkerLedger {
    /// The state that was loaded under `fence`.
    pub fn new(app: &Arc<App>, worker: &Arc<Worker>, fence: Fence) -> Self {
        Self {
            app: Arc::downgrade(app),
            ownership: app.ownership().clone(),
            worker: worker.clone(),
            fence,
        }
    }
}

impl Ledger for WorkerLedger {
    /// The batches of a worker go to the same lane, which keeps their order.
    fn commit(&self, batch: WriteBatch, request: Option<RequestName>, ticket: CommitTicket) {
        let Some(app) = self.app.upgrade() else {
            return ticket.settle(Err(Error::Gone));
        };
        let (fence, alarm) = (self.fence, batch.alarm);
        let span = tracing::debug_span!(
            "commit",
            worker = %self.worker.key,
            request_id = request.as_deref(),
            shard = fence.shard.0,
            epoch = fence.epoch.0,
            keys = batch.writes.len(),
        );
        let open = self.worker.commit_begins();
        // In the order of the commits, which the lane keeps.
        let alarm = app.alarms().submitted(&self.worker.key, alarm);
        let commit = Commit {
            fence,
            worker: self.worker.key.clone(),
            batch,
        };
        app.clone()
            .lanes()
            .submit_with(commit, move |outcome| match outcome {
                Ok(Outcome::Committed) => {
                    span.in_scope(|| tracing::debug!("durable"));
                    app.alarms()
                        .settled(&open.worker().key, alarm, Fate::Committed);
                    ticket.settle(Ok(()));
                    drop(open);
                }
                Ok(Outcome::Fenced) => {
                    let worker = &open.worker().key;
                    tracing::warn!(%worker, request_id = request.as_deref(), "a write came too late");
                    // Before the fence is gone, which would end the instance without a reason.
                    ticket.settle(Err(Error::Fenced));
                    app.ownership().lost(fence);
                    app.alarms().settled(worker, alarm, Fate::Refused);
                    drop(open);
                }
                Err(error) => {
                    // Nothing of the instance is to be believed from here on. It hears that at once: how long the store
                    // takes to answer again, nobody knows. Before its fence is gone, which would end it without a reason.
                    ticket.settle(Err(Error::Store(error.to_string())));
                    let settled = app.ownership().settle(fence);
                    app.clone().spawn(async move {
                        // Only in the next epoch does a load tell what became of it.
                        settled.await;
                        app.alarms()
                            .settled(&open.worker().key, alarm, Fate::Unknown);
                        drop(open);
                    });
                }
            });
    }

    fn read(&self, keys: Vec<String>) -> Reading<BTreeMap<String, Value>> {
        let (app, id) = (self.app.upgrade(), self.worker.id);
        async move {
            let app = app.ok_or(Error::Gone)?;
            let found = app.store().get(id.shard(SHARDS), id, &keys).await;
            found.map_err(|error| Error::Store(error.to_string()))
        }
        .boxed()
    }

    fn list(&self, range: KeyRange) -> Reading<Vec<(String, Value)>> {
        let (app, id) = (self.app.upgrade(), self.worker.id);
        async move {
            let app = app.ok_or(Error::Gone)?;
            let found = app.store().list(id.shard(SHARDS), id, &range).await;
            found.map_err(|error| Error::Store(error.to_string()))
        }
        .boxed()
    }

    fn is_leased(&self) -> bool {
        self.ownership.is_leased()
    }

    fn loaded(&self) {
        self.worker.wake.end();
        self.worker.has_started();
    }

    fn is_owned(&self) -> bool {
        self.ownership.still_holds(self.fence)
    }

    fn alarm_outdated(&self, alarm: Alarm) {
        if let Some(app) = self.app.upgrade() {
            app.alarms().not_matched(&self.worker.key, alarm);
        }
    }
}
