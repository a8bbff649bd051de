//! Several servers, of which the cluster asks any.

use http::Method;
use portside_apiserver::token::Continue;
use portside_manage::API_SERVER;
use serde_json::json;

use crate::client::{Answer, Client, Watch};
use crate::pki::{self, Authority};
use crate::pod::{Pod, id};
use crate::setup::{Replica, Setup, until};

const LIST: &str = "/namespaces/a/serverlessworkers";

/// Two servers that know of a class, and of each other.
async fn both() -> (Setup, Replica, Pod) {
    let setup = Setup::new().await;
    let [pod] = setup.pods("a", ["one"]).await;
    pod.store(1..=5);
    setup.class("a", "shop", std::slice::from_ref(&pod)).await;
    let second = setup.join("second").await;
    know_each_other(&setup, &second).await;
    (setup, second, pod)
}

async fn know_each_other(setup: &Setup, second: &Replica) {
    for (lists, watches) in [(&setup.first, second), (second, &setup.first)] {
        let lists = setup.client_of(lists, "admin").await;
        let watches = setup.client_of(watches, "admin").await;
        until(async || lists.get(LIST).await.names().len() == 5).await;
        let path = watch_path(&lists.get(LIST).await.version());
        until(async || status(&watches, &path).await == 200).await;
    }
}

fn watch_path(version: &str) -> String {
    format!("{LIST}?watch=1&allowWatchBookmarks=true&resourceVersion={version}")
}

async fn status(client: &Client, path: &str) -> u16 {
    let answer = client.send(Method::GET, path, "application/json", "").await;
    answer.unwrap().status().as_u16()
}

fn reason(answer: &Answer) -> (u16, String) {
    let reason = answer.json()["reason"].as_str().unwrap().to_owned();
    (answer.status.as_u16(), reason)
}

fn names(numbers: impl IntoIterator<Item = u32>) -> Vec<String> {
    let name = |it| format!("shop.{}", id(it));
    numbers.into_iter().map(name).collect()
}

fn next_page(page: &Answer) -> String {
    let metadata = page.json()["metadata"].clone();
    let token = metadata["continue"].as_str().unwrap();
    format!("{LIST}?limit=2&continue={token}")
}

/// As a replica asks.
async fn replica(setup: &Setup, to: &Replica, user: &str) -> Client {
    let config = pki::client(&setup.own, Some(&setup.own.sign(API_SERVER)));
    let client = Client::connect(to.address, config, Some(user)).await;
    client.unwrap()
}

async fn no_watches(replica: &Replica) {
    until(async || replica.metrics.watches.get() == 0).await;
}

#[tokio::test]
async fn a_watch_at_another_replica_than_its_list_tells_what_happens() {
    let (setup, second, pod) = both().await;
    no_watches(&setup.first).await;
    let version = setup.client("ada").await.get(LIST).await.version();
    pod.wake(1);
    let ada = setup.client_of(&second, "ada").await;
    let mut watch = ada.watch(&watch_path(&version)).await;
    assert_eq!(
        watch.seen().await,
        ("MODIFIED".into(), names([1])[0].clone())
    );
    pod.wake(9);
    assert_eq!(watch.seen().await, ("ADDED".into(), names([9])[0].clone()));
    // One for each replica: the one that is asked, and the one that answers.
    let asked = setup.cluster.reviews();
    let watches = asked
        .iter()
        .filter(|it| it["user"] == "ada" && it["resourceAttributes"]["verb"] == "watch");
    let groups: Vec<_> = watches.map(|it| it["groups"].clone()).collect();
    assert_eq!(groups, [json!(["people"]), json!(["people"])]);
    // Whoever leaves there, leaves here.
    assert_eq!(setup.first.metrics.watches.get(), 1);
    assert_eq!(second.metrics.watches.get(), 0);
    drop((watch, ada));
    no_watches(&setup.first).await;
}

#[tokio::test]
async fn a_watch_at_another_replica_ends_in_order() {
    let (setup, second, _pod) = both().await;
    let version = setup.client("admin").await.get(LIST).await.version();
    let admin = setup.client_of(&second, "admin").await;
    let path = format!("{}&timeoutSeconds=1", watch_path(&version));
    let mut watch = admin.watch(&path).await;
    assert_eq!(watch.seen().await.0, "BOOKMARK");
    assert!(watch.next().await.is_none());
    // The one that passes it back ends.
    let mut watch = admin.watch(&watch_path(&version)).await;
    second.stop.cancel();
    assert!(watch.next().await.is_none());
    no_watches(&setup.first).await;
}

#[tokio::test]
async fn a_watch_ends_with_the_replica_that_answers_it() {
    let (setup, second, _pod) = both().await;
    let version = setup.client("admin").await.get(LIST).await.version();
    let admin = setup.client_of(&second, "admin").await;
    let mut watch: Watch = admin.watch(&watch_path(&version)).await;
    setup.stop.cancel();
    assert_eq!(watch.seen().await.0, "BOOKMARK");
    assert!(watch.next().await.is_none());
}

#[tokio::test]
async fn a_page_at_another_replica_goes_on() {
    let (setup, second, _pod) = both().await;
    let begun = setup.client("ada").await;
    let first = begun.get(&format!("{LIST}?limit=2")).await;
    // The one that has begun the list answers this one, too: bob has asked it for nothing before.
    let bob = setup.client_of(&second, "bob").await;
    let page = bob.get(&next_page(&first)).await;
    assert_eq!(page.names(), names(3..=4));
    assert_eq!(page.version(), first.version());
    assert_eq!(page.headers["content-type"], "application/json");
    let asked = setup.cluster.reviews();
    assert_eq!(asked.iter().filter(|it| it["user"] == "bob").count(), 2);
    let last = begun.get(&next_page(&page)).await;
    assert_eq!(last.names(), names([5]));
    assert_eq!(last.version(), first.version());
}

#[tokio::test]
async fn who_may_not_is_refused_at_both() {
    let (setup, second, _pod) = both().await;
    let version = setup.client("admin").await.get(LIST).await.version();
    setup.cluster.refuse("eve", Some("a"));
    let eve = setup.client_of(&second, "eve").await;
    assert_eq!(eve.get(&watch_path(&version)).await.status, 403);
    let eve = replica(&setup, &setup.first, "eve").await;
    assert_eq!(eve.get(&watch_path(&version)).await.status, 403);
    assert_eq!(eve.get(LIST).await.status, 403);
}

#[tokio::test]
async fn what_a_replica_knew_that_is_gone_is_listed_anew_page_by_page() {
    let (setup, second, _pod) = both().await;
    let gone = setup.client_of(&second, "admin").await;
    let first = gone.get(&format!("{LIST}?limit=2")).await;
    second.stop.cancel();
    setup.cluster.delete("pods", second.object());
    let admin = setup.client("admin").await;
    let path = watch_path(&first.version());
    until(async || status(&admin, &path).await == 410).await;
    assert_eq!(reason(&admin.get(&path).await), (410, "Expired".into()));
    let page = admin.get(&next_page(&first)).await;
    assert_eq!(page.status, 200);
    assert_eq!(page.names(), names(3..=4));
    let last = admin.get(&next_page(&page)).await;
    assert_eq!(last.names(), names([5]));
    assert_eq!(
        [page.version(), last.version()],
        [first.version(), first.version()]
    );
}

#[tokio::test]
async fn what_nobody_has_counted_has_expired_and_is_asked_of_all() {
    let (setup, second, _pod) = both().await;
    let admin = setup.client_of(&second, "admin").await;
    for version in ["1", "x", &u64::MAX.to_string()] {
        let answer = admin.get(&watch_path(version)).await;
        assert_eq!(reason(&answer), (410, "Expired".into()), "{version}");
    }
    drop(setup);
    let token = Continue {
        namespace: "a".into(),
        class: "shop".into(),
        after: None,
        version: 5,
    };
    let page = admin
        .get(&format!("{LIST}?continue={}", token.encode()))
        .await;
    assert_eq!(page.names(), names(1..=5));
    assert_eq!(page.version(), "5");
}

#[tokio::test]
async fn what_was_passed_on_is_not_passed_on_again() {
    let (setup, second, _pod) = both().await;
    let first = setup.client("admin").await;
    let page = first.get(&format!("{LIST}?limit=2")).await;
    let passed = replica(&setup, &second, "admin").await;
    for path in [watch_path(&page.version()), next_page(&page)] {
        let answer = passed.get(&path).await;
        assert_eq!(
            reason(&answer),
            (421, "MisdirectedRequest".into()),
            "{path}"
        );
        assert!(answer.headers.contains_key("portside-start"));
        // The other one would have answered.
        let owner = replica(&setup, &setup.first, "admin").await;
        assert_eq!(status(&owner, &path).await, 200, "{path}");
    }
    // Clients learn nothing of it.
    assert!(!page.headers.contains_key("portside-start"));
}

#[tokio::test]
async fn who_is_no_replica_says_nothing_of_who_asks() {
    let setup = Setup::new().await;
    let refused = async |authority: &Authority, name: &str| {
        let config = pki::client(&setup.own, Some(&authority.sign(name)));
        match Client::connect(setup.address, config, Some("admin")).await {
            Ok(client) => match client.send(Method::GET, LIST, "", "").await {
                Ok(answer) => answer.status() == 401,
                Err(_) => true,
            },
            Err(_) => true,
        }
    };
    assert!(refused(&Authority::new("own"), API_SERVER).await);
    assert!(refused(&setup.own, "somebody").await);
    // What the one authority has signed is not taken for the other's.
    assert!(refused(&setup.own, "front-proxy-client").await);
    assert!(refused(&setup.proxies, API_SERVER).await);
    assert!(!refused(&setup.own, API_SERVER).await);
    let nameless = pki::client(&setup.own, Some(&setup.own.sign(API_SERVER)));
    let nameless = Client::connect(setup.address, nameless, None)
        .await
        .unwrap();
    assert_eq!(nameless.get(LIST).await.status, 401);
}

#[tokio::test]
async fn replicas_know_each_other_by_certificates_that_change() {
    let (setup, second, _pod) = both().await;
    let version = setup.client("admin").await.get(LIST).await.version();
    let admin = setup.client_of(&second, "admin").await;
    let path = watch_path(&version);
    let next = Authority::new("next");
    setup.first.renew(&next);
    // They do not know each other while only one has changed.
    until(async || status(&admin, &path).await == 410).await;
    second.renew(&next);
    until(async || status(&admin, &path).await == 200).await;
}
