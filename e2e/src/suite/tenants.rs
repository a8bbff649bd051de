//! Several teams in one cluster, each with a namespace.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::apps;
use crate::class::{Class, condition};
use crate::cluster::until;
use crate::test::Test;

/// Asks for another route, with the namespaces that are allowed there.
async fn wants(class: &Class, host: &str, path: &str, allowed: &[&str]) {
    let route = json!({ "host": host, "path": path, "allowNamespaces": allowed });
    class.patch(&json!({ "spec": { "routes": [route] } })).await;
}

/// Waits until a path is answered by a class with this mark.
async fn answered_by(class: &Class, path: &str, version: &str) {
    let what = format!("{version} at {path}");
    until(&what, Duration::from_secs(60), async || {
        let reply = class.site().get(path).await;
        match reply.status {
            200 if reply.json()["version"] == version => Ok(()),
            status => Err(format!("{status} {}", reply.text())),
        }
    })
    .await;
}

/// Waits until a class is told that the host of a route is another's.
async fn refused(class: &Class, route: &str, owner: &Test) {
    let said = format!("belongs to namespace {}", owner.namespace);
    until("the conflict", Duration::from_secs(60), async || {
        let object = class.get().await;
        let found = condition(&object, "RoutesReady");
        let message = found["message"].as_str().unwrap_or_default();
        if found["reason"] == "RouteConflict"
            && message.starts_with(route)
            && message.contains(&said)
        {
            return Ok(());
        }
        Err(found.to_string())
    })
    .await;
}

/// Nobody gets requests of another namespace's host: neither by a longer path, nor by a name under a wildcard, nor by a
/// wildcard; but with leave.
pub async fn a_host_is_one_namespaces(test: Arc<Test>) {
    let tenant = test.tenant("b").await;
    let shop = test.class("shop", apps::ledger("shop")).await;
    shop.ready().await;
    let other = tenant.class("other", apps::ledger("other")).await;
    other.ready().await;
    let host = test.host("shop");
    let login = format!("{host}/login");
    let wildcard = format!("*.{}.example", test.namespace);

    wants(&other, &host, "/login", &[]).await;
    refused(&other, &login, &test).await;
    answered_by(&shop, "/login", "shop").await;
    let ingresses = tenant
        .cluster
        .list(&tenant.namespace, "ingresses", "portside.dev/class=other")
        .await;
    let told = format!("{ingresses:?}");
    assert!(
        !told.contains(&host),
        "the Ingress controller is not told either: {told}"
    );

    wants(&other, &wildcard, "/", &[]).await;
    refused(&other, &wildcard, &test).await;
    wants(&shop, &wildcard, "/", &[]).await;
    wants(&other, &host, "/login", &[]).await;
    refused(&other, &login, &test).await;

    wants(&shop, &wildcard, "/", &[&tenant.namespace]).await;
    other.ready().await;
    answered_by(&shop, "/login", "other").await;
    wants(&shop, &host, "/", &[]).await;
    refused(&other, &login, &test).await;
    answered_by(&shop, "/login", "shop").await;
    shop.delete().await;
    other.ready().await;
    answered_by(&shop, "/login", "other").await;
}
