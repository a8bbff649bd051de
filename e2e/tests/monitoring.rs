//! The chart's alerts and its dashboard: what they name exists, and what they promise. Tests that render the chart need `helm`, as in
//! `charts.rs`; `scripts/alerts` tests when alerts fire.
#![allow(
    clippy::unwrap_used,
    reason = "a test may panic, and helpers outside of #[test] are tests too"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const ALERTS: &str = "charts/portside/files/alerts.yaml";
const DASHBOARD: &str = "charts/portside/files/dashboard.json";

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The names of Portside's own metrics in a text.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let components = ["apiserver", "gateway", "operator", "sidecar"];
    let is_metric = |word: &&str| {
        let rest = word.strip_prefix("portside_");
        rest.is_some_and(|rest| components.iter().any(|it| rest.starts_with(*it)))
    };
    words.filter(is_metric).map(ToOwned::to_owned).collect()
}

/// Every name that can be asked for: those of the page, which the components' own tests hold to what is scraped.
fn series() -> BTreeSet<String> {
    let page = read("docs/metrics.md");
    let rows = page.lines().filter_map(|line| {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let name = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
        Some((name, cells.next()?))
    });
    let names = rows.flat_map(|(name, kind)| {
        let endings: &[&str] = match kind {
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        endings.iter().map(move |ending| format!("{name}{ending}"))
    });
    names.collect()
}

fn alerts() -> Vec<Value> {
    let rules: Value = serde_saphyr::from_str(&read(ALERTS)).unwrap();
    let groups = rules["groups"].as_array().unwrap();
    let rules = groups
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap());
    rules.cloned().collect()
}

#[test]
fn every_metric_that_is_asked_for_exists() {
    let series = series();
    assert!(series.len() > 50, "the page has its tables: {series:?}");
    for file in [ALERTS, DASHBOARD, "charts/portside/tests/alerts.yaml"] {
        let unknown: Vec<_> = metrics_in(&read(file))
            .into_iter()
            // The text of an alert may name a histogram as a whole.
            .filter(|name| !series.contains(name) && !series.contains(&format!("{name}_bucket")))
            .collect();
        assert!(unknown.is_empty(), "{file} asks for {unknown:?}");
    }
    for alert in alerts() {
        let asked = metrics_in(alert["expr"].as_str().unwrap());
        assert!(!asked.is_empty() && asked.is_subset(&series), "{alert}");
    }
}

/// Whether a link from the repository's root leads to a file, and to a heading in it.
fn leads_somewhere(link: &str) -> bool {
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let Ok(text) = fs::read_to_string(path(file)) else {
        return false;
    };
    let mut headings = text.lines().filter_map(|line| line.strip_prefix("## "));
    anchor.is_empty() || headings.any(|heading| heading.to_lowercase() == anchor)
}

#[test]
fn every_alert_says_what_is_wrong_and_where_it_is_explained() {
    let tests = read("charts/portside/tests/alerts.yaml");
    let page = read("docs/alerts.md");
    for alert in alerts() {
        let name = alert["alert"].as_str().unwrap();
        let severity = alert["labels"]["severity"].as_str().unwrap();
        assert!(["warning", "critical"].contains(&severity), "{name}");
        let text = |of: &str| alert["annotations"][of].as_str().unwrap().to_owned();
        assert!(!text("summary").is_empty() && !text("description").is_empty());
        let reason = "{{ $labels.reason }}";
        let runbook = text("runbook_url").replace(reason, "CodeInvalid");
        assert!(leads_somewhere(&runbook), "{name}: {runbook}");
        assert!(page.contains(name), "docs/alerts.md says nothing of {name}");
        assert!(is_tested(&tests, name), "no test of {name}");
    }
}

/// By its name, or by the half of it that a test's expression matches.
fn is_tested(tests: &str, name: &str) -> bool {
    tests.contains(name) || (name.ends_with("Slow") && tests.contains(".*Slow"))
}

#[test]
fn every_section_of_the_page_is_an_alert() {
    let alerts = alerts();
    for heading in read("docs/alerts.md")
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
    {
        assert!(
            alerts.iter().any(|alert| alert["alert"] == heading),
            "{heading}"
        );
    }
}

/// The chart's own objects of monitoring with these values, if there is helm.
fn rendered(values: &str) -> Option<Vec<Value>> {
    let program = std::env::var_os("HELM").unwrap_or_else(|| "helm".into());
    let chart = path("charts/portside");
    let output = Command::new(program)
        .args(["template", "portside"])
        .arg(chart)
        .args(["--kube-version=1.33", "--set", values])
        .output()
        .ok()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{values}: {errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    let documents = text.trim_start_matches("---\n").split("\n---\n");
    let objects = documents.map(|document| serde_saphyr::from_str::<Value>(document).unwrap());
    let is_ours = |object: &Value| {
        object["metadata"]["labels"]["app.kubernetes.io/component"] == "monitoring"
    };
    Some(objects.filter(is_ours).collect())
}

#[test]
fn there_are_no_alerts_and_no_dashboard_unless_they_are_asked_for() {
    let objects = rendered("podMonitor.enabled=true");
    assert!(objects.is_none_or(|objects| objects.is_empty()));
}

#[test]
fn the_chart_has_the_alerts_that_are_wanted() {
    let values = "prometheusRule.enabled=true,prometheusRule.runbooks=https://git.example/portside/,\
        prometheusRule.without={PortsidePanics,PortsideRequestsFail},prometheusRule.alertLabels.team=platform";
    let Some(objects) = rendered(values) else {
        return;
    };
    assert_eq!(objects.len(), 1);
    let groups = objects[0]["spec"]["groups"].as_array().unwrap();
    let rules = groups
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap());
    let rules: Vec<_> = rules.collect();
    assert_eq!(rules.len(), alerts().len() - 2);
    for rule in rules {
        let name = &rule["alert"];
        assert!(name != "PortsidePanics" && name != "PortsideRequestsFail");
        assert_eq!(rule["labels"]["team"], "platform");
        assert!(rule["labels"]["severity"].is_string());
        let runbook = rule["annotations"]["runbook_url"].as_str().unwrap();
        assert!(
            runbook.starts_with("https://git.example/portside/docs/"),
            "{runbook}"
        );
        let wanted = alerts().into_iter().find(|alert| alert["alert"] == *name);
        assert_eq!(rule["expr"], wanted.unwrap()["expr"], "{name}");
    }
}

#[test]
fn the_chart_has_the_dashboard() {
    let Some(objects) = rendered("grafanaDashboard.enabled=true") else {
        return;
    };
    assert_eq!(objects.len(), 1);
    assert_eq!(objects[0]["metadata"]["labels"]["grafana_dashboard"], "1");
    let shown: Value =
        serde_json::from_str(objects[0]["data"]["portside.json"].as_str().unwrap()).unwrap();
    assert_eq!(
        shown,
        serde_json::from_str::<Value>(&read(DASHBOARD)).unwrap()
    );
    let panels = shown["panels"].as_array().unwrap();
    let asks = |panel: &&Value| panel["type"] == "row" || panel["targets"][0]["expr"].is_string();
    assert!(panels.len() > 10 && panels.iter().all(|panel| asks(&panel)));
}
