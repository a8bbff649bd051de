//! As many workers as people have: what lists of them cost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::Method;
use portside_testkit::Site;
use serde_json::{Value, json};

use crate::class::Class;
use crate::cluster::{Cluster, SYSTEM};
use crate::node::Process;
use crate::release::{database_at, sql, sql_in};
use crate::test::Test;
use crate::workers::{name, note, notes, path, registered};

/// How many sleep.
const SLEEPERS: usize = 1_000_000;
/// Of a page, as kubectl asks for them.
const CHUNK: usize = 500;
/// How long a page may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// How much more memory a replica may have after all pages than after the first ones.
const GROWTH: u64 = 32 << 20;
/// What is asked for where not all pages are.
const SOME_PAGES: usize = 200;

/// Stores what the worker `template` has stored once more for a million others, as the store itself would.
const FILL: &str = include_str!("../../../bench/src/sleepers.sql");

/// A million workers are listed page by page: each comes within a second, none is missing, and the API server needs no more memory for
/// them. One of them that wakes, and sleeps, is seen by whoever watches.
pub async fn a_million_workers_are_listed_and_watched(test: Arc<Test>) {
    const DATABASE: &str = "million";
    let cluster = &test.cluster;
    registered(cluster).await;
    let drop = format!("DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)");
    sql(cluster, &drop).await;
    sql(cluster, &format!("CREATE DATABASE {DATABASE}")).await;
    let data = json!({ "stringData": { "url": database_at(DATABASE) } });
    test.apply("v1", "Secret", DATABASE, data).await;
    let mut spec = notes(1);
    spec["storage"] = json!({ "database": { "secretKeyRef": { "name": DATABASE } } });
    let class = test.class("notes", spec).await;
    class.ready().await;
    note(&class, "template", "one").await;
    let start = Instant::now();
    let fill = FILL.replace("COUNT", &SLEEPERS.to_string());
    sql_in(cluster, DATABASE, &fill).await;
    sql_in(cluster, DATABASE, "ANALYZE").await;
    eprintln!("{SLEEPERS} workers stored in {:?}", start.elapsed());

    are_listed(&test).await;
    is_watched(&test, &class).await;
    class.delete().await;
    sql(cluster, &drop).await;
}

/// Asks for page after page, as kubectl does.
async fn are_listed(test: &Test) {
    let cluster = &test.cluster;
    let mut proxy = cluster.follow(&["proxy", "--port=0"]);
    let serving = proxy.line(&["Starting to serve on "]).await;
    let site = Site::at(serving.rsplit(' ').next().unwrap());
    let pages = match cluster.settings.short {
        true => SOME_PAGES,
        false => usize::MAX,
    };
    let (mut next, mut taken, mut count, mut last) = (String::new(), vec![], 0, String::new());
    let mut before = 0;
    while taken.len() < pages {
        let start = Instant::now();
        let page = page(&site, test, &next).await;
        taken.push(start.elapsed());
        let rows = page["rows"].as_array().unwrap();
        count += rows.len();
        for row in rows {
            let of = row["object"]["metadata"]["name"].as_str().unwrap();
            assert!(of.starts_with("notes.") && of != last, "{of} after {last}");
            of.clone_into(&mut last);
        }
        let more = page["metadata"]["continue"].as_str().unwrap_or_default();
        if taken.len() == 20 {
            before = memory(cluster).await;
        }
        if more.is_empty() {
            assert_eq!(count, SLEEPERS + 1);
            break;
        }
        assert_eq!(rows.len(), CHUNK);
        next = format!("&continue={more}");
    }
    let after = memory(cluster).await;
    taken.sort_unstable();
    let (middle, slowest) = (taken[taken.len() / 2], taken[taken.len() - 1]);
    eprintln!(
        "{count} workers on {} pages: p50 {middle:?}, max {slowest:?}; {} MiB of memory, then {}",
        taken.len(),
        before >> 20,
        after >> 20,
    );
    assert!(slowest < PATIENCE, "a page took {slowest:?}");
    assert!(after < before + GROWTH, "{before} bytes, then {after}");
}

async fn page(site: &Site, test: &Test, next: &str) -> Value {
    const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let path = path(test, &format!("?limit={CHUNK}{next}"));
    let headers = [("accept", TABLE)];
    let reply = site.request(Method::GET, &path, &headers, "").await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

/// The bytes of the replica that has the most.
async fn memory(cluster: &Cluster) -> u64 {
    let selector = "app.kubernetes.io/component=apiserver";
    let pods = cluster.list(SYSTEM, "pods", selector).await;
    let resident = pods
        .iter()
        .map(|pod| Process::of(pod, "apiserver").resident());
    resident.max().unwrap()
}

/// Whoever watches those that are awake, which takes no list of all, sees one wake and fall asleep.
async fn is_watched(test: &Test, class: &Class) {
    let get = ["-n", &test.namespace, "get", "serverlessworkers"];
    let awake = ["--field-selector=status.state=Awake", "--watch"];
    let events = ["--output-watch-events"];
    note(class, "template", "two").await;
    let mut seen = test
        .cluster
        .follow(&[&get[..], &awake[..], &events[..]].concat());
    seen.line(&["ADDED", "notes.js#template", "Awake"]).await;
    let worker = "notes.js#sleeper-777777";
    note(class, "sleeper-777777", "two").await;
    seen.line(&["ADDED", worker, "Awake"]).await;
    sleep(test, worker).await;
    seen.line(&["DELETED", worker]).await;
}

async fn sleep(test: &Test, worker: &str) {
    let address = worker.replace('#', "%23");
    let list = path(test, &format!("?fieldSelector=spec.address%3D{address}"));
    let found = test.cluster.kubectl(&["get", "--raw", &list]).await;
    let found: Value = serde_json::from_str(&found).unwrap();
    let sleep = path(test, &format!("/{}/sleep", name(&found["items"][0])));
    test.cluster.post(&sleep, &json!({})).await.unwrap();
}
