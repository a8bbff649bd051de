//! What a pod counts.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use portside_core::admission::Shortage;
use portside_crds::sidecar::State;
use portside_exchange::{FetchError, Response};
use portside_router::Target;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::app::App;
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
            Err(
                FetchError::Overloaded { .. }
                | FetchError::Unavailable(_)
                | FetchError::ShuttingDown,
            ) => "overloaded",
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
        let active = matches!(ownership.state, State::Active | State::Serving);
        let gauges = [
            (
                "workers_awake",
                "Workers in memory",
                self.0.app().awake() as u64,
            ),
            (
                "isolates_ready",
                "Isolates that wait for workers to wake",
                self.0.app().isolates().ready() as u64,
            ),
            (
                "active",
                "1 while this pod runs workers, alone or beside others",
                u64::from(active),
            ),
            (
                "term",
                "Grows with each change of the pod that is active alone; 0 in all others",
                ownership.term,
            ),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::<u64>::new(value);
            let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        let took = self.0.app().ownership().departures().took();
        let help = "From when a shard takes nothing new until it is another pod's";
        let unit = Some(&Unit::Seconds);
        let metric =
            encoder.encode_descriptor("shard_hand_over", help, unit, took.metric_type())?;
        took.encode(metric)?;
        encode_links(self.0.app(), &mut encoder)?;
        encode_room(self.0.app(), encoder)
    }
}

/// Where the workers were that this pod's code has reached, if other pods have some.
fn encode_links(app: &App, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let targets = [("here", Target::Here), ("elsewhere", Target::Elsewhere)];
    let counts = targets.map(|(label, target)| Some((label, app.count_links(target)?)));
    let help = "Ports and calls that servers and workers of this pod have opened, by the pod of their target";
    let counts = counts.into_iter().flatten();
    let mut family = encoder.encode_descriptor("links_opened", help, None, MetricType::Counter)?;
    for (target, count) in counts {
        let count = ConstCounter::new(count);
        count.encode(family.encode_family(&[("target", target)])?)?;
    }
    Ok(())
}

/// What there is room for, and what was done when there was none.
fn encode_room(app: &App, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
    let room = app.room();
    let (pressure, memory) = room.last_look();
    let mut gauges = vec![
        (
            "workers_awake_limit",
            "The most workers that may be in memory",
            None,
            room.cap(&app.class().limits) as u64,
        ),
        (
            "memory_pressure",
            "0: none; 1: idle workers are put to sleep; 2: no worker is woken",
            None,
            pressure as u64,
        ),
    ];
    if let Some(memory) = memory {
        let help = "Memory in use, without what the system can take back";
        gauges.push(("memory_used", help, Some(&Unit::Bytes), memory.used));
        let help = "Memory that may be in use";
        gauges.push(("memory_limit", help, Some(&Unit::Bytes), memory.limit));
    }
    for (name, help, unit, value) in gauges {
        let gauge = ConstGauge::<u64>::new(value);
        let metric = encoder.encode_descriptor(name, help, unit, gauge.metric_type())?;
        gauge.encode(metric)?;
    }
    let slept = ConstCounter::new(room.count_put_to_sleep());
    let help = "Idle workers that were put to sleep before their time to make room";
    let metric =
        encoder.encode_descriptor("workers_put_to_sleep", help, None, slept.metric_type())?;
    slept.encode(metric)?;
    let used = ConstCounter::new(app.isolates().ready_used());
    let help = "Workers that have woken in an isolate that waited ready";
    let metric =
        encoder.encode_descriptor("isolates_ready_used", help, None, used.metric_type())?;
    used.encode(metric)?;
    let help = "Workers that were not woken, and servers not started, for want of room";
    let mut family = encoder.encode_descriptor("wakes_shed", help, None, MetricType::Counter)?;
    for (short, shortage) in [("workers", Shortage::Workers), ("memory", Shortage::Memory)] {
        let count = ConstCounter::new(room.count_refused(shortage));
        count.encode(family.encode_family(&[("short", short)])?)?;
    }
    Ok(())
}
