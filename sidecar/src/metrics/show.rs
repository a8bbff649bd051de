//! Metrics that are read when they are asked for, in a line each.

use std::fmt;

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeMetric,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;

/// What a metric is called, its unit, and what it says.
pub type Name = (&'static str, Option<&'static Unit>, &'static str);

/// Where metrics are shown.
pub struct Show<'a>(pub DescriptorEncoder<'a>);

impl Show<'_> {
    /// A number that goes up and down.
    pub fn gauge(&mut self, name: Name, value: impl EncodeGaugeValue) -> fmt::Result {
        self.one(name, &ConstGauge::new(value))
    }

    /// A number that only grows.
    pub fn counter(&mut self, name: Name, value: impl EncodeCounterValue) -> fmt::Result {
        self.one(name, &ConstCounter::new(value))
    }

    /// How often values were in which range.
    pub fn histogram(&mut self, name: Name, histogram: &Histogram) -> fmt::Result {
        self.one(name, histogram)
    }

    fn one(&mut self, (name, unit, help): Name, metric: &impl EncodeMetric) -> fmt::Result {
        let encoder = self
            .0
            .encode_descriptor(name, help, unit, metric.metric_type())?;
        metric.encode(encoder)
    }

    /// A gauge for each value of a label.
    pub fn gauges<V: EncodeGaugeValue>(
        &mut self,
        name: Name,
        label: &str,
        values: impl IntoIterator<Item = (&'static str, V)>,
    ) -> fmt::Result {
        let values = values.into_iter();
        let metrics = values.map(|(of, value)| (of, ConstGauge::new(value)));
        self.family(name, MetricType::Gauge, label, metrics)
    }

    /// A counter for each value of a label.
    pub fn counters<V: EncodeCounterValue>(
        &mut self,
        name: Name,
        label: &str,
        values: impl IntoIterator<Item = (&'static str, V)>,
    ) -> fmt::Result {
        let values = values.into_iter();
        let metrics = values.map(|(of, value)| (of, ConstCounter::new(value)));
        self.family(name, MetricType::Counter, label, metrics)
    }

    /// A histogram for each value of a label.
    pub fn histograms<'h>(
        &mut self,
        name: Name,
        label: &str,
        values: impl IntoIterator<Item = (&'static str, &'h Histogram)>,
    ) -> fmt::Result {
        let values = values.into_iter();
        let metrics = values.map(|(of, histogram)| (of, histogram.clone()));
        self.family(name, MetricType::Histogram, label, metrics)
    }

    fn family<M: EncodeMetric>(
        &mut self,
        (name, unit, help): Name,
        kind: MetricType,
        label: &str,
        metrics: impl Iterator<Item = (&'static str, M)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, unit, kind)?;
        for (value, metric) in metrics {
            metric.encode(family.encode_family(&[(label, value)])?)?;
        }
        Ok(())
    }
}
