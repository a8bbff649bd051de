//! What an administrator does to a class that works.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::apps;
use crate::class::{condition, uid};
use crate::cluster::{Cluster, SYSTEM, until};
use crate::load::{self, Load};
use crate::release::Release;
use crate::test::Test;

/// Suspended, a class has no pods, and everything it knew when it comes back.
pub async fn it_can_be_suspended_and_resumed(test: Arc<Test>) {
    let class = test.class("ledger", apps::ledger("1")).await;
    class.ready().await;
    load::add(&class.site(), "/a", "one").await;
    class.patch(&json!({ "spec": { "suspend": true } })).await;
    until("the end of the pods", Duration::from_secs(90), async || {
        let pods = class.pods().await.len();
        let object = class.get().await;
        let reason = &condition(&object, "Ready")["reason"];
        if pods == 0 && reason == "Suspended" {
            Ok(())
        } else {
            Err(format!("{pods} pods, {reason}"))
        }
    })
    .await;
    let waited = class.site().get("/a").await;
    assert_eq!(waited.status, 503, "{}", waited.text());

    class.patch(&json!({ "spec": { "suspend": false } })).await;
    class.ready().await;
    assert_eq!(load::entries(&class.site(), "/a").await, ["one"]);
}

/// Another version of Portside, with other images: the pods of classes stay until the class itself changes.
pub async fn an_upgrade_restarts_nothing(test: Arc<Test>) {
    let class = test.class("ledger", apps::ledger("1")).await;
    class.ready().await;
    let before = class.pods().await;
    let image = &before[0]["spec"]["containers"][0]["image"];
    let settings = &test.cluster.settings;
    let next = format!("{}-next", settings.tag);
    assert!(image.as_str().unwrap().ends_with(&settings.tag), "{image}");

    let load = Load::start(&class.site(), 2);
    let release = Release::new(&test.cluster);
    // The images of both tags hold the same programs: make the older version's mark by hand.
    stop_operator(&test.cluster).await;
    let mark = "portside.dev/operator-version=0.0.0";
    class
        .kubectl(&["annotate", "--overwrite", "deployment/ledger-workers", mark])
        .await;
    release.upgrade(&next).await;
    // The new operator has looked at the class when it has looked at a newer one.
    let newer = test.class("newer", apps::ledger("1")).await;
    newer.ready().await;
    let pods = newer.pods().await;
    let new_image = pods[0]["spec"]["containers"][0]["image"].as_str().unwrap();
    assert!(new_image.ends_with(&next), "{new_image}");
    let after = class.pods().await;
    assert_eq!(
        before.iter().map(uid).collect::<Vec<_>>(),
        after.iter().map(uid).collect::<Vec<_>>()
    );
    assert_eq!(
        after[0]["status"]["containerStatuses"][0]["restartCount"],
        0
    );
    class.current().await;
    load.finish().await.flawless();

    // A change of its own brings the new image.
    class.apply(apps::ledger("2")).await;
    until("the new image", Duration::from_secs(120), async || {
        let object = class.get().await;
        let image = object["status"]["sidecarImage"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        if image.ends_with(&next) {
            Ok(())
        } else {
            Err(image)
        }
    })
    .await;
    release.upgrade(&settings.tag).await;
}

/// Portside looks after two namespaces only, and one of them is deleted, with a class whose state is to go with it. The rights in it
/// go first, or last; gone it is, and after a restart nobody waits for it.
pub async fn a_watched_namespace_may_go(test: Arc<Test>) {
    let cluster = &test.cluster;
    let other = test.tenant("other").await;
    let release = Release::new(cluster);
    let tag = &cluster.settings.tag;
    let watched = format!("watchNamespaces={{{},{}}}", test.namespace, other.namespace);
    release.upgrade_with(tag, &[watched]).await;
    let class = test.class("ledger", apps::ledger("1")).await;
    class.ready().await;
    let mut spec = apps::ledger("1");
    spec["storage"] = json!({ "deletionPolicy": "Delete" });
    other.class("ledger", spec).await.ready().await;

    let delete = ["delete", "namespace", &other.namespace, "--timeout=180s"];
    cluster.kubectl(&delete).await;
    stop_operator(cluster).await;
    let restart = ["rollout", "restart", "deployment/portside-gateway"];
    cluster
        .kubectl(&[&["-n", SYSTEM], &restart[..]].concat())
        .await;
    cluster.rolled_out(SYSTEM, "portside-gateway").await;
    start_operator(cluster).await;
    class.apply(apps::ledger("2")).await;
    class.ready().await;
    load::add(&class.site(), "/a", "one").await;
    release.upgrade(tag).await;
}

/// Ends the operator and waits until it is gone.
pub(super) async fn stop_operator(cluster: &Cluster) {
    let scale = ["scale", "deployment/portside-operator", "--replicas=0"];
    cluster
        .kubectl(&[&["-n", SYSTEM], &scale[..]].concat())
        .await;
    let wait = ["wait", "--for=delete", "--timeout=90s", "pods"];
    let operators = ["-l", "app.kubernetes.io/component=operator"];
    cluster
        .kubectl(&[&["-n", SYSTEM], &wait[..], &operators[..]].concat())
        .await;
}

/// Starts it again.
pub(super) async fn start_operator(cluster: &Cluster) {
    let scale = ["scale", "deployment/portside-operator", "--replicas=1"];
    cluster
        .kubectl(&[&["-n", SYSTEM], &scale[..]].concat())
        .await;
    cluster.rolled_out(SYSTEM, "portside-operator").await;
}

/// Two classes want one route: the older has it, the younger says so, and gets it when the older goes.
pub async fn the_older_class_keeps_its_route(test: Arc<Test>) {
    let older = test.class("older", apps::ledger("older")).await;
    older.ready().await;
    let younger = test.class("younger", apps::ledger("younger")).await;
    let route = json!([{ "host": test.host("older") }]);
    // Names have a resolution of one second in creationTimestamp; a tie goes by name, and "older" is first there, too.
    younger.patch(&json!({ "spec": { "routes": route } })).await;
    let conflict = younger
        .condition("RoutesReady", "False", "RouteConflict")
        .await;
    assert!(
        conflict["message"].as_str().unwrap().contains("older"),
        "{conflict}"
    );
    assert_eq!(older.site().get("/a").await.json()["version"], "older");
    older.delete().await;
    until(
        "the younger class at the route",
        Duration::from_secs(60),
        async || {
            let reply = older.site().get("/a").await;
            match reply.status {
                200 if reply.json()["version"] == "younger" => Ok(()),
                status => Err(format!("{status} {}", reply.text())),
            }
        },
    )
    .await;
}
