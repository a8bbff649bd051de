//! What a pod counts. No label names an object, so the number of series is fixed; `docs/metrics.md` has them all.

mod gauges;
mod show;

pub use gauges::PodGauges;

use std::time::Duration;

use portside_admin::count_panics;
use portside_exchange::{FetchError, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// What the names of a pod's metrics begin with.
const PREFIX: &str = "portside_sidecar";

/// A registry with what a pod counts from its beginning, and the counters. [`PodGauges`] come to it once there is a pod.
#[must_use]
pub fn registry() -> (Registry, Metrics) {
    let mut registry = Registry::with_prefix(PREFIX);
    let metrics = Metrics::register(&mut registry);
    count_panics(&mut registry);
    (registry, metrics)
}

/// Labels of a request's outcome: the class of its status (`2xx`), or `failed`, `timeout`, `overloaded`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// All of them: each is there from the beginning, at zero, for what appears with its first event seems not to have grown.
const OUTCOMES: [&str; 8] = [
    "1xx",
    "2xx",
    "3xx",
    "4xx",
    "5xx",
    "failed",
    "timeout",
    "overloaded",
];

/// The counters of a pod. Cloning gives another handle of the same.
#[derive(Clone)]
pub struct Metrics {
    /// By [`OUTCOMES`]: nothing is looked up for a request.
    requests: [Counter; OUTCOMES.len()],
    misdirected: Counter,
    duration: Histogram,
}

impl Metrics {
    /// Makes them and registers them.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let requests = Family::default();
        let metrics = Self {
            requests: OUTCOMES.map(|outcome| requests.get_or_create_owned(&Outcome { outcome })),
            misdirected: Counter::default(),
            // 0.5 ms to 16 s
            duration: Histogram::new(exponential_buckets(0.000_5, 2.0, 16)),
        };
        registry.register(
            "requests",
            "Requests the application has answered, or failed to",
            requests,
        );
        registry.register(
            "misdirected",
            "Requests refused because this pod is not active",
            metrics.misdirected.clone(),
        );
        registry.register_with_unit(
            "request_duration",
            "From a request to the head of its response",
            Unit::Seconds,
            metrics.duration.clone(),
        );
        metrics
    }

    pub(crate) fn answered(&self, answer: &Result<Response, FetchError>, took: Duration) {
        // Its place in `OUTCOMES`.
        let outcome = match answer {
            Ok(response) => usize::from(response.status.as_u16() / 100).clamp(1, 5) - 1,
            Err(FetchError::Failed(_)) => 5,
            Err(FetchError::TimedOut) => 6,
            Err(
                FetchError::Overloaded { .. }
                | FetchError::Unavailable(_)
                | FetchError::ShuttingDown,
            ) => 7,
        };
        self.requests[outcome].inc();
        self.duration.observe(took.as_secs_f64());
    }

    pub(crate) fn misdirected(&self) {
        self.misdirected.inc();
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};
    use portside_exchange::Body;
    use prometheus_client::encoding::text::encode;

    use super::*;

    /// The series of requests, in their order.
    fn requests(registry: &Registry) -> Vec<(String, u64)> {
        let mut text = String::new();
        encode(&mut text, registry).unwrap();
        let series = text.lines().filter_map(|line| {
            let rest = line.strip_prefix("portside_sidecar_requests_total{outcome=\"")?;
            let (outcome, count) = rest.split_once("\"} ")?;
            Some((outcome.to_owned(), count.parse().unwrap()))
        });
        let mut series: Vec<_> = series.collect();
        series.sort_unstable();
        series
    }

    #[test]
    fn every_outcome_is_there_from_the_beginning_and_counts_what_it_says() {
        let (registry, metrics) = registry();
        let counted = |counts: [u64; OUTCOMES.len()]| {
            let mut wanted: Vec<_> = OUTCOMES
                .map(str::to_owned)
                .into_iter()
                .zip(counts)
                .collect();
            wanted.sort_unstable();
            wanted
        };
        assert_eq!(requests(&registry), counted([0; OUTCOMES.len()]));
        for status in [100, 200, 302, 404, 500, 599] {
            let response = Response {
                status: StatusCode::from_u16(status).unwrap(),
                reason: Default::default(),
                headers: HeaderMap::new(),
                body: Body::Empty,
                socket: None,
            };
            metrics.answered(&Ok(response), Duration::ZERO);
        }
        for error in [
            FetchError::Failed(String::new()),
            FetchError::TimedOut,
            FetchError::Overloaded { retry_after_ms: 1 },
            FetchError::Unavailable(String::new()),
            FetchError::ShuttingDown,
        ] {
            metrics.answered(&Err(error), Duration::ZERO);
        }
        let [failed, timeout, overloaded] = [1, 1, 3];
        let wanted = [1, 1, 1, 1, 2, failed, timeout, overloaded];
        assert_eq!(requests(&registry), counted(wanted));
    }
}
