//! Which of several operators works.
//!
//! Leadership saves work, it does not make it safe: every write is a server-side apply of what the class asks for, so
//! two operators that both believe to lead for a moment write the same.
//!
//! As with Kubernetes' own components, nobody trusts another's clock: who waits takes a Lease that has not changed for its whole
//! duration by their own, and who leads gives up well before that when it cannot renew. Every write names the version that it
//! replaces.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, PostParams};
use portside_crds::names::FIELD_MANAGER;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::api;
use crate::metrics::Metrics;

/// After how long without a renewal another one leads.
const DURATION: Duration = Duration::from_secs(30);

/// After how long without having renewed it a leader leads no more: before another one may.
const GIVE_UP: Duration = Duration::from_secs(20);

/// Between two looks at the Lease, and two renewals.
const EVERY: Duration = Duration::from_secs(5);

/// How long a look, or a renewal, may take.
const ANSWER: Duration = Duration::from_secs(5);

/// Leads, or waits to.
pub(crate) struct Leadership {
    election: Option<(watch::Receiver<bool>, JoinHandle<()>, Election)>,
    metrics: Metrics,
}

impl Leadership {
    /// Begins to ask for the Lease of that name.
    pub(crate) fn seek(
        client: Client,
        namespace: &str,
        name: &str,
        identity: &str,
        metrics: Metrics,
    ) -> Self {
        let election = Election {
            leases: Api::namespaced(client, namespace),
            name: name.to_owned(),
            me: identity.to_owned(),
        };
        let (leads, is_leading) = watch::channel(false);
        let task = tokio::spawn(election.clone().run(leads));
        Self {
            election: Some((is_leading, task, election)),
            metrics,
        }
    }

    /// Leads without a Lease.
    pub(crate) fn assumed(metrics: Metrics) -> Self {
        Self {
            election: None,
            metrics,
        }
    }

    /// Returns when this process leads.
    pub(crate) async fn acquired(&mut self) {
        if let Some((leads, ..)) = &mut self.election {
            // An error means that the task has ended; `lost` then says so.
            let _ = leads.wait_for(|leads| *leads).await;
        }
        self.metrics.leading(true);
    }

    /// Returns when this process, having led, leads no more: it must end, as it cannot know what it has not seen.
    pub(crate) async fn lost(&mut self) {
        match &mut self.election {
            Some((leads, ..)) => {
                let _ = leads.wait_for(|leads| !*leads).await;
            }
            None => std::future::pending().await,
        }
        self.metrics.leading(false);
    }

    /// Gives the Lease back, if it is this process's, so that the next leader need not wait for its end.
    pub(crate) async fn release(self) {
        let Some((_, task, election)) = self.election else {
            return;
        };
        task.abort();
        // A renewal that is under way is over then, and not sent after the release.
        let _ = task.await;
        match timeout(ANSWER, election.release()).await {
            Ok(Ok(true)) => tracing::info!("released the lease"),
            Ok(Ok(false)) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "the lease was not released, and ends by itself");
            }
            Err(_) => tracing::warn!("the lease was not released in time, and ends by itself"),
        }
    }
}

/// One candidate.
#[derive(Clone)]
struct Election {
    leases: Api<Lease>,
    name: String,
    me: String,
}

/// A version of the Lease, and since when it is known.
struct Known {
    version: Option<String>,
    since: Instant,
}

/// What a candidate does.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Renews what it has, or takes what nobody has.
    Write,
    /// Another one leads.
    Wait,
}

/// Decides. `unchanged` is for how long the Lease has been as it is.
fn step(lease: Option<&Lease>, me: &str, unchanged: Duration) -> Step {
    let spec = lease.and_then(|lease| lease.spec.as_ref());
    let holder = spec.and_then(|spec| spec.holder_identity.as_deref());
    let holder = holder.filter(|holder| !holder.is_empty());
    if holder.is_none_or(|holder| holder == me) {
        return Step::Write;
    }
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds);
    let seconds = seconds.and_then(|seconds| u64::try_from(seconds).ok());
    let duration = seconds.map_or(DURATION, Duration::from_secs);
    if unchanged > duration {
        Step::Write
    } else {
        Step::Wait
    }
}

impl Election {
    /// Asks for the Lease again and again, and says whether it is this candidate's. Having lost it, ends.
    async fn run(self, leads: watch::Sender<bool>) {
        let mut known: Option<Known> = None;
        let mut renewed: Option<Instant> = None;
        loop {
            // What is renewed counts from before it was asked for.
            let began = Instant::now();
            match timeout(ANSWER, self.round(&mut known)).await {
                Ok(Ok(true)) => {
                    renewed = Some(began);
                    leads.send_replace(true);
                }
                Ok(Ok(false)) if renewed.is_some() => {
                    tracing::error!("another operator has taken the lease");
                    break;
                }
                Ok(Ok(false)) => {}
                Ok(Err(error)) if api::is_conflict(&error) => {
                    tracing::debug!("another one has written the lease; looking again");
                }
                Ok(Err(error)) => tracing::warn!(%error, "the lease cannot be asked for"),
                Err(_) => tracing::warn!("the lease cannot be asked for: no answer in time"),
            }
            if renewed.is_some_and(|at| at.elapsed() + EVERY > GIVE_UP) {
                tracing::error!("the lease could not be renewed in time");
                break;
            }
            sleep(EVERY.saturating_sub(began.elapsed())).await;
        }
        leads.send_replace(false);
    }

    /// Whether this candidate has the Lease now.
    async fn round(&self, known: &mut Option<Known>) -> Result<bool, kube::Error> {
        let lease = self.leases.get_opt(&self.name).await?;
        let version = lease
            .as_ref()
            .and_then(|lease| lease.metadata.resource_version.clone());
        let same = known.take().filter(|known| known.version == version);
        let since = same.map_or_else(Instant::now, |known| known.since);
        *known = Some(Known { version, since });
        match step(lease.as_ref(), &self.me, since.elapsed()) {
            Step::Wait => Ok(false),
            Step::Write => {
                self.write(lease, Some(&self.me), DURATION).await?;
                Ok(true)
            }
        }
    }

    /// Gives up what is this candidate's. `false` if it is another's.
    async fn release(&self) -> Result<bool, kube::Error> {
        let lease = self.leases.get_opt(&self.name).await?;
        let spec = lease.as_ref().and_then(|lease| lease.spec.as_ref());
        if spec.and_then(|spec| spec.holder_identity.as_deref()) != Some(&self.me) {
            return Ok(false);
        }
        self.write(lease, None, Duration::from_secs(1)).await?;
        Ok(true)
    }

    /// Writes who has the Lease, unless it is not any more what it was.
    async fn write(
        &self,
        lease: Option<Lease>,
        holder: Option<&str>,
        duration: Duration,
    ) -> Result<(), kube::Error> {
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        if let Some(mut lease) = lease {
            // Its version stays in it: where another writer was first the API server refuses.
            lease.metadata.managed_fields = None;
            lease.spec = Some(next(lease.spec.take(), holder, duration));
            self.leases.replace(&self.name, &params, &lease).await?;
        } else {
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(self.name.clone()),
                    ..ObjectMeta::default()
                },
                spec: Some(next(None, holder, duration)),
            };
            self.leases.create(&params, &lease).await?;
        }
        Ok(())
    }
}

/// What follows a Lease's content. The times are for people to read.
fn next(before: Option<LeaseSpec>, holder: Option<&str>, duration: Duration) -> LeaseSpec {
    let before = before.unwrap_or_default();
    let now = Some(MicroTime(Timestamp::now()));
    let is_same = before.holder_identity.as_deref() == holder;
    let transitions = before.lease_transitions.unwrap_or(0);
    LeaseSpec {
        acquire_time: if is_same {
            before.acquire_time
        } else {
            now.clone()
        },
        holder_identity: holder.map(str::to_owned),
        lease_duration_seconds: i32::try_from(duration.as_secs()).ok(),
        lease_transitions: Some(transitions + i32::from(holder.is_some() && !is_same)),
        renew_time: now,
        ..before
    }
}

#[cfg(test)]
mod tests;
