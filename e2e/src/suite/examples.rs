//! Every example, deployed as its README could tell a user to.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use portside_testkit::{Browser, Site, Socket, eventually};
use serde_json::{Value, json};

use crate::apps;
use crate::class::Class;
use crate::cluster::until;
use crate::load;
use crate::release::SERVED;
use crate::test::Test;

/// Deploys an example from its folder: a ConfigMap of the files as they are.
async fn deploy(test: &Arc<Test>, example: &str) -> Class {
    let name = example.replace('/', "-");
    let map = format!("{name}-source");
    test.config_map(&map, &Test::example(example)).await;
    let main = if example == "counter-ts" {
        "server.ts"
    } else {
        "server.js"
    };
    let code = json!({ "main": main, "configMap": { "name": map } });
    test.class(&name, json!({ "code": code })).await
}

/// All at once, then each is driven.
pub async fn each_runs(test: Arc<Test>) {
    let mut classes = Vec::new();
    for example in [
        "chat-room",
        "counter-ts",
        "pub-sub",
        "rate-limiter",
        "redis-like",
        "reminder",
        "proposal/chat-room",
        "proposal/pub-sub",
        "proposal/rate-limiter",
        "proposal/redis-like",
    ] {
        classes.push(deploy(&test, example).await);
    }
    for class in &classes {
        class.ready().await;
        assert_eq!(
            class.get().await["status"]["url"],
            format!("http://{}/", test.host(&class.name)),
        );
    }
    let site = |name: &str| test.site(name);
    chat_room(&site("chat-room")).await;
    counter(&site("counter-ts")).await;
    pub_sub(&site("pub-sub")).await;
    rate_limiter(&site("rate-limiter")).await;
    redis_like(&site("redis-like")).await;
    reminder(&site("reminder")).await;
    proposal_chat_room(&site("proposal-chat-room")).await;
    proposal_pub_sub(&site("proposal-pub-sub")).await;
    proposal_rate_limiter(&site("proposal-rate-limiter")).await;
    proposal_redis_like(&site("proposal-redis-like")).await;
}

async fn enter(site: &Site, name: &str) -> Socket {
    let mut socket = site
        .socket(&format!("/rooms/lobby/socket?name={name}"))
        .await;
    assert_eq!(socket.receive().await["type"], "history");
    socket
}

/// Two people enter a room and hear each other.
pub async fn chat_room(site: &Site) {
    let page = site.get("/rooms/lobby").await;
    assert_eq!(page.status, 200);
    assert!(page.text().starts_with("<!doctype html>"));
    let mut ada = enter(site, "Ada").await;
    let mut grace = enter(site, "Grace").await;
    ada.send(&json!({ "type": "say", "id": "a1", "text": "Hello!" }))
        .await;
    for socket in [&mut ada, &mut grace] {
        assert_eq!(
            socket.receive_type("message").await["message"]["text"],
            "Hello!"
        );
    }
}

async fn counter(site: &Site) {
    assert_eq!(
        site.post("/counters/a", &json!({ "by": 12 })).await.json()["value"],
        12
    );
    assert_eq!(site.get("/counters/a").await.json()["value"], 12);
}

async fn pub_sub(site: &Site) {
    let mut socket = site.socket("/topics/news/socket").await;
    assert_eq!(socket.receive().await["type"], "subscribed");
    let reply = site.post("/topics/news", &json!({ "n": 1 })).await;
    assert_eq!(reply.json()["subscribers"], 1);
    assert_eq!(socket.receive().await["data"], json!({ "n": 1 }));
}

async fn rate_limiter(site: &Site) {
    let hit = async || {
        site.request(Method::GET, "/", &[("x-api-key", "ada")], "")
            .await
    };
    for used in 1..=10 {
        assert_eq!(hit().await.status, 200, "hit {used}");
    }
    assert_eq!(hit().await.status, 429);
}

async fn redis_like(site: &Site) {
    let run = async |command: Value| site.post("/", &command).await.json()["result"].clone();
    assert_eq!(run(json!(["SET", "greeting", "hello"])).await, "OK");
    assert_eq!(run(json!(["GET", "greeting"])).await, "hello");
}

async fn reminder(site: &Site) {
    let path = "/users/ada/reminders";
    let reply = site.post(path, &json!({ "text": "tea", "in": 1 })).await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    eventually("the alarm", async || {
        let list = site.get(path).await.json();
        (list["fired"][0]["text"] == "tea").then_some(())
    })
    .await;
}

async fn proposal_chat_room(site: &Site) {
    let mut ada = site.socket("/room1").await;
    ada.send(&json!({ "text": "hello", "username": "Ada" }))
        .await;
    assert_eq!(
        ada.receive_type("message").await["message"]["text"],
        "hello"
    );
}

async fn proposal_pub_sub(site: &Site) {
    let mut socket = site.socket("/news").await;
    socket
        .send(&json!({ "type": "publish", "data": "news" }))
        .await;
    assert_eq!(socket.receive().await["data"], "news");
}

/// The program counts by the client's address, which the gateway has from the Ingress controller.
async fn proposal_rate_limiter(site: &Site) {
    assert_eq!(site.get("/").await.text(), "Request allowed");
}

async fn proposal_redis_like(site: &Site) {
    let set = json!({ "command": "SET", "key": "greeting", "value": "Hello" });
    assert_eq!(
        site.post("/", &set).await.json(),
        json!({ "status": "success" })
    );
    let get = json!({ "command": "GET", "key": "greeting" });
    assert_eq!(site.post("/", &get).await.json()["value"], "Hello");
}

// === in a browser ===

fn typing(text: &str) -> String {
    let text = json!(text);
    format!(
        "document.querySelector('#text').value = {text}; document.querySelector('#composer button').click()"
    )
}

/// Whether the last message shown is this one, and confirmed.
fn shows_last(text: &str) -> String {
    let text = json!(text);
    format!(
        "(() => {{
            const last = [...document.querySelectorAll('#messages > li')].at(-1);
            return last?.querySelector('p').textContent === {text} && !document.querySelector('#messages > .waiting');
        }})()"
    )
}

/// Two people talk, by way of the Ingress, while the room's pod is replaced under them.
pub async fn two_tabs_chat(test: Arc<Test>) {
    let class = deploy(&test, "chat-room").await;
    class.ready().await;
    let site = class.site();
    let rule = format!("--host-resolver-rules=MAP {} {}", site.host, site.address);
    let mut browser = Browser::start_with(&[rule]).await;
    let page = |name: &str| format!("http://{}/rooms/lobby?name={name}", site.host);
    let ada = browser.open(&page("Ada")).await;
    let grace = browser.open(&page("Grace")).await;
    let online = "document.querySelector('#status').dataset.state === 'online'";
    for tab in [&ada, &grace] {
        browser.wait_for(tab, online).await;
    }
    browser.evaluate(&ada, &typing("Hello Grace")).await;
    browser.wait_for(&grace, &shows_last("Hello Grace")).await;

    class
        .kubectl(&["rollout", "restart", "deployment/chat-room-workers"])
        .await;
    test.cluster
        .rolled_out(&test.namespace, "chat-room-workers")
        .await;
    browser.evaluate(&grace, &typing("Still there?")).await;
    for tab in [&ada, &grace] {
        browser.wait_for(tab, &shows_last("Still there?")).await;
        browser.wait_for(tab, online).await;
    }
    browser.reload(&ada).await;
    browser.wait_for(&ada, &shows_last("Still there?")).await;
    let count = "document.querySelectorAll('#messages > li').length";
    assert_eq!(browser.evaluate(&ada, count).await, 2);
}

/// TypeScript, bundled on the developer's machine.
pub async fn a_bundle_runs(test: Arc<Test>) {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle.json");
    let status = Command::new(&test.cluster.settings.portside)
        .arg("bundle")
        .arg(Test::example("counter-ts"))
        .arg("-o")
        .arg(&bundle)
        .status()
        .unwrap();
    assert!(status.success());
    test.config_map("counter-bundle", folder.path()).await;
    let class = test
        .class(
            "counter",
            json!({ "code": { "configMap": { "name": "counter-bundle" } } }),
        )
        .await;
    class.ready().await;
    counter(&class.site()).await;
}

/// A namespace that the chart knows needs nothing but a class.
pub async fn the_charts_database_is_found(test: Arc<Test>) {
    let served = Test::of(Arc::clone(&test.cluster), SERVED.to_owned());
    let served = Arc::new(served);
    let class = served.class("served", apps::ledger("1")).await;
    class.ready().await;
    load::add(&class.site(), "/a", "one").await;
    until(
        "the count of workers",
        Duration::from_secs(90),
        async || {
            let workers = class.get().await["status"]["workers"].clone();
            if workers["stored"] == 1 {
                Ok(())
            } else {
                Err(workers.to_string())
            }
        },
    )
    .await;
    class.delete().await;
}
