//! Pods that come, go, break and move workers, while somebody watches.

use serde_json::json;

use crate::client::{Client, Watch};
use crate::pod::{Pod, id, worker};
use crate::setup::{Setup, until};

const LIST: &str = "/namespaces/a/serverlessworkers";

async fn watch(client: &Client) -> Watch {
    let version = client.get(LIST).await.version();
    client
        .watch(&format!("{LIST}?watch=1&resourceVersion={version}"))
        .await
}

fn name(number: u32) -> String {
    format!("shop.{}", id(number))
}

async fn ends_with_a_gap(watch: &mut Watch) {
    let (kind, status) = watch.next().await.unwrap();
    assert_eq!(kind, "ERROR", "{status}");
    assert_eq!(
        (&status["code"], &status["reason"]),
        (&json!(410), &json!("Expired"))
    );
    assert!(watch.next().await.is_none());
}

async fn started(setup: &Setup) -> (Pod, Client, Watch) {
    let [pod] = setup.pods("a", ["one"]).await;
    pod.store([1, 2]);
    setup.class("a", "shop", std::slice::from_ref(&pod)).await;
    let admin = setup.client("admin").await;
    let watch = watch(&admin).await;
    (pod, admin, watch)
}

#[tokio::test]
async fn a_connection_that_breaks_costs_nothing() {
    let setup = Setup::new().await;
    let (pod, _, mut watch) = started(&setup).await;
    for _ in 0..3 {
        pod.wake(1);
        pod.cut();
        pod.sleep(1);
        for state in ["Awake", "Asleep"] {
            let (kind, object) = watch.next().await.unwrap();
            assert_eq!(
                (&*kind, &object["status"]["state"]),
                ("MODIFIED", &json!(state))
            );
        }
    }
}

#[tokio::test]
async fn a_pod_that_starts_anew_is_a_gap() {
    let setup = Setup::new().await;
    let (pod, admin, mut first) = started(&setup).await;
    pod.wake(1);
    assert_eq!(first.seen().await.0, "MODIFIED");
    pod.restart();
    ends_with_a_gap(&mut first).await;
    let mut second = watch(&admin).await;
    pod.wake(2);
    assert_eq!(second.seen().await, ("MODIFIED".to_owned(), name(2)));
}

#[tokio::test]
async fn a_pod_that_is_gone_without_a_word_is_a_gap() {
    let setup = Setup::new().await;
    let (pod, _, mut watch) = started(&setup).await;
    pod.cut();
    setup.cluster.delete("pods", pod.object("shop", true));
    ends_with_a_gap(&mut watch).await;
}

#[tokio::test]
async fn a_pod_that_ends_in_order_is_none() {
    let setup = Setup::new().await;
    let (pod, _, mut watch) = started(&setup).await;
    let [next] = setup.pods("a", ["two"]).await;
    next.store([1, 2]);
    next.wake(2);
    setup.cluster.apply("pods", next.object("shop", false));
    // What is awake in a pod that comes is told.
    assert_eq!(watch.seen().await, ("MODIFIED".to_owned(), name(2)));
    pod.tell(json!({ "type": "end" }));
    until(async || {
        pod.asked()
            .iter()
            .filter(|it| it.starts_with("GET /events"))
            .count()
            > 1
    })
    .await;
    setup.cluster.delete("pods", pod.object("shop", true));
    next.sleep(2);
    assert_eq!(watch.seen().await, ("MODIFIED".to_owned(), name(2)));
}

#[tokio::test]
async fn a_worker_that_moves_is_awake_where_it_is() {
    let setup = Setup::new().await;
    let pods = setup.pods("a", ["one", "two"]).await;
    for pod in &pods {
        pod.store([1]);
    }
    setup.class("a", "shop", &pods).await;
    let mut watch = watch(&setup.client("admin").await).await;
    let [one, two] = pods;
    one.wake(1);
    assert_eq!(watch.next().await.unwrap().1["status"]["pod"], "one");
    two.wake(1);
    assert_eq!(watch.next().await.unwrap().1["status"]["pod"], "two");
    one.sleep(1);
    assert_eq!(watch.next().await.unwrap().1["status"]["pod"], "two");
    two.sleep(1);
    assert_eq!(watch.next().await.unwrap().1["status"]["state"], "Asleep");
}

#[tokio::test]
async fn classes_that_come_and_go_are_seen() {
    let setup = Setup::new().await;
    let (_pod, admin, mut first) = started(&setup).await;
    let [game] = setup.pods("a", ["game"]).await;
    setup.apply("a", "game", std::slice::from_ref(&game));
    // What wakes before it was asked who is awake may have been there before.
    until(async || game.asked().iter().any(|it| it.contains("state=awake"))).await;
    game.wake(5);
    let (kind, of) = first.seen().await;
    assert_eq!((&*kind, &*of), ("ADDED", &*format!("game.{}", id(5))));
    setup.cluster.delete(
        "serverlessworkerclasses",
        setup.cluster.class("a", "game", 1),
    );
    ends_with_a_gap(&mut first).await;
    assert_eq!(admin.get(LIST).await.names(), [name(1), name(2)]);
}

/// As one whose state was retained when it was deleted.
#[tokio::test]
async fn a_class_that_comes_with_workers_is_a_gap() {
    let setup = Setup::new().await;
    let (_pod, admin, mut first) = started(&setup).await;
    let [game] = setup.pods("a", ["game"]).await;
    game.store([5]);
    setup.apply("a", "game", std::slice::from_ref(&game));
    ends_with_a_gap(&mut first).await;
    let all = [name(1), name(2), format!("game.{}", id(5))];
    let mut listed = admin.get(LIST).await.names();
    listed.sort_by_key(|it| all.iter().position(|one| one == it));
    assert_eq!(listed, all);
}

#[tokio::test]
async fn a_number_that_is_left_out_is_a_gap() {
    let setup = Setup::new().await;
    let (pod, _, mut watch) = started(&setup).await;
    pod.tell(json!({
        "type": "change", "seq": 7, "before": "asleep", "worker": worker(1), "gone": false,
    }));
    ends_with_a_gap(&mut watch).await;
}

#[tokio::test]
async fn a_pod_that_comes_back_elsewhere_is_followed_there() {
    let setup = Setup::new().await;
    let (_before, admin, mut first) = started(&setup).await;
    // The same pod, after its node has started anew.
    let [pod] = setup.pods("a", ["one"]).await;
    pod.store([1, 2, 3]);
    setup.cluster.apply("pods", pod.object("shop", true));
    ends_with_a_gap(&mut first).await;
    assert_eq!(admin.get(LIST).await.names(), [name(1), name(2), name(3)]);
    let mut second = watch(&admin).await;
    pod.wake(3);
    assert_eq!(second.seen().await, ("MODIFIED".to_owned(), name(3)));
}

#[tokio::test]
async fn workers_of_a_class_whose_first_pod_comes_late_are_listed_then() {
    let setup = Setup::new().await;
    setup.class("a", "shop", &[]).await;
    let admin = setup.client("admin").await;
    assert_eq!(admin.get(LIST).await.names(), Vec::<String>::new());
    let mut first = watch(&admin).await;
    let [pod] = setup.pods("a", ["one"]).await;
    pod.store([1, 2]);
    setup.apply("a", "shop", std::slice::from_ref(&pod));
    ends_with_a_gap(&mut first).await;
    assert_eq!(admin.get(LIST).await.names(), [name(1), name(2)]);
    let mut second = watch(&admin).await;
    pod.wake(1);
    assert_eq!(second.seen().await, ("MODIFIED".to_owned(), name(1)));
}

#[tokio::test]
async fn a_class_that_cannot_be_listed_for_a_while_is_one_gap() {
    const ALL: &str = "/serverlessworkers";
    let setup = Setup::new().await;
    let (pod, admin, _) = started(&setup).await;
    let [game] = setup.pods("b", ["game"]).await;
    game.store([5]);
    setup.class("b", "game", std::slice::from_ref(&game)).await;
    game.say_instead("GET /workers", "the database does not answer");
    let listed = async || {
        let list = admin.get(&format!("{ALL}?limit=500")).await;
        let warning = list.headers.get("warning");
        assert!(warning.is_some(), "{list:?}");
        assert_eq!(list.names(), [name(1), name(2)]);
        format!("{ALL}?watch=1&resourceVersion={}", list.version())
    };
    let mut first = admin.watch(&listed().await).await;
    for _ in 0..3 {
        let mut other = admin.watch(&listed().await).await;
        pod.wake(1);
        pod.sleep(1);
        for watch in [&mut first, &mut other] {
            for _ in 0..2 {
                assert_eq!(watch.seen().await, ("MODIFIED".to_owned(), name(1)));
            }
        }
    }
    game.say_no_more();
    ends_with_a_gap(&mut first).await;
    let list = admin.get(&format!("{ALL}?limit=500")).await;
    let all = [name(1), name(2), format!("game.{}", id(5))];
    assert_eq!(list.names(), all);
    let path = format!("{ALL}?watch=1&resourceVersion={}", list.version());
    let mut second = admin.watch(&path).await;
    game.wake(5);
    assert_eq!(second.seen().await, ("MODIFIED".to_owned(), all[2].clone()));
}
