//! Which of several operators works.
//!
//! Leadership saves work, it does not make it safe: every write is a server-side apply of what the class asks for, so
//! two operators that both believe to lead for a moment write the same.

use kube::Client;
use kube_lease_manager::{LeaseManagerBuilder, LeaseManagerError};
use portside_crds::names::FIELD_MANAGER;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::metrics::Metrics;

/// Seconds after which a leader that renews no more has lost. A new leader takes over that late after a crash.
const DURATION_SECONDS: u64 = 30;

/// Seconds before the end at which the leader renews: time for retries, and for clocks that differ.
const GRACE_SECONDS: u64 = 10;

/// Leads, or waits to.
pub(crate) struct Leadership {
    lease: Option<Lease>,
    metrics: Metrics,
}

struct Lease {
    holds: watch::Receiver<bool>,
    task: JoinHandle<Result<kube_lease_manager::LeaseManager, LeaseManagerError>>,
}

impl Leadership {
    /// Begins to ask for the Lease.
    ///
    /// # Errors
    /// The Lease can neither be read nor made.
    pub(crate) async fn seek(
        client: Client,
        namespace: &str,
        name: &str,
        identity: &str,
        metrics: Metrics,
    ) -> Result<Self, LeaseManagerError> {
        let manager = LeaseManagerBuilder::new(client, name)
            .with_namespace(namespace)
            .with_identity(identity)
            .with_field_manager(format!("{FIELD_MANAGER}-{identity}"))
            .with_duration(DURATION_SECONDS)
            .with_grace(GRACE_SECONDS)
            .build()
            .await?;
        let (holds, task) = manager.watch().await;
        Ok(Self {
            lease: Some(Lease { holds, task }),
            metrics,
        })
    }

    /// Leads without a Lease.
    pub(crate) fn assumed(metrics: Metrics) -> Self {
        Self {
            lease: None,
            metrics,
        }
    }

    /// Returns when this process leads.
    pub(crate) async fn acquired(&mut self) {
        if let Some(lease) = &mut self.lease {
            // An error means that the task has ended; `lost` then says so.
            let _ = lease.holds.wait_for(|holds| *holds).await;
        }
        self.metrics.leading(true);
    }

    /// Returns when this process, having led, leads no more: it must end, as it cannot know what it has not seen.
    pub(crate) async fn lost(&mut self) {
        match &mut self.lease {
            Some(lease) => {
                let _ = lease.holds.wait_for(|holds| !*holds).await;
            }
            None => std::future::pending().await,
        }
        self.metrics.leading(false);
    }

    /// Gives the Lease back, so that the next leader need not wait for its end.
    pub(crate) async fn release(self) {
        let Some(Lease { holds, task }) = self.lease else {
            return;
        };
        drop(holds);
        match task.await {
            Ok(Ok(_)) => tracing::info!("released the lease"),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the lease was not released, and ends by itself")
            }
            Err(error) => tracing::error!(%error, "the lease's task failed"),
        }
    }
}
