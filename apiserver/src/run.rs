//! The command line, and the process from its start to its end.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use portside_admin::{Admin, LogArgs, Readiness, asked_to_end, listen_address};
use prometheus_client::registry::Registry;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::process::{Process, Settings, WAITED_FOR};
use crate::replicas::Own;

/// What makes readiness false when the process is told to end.
const DRAINING: &str = "the end of draining";

/// How long to go on accepting connections after SIGTERM, while nobody may have noticed yet.
const DELAY: Duration = Duration::from_secs(5);

/// Shows the workers of ServerlessWorkerClasses as objects of Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "portside-apiserver", version)]
pub struct Args {
    /// Where the cluster's API server asks, with TLS
    #[arg(
        long,
        env = "PORTSIDE_LISTEN",
        default_value = "[::]:8443",
        value_parser = listen_address,
        value_name = "ADDRESS"
    )]
    listen: SocketAddr,

    /// Where probes and metrics are answered
    #[arg(
        long,
        env = "PORTSIDE_ADMIN",
        default_value = "[::]:9090",
        value_parser = listen_address,
        value_name = "ADDRESS"
    )]
    admin: SocketAddr,

    /// The folder with this server's certificate, tls.crt and tls.key, by which pods and other replicas know it too, and ca.crt, by which
    /// it knows those; all are read anew when they change
    #[arg(
        long,
        env = "PORTSIDE_TLS_DIR",
        default_value = "/etc/portside/tls",
        value_name = "FOLDER"
    )]
    tls_dir: PathBuf,

    /// Show this namespace's workers only; may be repeated. All namespaces if absent
    #[arg(
        long,
        env = "PORTSIDE_WATCH_NAMESPACES",
        value_delimiter = ',',
        value_name = "NAME"
    )]
    watch_namespace: Vec<String>,

    /// The labels of this server's own pods, LABEL=VALUE, all of which only its replicas have: what another one knows is asked of it,
    /// at its port named https. Without them, watches that another one has listed for list again
    #[arg(
        long,
        env = "PORTSIDE_REPLICA_LABELS",
        value_delimiter = ',',
        value_parser = label,
        requires_all = ["pod_name", "pod_namespace"],
        value_name = "LABEL=VALUE"
    )]
    replica_label: Vec<(String, String)>,

    /// The name of this server's own pod
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pod_name: Option<String>,

    /// The namespace of this server's own pod
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAME")]
    pod_namespace: Option<String>,

    #[command(flatten)]
    log: LogArgs,
}

impl Args {
    /// Serves until SIGTERM or SIGINT, then drains.
    ///
    /// # Errors
    /// An address cannot be listened on, or nothing says where the cluster's API server is.
    pub async fn run(self) -> anyhow::Result<()> {
        self.log.init()?;
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let readiness = Readiness::waiting_for(WAITED_FOR);
        let admin = Admin::bind(self.admin, readiness.clone(), registry)
            .await
            .with_context(|| format!("cannot listen on --admin {}", self.admin))?;
        tokio::spawn(admin.run());
        let client = portside_watches::connect()
            .await
            .context("cannot tell where the cluster's API server is")?;
        let stop = stop_on_signal(readiness.clone()).context("cannot handle signals")?;
        let settings = Settings {
            listen: self.listen,
            tls_dir: self.tls_dir,
            replicas: own(self.pod_namespace, self.pod_name, self.replica_label),
            namespaces: self.watch_namespace,
        };
        let process = Process::bind(client, settings, readiness, metrics).await;
        let process =
            process.with_context(|| format!("cannot listen on --listen {}", self.listen))?;
        tracing::info!(listen = %self.listen, admin = %self.admin, "serving");
        process.run(stop).await
    }
}

/// Which pods are replicas, where that is said.
fn own(
    namespace: Option<String>,
    name: Option<String>,
    labels: Vec<(String, String)>,
) -> Option<Own> {
    let (namespace, name) = namespace.zip(name)?;
    (!labels.is_empty()).then(|| Own {
        namespace,
        name,
        labels: labels.into_iter().collect(),
    })
}

fn label(text: &str) -> Result<(String, String), String> {
    let (label, value) = text
        .split_once('=')
        .filter(|(label, value)| !label.is_empty() && !value.is_empty())
        .ok_or_else(|| format!("{text:?} is not LABEL=VALUE"))?;
    Ok((label.to_owned(), value.to_owned()))
}

/// Cancelled some seconds after a signal, from which on the process is not ready.
fn stop_on_signal(readiness: Readiness) -> std::io::Result<CancellationToken> {
    let ended = asked_to_end()?;
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    tokio::spawn(async move {
        ended.await;
        tracing::info!("draining");
        readiness.wait_for(DRAINING);
        sleep(DELAY).await;
        stopped.cancel();
    });
    Ok(stop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_has_a_default() {
        let args = Args::try_parse_from(["portside-apiserver"]).unwrap();
        assert_eq!(args.listen.port(), 8443);
        assert_eq!(args.admin.port(), 9090);
        assert_eq!(args.tls_dir, PathBuf::from("/etc/portside/tls"));
        assert!(args.watch_namespace.is_empty());
    }

    #[test]
    fn flags_are_read() {
        let args = [
            "portside-apiserver",
            "--listen=[::]:8444",
            "--admin=127.0.0.1:1",
            "--log-level=debug",
            "--log-format=json",
            "--watch-namespace=a",
            "--watch-namespace=b",
            "--pod-name=p",
            "--pod-namespace=ns",
            "--replica-label=a=b,c=d",
        ];
        let args = Args::try_parse_from(args).unwrap();
        assert_eq!(args.listen.port(), 8444);
        assert_eq!(args.watch_namespace, ["a", "b"]);
        let own = own(args.pod_namespace, args.pod_name, args.replica_label).unwrap();
        assert_eq!((&*own.namespace, &*own.name), ("ns", "p"));
        assert_eq!(own.labels["c"], "d");
        let anonymous = ["portside-apiserver", "--replica-label=a=b"];
        assert!(Args::try_parse_from(anonymous).is_err());
        let wrong = ["portside-apiserver", "--replica-label=a"];
        assert!(Args::try_parse_from(wrong).is_err());
    }
}
