//! From an earlier version of Portside to this one, and back.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::apps;
use crate::class::{Class, uid};
use crate::cluster::{SYSTEM, until};
use crate::load::Load;
use crate::release::{Release, charts, postgres_in};
use crate::settings::BEFORE;
use crate::test::Test;

/// How long a class may take to run with other images, while others are under load.
const ROLLED: Duration = Duration::from_secs(180);

/// Gateways go on for so long once they are to end: the operator, which tells Ingress controllers where gateways are, is replaced at the same
/// time, and those of 0.1.0 do not wait for it.
const LINGER: &str = "gateway.drainDelaySeconds=60";

/// Two classes on one database, written to all the time. An upgrade restarts none; one of them changes, and so runs the new version beside
/// the other; all goes back, and on to the new version again. No request fails, and no class is ever told to be broken.
pub async fn from_an_earlier_version_and_back(test: Arc<Test>) {
    let cluster = &test.cluster;
    let Some(before) = &cluster.settings.before else {
        eprintln!("no upgrade: PORTSIDE_E2E_BEFORE names no earlier version");
        return;
    };
    Release::new(cluster).uninstall("portside").await;
    postgres_in(cluster, &test.namespace).await;
    let before = Release::without_postgres(cluster, before.join("charts"));
    let now = Release::without_postgres(cluster, charts());
    let tag = &cluster.settings.tag;
    let linger = [LINGER.to_owned()];

    before.crds().await;
    before.upgrade_with(BEFORE, &linger).await;
    let one = test.class("one", scaled("1", 1)).await;
    let two = test.class("two", scaled("1", 2)).await;
    let classes = [&one, &two];
    for class in classes {
        class.ready().await;
    }
    let loads = classes.map(|class| Load::start(&class.site(), 2));
    let images = || images(classes);
    let pods = pods(classes).await;

    now.crds().await;
    now.upgrade_with(tag, &linger).await;
    settled(classes, &loads).await;
    assert_eq!(self::pods(classes).await, pods, "the upgrade restarts none");
    one.apply(scaled("2", 1)).await;
    runs(&one, tag).await;
    settled(classes, &loads).await;
    assert_eq!(images().await, [tag.as_str(), BEFORE]);

    // Gateways go back last: those of the earlier version do not believe a pod that is active alone after others that were not.
    before.crds().await;
    let gateway = format!("gateway.image.tag={tag}");
    before
        .upgrade_with(BEFORE, &[gateway, LINGER.to_owned()])
        .await;
    settled(classes, &loads).await;
    assert_eq!(images().await, [tag.as_str(), BEFORE]);
    // Pods of the earlier version start on what the new one has made of the database.
    for pod in two.pods().await {
        cluster
            .evict(&test.namespace, crate::class::name(&pod))
            .await;
        settled(classes, &loads).await;
    }
    for class in classes {
        class.apply(scaled("3", 2)).await;
        runs(class, BEFORE).await;
        settled(classes, &loads).await;
    }
    before.upgrade_with(BEFORE, &linger).await;
    settled(classes, &loads).await;

    now.crds().await;
    now.upgrade_with(tag, &linger).await;
    for class in classes {
        class.apply(scaled("4", 2)).await;
        runs(class, tag).await;
        settled(classes, &loads).await;
    }
    for load in loads {
        load.finish().await.flawless();
    }
    Release::new(cluster).install().await;
    assert!(
        cluster
            .get(SYSTEM, "deployment/portside-postgres")
            .await
            .is_some()
    );
}

fn scaled(version: &str, replicas: u32) -> Value {
    let mut spec = apps::ledger(version);
    spec["scaling"] = json!({ "replicas": replicas });
    spec
}

/// Every class is as it asks, and every client has been answered since.
async fn settled(classes: [&Class; 2], loads: &[Load]) {
    for class in classes {
        class.current().await;
    }
    for load in loads {
        load.goes_on(Duration::from_secs(30)).await;
    }
}

/// Waits until a class runs with the images of a tag, and nothing else.
async fn runs(class: &Class, tag: &str) {
    let what = format!("{} to run with {tag}", class.name);
    until(&what, ROLLED, async || {
        class.current().await;
        let pods = class.pods().await;
        let images: Vec<_> = pods.iter().map(image).collect();
        match images.iter().all(|image| image == tag) {
            true => Ok(()),
            false => Err(format!("{images:?}")),
        }
    })
    .await;
}

async fn pods(classes: [&Class; 2]) -> Vec<String> {
    let mut all = vec![];
    for class in classes {
        all.extend(class.pods().await.iter().map(uid));
    }
    all
}

/// The tag of each class's first pod.
async fn images(classes: [&Class; 2]) -> Vec<String> {
    let mut all = vec![];
    for class in classes {
        all.push(image(&class.pods().await[0]));
    }
    all
}

fn image(pod: &Value) -> String {
    let image = pod["spec"]["containers"][0]["image"].as_str().unwrap();
    let (_, tag) = image.rsplit_once(':').unwrap();
    tag.to_owned()
}
