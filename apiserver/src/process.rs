//! The parts, put together.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use kube::Client;
use portside_admin::Readiness;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::access::{Authority, Reviews};
use crate::certificate::{Certificate, Roots};
use crate::follow::Follows;
use crate::known::{self, CLASSES, Classes, PODS};
use crate::metrics::Metrics;
use crate::pods::Pods;
use crate::replicas::{self, Own, Replicas};
use crate::server::Server;
use crate::service::{Bodies, Service};
use crate::workers::Workers;
use crate::{access, certificate};

/// What readiness waits for.
pub const WAITED_FOR: [&str; 4] = [CERTIFICATE, AUTHORITY, CLASSES, PODS];

const CERTIFICATE: &str = "a certificate";
const AUTHORITY: &str = "the ConfigMap kube-system/extension-apiserver-authentication";

/// What can be set.
#[derive(Debug)]
pub struct Settings {
    /// Where the cluster's API server asks.
    pub listen: SocketAddr,
    /// Where the certificate is.
    pub tls_dir: PathBuf,
    /// Which pods are replicas of this server; none if it is not said.
    pub replicas: Option<Own>,
    /// The namespaces whose workers are shown; all if there is none.
    pub namespaces: Vec<String>,
}

/// A process that listens, and does not answer yet.
pub struct Process {
    client: Client,
    settings: Settings,
    readiness: Readiness,
    metrics: Metrics,
    server: Server,
    own: watch::Sender<Option<Certificate>>,
    authority: watch::Sender<Option<Authority>>,
    roots: watch::Sender<Option<Roots>>,
}

impl Process {
    /// Starts to listen. `readiness` waits for [`WAITED_FOR`].
    ///
    /// # Errors
    ///
    /// The address is taken, not ours, or not allowed to us.
    pub async fn bind(
        client: Client,
        mut settings: Settings,
        readiness: Readiness,
        metrics: Metrics,
    ) -> std::io::Result<Self> {
        settings.namespaces.retain(|it| !it.is_empty());
        let (own, authority) = (watch::Sender::new(None), watch::Sender::new(None));
        let roots = watch::Sender::new(None);
        let server = Server::bind(
            settings.listen,
            own.subscribe(),
            authority.subscribe(),
            roots.subscribe(),
        );
        let server = server.await?;
        Ok(Self {
            client,
            settings,
            readiness,
            metrics,
            server,
            own,
            authority,
            roots,
        })
    }

    /// The address, with the port that was really taken.
    ///
    /// # Errors
    ///
    /// The system does not know it.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.server.local_addr()
    }

    /// Answers until `stop`, and then lets what runs end.
    ///
    /// # Errors
    ///
    /// A part has ended, as none should.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let Self {
            client,
            settings,
            readiness,
            metrics,
            server,
            own,
            authority,
            roots,
        } = self;
        let (known, known_seen) = watch::channel(Arc::new(Classes::default()));
        let pods = Pods::new(client.clone(), own.subscribe(), metrics.clone());
        let pods = Arc::new(pods);
        let start_ms = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default();
        let follows = Follows::new(pods.clone(), known_seen.clone(), metrics.clone(), start_ms);
        let (ready_replicas, replicas) = watch::channel(vec![]);
        let service = Arc::new(Service {
            authority: authority.subscribe(),
            reviews: Reviews::new(client.clone()),
            workers: Workers::new(
                pods,
                known_seen,
                follows.clone(),
                metrics.clone(),
                stop.clone(),
            ),
            replicas: Replicas::new(replicas, own.subscribe(), roots.subscribe(), stop.clone()),
            readiness: readiness.clone(),
            metrics,
            bodies: Bodies::default(),
        });
        let waiting = ready(readiness.clone(), own.subscribe(), authority.subscribe());
        tokio::select! {
            () = server.run(service, stop) => return Ok(()),
            () = certificate::follow(&settings.tls_dir, own) => {}
            () = certificate::follow_roots(&settings.tls_dir, roots) => {}
            () = replicas::follow(client.clone(), settings.replicas, ready_replicas) => {}
            () = access::follow(client.clone(), authority) => {}
            () = known::follow(client, &settings.namespaces, known, readiness) => {}
            () = follows.run() => {}
            () = waiting => {}
        }
        anyhow::bail!("what keeps this server up to date has ended; starting over")
    }
}

/// Tells when the certificate, and what the cluster's API server is known by, are there. Does not end.
async fn ready(
    readiness: Readiness,
    mut own: watch::Receiver<Option<Certificate>>,
    mut authority: watch::Receiver<Option<Authority>>,
) {
    // These fail only if whoever reads them has ended, and with them this future.
    let _ = own.wait_for(Option::is_some).await;
    readiness.done(CERTIFICATE);
    let _ = authority.wait_for(Option::is_some).await;
    readiness.done(AUTHORITY);
    std::future::pending().await
}
