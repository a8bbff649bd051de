//! Lists, and single workers.

use http::Method;
use http_body_util::BodyExt;
use serde_json::json;
use tokio::time::timeout;

use crate::client::{LONG, TABLE};
use crate::pod::{EACH, id};
use crate::setup::Setup;

fn names(class: &str, numbers: impl IntoIterator<Item = u32>) -> Vec<String> {
    numbers
        .into_iter()
        .map(|it| format!("{class}.{}", id(it)))
        .collect()
}

#[tokio::test]
async fn a_list_has_what_all_pods_of_all_classes_tell() {
    let setup = Setup::new().await;
    let [one, two] = setup.pods("a", ["one", "two"]).await;
    for pod in [&one, &two] {
        pod.store([3, 1, 2]);
    }
    two.wake(2);
    setup.class("a", "shop", &[one, two]).await;
    let other = setup.pods("b", ["other"]).await;
    other[0].store([7]);
    setup.class("b", "game", &other).await;
    let admin = setup.client("admin").await;
    let list = admin.get("/serverlessworkers").await;
    assert_eq!(
        list.names(),
        [names("shop", [1, 2, 3]), names("game", [7])].concat()
    );
    let items = list.json()["items"].clone();
    assert_eq!(items[0]["status"]["state"], "Asleep");
    assert_eq!(items[1]["status"]["state"], "Awake");
    assert_eq!(items[1]["status"]["pod"], "two");
    assert_eq!(list.headers.get("warning"), None);
    let list = admin.get("/namespaces/b/serverlessworkers").await;
    assert_eq!(list.names(), names("game", [7]));
    let awake = admin
        .get("/serverlessworkers?fieldSelector=status.state%3DAwake")
        .await;
    assert_eq!(awake.names(), names("shop", [2]));
    let path = format!(
        "/serverlessworkers?fieldSelector=metadata.name%3Dshop.{}",
        id(3)
    );
    assert_eq!(admin.get(&path).await.names(), names("shop", [3]));
}

/// Among millions nobody could wait for it.
#[tokio::test]
async fn an_address_is_asked_for_and_not_looked_for() {
    let setup = Setup::new().await;
    let shop = setup.pods("a", ["one"]).await;
    shop[0].store(1..=5);
    setup.class("a", "shop", &shop).await;
    let game = setup.pods("a", ["two"]).await;
    game[0].store([7]);
    setup.class("a", "game", &game).await;
    let admin = setup.client("admin").await;
    let list = "/namespaces/a/serverlessworkers?limit=500&fieldSelector=spec.address%3Droom.js%23";
    let found = admin.get(&format!("{list}3")).await;
    assert_eq!(found.names(), names("shop", [3]));
    assert_eq!(
        admin.get(&format!("{list}9")).await.names(),
        names("shop", [])
    );
    let paged = |it: &String| it.starts_with("GET /workers?limit=500");
    for pod in [&shop[0], &game[0]] {
        assert!(!pod.asked().iter().any(paged), "{:?}", pod.asked());
    }
}

/// What is given at once is held in memory.
#[tokio::test]
async fn a_page_is_no_larger_than_a_thousand_whatever_is_asked_for() {
    let setup = Setup::new().await;
    let shop = setup.pods("a", ["one"]).await;
    shop[0].store(1..=1_500);
    setup.class("a", "shop", &shop).await;
    let admin = setup.client("admin").await;
    let page = admin.get("/serverlessworkers?limit=20000").await;
    assert_eq!(page.names().len(), 1_000);
    assert!(page.json()["metadata"]["continue"].is_string());
}

#[tokio::test]
async fn pages_follow_each_other_and_stay_in_their_namespace() {
    let setup = Setup::new().await;
    let shop = setup.pods("a", ["one"]).await;
    shop[0].store(1..=5);
    setup.class("a", "shop", &shop).await;
    let game = setup.pods("b", ["two"]).await;
    game[0].store(1..=2);
    setup.class("b", "game", &game).await;
    let admin = setup.client("admin").await;
    let (mut seen, mut path, mut sizes) = (vec![], "/serverlessworkers?limit=2".to_owned(), vec![]);
    let mut version = None;
    loop {
        let page = admin.get(&path).await;
        assert_eq!(page.status, 200, "{path}");
        sizes.push(page.names().len());
        seen.extend(page.names());
        assert_eq!(
            *version.get_or_insert_with(|| page.version()),
            page.version()
        );
        let Some(proceed) = page.json()["metadata"]["continue"]
            .as_str()
            .map(str::to_owned)
        else {
            break;
        };
        // Where a list of all is in one namespace, one of another goes on nowhere.
        let other = admin
            .get(&format!(
                "/namespaces/c/serverlessworkers?limit=2&continue={proceed}"
            ))
            .await;
        assert_eq!(other.status, 400);
        path = format!("/serverlessworkers?limit=2&continue={proceed}");
    }
    assert_eq!(seen, [names("shop", 1..=5), names("game", 1..=2)].concat());
    assert_eq!(sizes, [2, 2, 2, 1]);
}

#[tokio::test]
async fn a_class_without_pods_is_told_of() {
    let setup = Setup::new().await;
    setup.class("a", "shop", &[]).await;
    let game = setup.pods("a", ["two"]).await;
    game[0].store([1]);
    setup.class("a", "game", &game).await;
    let admin = setup.client("admin").await;
    let list = admin.get("/serverlessworkers").await;
    assert_eq!(list.names(), names("game", [1]));
    let text = "class a/shop has no pod that answers: its workers are not listed";
    assert_eq!(list.headers["warning"], format!("299 - \"{text}\""));
    let one = admin
        .get(&format!("/namespaces/a/serverlessworkers/shop.{}", id(1)))
        .await;
    assert_eq!(one.status, 503);
    assert_eq!(one.json()["message"], text);
}

#[tokio::test]
async fn tables_are_as_kubectl_prints_them() {
    let setup = Setup::new().await;
    let pods = setup.pods("a", ["one"]).await;
    pods[0].store([1, 2]);
    setup.class("a", "shop", &pods).await;
    let admin = setup.client("admin").await;
    let path = "/serverlessworkers?includeObject=Object";
    let table = admin.ask(Method::GET, path, TABLE, "").await.json();
    assert_eq!(table["kind"], "Table");
    assert_eq!(table["columnDefinitions"][0]["name"], "Name");
    assert_eq!(table["rows"][1]["cells"][0], format!("shop.{}", id(2)));
    assert_eq!(table["rows"][1]["object"]["kind"], "ServerlessWorker");
    let one = format!("/namespaces/a/serverlessworkers/shop.{}", id(2));
    let table = admin.ask(Method::GET, &one, TABLE, "").await.json();
    assert_eq!(table["rows"].as_array().unwrap().len(), 1);
    let accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    let list = admin
        .ask(Method::GET, "/serverlessworkers", accept, "")
        .await
        .json();
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert!(list["items"][0].get("spec").is_none());
}

#[tokio::test]
async fn the_pod_that_has_a_worker_answers_for_it() {
    let setup = Setup::new().await;
    let [one, two] = setup.pods("a", ["one", "two"]).await;
    for pod in [&one, &two] {
        pod.store([1]);
    }
    one.give_up(1);
    setup.class("a", "shop", &[one, two.clone()]).await;
    let admin = setup.client("admin").await;
    let name = format!("/namespaces/a/serverlessworkers/shop.{}", id(1));
    let worker = admin.get(&name).await;
    assert_eq!(worker.status, 200);
    assert_eq!(worker.json()["metadata"]["namespace"], "a");
    for (method, path, body, code, asked) in [
        (
            Method::GET,
            "state?prefix=a&limit=5",
            "",
            200,
            "GET /workers/ID/keys?prefix=a&limit=5",
        ),
        (
            Method::GET,
            "state?key=a+b",
            "",
            200,
            "GET /workers/ID/key?name=a+b",
        ),
        (
            Method::PUT,
            "state?key=a",
            "1",
            200,
            "PUT /workers/ID/key?name=a",
        ),
        (
            Method::DELETE,
            "state?key=a",
            "",
            200,
            "DELETE /workers/ID/key?name=a",
        ),
        (Method::POST, "sql", "{}", 200, "POST /workers/ID/sql"),
        (Method::POST, "exec", "{}", 200, "POST /workers/ID/exec"),
        (Method::POST, "exec", "", 409, "POST /workers/ID/exec"),
        (Method::POST, "move", "{}", 200, "POST /workers/ID/move"),
        (Method::POST, "sleep", "", 200, "POST /workers/ID/sleep"),
        (
            Method::GET,
            "log?tailLines=3",
            "",
            200,
            "GET /workers/ID/log?tail=3",
        ),
    ] {
        let answer = admin
            .ask(method.clone(), &format!("{name}/{path}"), "", body)
            .await;
        assert_eq!(answer.status, code, "{method} {path}");
        let last = two.asked().last().unwrap().replace(&id(1), "ID");
        assert_eq!(last, asked);
    }
    let text = admin.get(&format!("{name}/log?tailLines=3")).await;
    assert_eq!(text.body, "a line, tail Some(\"3\")\n");
    for (method, path, code) in [
        (Method::PUT, "state", 400),
        (Method::POST, "wake?dryRun=All", 400),
        (Method::GET, "wake", 405),
        (Method::GET, "other", 405),
    ] {
        let answer = admin
            .ask(method.clone(), &format!("{name}/{path}"), "", "")
            .await;
        assert_eq!(answer.status, code, "{method} {path}");
    }
}

/// Logs without an end, of which nobody reads anything: the pod answers everybody else all the same.
#[tokio::test]
async fn logs_that_nobody_reads_keep_nothing_from_others() {
    let setup = Setup::new().await;
    let [pod] = setup.pods("a", ["one"]).await;
    pod.store([1]);
    setup.class("a", "shop", std::slice::from_ref(&pod)).await;
    let worker = format!("/namespaces/a/serverlessworkers/shop.{}", id(1));
    let path = format!("{worker}/log?follow=true");
    let mut unread = vec![];
    for _ in 0..8 {
        // Each on a connection of its own, as that of a cluster's API server has room for all.
        let reader = setup.client("admin").await;
        let answer = reader.send(Method::GET, &path, "", "").await.unwrap();
        assert_eq!(answer.status(), 200);
        unread.push((reader, answer));
    }
    let admin = setup.client("admin").await;
    for _ in 0..100 {
        let listed = admin.get("/namespaces/a/serverlessworkers").await;
        assert_eq!(listed.names(), names("shop", [1]));
    }
}

/// More of them than have room beside each other in what a connection has by itself.
#[tokio::test]
async fn logs_that_nobody_reads_keep_nothing_from_one_that_is_read() {
    let setup = Setup::new().await;
    let [pod] = setup.pods("a", ["one"]).await;
    pod.store([1]);
    setup.class("a", "shop", std::slice::from_ref(&pod)).await;
    let path = format!(
        "/namespaces/a/serverlessworkers/shop.{}/log?follow=true",
        id(1)
    );
    let idle = setup.client("admin").await;
    let mut unread = vec![];
    for _ in 0..150 {
        let answer = idle.send(Method::GET, &path, "", "").await.unwrap();
        assert_eq!(answer.status(), 200);
        unread.push(answer);
    }
    let reader = setup.client("admin").await;
    let answer = reader.send(Method::GET, &path, "", "").await.unwrap();
    let mut body = answer.into_body();
    let mut read = 0;
    while read < 16 << 20 {
        let frame = timeout(LONG, body.frame()).await;
        let frame = frame.expect("nothing comes any more").unwrap().unwrap();
        read += frame.into_data().unwrap_or_default().len();
    }
    drop(unread);
}

#[tokio::test]
async fn what_may_have_been_done_is_not_asked_of_another() {
    let setup = Setup::new().await;
    let [one, two] = setup.pods("a", ["one", "two"]).await;
    for pod in [&one, &two] {
        pod.store([1]);
    }
    one.cut_at("POST");
    setup.class("a", "shop", &[one.clone(), two.clone()]).await;
    let admin = setup.client("admin").await;
    let name = format!("/namespaces/a/serverlessworkers/shop.{}", id(1));
    let answer = admin
        .ask(Method::POST, &format!("{name}/exec"), "", "{}")
        .await;
    assert_eq!(answer.status, 504);
    assert!(!two.asked().iter().any(|it| it.starts_with("POST")));
    // What changes nothing may be asked of any.
    one.cut_at("GET /workers/");
    assert_eq!(admin.get(&name).await.status, 200);
}

#[tokio::test]
async fn workers_are_deleted_by_name() {
    let setup = Setup::new().await;
    let pods = setup.pods("a", ["one"]).await;
    pods[0].store([1]);
    setup.class("a", "shop", &pods).await;
    let admin = setup.client("admin").await;
    let path = format!("/namespaces/a/serverlessworkers/shop.{}", id(1));
    let uid = admin.get(&path).await.json()["metadata"]["uid"].clone();
    let delete = async |path: &str, body: String| {
        let answer = admin.ask(Method::DELETE, path, "", &body).await;
        (
            answer.status.as_u16(),
            answer.json()["details"]["uid"].clone(),
        )
    };
    let other = json!({ "preconditions": { "uid": "another" } });
    assert_eq!(delete(&path, other.to_string()).await.0, 409);
    let rehearsal = json!({ "dryRun": ["All"] }).to_string();
    assert_eq!(delete(&path, rehearsal).await, (200, uid.clone()));
    assert_eq!(admin.get(&path).await.status, 200);
    let meant = json!({ "preconditions": { "uid": uid }, "propagationPolicy": "Background" });
    assert_eq!(delete(&path, meant.to_string()).await, (200, uid));
    assert_eq!(admin.get(&path).await.status, 404);
    assert_eq!(delete(&path, String::new()).await.0, 404);
}

/// The memory of this process, in MiB.
fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|it| it.starts_with("VmRSS:")).unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<usize>()
        .unwrap()
        / 1024
}

#[tokio::test]
async fn two_hundred_thousand_workers_take_the_memory_of_a_page() {
    let setup = Setup::new().await;
    let pods = setup.pods("a", ["one"]).await;
    pods[0].has_many();
    setup.class("a", "shop", &pods).await;
    let admin = setup.client("admin").await;
    let all = EACH as usize * 4096;
    let path = "/namespaces/a/serverlessworkers?limit=500&fieldSelector=spec.class%3Dshop";
    let page = admin.get(path).await;
    let proceed = page.json()["metadata"]["continue"]
        .as_str()
        .unwrap()
        .to_owned();
    let second = admin
        .get(&format!("{path}&continue={proceed}"))
        .await
        .names();
    assert_eq!((page.names().len(), second.len()), (500, 500));
    assert!(!page.names().contains(&second[0]));
    // As it comes, without keeping it.
    let before = memory();
    let mut body = admin
        .send(Method::GET, "/namespaces/a/serverlessworkers", "", "")
        .await
        .unwrap()
        .into_body();
    let (mut found, mut most) = (0, 0);
    let mut rest = String::new();
    while let Some(frame) = body.frame().await {
        let data = frame.unwrap().into_data().unwrap_or_default();
        rest.push_str(std::str::from_utf8(&data).unwrap());
        let end = rest.rfind('{').unwrap_or_default();
        found += rest[..end].matches("\"kind\":\"ServerlessWorker\"").count();
        rest.drain(..end);
        most = most.max(memory());
    }
    assert!(rest.ends_with("}}"), "{rest}");
    assert_eq!(found, all);
    assert!(
        most < before + 64,
        "{before} MiB before, {most} MiB while it came"
    );
}
