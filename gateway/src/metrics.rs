//! What a gateway counts. No label names an object, so their number is fixed; `docs/metrics.md` has them all.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// What the names of a gateway's metrics begin with.
pub const METRICS: &str = "portside_gateway";

/// Handles of all metrics. Cloning gives others of the same.
#[derive(Clone)]
pub struct Metrics {
    /// By [`STATUSES`]: nothing is looked up for a request.
    requests: [Counter; STATUSES.len()],
    duration: Histogram,
    /// By [`Cause::ALL`].
    retries: [Counter; Cause::ALL.len()],
    hold: Histogram,
    /// Requests that wait for an active pod.
    pub held: Gauge,
    /// WebSockets between clients and pods.
    pub websockets: Gauge,
    /// How often a WebSocket was opened again at a pod, for its client stayed.
    pub reopened: Counter,
    /// Connections to pods, those of WebSockets included.
    pub connections: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    /// The first digit; a client that went away before there was one counts as 4xx.
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Retried {
    cause: &'static str,
}

/// Why a request was sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The pod was not the active one.
    Misdirected,
    /// The pod could not be reached.
    Unsent,
    /// The connection broke, or another pod took over.
    Broken,
}

impl Cause {
    const ALL: [Self; 3] = [Self::Misdirected, Self::Unsent, Self::Broken];

    fn name(self) -> &'static str {
        match self {
            Self::Misdirected => "misdirected",
            Self::Unsent => "unsent",
            Self::Broken => "broken",
        }
    }
}

/// The classes of statuses.
const STATUSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

impl Metrics {
    /// Makes all metrics known to the registry, each at zero.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let (requests, retries) = (Family::default(), Family::default());
        let metrics = Self {
            // There from the beginning: what appears with its first event seems not to have grown.
            requests: STATUSES.map(|status| requests.get_or_create_owned(&Answered { status })),
            // From 1 ms to 65 s.
            duration: Histogram::new(exponential_buckets(0.001, 2.0, 17)),
            retries: Cause::ALL.map(|cause| {
                let cause = cause.name();
                retries.get_or_create_owned(&Retried { cause })
            }),
            // From 10 ms to 41 s.
            hold: Histogram::new(exponential_buckets(0.01, 2.0, 13)),
            held: Gauge::default(),
            websockets: Gauge::default(),
            reopened: Counter::default(),
            connections: Gauge::default(),
        };
        let registry = registry.sub_registry_with_prefix(METRICS);
        registry.register("requests", "Requests by status", requests);
        registry.register_with_unit(
            "request_duration",
            "Time from a request's arrival to the end of its response",
            Unit::Seconds,
            metrics.duration.clone(),
        );
        registry.register("retries", "Requests sent again by cause", retries);
        registry.register_with_unit(
            "cold_start",
            "Time that requests waited for an active pod",
            Unit::Seconds,
            metrics.hold.clone(),
        );
        registry.register(
            "held_requests",
            "Requests that wait for an active pod",
            metrics.held.clone(),
        );
        registry.register("websockets", "Open WebSockets", metrics.websockets.clone());
        registry.register(
            "websockets_reopened",
            "WebSockets opened again at a pod while their clients stayed",
            metrics.reopened.clone(),
        );
        registry.register(
            "upstream_connections",
            "Connections to pods",
            metrics.connections.clone(),
        );
        metrics
    }

    /// A request is over.
    pub fn answered(&self, status: u16, duration: Duration) {
        let class = usize::from(status / 100).clamp(1, STATUSES.len());
        self.requests[class - 1].inc();
        self.duration.observe(duration.as_secs_f64());
    }

    /// A request is sent again.
    pub fn retried(&self, cause: Cause) {
        self.retries[cause as usize].inc();
    }

    /// A request has waited for an active pod.
    pub fn waited(&self, time: Duration) {
        self.hold.observe(time.as_secs_f64());
    }
}

/// One more in a gauge until this is dropped.
pub struct Counted(Gauge);

impl Counted {
    /// Counts one more.
    #[must_use]
    pub fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
