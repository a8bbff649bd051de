//! The surroundings of an instance: other workers, the store, the log.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use futures::FutureExt;
use portside_core::ids::WorkerKey;
use portside_core::keys::KeyRange;
use portside_core::write::{Value, WriteBatch};
use portside_runtime::surface::event::PortFailure;
use portside_runtime::surface::host::{CommitTicket, Host, Identity, Level, Reading};
use portside_runtime::surface::inbox::Inbox;
use portside_runtime::surface::ports::LinkEnd;

use crate::app::App;

/// An application as its instances reach it. Weak, for the application owns them.
pub struct AppHost(pub Weak<App>);

impl AppHost {
    fn app(&self) -> Result<Arc<App>, String> {
        self.0
            .upgrade()
            .ok_or_else(|| "the application is gone".to_owned())
    }
}

impl Host for AppHost {
    fn connect(&self, to: &WorkerKey, end: LinkEnd) -> Result<Arc<Inbox>, PortFailure> {
        let app = self.app().map_err(PortFailure::failed)?;
        app.workers().connect(&app, to, end)
    }

    fn commit(&self, worker: &WorkerKey, batch: WriteBatch, ticket: CommitTicket) {
        match self.app() {
            Ok(app) => app.workers().commit(&app, worker, batch, ticket),
            Err(reason) => ticket.settle(Err(reason)),
        }
    }

    fn read(&self, worker: &WorkerKey, keys: Vec<String>) -> Reading<BTreeMap<String, Value>> {
        let app = self.app();
        let id = worker.id();
        async move {
            let app = app?;
            let shard = id.shard(portside_core::ids::SHARDS);
            app.store()
                .get(shard, id, &keys)
                .await
                .map_err(|error| error.to_string())
        }
        .boxed()
    }

    fn list(&self, worker: &WorkerKey, range: KeyRange) -> Reading<Vec<(String, Value)>> {
        let app = self.app();
        let id = worker.id();
        async move {
            let app = app?;
            let shard = id.shard(portside_core::ids::SHARDS);
            app.store()
                .list(shard, id, &range)
                .await
                .map_err(|error| error.to_string())
        }
        .boxed()
    }

    fn log(&self, source: &Identity, level: Level, text: &str) {
        if let Some(app) = self.0.upgrade() {
            app.log(source, level, text);
        }
    }
}
