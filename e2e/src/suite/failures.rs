//! What breaks, and what must not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use hyper::Method;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::operation::{start_operator, stop_operator};
use crate::apps;
use crate::class::{Class, uid};
use crate::cluster::{Cluster, SYSTEM, until};
use crate::load::{self, Load};
use crate::node::Process;
use crate::test::Test;

/// The ledger with so many pods, ready.
async fn ledger(test: &Arc<Test>, replicas: u32) -> Class {
    let mut spec = apps::ledger("1");
    spec["scaling"] = json!({ "replicas": replicas });
    let class = test.class("ledger", spec).await;
    class.ready().await;
    class
}

/// How long it takes until an entry is confirmed again. What was on its way to a pod that is gone may fail: nobody
/// knows whether it was run, so it is for the client to ask again.
pub(super) async fn answers_again(class: &Class, entry: &str) -> Duration {
    answers_within(class, entry, Duration::from_secs(60)).await
}

/// The same, of something that takes long.
pub(super) async fn answers_within(class: &Class, entry: &str, patience: Duration) -> Duration {
    let start = Instant::now();
    let path = format!("/probe?entry={entry}");
    let site = class.site();
    until("an answer", patience, async || {
        match site.try_request(Method::POST, &path, &[], "").await {
            Ok(reply) if reply.status == 200 => Ok(()),
            Ok(reply) => Err(format!("{} {}", reply.status, reply.text())),
            Err(error) => Err(error.to_string()),
        }
    })
    .await;
    start.elapsed()
}

/// Lets the load do something; there is nothing to wait for but time.
async fn work() {
    tokio::time::sleep(Duration::from_secs(3)).await;
}

/// SIGKILL, with another pod and without one: every confirmed write is there, and answers come again within seconds.
pub async fn a_killed_pod_loses_nothing(test: Arc<Test>) {
    let class = ledger(&test, 2).await;
    let pods = class.all_serve(2).await;
    let load = Load::start(&class.site(), 4);
    work().await;
    Process::of(&pods[0].0, "sidecar").signal(Signal::KILL);
    let took = load.goes_on(Duration::from_secs(60)).await;
    eprintln!("with another pod, all were answered again after {took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    class.all_serve(2).await;

    class
        .kubectl(&["scale", "swc/ledger", "--replicas=1"])
        .await;
    let pods = class.all_serve(1).await;
    class.current().await;
    Process::of(&pods[0].0, "sidecar").signal(Signal::KILL);
    let took = load.goes_on(Duration::from_secs(60)).await;
    eprintln!("alone, all were answered again after {took:?}");
    assert!(took < Duration::from_secs(30), "{took:?}");

    let outcome = load.finish().await;
    // A request that was being answered when its pod, or that of its worker, died cannot be sent again: nobody knows whether
    // it was run.
    outcome.fails_at_most(8, "two kills, four clients");
    assert!(outcome.confirmed > 50, "{outcome:?}");
}

/// SIGSTOP past the lease: another pod takes over, and what the paused one does when it wakes has no effect.
pub async fn a_paused_pod_is_replaced_and_fenced(test: Arc<Test>) {
    let class = ledger(&test, 2).await;
    let pods = class.all_serve(2).await;
    let load = Load::start(&class.site(), 4);
    work().await;
    let (paused, before) = &pods[0];
    let process = Process::of(paused, "sidecar");
    process.signal(Signal::STOP);
    process.paused().await;
    let took = load.goes_on(Duration::from_secs(60)).await;
    eprintln!("all were answered again after {took:?}");
    assert!(took < Duration::from_secs(20), "{took:?}");
    work().await;

    process.signal(Signal::CONT);
    until(
        "the paused process to end",
        Duration::from_secs(60),
        async || {
            let states = class.states().await;
            let still = states
                .iter()
                .find(|(_, said)| said.incarnation == before.incarnation);
            still.map_or(Ok(()), |(_, said)| Err(format!("{said:?}")))
        },
    )
    .await;
    // What comes back in its place is another, and shares the workers.
    class.all_serve(2).await;
    work().await;
    let outcome = load.finish().await;
    outcome.fails_at_most(4, "one pause, four clients");
    class.current().await;

    // What the new owners remember is what is stored: the paused pod's late writes are in neither.
    let site = class.site();
    let remembered = async || {
        let ledgers = ["/client-0", "/client-1", "/client-2", "/client-3"];
        join_all(ledgers.map(|path| load::entries(&site, path))).await
    };
    let before = remembered().await;
    class
        .kubectl(&["delete", "pods", "-l", "portside.dev/class=ledger"])
        .await;
    assert_eq!(remembered().await, before);
}

/// Without an operator, everything that runs goes on, pods that die included; with it back, changes take effect.
pub async fn nothing_depends_on_the_operator(test: Arc<Test>) {
    let class = ledger(&test, 1).await;
    let load = Load::start(&class.site(), 2);
    let pods: Vec<_> = class.pods().await.iter().map(uid).collect();
    // First it is killed, and comes back.
    let operator = component(&test.cluster, "operator").await;
    Process::of(&operator[0], "operator").signal(Signal::KILL);
    test.cluster.rolled_out(SYSTEM, "portside-operator").await;
    class.apply(apps::ledger("2")).await;
    class.ready().await;
    until("version 2", Duration::from_secs(60), async || {
        let answer = class.site().get("/a").await.json();
        if answer["version"] == "2" {
            Ok(())
        } else {
            Err(answer.to_string())
        }
    })
    .await;
    assert_ne!(class.pods().await.iter().map(uid).collect::<Vec<_>>(), pods);
    load.finish().await.flawless();

    // Then it is away.
    stop_operator(&test.cluster).await;
    let load = Load::start(&class.site(), 2);
    work().await;
    class
        .kubectl(&["delete", "pods", "-l", "portside.dev/class=ledger"])
        .await;
    let took = answers_again(&class, "no-operator").await;
    eprintln!("without an operator, answers came again after {took:?}");
    let outcome = load.finish().await;
    start_operator(&test.cluster).await;
    outcome.flawless();
    class.current().await;
}

/// Gateways are replaced one by one, and one is killed.
pub async fn gateways_come_and_go(test: Arc<Test>) {
    let class = ledger(&test, 1).await;
    let load = Load::start(&class.site(), 4);
    work().await;
    test.cluster
        .kubectl(&[
            "-n",
            SYSTEM,
            "rollout",
            "restart",
            "deployment/portside-gateway",
        ])
        .await;
    test.cluster.rolled_out(SYSTEM, "portside-gateway").await;
    work().await;
    load.finish().await.flawless();

    let load = Load::start(&class.site(), 4);
    let gateways = component(&test.cluster, "gateway").await;
    Process::of(&gateways[0], "gateway").signal(Signal::KILL);
    work().await;
    let outcome = load.finish().await;
    eprintln!(
        "a killed gateway failed {} of {} requests",
        outcome.failures.len(),
        outcome.confirmed
    );
    assert!(outcome.confirmed > 50, "{outcome:?}");
    test.cluster.rolled_out(SYSTEM, "portside-gateway").await;
    until(
        "every request to succeed",
        Duration::from_secs(30),
        async || {
            let load = Load::start(&class.site(), 4);
            work().await;
            let failures = load.finish().await.failures;
            if failures.is_empty() {
                Ok(())
            } else {
                Err(format!("{failures:?}"))
            }
        },
    )
    .await;
}

/// The database is killed and comes back: so do the workers, with everything they confirmed.
pub async fn the_database_restarts(test: Arc<Test>) {
    let class = ledger(&test, 1).await;
    let load = Load::start(&class.site(), 4);
    work().await;
    let postgres = component(&test.cluster, "postgres").await;
    Process::of(&postgres[0], "postgres").signal(Signal::KILL);
    until(
        "the restart of the database",
        Duration::from_secs(60),
        async || {
            let pod = &component(&test.cluster, "postgres").await[0];
            let status = &pod["status"]["containerStatuses"][0];
            if status["restartCount"] != 0 && status["ready"] == true {
                Ok(())
            } else {
                Err(status.to_string())
            }
        },
    )
    .await;
    answers_again(&class, "back").await;
    work().await;
    let outcome = load.finish().await;
    eprintln!(
        "{} confirmed, {} failed",
        outcome.confirmed,
        outcome.failures.len()
    );
    assert!(outcome.confirmed > 50, "{outcome:?}");
    class.current().await;
}

/// The pods of a part of the release.
pub(super) async fn component(cluster: &Cluster, name: &str) -> Vec<Value> {
    let selector = format!("app.kubernetes.io/name=portside,app.kubernetes.io/component={name}");
    let mut pods = cluster.list(SYSTEM, "pods", &selector).await;
    pods.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    assert!(!pods.is_empty(), "no pod of {name}");
    pods
}
