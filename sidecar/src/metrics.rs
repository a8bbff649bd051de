//! What a pod counts.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use portside_exchange::{FetchError, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::pod::Pod;

/// Labels of a request's outcome: the class of its status (`2xx`), or `failed`, `timeout`, `overloaded`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// The counters of a pod. Cloning gives another handle of the same.
#[derive(Clone)]
pub struct Metrics {
    requests: Family<Outcome, Counter>,
    misdirected: Counter,
    duration: Histogram,
}

impl Metrics {
    /// Makes them and registers them.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Family::default(),
            misdirected: Counter::default(),
            // 0.5 ms to 16 s
            duration: Histogram::new(exponential_buckets(0.000_5, 2.0, 16)),
        };
        registry.register(
            "requests",
            "Requests the application has answered",
            metrics.requests.clone(),
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
        let outcome = match answer {
            Ok(response) => match response.status.as_u16() / 100 {
                1 => "1xx",
                2 => "2xx",
                3 => "3xx",
                4 => "4xx",
                _ => "5xx",
            },
            Err(FetchError::Failed(_)) => "failed",
            Err(FetchError::TimedOut) => "timeout",
            Err(FetchError::Overloaded { .. } | FetchError::ShuttingDown) => "overloaded",
        };
        self.requests.get_or_create(&Outcome { outcome }).inc();
        self.duration.observe(took.as_secs_f64());
    }

    pub(crate) fn misdirected(&self) {
        self.misdirected.inc();
    }
}

/// What a pod is, read when it is asked for.
pub struct PodGauges(pub Arc<Pod>);

impl fmt::Debug for PodGauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PodGauges")
    }
}

impl Collector for PodGauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let ownership = self.0.ownership();
        let active = ownership.state == portside_crds::sidecar::State::Active;
        let gauges = [
            (
                "workers_awake",
                "Workers in memory",
                self.0.app().awake() as u64,
            ),
            (
                "active",
                "1 while this pod runs the workers",
                u64::from(active),
            ),
            (
                "term",
                "Grows with each change of the active pod; 0 when not active",
                ownership.term,
            ),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::<u64>::new(value);
            let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}
