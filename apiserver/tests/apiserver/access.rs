//! Who is let in, and what they may do.

use http::Method;
use serde_json::json;

use crate::client::Client;
use crate::pki::{self, Authority};
use crate::pod::id;
use crate::setup::{Setup, config_map, until};

#[tokio::test]
async fn probes_are_for_anybody_and_nothing_else_is() {
    let setup = Setup::new().await;
    let config = pki::client(&setup.own, None);
    let nobody = Client::connect(setup.address, config, Some("admin"))
        .await
        .unwrap();
    for path in ["/livez", "/readyz", "/healthz"] {
        assert_eq!(nobody.get(path).await.status, 200, "{path}");
    }
    for path in [
        "/apis",
        "/apis/runtime.portside.dev/v1alpha1",
        "/openapi/v2",
        "/serverlessworkers",
        "/metrics",
    ] {
        let answer = nobody.get(path).await;
        assert_eq!(answer.status, 401, "{path}");
        assert_eq!(answer.json()["reason"], "Unauthorized");
    }
}

/// Nobody keeps others out by connections that mean nothing, or by bodies that nobody reads.
#[tokio::test]
async fn strangers_and_bodies_take_no_room() {
    let setup = Setup::new().await;
    let mut held = vec![];
    for _ in 0..250 {
        let config = pki::client(&setup.own, None);
        held.push(Client::connect(setup.address, config, None).await);
    }
    let config = pki::client(&setup.own, None);
    let one_more = match Client::connect(setup.address, config, None).await {
        Ok(client) => client.send(Method::GET, "/livez", "", "").await.is_err(),
        Err(_) => true,
    };
    assert!(one_more, "there are enough strangers");
    let admin = setup.client("admin").await;
    assert_eq!(admin.get("/apis").await.status, 200);
    let shop = setup.pods("a", ["one"]).await;
    shop[0].store([1]);
    setup.class("a", "shop", &shop).await;
    let path = format!("/namespaces/a/serverlessworkers/shop.{}", crate::pod::id(1));
    let large = "x".repeat(100 << 10);
    let deleted = admin
        .send(Method::DELETE, &path, "application/json", &large)
        .await;
    assert_eq!(deleted.unwrap().status(), 413);
    assert_eq!(admin.get(&path).await.status, 200);
}

#[tokio::test]
async fn certificates_of_others_open_nothing() {
    let setup = Setup::new().await;
    // The name alone is not enough, nor is the authority.
    let other = Authority::new("other").sign("front-proxy-client");
    let config = pki::client(&setup.own, Some(&other));
    let refused = match Client::connect(setup.address, config, Some("admin")).await {
        Ok(client) => client.send(Method::GET, "/apis", "", "").await.is_err(),
        Err(_) => true,
    };
    assert!(refused);
    let unnamed = setup.proxies.sign("somebody");
    let config = pki::client(&setup.own, Some(&unnamed));
    let client = Client::connect(setup.address, config, Some("admin"))
        .await
        .unwrap();
    assert_eq!(client.get("/apis").await.status, 401);
}

#[tokio::test]
async fn documents_are_for_all_who_are_known() {
    let setup = Setup::new().await;
    setup.cluster.refuse("guest", None);
    let guest = setup.client("guest").await;
    for path in [
        "/apis",
        "/apis/runtime.portside.dev",
        "/apis/runtime.portside.dev/v1alpha1",
        "/openapi/v2",
        "/openapi/v3",
        "/openapi/v3/apis/runtime.portside.dev/v1alpha1",
    ] {
        assert_eq!(guest.get(path).await.status, 200, "{path}");
    }
    let accept =
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let answer = guest.ask(Method::GET, "/apis", accept, "").await;
    assert_eq!(answer.json()["kind"], "APIGroupDiscoveryList");
    assert!(
        answer.headers["content-type"]
            .to_str()
            .unwrap()
            .contains("v=v2")
    );
    assert_eq!(guest.get("/nothing").await.status, 404);
    assert!(setup.cluster.reviews().is_empty());
}

#[tokio::test]
async fn each_request_is_reviewed_as_what_it_is() {
    let setup = Setup::new().await;
    let pods = setup.pods("a", ["p"]).await;
    pods[0].store([1]);
    setup.class("a", "shop", &pods).await;
    setup.cluster.refuse("ada", Some("b"));
    setup.cluster.refuse("ada", None);
    let ada = setup.client("ada").await;
    assert_eq!(ada.get("/namespaces/a/serverlessworkers").await.status, 200);
    for path in ["/namespaces/b/serverlessworkers", "/serverlessworkers"] {
        let answer = ada.get(path).await;
        assert_eq!(answer.status, 403, "{path}");
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(
            message.contains("User \"ada\" cannot list resource"),
            "{message}"
        );
    }
    let name = format!("shop.{}", id(1));
    let wake = format!("/namespaces/a/serverlessworkers/{name}/wake");
    assert_eq!(ada.ask(Method::POST, &wake, "", "").await.status, 200);
    let asked = setup.cluster.reviews();
    let attributes = &asked.last().unwrap()["resourceAttributes"];
    assert_eq!(
        *attributes,
        json!({
            "group": "runtime.portside.dev", "version": "v1alpha1", "resource": "serverlessworkers",
            "namespace": "a", "name": name, "subresource": "wake", "verb": "create",
        })
    );
    assert_eq!(asked.last().unwrap()["groups"], json!(["people"]));
    // The answer is good for some seconds.
    ada.get("/namespaces/a/serverlessworkers").await;
    assert_eq!(setup.cluster.reviews().len(), asked.len());
}

#[tokio::test]
async fn what_cannot_be_done_is_refused() {
    let setup = Setup::new().await;
    let admin = setup.client("admin").await;
    let list = "/namespaces/a/serverlessworkers";
    for (method, path, code) in [
        (Method::DELETE, list, 405),
        (Method::POST, list, 405),
        (Method::PATCH, "/namespaces/a/serverlessworkers/x", 405),
        (
            Method::GET,
            "/namespaces/a/serverlessworkers?labelSelector=a%3Db",
            400,
        ),
        (
            Method::GET,
            "/namespaces/a/serverlessworkers?watch=1&sendInitialEvents=true",
            422,
        ),
        (Method::GET, "/namespaces/a/serverlessworkers/x", 404),
        (Method::GET, "/namespaces/a/others", 404),
    ] {
        let answer = admin.ask(method.clone(), path, "", "").await;
        assert_eq!(answer.status, code, "{method} {path}");
        assert_eq!(answer.json()["kind"], "Status");
    }
    let yaml = admin.ask(Method::GET, list, "application/yaml", "").await;
    assert_eq!(yaml.status, 406);
}

#[tokio::test]
async fn certificates_and_authorities_are_taken_as_they_change() {
    let setup = Setup::new().await;
    let next = Authority::new("next");
    setup.renew(&next);
    until(async || {
        let config = pki::client(&next, None);
        Client::connect(setup.address, config, None).await.is_ok()
    })
    .await;
    setup.cluster.apply("configmaps", config_map(&next));
    until(async || {
        let leaf = next.sign("front-proxy-client");
        let config = pki::client(&next, Some(&leaf));
        match Client::connect(setup.address, config, Some("admin")).await {
            Ok(client) => client
                .send(Method::GET, "/apis", "", "")
                .await
                .is_ok_and(|it| it.status() == 200),
            Err(_) => false,
        }
    })
    .await;
}

#[tokio::test]
async fn a_server_that_ends_lets_what_runs_end() {
    let setup = Setup::new().await;
    let admin = setup.client("admin").await;
    let list = admin.get("/namespaces/a/serverlessworkers").await;
    let path = format!(
        "/namespaces/a/serverlessworkers?watch=1&allowWatchBookmarks=true&resourceVersion={}",
        list.version()
    );
    let mut watch = admin.watch(&path).await;
    setup.stop.cancel();
    assert_eq!(watch.seen().await.0, "BOOKMARK");
    assert!(watch.next().await.is_none());
    let config = pki::client(&setup.own, None);
    until(async || {
        Client::connect(setup.address, config.clone(), None)
            .await
            .is_err()
    })
    .await;
}
