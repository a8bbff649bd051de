//! What this server counts. No label names an object, so their number is fixed.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// What the names of this server's metrics begin with.
pub const METRICS: &str = "portside_apiserver";

/// Handles of all metrics. Cloning gives others of the same.
#[derive(Clone, Default)]
pub struct Metrics {
    requests: Family<Answered, Counter>,
    duration: Duration_,
    connections: Family<Connected, Counter>,
    /// Watches that are open.
    pub watches: Gauge,
    followed: Gauge,
    events: Counter,
    gaps: Counter,
}

/// Seconds from a millisecond to half a minute.
#[derive(Clone)]
struct Duration_(Histogram);

impl Default for Duration_ {
    fn default() -> Self {
        Self(Histogram::new(exponential_buckets(0.001, 2.0, 16)))
    }
}

/// What is asked for, and how it was answered.
const VERBS: [&str; 7] = [
    "get", "list", "watch", "create", "update", "delete", "other",
];
const RESULTS: [&str; 3] = ["done", "refused", "failed"];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    verb: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Connected {
    result: &'static str,
}

impl Metrics {
    /// Makes all metrics known to the registry, each at zero.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix(METRICS);
        let metrics = Self::default();
        registry.register(
            "requests",
            "Answers to requests for workers, by verb and whether it was done, refused (4xx) or failed (5xx)",
            metrics.requests.clone(),
        );
        registry.register_with_unit(
            "request_duration",
            "Time until an answer begins, watches included",
            Unit::Seconds,
            metrics.duration.0.clone(),
        );
        registry.register(
            "pod_connections",
            "Connections to pods that were tried, by whether the pod has proven who it is",
            metrics.connections.clone(),
        );
        registry.register("watches", "Watches that are open", metrics.watches.clone());
        registry.register(
            "followed_pods",
            "Pods of which it is followed what happens to their workers",
            metrics.followed.clone(),
        );
        registry.register(
            "events",
            "What pods have told of their workers",
            metrics.events.clone(),
        );
        registry.register(
            "gaps",
            "How often something was missed, so that watches of a class had to begin anew",
            metrics.gaps.clone(),
        );
        portside_admin::count_panics(registry);
        // Each is there from the beginning, so that the first one is an increase.
        for verb in VERBS {
            for result in RESULTS {
                drop(metrics.requests.get_or_create(&Answered { verb, result }));
            }
        }
        for result in ["proven", "failed"] {
            drop(metrics.connections.get_or_create(&Connected { result }));
        }
        metrics
    }

    /// A request was answered.
    pub fn answered(&self, verb: &'static str, code: u16, took: Duration) {
        let result = match code {
            500.. => "failed",
            400.. => "refused",
            _ => "done",
        };
        let answered = Answered { verb, result };
        self.requests.get_or_create(&answered).inc();
        self.duration.0.observe(took.as_secs_f64());
    }

    /// A connection to a pod was tried.
    pub(crate) fn connected(&self, is_proven: bool) {
        let result = if is_proven { "proven" } else { "failed" };
        self.connections.get_or_create(&Connected { result }).inc();
    }

    /// So many pods are followed.
    pub(crate) fn followed(&self, pods: usize) {
        self.followed.set(i64::try_from(pods).unwrap_or(i64::MAX));
    }

    /// A pod has told something.
    pub(crate) fn happened(&self) {
        self.events.inc();
    }

    /// Something was missed.
    pub(crate) fn missed(&self) {
        self.gaps.inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_those_of_the_page() {
        let mut registry = Registry::default();
        let _metrics = Metrics::register(&mut registry);
        portside_admin::testing::check_page("apiserver", &registry);
    }
}
