//! Many classes at once, and how little they cost when nothing happens.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::apps;
use crate::class::condition;
use crate::cluster::{Cluster, until};
use crate::test::Test;

const CLASSES: usize = 100;

/// A hundred classes are made at once, pods and all: two minutes on two cores with nothing else to do, most of them the
/// cluster's own, and the test is patient with busy ones. Then they cause no traffic.
pub async fn a_hundred_classes_settle(test: Arc<Test>) {
    let classes: Vec<Value> = (0..CLASSES)
        .map(|number| {
            let mut spec = apps::ledger(&number.to_string());
            // More than a small node has to give, if each asked for what a busy class needs.
            spec["pod"] = json!({ "resources": { "requests": { "cpu": "1m", "memory": "16Mi" } } });
            spec["routes"] = json!([{ "host": test.host(&format!("many-{number}")) }]);
            json!({
                "apiVersion": "portside.dev/v1alpha1",
                "kind": "ServerlessWorkerClass",
                "metadata": { "name": format!("many-{number}"), "namespace": test.namespace },
                "spec": spec,
            })
        })
        .collect();
    let start = Instant::now();
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": classes });
    test.cluster.apply(&list).await;
    until(
        "all classes to be settled",
        Duration::from_secs(600),
        async || {
            let classes = test.cluster.list(&test.namespace, "swc", "").await;
            let settled = classes.iter().filter(|class| settled(class)).count();
            if settled == CLASSES {
                Ok(())
            } else {
                // Looking costs what the classes are waiting for: the processor.
                tokio::time::sleep(Duration::from_secs(1)).await;
                Err(format!("{settled} of {}", classes.len()))
            }
        },
    )
    .await;
    eprintln!("{CLASSES} classes settled in {:?}", start.elapsed());

    // One quiet minute, after the first count of each class's workers, which comes within half a minute.
    until(
        "every class's workers to be counted",
        Duration::from_secs(90),
        async || {
            let classes = test.cluster.list(&test.namespace, "swc", "").await;
            let counted = classes
                .iter()
                .filter(|class| class["status"]["workers"]["stored"] == 0)
                .count();
            if counted == CLASSES {
                Ok(())
            } else {
                Err(format!("{counted} are"))
            }
        },
    )
    .await;
    // Numbers that have changed once more are shown within half a minute: then there is nothing to do.
    let mut said = vec![];
    for _ in 0..3 {
        let (sum, caused) = idle_minute(&test.cluster).await;
        eprintln!("requests in an idle minute: {sum} {caused:?}");
        if sum <= 20 {
            return;
        }
        said.push(caused);
    }
    panic!("more than 20 requests in each idle minute: {said:?}");
}

/// How many requests a minute causes, and which.
async fn idle_minute(cluster: &Cluster) -> (u64, BTreeMap<String, u64>) {
    let before = requests(cluster).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let after = requests(cluster).await.into_iter();
    let caused: BTreeMap<_, _> = after
        .map(|(what, count)| {
            let before = before.get(&what).copied().unwrap_or_default();
            (what, count - before)
        })
        .filter(|(_, count)| *count > 0)
        .collect();
    (caused.values().sum(), caused)
}

fn settled(class: &Value) -> bool {
    class["status"]["observedGeneration"] == class["metadata"]["generation"]
        && condition(class, "Ready")["reason"] == "Succeeded"
        && condition(class, "Reconciling")["status"] != "True"
}

/// What the API server was asked so far that an operator could ask: by verb and resource, without the leases, which
/// every component renews, and without long watches, which count when they end. The API server itself gets its own
/// EndpointSlice every ten seconds.
async fn requests(cluster: &Cluster) -> BTreeMap<String, u64> {
    let metrics = cluster.kubectl(&["get", "--raw", "/metrics"]).await;
    let mut requests = BTreeMap::new();
    for line in metrics
        .lines()
        .filter(|line| line.starts_with("apiserver_request_total{"))
    {
        let label = |name: &str| {
            let (_, rest) = line.split_once(&format!("{name}=\""))?;
            rest.split_once('"').map(|(value, _)| value)
        };
        let (Some(verb), Some(resource)) = (label("verb"), label("resource")) else {
            continue;
        };
        let ours = [
            "serverlessworkerclasses",
            "deployments",
            "services",
            "serviceaccounts",
            "configmaps",
            "endpointslices",
            "poddisruptionbudgets",
            "networkpolicies",
            "ingresses",
            "httproutes",
            "jobs",
            "pods",
            "events",
        ];
        if verb == "WATCH" || !ours.contains(&resource) {
            continue;
        }
        let count = line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap();
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count"
        )]
        let count = count as u64;
        *requests.entry(format!("{verb} {resource}")).or_default() += count;
    }
    requests
}
