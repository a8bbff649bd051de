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
use prometheus_client::registry::{Registry, Unit};

use crate::caches::{Caches, Class};
use crate::class::Error;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use portside_crds::Reason;
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
    ready: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
struct StalledLabels {
    reason: &'static str,
}

/// What the label `reason` says of a class that the operator has not looked at yet, or of whose status somebody else has written
/// something of his own.
const NO_REASON: &str = "none";

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
        for kind in Error::KINDS {
            drop(metrics.errors.get_or_create(&ErrorLabels { reason: kind }));
        }
        registry.register_with_unit(
            "reconcile_duration",
            "Time for looking at one class and doing what is to be done",
            Unit::Seconds,
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
        let mut stalled: BTreeMap<StalledLabels, i64> = BTreeMap::new();
        for class in self.0.classes.state() {
            *counts.entry(labels(&class)).or_default() += 1;
            if let Some(labels) = stalled_labels(&class) {
                *stalled.entry(labels).or_default() += 1;
            }
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
        let mut family = encoder.encode_descriptor(
            "classes_stalled",
            "Classes that only a change of them, or of what they name, can help, by the reason of their condition Stalled",
            None,
            MetricType::Gauge,
        )?;
        for (labels, count) in stalled {
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

/// Whoever may write a status must not be able to make as many series as he likes.
fn known_reason(condition: &Condition) -> &'static str {
    let mut reasons = Reason::ALL.iter().map(|reason| reason.as_str());
    let known = reasons.find(|known| *known == condition.reason);
    known.unwrap_or(NO_REASON)
}

/// A class that cannot be read has the status that the operator gives such, whatever it says.
fn labels(class: &Class) -> ClassLabels {
    let Ok(class) = &class.0 else {
        let (ready, reason) = ("False", Reason::ClassInvalid.as_str());
        return ClassLabels { ready, reason };
    };
    let status = class.status.as_ref();
    let ready = status.and_then(|status| status.condition(ConditionType::Ready));
    let is = |wanted: &str| ready.is_some_and(|ready| ready.status == wanted);
    let known = ["True", "False"].into_iter().find(|wanted| is(wanted));
    ClassLabels {
        ready: known.unwrap_or("Unknown"),
        reason: ready.map_or(NO_REASON, known_reason),
    }
}

/// Nothing if it is not.
fn stalled_labels(class: &Class) -> Option<StalledLabels> {
    let reason = match &class.0 {
        Ok(class) => {
            let stalled = class.status.as_ref()?.condition(ConditionType::Stalled)?;
            (stalled.status == "True").then(|| known_reason(stalled))?
        }
        Err(_) => Reason::ClassInvalid.as_str(),
    };
    Some(StalledLabels { reason })
}

#[cfg(test)]
mod tests {
    use kube::runtime::reflector::store::Writer;
    use kube::runtime::watcher::Event;
    use serde_json::json;

    use super::*;

    /// A class whose condition Ready, and Stalled if that is so, has this reason.
    fn class(name: &str, ready: &str, reason: &str, stalled: bool) -> Class {
        let condition = |kind: &str, status: &str| {
            json!({
                "type": kind, "status": status, "reason": reason, "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z"
            })
        };
        let mut conditions = vec![condition("Ready", ready)];
        conditions.extend(stalled.then(|| condition("Stalled", "True")));
        serde_json::from_value(json!({
            "metadata": {"namespace": "secret-project", "name": name},
            "spec": {"code": {}},
            "status": {"conditions": conditions}
        }))
        .unwrap()
    }

    /// What is scraped of an operator that sees these.
    fn registry(classes: impl IntoIterator<Item = Class>) -> (Registry, Metrics) {
        let mut writer = Writer::new(());
        for class in classes {
            writer.apply_watcher_event(&Event::Apply(class));
        }
        let (mut caches, _writers) = crate::caches::new();
        caches.classes = writer.as_reader().into();
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry, caches);
        (registry, metrics)
    }

    #[test]
    fn metrics_are_those_of_the_page() {
        let known = Reason::ALL.iter().map(|reason| reason.as_str());
        let reasons = known.chain(["SomebodysOwn"]);
        let classes = reasons.flat_map(|reason| {
            ["True", "False", "Maybe"].map(|ready| {
                let name = format!("{ready}-{reason}");
                class(&name, ready, reason, true)
            })
        });
        let (registry, _metrics) = registry(classes);
        portside_admin::testing::check_page("operator", &registry);
    }

    #[test]
    fn classes_are_counted_without_their_names() {
        let classes = [
            class("one", "True", "Succeeded", false),
            class("two", "True", "Succeeded", false),
            class("three", "False", "CodeInvalid", true),
            class("four", "False", "PodCrashing", false),
            class("five", "False", "SomebodysOwn", true),
            // It has no spec.
            serde_json::from_value(
                json!({"metadata": {"namespace": "secret-project", "name": "six"}}),
            )
            .unwrap(),
        ];
        let (registry, metrics) = registry(classes);
        metrics.reconciled(Duration::from_millis(3), Some("conflict"));
        metrics.leading(true);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "portside_operator_classes{ready=\"True\",reason=\"Succeeded\"} 2",
            "portside_operator_classes{ready=\"False\",reason=\"CodeInvalid\"} 1",
            "portside_operator_classes{ready=\"False\",reason=\"ClassInvalid\"} 1",
            "portside_operator_classes{ready=\"False\",reason=\"none\"} 1",
            "portside_operator_classes_stalled{reason=\"CodeInvalid\"} 1",
            "portside_operator_classes_stalled{reason=\"ClassInvalid\"} 1",
            "portside_operator_classes_stalled{reason=\"none\"} 1",
            "portside_operator_reconcile_errors_total{reason=\"conflict\"} 1",
            "portside_operator_reconcile_errors_total{reason=\"forbidden\"} 0",
            "portside_operator_leader 1",
            "portside_operator_watches_refused 0",
        ] {
            assert!(
                text.lines().any(|one| one == line),
                "{line} is not in\n{text}"
            );
        }
        for other in [
            "secret-project",
            "three",
            "SomebodysOwn",
            "stalled{reason=\"PodCrashing",
        ] {
            assert!(!text.contains(other), "{text}");
        }
    }
}
