//! Pods that are not who they should be, or say what cannot be: nothing of it is believed, and others are served all the same.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::net::TcpListener;

use crate::pki::Authority;
use crate::pod::{Pod, id, worker};
use crate::setup::{Setup, until};

const LIST: &str = "/namespaces/a/serverlessworkers";

/// What is listed of a class with this pod, and what is warned of.
async fn listed(setup: &Setup, pod: &Pod) -> (Vec<String>, bool) {
    setup.apply("a", "shop", std::slice::from_ref(pod));
    let admin = setup.client("admin").await;
    let warned = async || admin.get(LIST).await.headers.get("warning").is_some();
    until(async || warned().await || !admin.get(LIST).await.names().is_empty()).await;
    (admin.get(LIST).await.names(), warned().await)
}

#[tokio::test]
async fn a_pod_that_relays_the_token_of_another_is_not_asked() {
    let setup = Setup::new().await;
    for token in [
        "a/two/uid-two/runtime.portside.dev",
        "a/one/uid-two/runtime.portside.dev",
        "b/one/uid-one/runtime.portside.dev",
        "a/one/uid-one/vault",
        "",
    ] {
        let [pod] = setup.pods("a", ["one"]).await;
        pod.store([1]);
        pod.say_token(token);
        assert_eq!(listed(&setup, &pod).await, (vec![], true), "{token}");
        let asked = pod.asked();
        assert!(asked.iter().all(|it| it == "GET /identity"), "{asked:?}");
        setup.cluster.delete("pods", pod.object("shop", true));
    }
}

#[tokio::test]
async fn a_pod_that_trusts_another_authority_is_not_reached() {
    let setup = Setup::new().await;
    let pod = Pod::start("a", "one", &Authority::new("other")).await;
    pod.store([1]);
    assert_eq!(listed(&setup, &pod).await, (vec![], true));
    assert!(pod.asked().is_empty());
}

#[tokio::test]
async fn garbage_is_no_answer() {
    let setup = Setup::new().await;
    let mut other = worker(1);
    other.id = "x".to_owned();
    let said = [
        ("GET /identity", "{".to_owned()),
        ("GET /workers", "garbage".to_owned()),
        ("GET /workers", json!({ "items": [other] }).to_string()),
        (
            "GET /workers",
            json!({ "items": [], "next": id(1) }).to_string(),
        ),
        (
            "GET /workers",
            json!({ "items": [worker(2), worker(1)] }).to_string(),
        ),
        ("GET /events", "garbage\n".to_owned()),
    ];
    let names = ["one", "two", "three", "four", "five", "six"];
    for ((begin, text), name) in said.into_iter().zip(names) {
        let [pod] = setup.pods("a", [name]).await;
        pod.store([1]);
        pod.say_instead(begin, &text);
        setup.apply("a", "shop", std::slice::from_ref(&pod));
        let admin = setup.client("admin").await;
        until(async || {
            let _ = admin.get(LIST).await;
            !pod.asked().is_empty()
        })
        .await;
        let answer = admin.get(LIST).await;
        let warned = answer.headers.get("warning").is_some();
        assert!(warned || answer.status == 503, "{begin} {text}: {answer:?}");
        // One class keeps nobody from all the others.
        assert_eq!(admin.get("/serverlessworkers").await.status, 200);
        assert_eq!(admin.get("/serverlessworkers?limit=5").await.status, 200);
        setup.cluster.delete("pods", pod.object("shop", true));
    }
}

#[tokio::test]
async fn one_pod_that_lies_keeps_nobody_from_the_others() {
    let setup = Setup::new().await;
    let [one, two] = setup.pods("a", ["one", "two"]).await;
    two.store([1]);
    one.say_token("a/two/uid-two/runtime.portside.dev");
    setup.class("a", "shop", &[one, two]).await;
    let admin = setup.client("admin").await;
    let list = admin.get(LIST).await;
    assert_eq!(list.names(), [format!("shop.{}", id(1))]);
    let warning = list.headers["warning"].to_str().unwrap();
    assert!(
        warning.contains("pod a/one of class shop does not answer"),
        "{warning}"
    );
    let worker = admin.get(&format!("{LIST}/shop.{}", id(1))).await;
    assert_eq!(worker.status, 200);
}

#[tokio::test]
async fn a_pod_that_is_silent_keeps_lists_waiting_once() {
    let setup = Setup::new().await;
    let [pod] = setup.pods("a", ["one"]).await;
    pod.store([1]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut silent = pod.object("shop", true);
    silent["metadata"]["name"] = json!("silent");
    silent["metadata"]["uid"] = json!("silent");
    let port = listener.local_addr().unwrap().port();
    silent["spec"]["containers"][0]["ports"][0]["containerPort"] = json!(port);
    setup.cluster.apply("pods", silent);
    setup.class("a", "shop", &[pod]).await;
    let admin = setup.client("admin").await;
    admin.get(LIST).await;
    let begun = Instant::now();
    for _ in 0..3 {
        let list = admin.get(LIST).await;
        assert_eq!(list.names(), [format!("shop.{}", id(1))]);
        let warning = list.headers["warning"].to_str().unwrap();
        assert!(warning.contains("pod a/silent of class shop"), "{warning}");
    }
    assert!(begun.elapsed() < Duration::from_secs(3));
}

/// Follows a class of a pod, and has it tell of a worker.
async fn ends_a_watch(told: impl FnOnce(&mut serde_json::Value)) -> bool {
    let setup = Setup::new().await;
    let [pod] = setup.pods("a", ["one"]).await;
    pod.store([1]);
    setup.class("a", "shop", std::slice::from_ref(&pod)).await;
    let admin = setup.client("admin").await;
    let version = admin.get(LIST).await.version();
    let path = format!("{LIST}?watch=1&resourceVersion={version}");
    let mut watch = admin.watch(&path).await;
    let mut told_worker = json!(worker(1));
    told(&mut told_worker);
    pod.tell(json!({
        "type": "change", "seq": 1, "before": "asleep", "worker": told_worker, "gone": false,
    }));
    let (kind, object) = watch.next().await.unwrap();
    kind == "ERROR" && object["code"] == 410
}

#[tokio::test]
async fn workers_that_cannot_be_are_not_told_of() {
    assert!(!ends_a_watch(|_| {}).await);
    assert!(ends_a_watch(|it| it["id"] = json!("x")).await);
    assert!(ends_a_watch(|it| it["id"] = json!(id(10).to_uppercase())).await);
    assert!(ends_a_watch(|it| it["address"] = json!("a".repeat(20 << 10))).await);
    assert!(ends_a_watch(|it| it["other"] = json!("a".repeat(100 << 10))).await);
}
