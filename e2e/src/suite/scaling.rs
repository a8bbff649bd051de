//! Pods that share a class's workers: they come and go, and nobody notices.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use portside_crds::names::REVISION_ANNOTATION;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::failures::component;
use super::operation::{start_operator, stop_operator};
use crate::apps;
use crate::class::{Class, name, uid};
use crate::cluster::{SYSTEM, until};
use crate::load::{self, Load};
use crate::node::Process;
use crate::test::Test;

/// Workers besides those of the load: so many that no pod is without one.
const WORKERS: usize = 60;
const DEPLOYMENT: &str = "deployment/ledger-workers";
const COST: &str = "controller.kubernetes.io/pod-deletion-cost";

fn path(worker: usize) -> String {
    format!("/worker-{worker}")
}

/// The ledger with so many pods that serve, and an entry of each of [`WORKERS`].
pub(super) async fn ledger(test: &Arc<Test>, replicas: usize) -> Class {
    let mut spec = apps::ledger("v1");
    spec["scaling"] = json!({ "replicas": replicas });
    let class = test.class("ledger", spec).await;
    class.ready().await;
    class.all_serve(replicas).await;
    for worker in 0..WORKERS {
        load::add(&class.site(), &path(worker), "one").await;
    }
    class
}

/// Whatever was done to the pods, each worker knows its entry, once.
pub(super) async fn each_has_its_entry(class: &Class) {
    for worker in 0..WORKERS {
        assert_eq!(
            load::entries(&class.site(), &path(worker)).await,
            ["one"],
            "{worker}"
        );
    }
}

async fn scale(class: &Class, replicas: usize) {
    let replicas = format!("--replicas={replicas}");
    class.kubectl(&["scale", "swc/ledger", &replicas]).await;
}

/// The revision that the Deployment's pods have, if they share the workers.
async fn revision(test: &Test) -> Option<u64> {
    let deployment = test.cluster.get(&test.namespace, DEPLOYMENT).await.unwrap();
    let revision = deployment["metadata"]["annotations"][REVISION_ANNOTATION].as_str();
    revision.map(|number| number.parse().unwrap())
}

/// Waits until each pod has workers awake.
async fn all_have_workers(class: &Class, pods: usize) {
    until("workers in each pod", Duration::from_secs(60), async || {
        each_has_its_entry(class).await;
        let mut awake = vec![];
        for pod in class.pods().await {
            awake.push(class.awake(&pod).await.unwrap_or(0));
        }
        if awake.len() == pods && awake.iter().all(|count| *count > 0) {
            eprintln!("awake in each pod: {awake:?}");
            return Ok(());
        }
        Err(format!("{awake:?}"))
    })
    .await;
}

/// One pod, three, two, under load: all of them serve, and no request fails.
pub async fn pods_come_and_go(test: Arc<Test>) {
    let class = ledger(&test, 1).await;
    let first = revision(&test).await;
    let load = Load::start(&class.site(), 6);
    scale(&class, 3).await;
    class.all_serve(3).await;
    class.current().await;
    all_have_workers(&class, 3).await;
    until(
        "the status to say so",
        Duration::from_secs(60),
        async || {
            let status = &class.get().await["status"];
            let numbers = [
                &status["replicas"],
                &status["readyReplicas"],
                &status["servingReplicas"],
            ];
            if numbers.iter().all(|number| **number == 3) {
                Ok(())
            } else {
                Err(status.to_string())
            }
        },
    )
    .await;
    scale(&class, 2).await;
    class.all_serve(2).await;
    class.current().await;
    all_have_workers(&class, 2).await;
    assert_eq!(
        (first, revision(&test).await),
        (Some(1), Some(1)),
        "scaling is no new revision"
    );
    let outcome = load.finish().await;
    outcome.flawless();
    each_has_its_entry(&class).await;
}

/// One of three pods is deleted without a word, and one is killed on its node.
pub async fn a_lost_pod_loses_nothing(test: Arc<Test>) {
    let class = ledger(&test, 3).await;
    let clients = 6;
    let load = Load::start(&class.site(), clients);
    load.goes_on(Duration::from_secs(30)).await;
    let pods = class.all_serve(3).await;
    let delete = [
        "delete",
        "pod",
        name(&pods[0].0),
        "--force",
        "--grace-period=0",
    ];
    class.kubectl(&delete).await;
    let pods = class.all_serve(3).await;

    Process::of(&pods[0].0, "sidecar").signal(Signal::KILL);
    let took = load.goes_on(Duration::from_secs(60)).await;
    eprintln!("all were answered after a kill after {took:?}");
    class.all_serve(3).await;
    all_have_workers(&class, 3).await;

    let outcome = load.finish().await;
    let slowest = outcome.slowest;
    assert!(slowest < Duration::from_secs(10), "{slowest:?}");
    // What was on its way to the pod, or to a worker of it.
    outcome.fails_at_most(2 * clients, "two losses");
    each_has_its_entry(&class).await;
}

/// New code in three pods, and back again while the operator is started anew: no request fails, and each is a newer revision.
pub async fn new_code_reaches_every_pod(test: Arc<Test>) {
    let class = ledger(&test, 3).await;
    let load = Load::start(&class.site(), 6);
    let apply = async |version: &str| {
        let before = class.digest().await;
        let mut spec = apps::ledger(version);
        spec["scaling"] = json!({ "replicas": 3 });
        class.apply(spec).await;
        class.code_other_than(&before).await;
        class.all_serve(3).await;
    };
    apply("v2").await;
    assert_eq!(revision(&test).await, Some(2));
    all_have_workers(&class, 3).await;
    let operator = component(&test.cluster, "operator").await;
    Process::of(&operator[0], "operator").signal(Signal::KILL);
    apply("v1").await;
    assert_eq!(revision(&test).await, Some(3), "going back is going on");
    all_have_workers(&class, 3).await;
    let outcome = load.finish().await;
    outcome.flawless();
    assert_eq!(
        outcome.versions.into_iter().collect::<Vec<_>>(),
        ["v1", "v2"]
    );
    each_has_its_entry(&class).await;
}

/// A node is drained that has all pods of a class, the operator and a gateway.
pub async fn a_drained_node_loses_nothing(test: Arc<Test>) {
    let class = ledger(&test, 3).await;
    let load = Load::start(&class.site(), 6);
    load.goes_on(Duration::from_secs(30)).await;
    let pods = class.pods().await;
    let operator = component(&test.cluster, "operator").await;
    let gateways = component(&test.cluster, "gateway").await;
    let workers = pods.iter().map(|pod| (test.namespace.as_str(), pod));
    let system = [&operator[0], &gateways[0]].map(|pod| (SYSTEM, pod));
    let evicted = workers.chain(system);
    join_all(evicted.map(|(namespace, pod)| test.cluster.evict(namespace, name(pod)))).await;
    test.cluster.rolled_out(SYSTEM, "portside-operator").await;
    test.cluster.rolled_out(SYSTEM, "portside-gateway").await;
    until("other pods", Duration::from_secs(120), async || {
        let now: Vec<_> = class.pods().await.iter().map(uid).collect();
        let left = pods.iter().filter(|pod| now.contains(&uid(pod))).count();
        if left == 0 {
            Ok(())
        } else {
            Err(format!("{left} are left"))
        }
    })
    .await;
    class.all_serve(3).await;
    class.current().await;
    load.goes_on(Duration::from_secs(30)).await;
    let outcome = load.finish().await;
    outcome.flawless();
    each_has_its_entry(&class).await;
}

/// Pods as an operator made them that knew nothing of sharing: they stay as they are, the active one for longest, until the
/// class is scaled out. Then all pods share the workers, and no request fails.
pub async fn pods_that_share_nothing_give_way(test: Arc<Test>) {
    let class = ledger(&test, 2).await;
    stop_operator(&test.cluster).await;
    unshare(&test, &class).await;
    start_operator(&test.cluster).await;
    let (active, before) = class.one_active().await;
    until(
        "the active pod to cost more",
        Duration::from_secs(60),
        async || {
            let cost = |pod: &Value| {
                pod["metadata"]["annotations"][COST]
                    .as_str()
                    .map(str::to_owned)
            };
            let pods = class.pods().await;
            let costs: Vec<_> = pods
                .iter()
                .map(|pod| (uid(pod) == uid(&active), cost(pod)))
                .collect();
            if pods.len() == 2
                && costs
                    .iter()
                    .all(|(is_active, cost)| *is_active == cost.is_some())
            {
                Ok(())
            } else {
                Err(format!("{costs:?}"))
            }
        },
    )
    .await;
    assert_eq!(revision(&test).await, None, "nothing was restarted");

    let load = Load::start(&class.site(), 4);
    scale(&class, 1).await;
    until("one pod", Duration::from_secs(120), async || {
        match class.pods().await.len() {
            1 => Ok(()),
            other => Err(format!("{other} pods")),
        }
    })
    .await;
    let (alone, now) = class.one_active().await;
    assert_eq!(
        (uid(&active), before.term),
        (uid(&alone), now.term),
        "the active pod stays"
    );

    scale(&class, 3).await;
    class.all_serve(3).await;
    class.current().await;
    assert_eq!(revision(&test).await, Some(1));
    let outcome = load.finish().await;
    outcome.flawless();
    all_have_workers(&class, 3).await;
}

/// Makes of a class's Deployment what an older operator had made.
async fn unshare(test: &Test, class: &Class) {
    let deployment = test.cluster.get(&test.namespace, DEPLOYMENT).await.unwrap();
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let args = container["args"].as_array().unwrap().iter();
    let args: Vec<_> = args.take_while(|arg| **arg != "--peer-listen").collect();
    let none = json!({ REVISION_ANNOTATION: null });
    let patch = json!({
        "metadata": { "annotations": {
            REVISION_ANNOTATION: null,
            "portside.dev/template": null,
            "portside.dev/operator-version": "0.0.0",
        } },
        "spec": { "template": {
            "metadata": { "annotations": none },
            "spec": { "containers": [{ "name": "sidecar", "args": args }] },
        } },
    });
    let patch = patch.to_string();
    class
        .kubectl(&["patch", DEPLOYMENT, "--patch", &patch])
        .await;
    test.cluster
        .rolled_out(&test.namespace, "ledger-workers")
        .await;
}
