//! The command line, and the process from its start to its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{ArgAction, Parser};
use portside_admin::{Admin, LogArgs, Readiness, asked_to_end, count_panics, listen_address};
use portside_crds::quantity;
use portside_frontdoor::{Config, FrontDoor, IpNet, TrustedProxies, network};
use portside_gateway::{Gateway, METRICS, Metrics, Settings};
use prometheus_client::registry::Registry;
use tokio::time::{sleep, timeout};

use crate::watch;

/// What makes readiness false when the process is told to end.
const DRAINING: &str = "the end of draining";
/// Time for pods to hear that WebSockets are closed, when nobody else is waited for any more.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Sends clients' requests to the active pod of the ServerlessWorkerClass they are for.
#[derive(Debug, Parser)]
#[command(name = "portside-gateway", version)]
pub struct Args {
    /// Where clients are served
    #[arg(
        long,
        env = "PORTSIDE_LISTEN",
        default_value = "[::]:8080",
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

    /// Serve this namespace's classes only; may be repeated. All namespaces if absent
    #[arg(
        long,
        env = "PORTSIDE_WATCH_NAMESPACES",
        value_delimiter = ',',
        value_name = "NAME"
    )]
    watch_namespace: Vec<String>,

    /// Believe forwarding headers and request ids of peers in this network; may be repeated. Which class gets a request is up
    /// to its host alone
    #[arg(
        long,
        env = "PORTSIDE_TRUSTED_PROXIES",
        value_delimiter = ',',
        value_parser = network,
        value_name = "CIDR"
    )]
    trusted_proxy: Vec<IpNet>,

    /// How long a request waits for an active pod
    #[arg(long, env = "PORTSIDE_HOLD", default_value = "30s", value_parser = duration)]
    hold: Duration,

    /// Memory for request bodies that may have to be sent again, a quarter of it at most for one class; without room a
    /// request is sent only once
    #[arg(
        long,
        env = "PORTSIDE_REPLAY_BUFFER",
        default_value = "64Mi",
        value_parser = bytes,
        value_name = "BYTES"
    )]
    replay_buffer: usize,

    /// Log each request
    #[arg(
        long,
        env = "PORTSIDE_ACCESS_LOG",
        default_value_t = true,
        action = ArgAction::Set,
        num_args = 0..=1,
        default_missing_value = "true",
        require_equals = true,
        value_name = "BOOL"
    )]
    access_log: bool,

    /// How long to go on accepting connections after SIGTERM, while nobody may have noticed yet
    #[arg(long, env = "PORTSIDE_DRAIN_DELAY", default_value = "5s", value_parser = duration)]
    drain_delay: Duration,

    /// How long running requests and WebSockets then have to end
    #[arg(long, env = "PORTSIDE_DRAIN", default_value = "30s", value_parser = duration)]
    drain: Duration,

    #[command(flatten)]
    log: LogArgs,
}

fn duration(text: &str) -> Result<Duration, &'static str> {
    if matches!(text, "0" | "0s") {
        return Ok(Duration::ZERO);
    }
    quantity::duration(text).ok_or("not a duration such as 30s, 1m30s or 500ms")
}

fn bytes(text: &str) -> Result<usize, &'static str> {
    quantity::bytes(text).ok_or("not a number of bytes such as 64Mi")
}

/// What is counted, and where that is shown.
fn registry() -> (Registry, Metrics) {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    count_panics(registry.sub_registry_with_prefix(METRICS));
    (registry, metrics)
}

impl Args {
    /// Serves until SIGTERM or SIGINT, then drains.
    ///
    /// # Errors
    /// An address cannot be listened on, or nothing says where the API server is.
    pub async fn run(self) -> anyhow::Result<()> {
        self.log.init()?;
        let (registry, metrics) = registry();
        let readiness = Readiness::waiting_for([watch::CLASSES, watch::ENDPOINTS]);
        let admin = Admin::bind(self.admin, readiness.clone(), registry)
            .await
            .with_context(|| format!("cannot listen on --admin {}", self.admin))?;
        let config = self.config();
        let gateway = Arc::new(Gateway::new(
            Settings {
                hold: self.hold,
                access_log: self.access_log,
                max_message_bytes: config.max_message_bytes,
                replay_bytes: self.replay_buffer,
            },
            metrics,
        ));
        let door = FrontDoor::bind(config, gateway.clone())
            .await
            .with_context(|| format!("cannot listen on --listen {}", self.listen))?;
        let client = portside_watches::connect()
            .await
            .context("cannot tell where the API server is")?;
        let ended = asked_to_end().context("cannot handle signals")?;
        tracing::info!(listen = %door.local_addr(), admin = %self.admin, "serving");

        tokio::spawn(admin.run());
        let namespaces = self.watch_namespace.clone();
        let watching = watch::run(client, &namespaces, gateway.clone(), readiness.clone());
        let serving = door.run(self.until_drained(ended, readiness, gateway.clone()));
        tokio::select! {
            () = serving => {}
            () = watching => anyhow::bail!("the watches ended"),
        }
        if timeout(LAST_WORDS, gateway.finish()).await.is_err() {
            tracing::warn!("pods were not told of all closed websockets");
        }
        Ok(())
    }

    fn config(&self) -> Config {
        Config {
            listen: self.listen,
            trusted_proxies: if self.trusted_proxy.is_empty() {
                TrustedProxies::None
            } else {
                TrustedProxies::Networks(self.trusted_proxy.clone())
            },
            shutdown_timeout: self.drain,
            ..Config::default()
        }
    }

    /// Ready when the front door is to close.
    async fn until_drained(
        &self,
        ended: impl Future<Output = ()>,
        readiness: Readiness,
        gateway: Arc<Gateway>,
    ) {
        ended.await;
        tracing::info!("draining");
        readiness.wait_for(DRAINING);
        sleep(self.drain_delay).await;
        // Requests that wait for a pod get an answer before they are cut off.
        let patience = self.drain / 2;
        tokio::spawn(async move {
            sleep(patience).await;
            gateway.stop_holding();
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Args, clap::Error> {
        Args::try_parse_from(std::iter::once(&"portside-gateway").chain(args))
    }

    #[test]
    fn metrics_are_those_of_the_page() {
        let (registry, _metrics) = registry();
        portside_admin::testing::check_page("gateway", &registry);
    }

    #[test]
    fn everything_has_a_default() {
        let args = parse(&[]).unwrap();
        assert_eq!(args.hold, Duration::from_secs(30));
        assert!(args.access_log);
        assert_eq!(args.replay_buffer, 64 << 20);
        assert!(args.watch_namespace.is_empty());
        assert!(!args.config().trusted_proxies.trusts([10, 0, 0, 1].into()));
    }

    #[test]
    fn flags_are_read() {
        let args = parse(&[
            "--access-log=false",
            "--trusted-proxy=10.0.0.0/8",
            "--trusted-proxy=fc00::/7",
            "--watch-namespace=a",
            "--watch-namespace=b",
            "--drain-delay=0s",
            "--drain=500ms",
            "--replay-buffer=1Mi",
        ])
        .unwrap();
        assert!(!args.access_log);
        assert_eq!(args.watch_namespace, ["a", "b"]);
        assert_eq!(args.drain_delay, Duration::ZERO);
        assert_eq!(args.replay_buffer, 1 << 20);
        assert_eq!(args.drain, Duration::from_millis(500));
        let config = args.config();
        assert!(config.trusted_proxies.trusts([10, 1, 2, 3].into()));
        assert!(!config.trusted_proxies.trusts([11, 1, 2, 3].into()));
        assert!(parse(&["--hold=soon"]).is_err());
        assert!(parse(&["--trusted-proxy=10.0.0.1/99"]).is_err());
    }
}
