//! What the operator counts. No label has an object's name.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::caches::{Caches, Class};
use portside_crds::conditions::ConditionType;

const PREFIX: &str = "portside_operator";

/// The operator's metrics. Cloning gives another handle.
#[derive(Clone)]
pub(crate) struct Metrics {
    durations: Histogram,
    errors: Family<ErrorLabels, Counter>,
    leading: Gauge,
    outdated: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabels {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
struct ClassLabels {
    ready: String,
    reason: String,
}

impl Metrics {
    /// The metrics, listed in `registry`.
    pub(crate) fn register(registry: &mut Registry, caches: Caches) -> Self {
        let registry = registry.sub_registry_with_prefix(PREFIX);
        // From a millisecond, when nothing is to be done, to half a minute.
        let metrics = Self {
            durations: Histogram::new(exponential_buckets(0.001, 2.0, 16)),
            errors: Family::default(),
            leading: Gauge::default(),
            outdated: Gauge::default(),
        };
        registry.register(
            "reconcile_duration_seconds",
            "Time for looking at one class and doing what is to be done",
            metrics.durations.clone(),
        );
        registry.register(
            "reconcile_errors",
            "Looks at a class that have to be repeated, by why",
            metrics.errors.clone(),
        );
        registry.register(
            "leader",
            "1 while this process holds the lease",
            metrics.leading.clone(),
        );
        registry.register(
            "crd_outdated",
            "1 while the cluster has no, or an older, definition of the class",
            metrics.outdated.clone(),
        );
        registry.register_collector(Box::new(Classes(caches)));
        portside_admin::count_panics(registry);
        metrics
    }

    /// A class was looked at.
    pub(crate) fn reconciled(&self, took: Duration, error: Option<&'static str>) {
        self.durations.observe(took.as_secs_f64());
        if let Some(reason) = error {
            self.errors.get_or_create(&ErrorLabels { reason }).inc();
        }
    }

    /// Whether this process leads.
    pub(crate) fn leading(&self, leads: bool) {
        self.leading.set(leads.into());
    }

    /// Whether the definition of the class is missing or too old.
    pub(crate) fn outdated(&self, outdated: bool) {
        self.outdated.set(outdated.into());
    }
}

/// Counts classes when asked.
struct Classes(Caches);

impl fmt::Debug for Classes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Classes")
    }
}

impl Collector for Classes {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut counts: BTreeMap<ClassLabels, i64> = BTreeMap::new();
        for class in self.0.classes.state() {
            *counts.entry(labels(&class)).or_default() += 1;
        }
        let mut family = encoder.encode_descriptor(
            "classes",
            "Classes, by their condition Ready and its reason",
            None,
            MetricType::Gauge,
        )?;
        for (labels, count) in counts {
            ConstGauge::new(count).encode(family.encode_family(&labels)?)?;
        }
        let unseen = i64::try_from(self.0.unseen.count()).unwrap_or(i64::MAX);
        let refused = encoder.encode_descriptor(
            "watches_refused",
            "Kinds that may not be watched, each counted in each watched namespace where that is so",
            None,
            MetricType::Gauge,
        )?;
        ConstGauge::new(unseen).encode(refused)
    }
}

fn labels(class: &Class) -> ClassLabels {
    let status = class
        .0
        .as_ref()
        .ok()
        .and_then(|class| class.status.as_ref());
    let ready = status.and_then(|status| status.condition(ConditionType::Ready));
    ClassLabels {
        ready: ready.map_or("Unknown", |ready| &ready.status).to_owned(),
        reason: ready.map_or("", |ready| &ready.reason).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use kube::runtime::reflector::store::Writer;
    use kube::runtime::watcher::Event;
    use serde_json::json;

    use super::*;

    #[test]
    fn classes_are_counted_without_their_names() {
        let mut writer = Writer::new(());
        let classes = [
            ("one", "True", "Succeeded"),
            ("two", "True", "Succeeded"),
            ("three", "False", "CodeInvalid"),
        ];
        for (name, status, reason) in classes {
            let class: Class = serde_json::from_value(json!({
                "metadata": {"namespace": "secret-project", "name": name},
                "spec": {"code": {}},
                "status": {"conditions": [{
                    "type": "Ready", "status": status, "reason": reason, "message": "",
                    "lastTransitionTime": "2026-01-01T00:00:00Z"
                }]}
            }))
            .unwrap();
            writer.apply_watcher_event(&Event::Apply(class));
        }
        let (mut caches, _writers) = crate::caches::new();
        caches.classes = writer.as_reader().into();
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry, caches);
        metrics.reconciled(Duration::from_millis(3), Some("conflict"));
        metrics.leading(true);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "portside_operator_classes{ready=\"True\",reason=\"Succeeded\"} 2",
            "portside_operator_classes{ready=\"False\",reason=\"CodeInvalid\"} 1",
            "portside_operator_reconcile_errors_total{reason=\"conflict\"} 1",
            "portside_operator_leader 1",
            "portside_operator_watches_refused 0",
        ] {
            assert!(
                text.lines().any(|one| one == line),
                "{line} is not in\n{text}"
            );
        }
        assert!(
            !text.contains("secret-project") && !text.contains("three"),
            "{text}"
        );
    }
}
