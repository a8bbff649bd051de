//! The trust between the API server of workers, the cluster and pods: an authority of the installation's own, whose certificate pods and the
//! cluster believe, and the API server's certificate that it signs.
//!
//! What is to be is decided in [`authority`] and [`leaf`] without I/O; this module carries it out, in the operator that leads. Keys are
//! in no log.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use k8s_openapi::api::core::v1::{ObjectReference, Secret};
use k8s_openapi::jiff::Timestamp;
use kube::Resource as _;
use kube::runtime::events::{Event, EventType};
use portside_core::backoff::Backoff;

use crate::api;
use crate::class::{Context, queue};
use crate::registration::Registration;
use authority::{Authorities, Moment};
use leaf::Leaf;
use secrets::{Secrets, Stored};

mod authority;
mod certificate;
mod leaf;
mod secrets;
#[cfg(test)]
mod tests;

pub(crate) use secrets::{authorities_name, leaf_name};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(15);

/// Between tries, when the API server, or somebody else's write, is in the way.
const RETRY: Backoff = Backoff {
    first_ms: 1_000,
    max_ms: 60_000,
};

/// Whom pods are to believe that it is the API server of workers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Nobody: there is none.
    #[default]
    Nobody,
    /// Somebody. It was not read yet, who.
    Unread,
    /// Whoever these authorities have signed.
    In(Arc<str>),
}

/// The [`Trust`] that there is. Cloning gives another handle.
#[derive(Clone, Default)]
pub(crate) struct Trusted(Arc<RwLock<Trust>>);

impl Trusted {
    /// What is to be believed until it was read.
    pub(crate) fn new(has_api_server: bool) -> Self {
        let trust = if has_api_server {
            Trust::Unread
        } else {
            Trust::Nobody
        };
        Self(Arc::new(RwLock::new(trust)))
    }

    /// What there is.
    pub(crate) fn get(&self) -> Trust {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether that is news.
    pub(crate) fn set(&self, trust: Trust) -> bool {
        let mut before = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let is_news = *before != trust;
        *before = trust;
        is_news
    }
}

/// Looks after the certificates, and where the API server is registered, until dropped. Only for the operator that leads.
pub(crate) async fn run(context: Arc<Context>) {
    let Some(service) = &context.settings.apiserver else {
        return std::future::pending().await;
    };
    let mut keeper = Keeper::new(&context, service);
    let mut failures = 0;
    loop {
        let wait = match keeper.look().await {
            Ok(()) => {
                failures = 0;
                EVERY
            }
            Err(why) => {
                let wait = Duration::from_millis(RETRY.delay_ms(failures));
                failures += 1;
                match why {
                    Failure::Api(error) if api::is_conflict(&error) => {
                        tracing::debug!(%error, "somebody else has written; looking again");
                    }
                    why => tracing::warn!(
                        "the certificates of the API server of workers cannot be looked after: {why}; trying again"
                    ),
                }
                wait
            }
        };
        tokio::time::sleep(wait).await;
    }
}

/// Why not all was done.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{}", api::text(.0))]
    Api(#[from] kube::Error),
    #[error("no certificate could be made: {0}")]
    Making(String),
}

/// Looks after one API server.
struct Keeper<'c> {
    context: &'c Context,
    secrets: Secrets,
    names: Vec<String>,
    registration: Registration,
    /// Since when this operator tells everybody what it tells now.
    told: Timestamp,
}

impl<'c> Keeper<'c> {
    fn new(context: &'c Context, service: &str) -> Self {
        let (client, namespace) = (&context.client, &context.settings.namespace);
        Self {
            context,
            secrets: Secrets::new(client.clone(), namespace, service),
            names: leaf::names(service, namespace),
            registration: Registration::new(client.clone(), namespace, service),
            told: Timestamp::now(),
        }
    }

    /// Does what is to be done now.
    async fn look(&mut self) -> Result<(), Failure> {
        let leaf = self.secrets.leaf().await?;
        self.tell_damage(&leaf, &self.secrets.leaf_name()).await;
        let all = self.authorities(leaf.usable()).await?;
        self.tell(&all);
        // Before a certificate that only the new one accepts; and that is not made to wait.
        let secret = leaf.secret.as_ref();
        let registered = self.registration.look(&all.to_pem(), secret).await;
        self.leaf(leaf, &all).await?;
        registered.map_err(Failure::Api)
    }

    fn moment(&self) -> Moment {
        Moment {
            now: Timestamp::now(),
            told: self.told,
        }
    }

    /// Those that there are, having made or changed them if that was due.
    async fn authorities(&self, used: Option<&Leaf>) -> Result<Authorities, Failure> {
        let found = self.secrets.authorities().await?;
        let name = self.secrets.authorities_name();
        self.tell_damage(&found, &name).await;
        let after = Authorities::after(found.usable(), used, self.moment());
        match (after.map_err(Failure::Making)?, found) {
            (Some((all, why)), found) => {
                self.secrets.put_authorities(found.secret, &all).await?;
                tracing::info!(secret = name, why, "wrote the authorities");
                Ok(all)
            }
            (
                None,
                Stored {
                    content: Some(Ok(all)),
                    ..
                },
            ) => Ok(all),
            // What there is not is made.
            (None, _) => Err(Failure::Making("there is no authority".to_owned())),
        }
    }

    /// Has all classes look at whom to believe, if that is news.
    fn tell(&mut self, all: &Authorities) {
        let trust = Trust::In(all.to_pem().into());
        if !self.context.trusted.set(trust) {
            return;
        }
        self.told = Timestamp::now();
        for class in self.context.caches.classes.state() {
            self.context.queue.push(queue::key_of(class.meta()));
        }
    }

    /// Makes the API server's certificate if that is due, and tells it whom to believe.
    async fn leaf(&self, found: Stored<Leaf>, all: &Authorities) -> Result<(), Failure> {
        let moment = self.moment();
        let trouble = match found.usable() {
            Some(leaf) => leaf.trouble(all, &self.names, moment),
            None => Some("there is none"),
        };
        let (leaf, why) = match (found.usable(), trouble) {
            (Some(leaf), None) if leaf.believed.iter().eq(all.believed()) => return Ok(()),
            (Some(leaf), None) => {
                let believed = all.believed().cloned().collect();
                let leaf = leaf.clone();
                (Leaf { believed, ..leaf }, "others are believed")
            }
            (_, why) => {
                let leaf = Leaf::issue(all, &self.names, moment.now);
                (leaf.map_err(Failure::Making)?, why.unwrap_or_default())
            }
        };
        let until = leaf.certificate.ends();
        self.secrets.put_leaf(found.secret, &leaf).await?;
        let secret = self.secrets.leaf_name();
        tracing::info!(secret, why, %until, "wrote the API server's certificate");
        Ok(())
    }

    /// Says that what a Secret has is not what it should be. What is in it is replaced.
    async fn tell_damage<T>(&self, found: &Stored<T>, name: &str) {
        let (Some(damage), Some(secret)) = (found.damage(), &found.secret) else {
            return;
        };
        let note = format!("{damage}; the contents of Secret {name} are replaced");
        tracing::warn!("{note}");
        let event = Event {
            type_: EventType::Warning,
            reason: "CertificateDamaged".to_owned(),
            note: Some(note),
            action: "Replace".to_owned(),
            secondary: None,
        };
        let reference = self.reference(secret);
        if let Err(error) = self.context.recorder.publish(&event, &reference).await {
            tracing::warn!(%error, "an event was not recorded");
        }
    }

    fn reference(&self, secret: &Secret) -> ObjectReference {
        let mut reference = secret.object_ref(&());
        let namespace = &self.context.settings.namespace;
        reference.namespace.get_or_insert_with(|| namespace.clone());
        reference
    }
}
