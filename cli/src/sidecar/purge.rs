//! `portside sidecar purge`

use std::path::PathBuf;
use std::time::Duration;

use portside_crds::sidecar::TerminationReason as Reason;
use portside_sidecar::Ownership;

use super::failure::Failure;
use super::{Common, start_log};

/// How long pods that were killed may take to be dead for the others. Their lease is much shorter.
const PATIENCE: Duration = Duration::from_secs(30);

/// Arguments of `portside sidecar purge`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
}

impl Args {
    /// Deletes the class's data. Also gives the path of the termination log.
    pub fn run(self) -> (Result<(), Failure>, PathBuf) {
        start_log();
        let log = self.common.termination_log.clone();
        let outcome = match tokio::runtime::Runtime::new() {
            Ok(runtime) => runtime.block_on(self.purge()),
            Err(error) => Err(Failure::Lost(error.to_string())),
        };
        (outcome, log)
    }

    async fn purge(self) -> Result<(), Failure> {
        let unavailable = |error: &dyn std::fmt::Display| {
            Failure::new(Reason::DatabaseUnavailable, error.to_string())
        };
        let database = self.common.database.open(&self.common.class).await?;
        let store = database.store();
        let ownership = Ownership::register(store.clone(), &self.common.pod_name)
            .await
            .map_err(|error| unavailable(&error))?;
        // As a writer does: a pod that still believes to be active finds its fences gone.
        let claimed = tokio::time::timeout(PATIENCE, ownership.claim()).await;
        if !matches!(claimed, Ok(Ok(()))) {
            ownership.release().await;
            let message = "a pod of the class is still alive, or the database does not answer: nothing was deleted";
            return Err(unavailable(&message));
        }
        let deleted = store.delete_all(ownership.pod()).await;
        ownership.over();
        match deleted {
            Ok(true) => {
                tracing::info!(class = self.common.class, "everything was deleted");
                Ok(())
            }
            Ok(false) => Err(unavailable(
                &"the class was taken over meanwhile: nothing was deleted",
            )),
            Err(error) => Err(unavailable(&error)),
        }
    }
}
