//! Watches: from a list on, each change once.

use http::Method;
use serde_json::Value;

use crate::client::{Client, TABLE, Watch};
use crate::pod::{Pod, id};
use crate::setup::Setup;

const LIST: &str = "/namespaces/a/serverlessworkers";

async fn shop(setup: &Setup) -> Pod {
    let [pod] = setup.pods("a", ["one"]).await;
    pod.store([1, 2]);
    setup.class("a", "shop", std::slice::from_ref(&pod)).await;
    pod
}

fn name(number: u32) -> String {
    format!("shop.{}", id(number))
}

/// Lists, and watches from there on.
async fn watch(client: &Client, parameters: &str) -> Watch {
    let version = client.get(LIST).await.version();
    client
        .watch(&format!(
            "{LIST}?watch=1&resourceVersion={version}{parameters}"
        ))
        .await
}

fn event(kind: &str, number: u32) -> (String, String) {
    (kind.to_owned(), name(number))
}

#[tokio::test]
async fn what_happens_after_a_list_is_told() {
    let setup = Setup::new().await;
    let pod = shop(&setup).await;
    let mut watch = watch(&setup.client("admin").await, "").await;
    pod.wake(1);
    let (kind, object) = watch.next().await.unwrap();
    assert_eq!(kind, "MODIFIED");
    assert_eq!(object["metadata"]["name"], name(1));
    assert_eq!(object["status"]["state"], "Awake");
    pod.wake(9);
    assert_eq!(watch.seen().await, event("ADDED", 9));
    pod.sleep(1);
    assert_eq!(watch.seen().await, event("MODIFIED", 1));
    pod.remove(2);
    assert_eq!(watch.seen().await, event("DELETED", 2));
}

#[tokio::test]
async fn what_happened_between_a_list_and_its_watch_is_told() {
    let setup = Setup::new().await;
    let pod = shop(&setup).await;
    let admin = setup.client("admin").await;
    let version = admin.get(LIST).await.version();
    pod.wake(1);
    pod.sleep(1);
    let path = format!("{LIST}?watch=1&resourceVersion={version}");
    let mut first = admin.watch(&path).await;
    assert_eq!(first.seen().await, event("MODIFIED", 1));
    let (_, object) = first.next().await.unwrap();
    assert_eq!(object["status"]["state"], "Asleep");
    drop(first);
    // Whoever comes back with what they saw last sees the rest, and nothing twice.
    pod.wake(2);
    let seen = object["metadata"]["resourceVersion"].as_str().unwrap();
    let mut second = admin
        .watch(&format!("{LIST}?watch=1&resourceVersion={seen}"))
        .await;
    assert_eq!(second.seen().await, event("MODIFIED", 2));
}

#[tokio::test]
async fn a_selection_is_entered_and_left() {
    let setup = Setup::new().await;
    let pod = shop(&setup).await;
    let admin = setup.client("admin").await;
    let mut awake = watch(&admin, "&fieldSelector=status.state%3DAwake").await;
    let mut asleep = watch(&admin, "&fieldSelector=status.state%3DAsleep").await;
    let mut one = watch(
        &admin,
        &format!("&fieldSelector=metadata.name%3D{}", name(2)),
    )
    .await;
    pod.wake(1);
    assert_eq!(awake.seen().await, event("ADDED", 1));
    assert_eq!(asleep.seen().await, event("DELETED", 1));
    pod.sleep(1);
    assert_eq!(awake.seen().await, event("DELETED", 1));
    assert_eq!(asleep.seen().await, event("ADDED", 1));
    pod.wake(2);
    assert_eq!(one.seen().await, event("MODIFIED", 2));
}

#[tokio::test]
async fn a_watch_ends_in_time_and_says_how_far_it_was() {
    let setup = Setup::new().await;
    let pod = shop(&setup).await;
    let admin = setup.client("admin").await;
    let mut watch = watch(&admin, "&timeoutSeconds=1&allowWatchBookmarks=true").await;
    pod.wake(1);
    let (_, changed) = watch.next().await.unwrap();
    let (kind, bookmark) = watch.next().await.unwrap();
    assert_eq!(kind, "BOOKMARK");
    let version = |it: &Value| {
        it["metadata"]["resourceVersion"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert!(version(&bookmark) >= version(&changed));
    assert!(watch.next().await.is_none());
    let path = format!("{LIST}?watch=1&resourceVersion={}", version(&bookmark));
    let mut again = admin.watch(&path).await;
    pod.sleep(1);
    assert_eq!(again.seen().await, event("MODIFIED", 1));
}

#[tokio::test]
async fn a_watch_from_nowhere_begins_with_what_there_is() {
    let setup = Setup::new().await;
    let pod = shop(&setup).await;
    let admin = setup.client("admin").await;
    let mut watch = admin.watch(&format!("{LIST}?watch=1")).await;
    assert_eq!(watch.seen().await, event("ADDED", 1));
    assert_eq!(watch.seen().await, event("ADDED", 2));
    pod.wake(1);
    assert_eq!(watch.seen().await, event("MODIFIED", 1));
}

#[tokio::test]
async fn versions_of_others_have_expired() {
    let setup = Setup::new().await;
    shop(&setup).await;
    let admin = setup.client("admin").await;
    let version: u64 = admin.get(LIST).await.version().parse().unwrap();
    for other in [
        "5".to_owned(),
        (version + 1_000).to_string(),
        "x".to_owned(),
    ] {
        let answer = admin
            .get(&format!("{LIST}?watch=1&resourceVersion={other}"))
            .await;
        assert_eq!(answer.status, 410, "{other}");
        assert_eq!(answer.json()["reason"], "Expired");
    }
    // What was listed of one namespace says nothing of all.
    let answer = admin
        .get(&format!(
            "/serverlessworkers?watch=1&resourceVersion={version}"
        ))
        .await;
    assert_eq!(answer.status, 410);
}

#[tokio::test]
async fn one_worker_can_be_watched_from_where_it_was_got() {
    let setup = Setup::new().await;
    let pod = shop(&setup).await;
    let admin = setup.client("admin").await;
    let worker = admin.get(&format!("{LIST}/{}", name(1))).await;
    let version = worker.version();
    let selector = format!("fieldSelector=metadata.name%3D{}", name(1));
    let path = format!("{LIST}?watch=1&resourceVersion={version}&{selector}");
    let mut watch = admin.watch(&path).await;
    pod.wake(1);
    assert_eq!(watch.seen().await, event("MODIFIED", 1));
}

#[tokio::test]
async fn rows_come_with_columns_once() {
    let setup = Setup::new().await;
    let pod = shop(&setup).await;
    let admin = setup.client("admin").await;
    let version = admin.get(LIST).await.version();
    let path = format!("{LIST}?watch=1&resourceVersion={version}");
    let answer = admin.send(Method::GET, &path, TABLE, "").await.unwrap();
    let mut watch = Watch::of(answer);
    pod.wake(1);
    pod.wake(2);
    let (_, first) = watch.next().await.unwrap();
    let (_, second) = watch.next().await.unwrap();
    assert_eq!(first["columnDefinitions"][0]["name"], "Name");
    assert_eq!(second["columnDefinitions"], serde_json::json!([]));
    assert_eq!(second["rows"][0]["cells"][3], "Awake");
}
