//! How requests come to a class, and what its status says of that.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use serde_json::{Value, json};

use crate::apps;
use crate::class::{Class, condition};
use crate::cluster::{Cluster, until};
use crate::test::Test;

const TRAEFIK: &str = "deployment/traefik";
const CONTROLLER: &str = "traefik.io/gateway-controller";

/// That an Ingress is nobody's is told, and keeps nothing from working.
pub async fn an_ingress_that_nobody_takes_is_told(test: Arc<Test>) {
    let mut spec = apps::ledger("1");
    spec["ingress"] = json!({ "className": "nobody" });
    let class = test.class("ledger", spec).await;
    class.ready().await;
    let told = class
        .condition("RoutesReady", "Unknown", "RoutePending")
        .await;
    let message = told["message"].as_str().unwrap();
    assert!(
        message.contains("kubectl describe ingress ledger"),
        "{told}"
    );

    let default = test.cluster.list("default", "ingressclasses", "").await;
    if default.is_empty() {
        eprintln!("skipped the rest: there is no Ingress controller");
        return;
    }
    class.apply(apps::ledger("1")).await;
    class.condition("RoutesReady", "True", "Succeeded").await;
    let ingress = test.cluster.get(&test.namespace, "ingress/ledger").await;
    let addresses = &ingress.unwrap()["status"]["loadBalancer"]["ingress"];
    assert!(addresses[0].is_object(), "{addresses}");
}

/// A class without pods answers at once, and says so.
pub async fn a_class_scaled_to_zero_answers_at_once(test: Arc<Test>) {
    let class = test.class("ledger", apps::ledger("1")).await;
    class.ready().await;
    class
        .kubectl(&["scale", "swc", "ledger", "--replicas=0"])
        .await;
    until("the end of the pods", Duration::from_secs(90), async || {
        let (pods, object) = (class.pods().await.len(), class.get().await);
        let ready = condition(&object, "Ready");
        if pods == 0 && ready["status"] == "True" && ready["reason"] == "ScaledToZero" {
            return Ok(());
        }
        Err(format!("{pods} pods, {ready}"))
    })
    .await;
    let asked = Instant::now();
    let reply = class.site().get("/a").await;
    assert_eq!(reply.status, 503, "{}", reply.text());
    assert_eq!(reply.header("portside-reason"), "ScaledToZero");
    assert!(asked.elapsed() < Duration::from_secs(5));
    class
        .kubectl(&["scale", "swc", "ledger", "--replicas=1"])
        .await;
    class.ready().await;
    assert_eq!(class.site().get("/a").await.status, 200);
}

/// With the Gateway API in the cluster, a Gateway leads to the class, and its word is in the class's status.
pub async fn an_httproute_leads_to_the_class(test: Arc<Test>) {
    let cluster = &test.cluster;
    let traefik = cluster.get("kube-system", TRAEFIK).await;
    let (Some(traefik), Some(definitions)) = (traefik, &cluster.settings.gateway_api) else {
        eprintln!("skipped: this needs Traefik, and Go for the Gateway API's definitions");
        return;
    };
    let folder = definitions.join("config/crd/standard");
    let mut spec = apps::ledger("1");
    spec["httpRoute"] = json!({ "parentRefs": [parent(&test, "web")] });
    let class = test.class("ledger", spec).await;
    let name = "crd/httproutes.gateway.networking.k8s.io";
    if cluster.get("default", name).await.is_none() {
        class
            .condition("RoutesReady", "False", "GatewayUnavailable")
            .await;
    }
    let apply = ["apply", "--server-side", "-f", folder.to_str().unwrap()];
    cluster.kubectl(&apply).await;
    cluster.established(&[name]).await;
    let body = AssertUnwindSafe(routed(&test, &class)).catch_unwind().await;
    // Other tests have the Ingress controller as it was.
    let args = json!([{
        "op": "replace",
        "path": "/spec/template/spec/containers/0/args",
        "value": traefik["spec"]["template"]["spec"]["containers"][0]["args"],
    }]);
    patch_traefik(cluster, &args).await;
    let what = format!("clusterrole/{0},clusterrolebinding/{0}", test.namespace);
    for what in what
        .split(',')
        .chain([&*format!("gatewayclass/{}", test.namespace)])
    {
        cluster
            .kubectl(&["delete", what, "--ignore-not-found"])
            .await;
    }
    body.unwrap_or_else(|panic| resume_unwind(panic));
}

async fn routed(test: &Test, class: &Class) {
    gateway(test).await;
    class.ready().await;
    class.condition("RoutesReady", "True", "Succeeded").await;
    let host = test.host("ledger");
    until(
        "the class behind the Gateway",
        Duration::from_secs(60),
        async || {
            let reply = class.site().get("/a").await;
            match reply.status {
                200 => Ok(()),
                status => Err(format!("{host}: {status} {}", reply.text())),
            }
        },
    )
    .await;
    let made = class
        .kubectl(&["get", "ingresses,httproutes", "-o", "name"])
        .await;
    assert_eq!(made.trim(), "httproute.gateway.networking.k8s.io/ledger");

    for (section, status, reason, complaint) in [
        (
            "strict",
            "False",
            "RouteRefused",
            "refuses HTTPRoute ledger",
        ),
        ("web", "True", "Succeeded", ""),
    ] {
        let parents = json!([parent(test, section)]);
        class
            .patch(&json!({ "spec": { "httpRoute": { "parentRefs": parents } } }))
            .await;
        let told = class.condition("RoutesReady", status, reason).await;
        let message = told["message"].as_str().unwrap();
        assert!(message.contains(complaint), "{told}");
    }
    class.current().await;

    // Somebody takes the route away: a watch of HTTPRoutes sees it.
    class.kubectl(&["delete", "httproute", "ledger"]).await;
    until("the HTTPRoute again", Duration::from_secs(60), async || {
        let found = test.cluster.get(&test.namespace, "httproute/ledger").await;
        found.map(|_| ()).ok_or_else(|| "gone".to_owned())
    })
    .await;
}

fn parent(test: &Test, section: &str) -> Value {
    json!({ "name": "public", "namespace": test.namespace, "sectionName": section })
}

/// Makes Traefik one that implements the Gateway API, and a Gateway of two listeners, one of which has another host.
async fn gateway(test: &Test) {
    let cluster = &test.cluster;
    let group = "gateway.networking.k8s.io";
    let name = &test.namespace;
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": { "name": name },
        "rules": [
            { "apiGroups": [group], "resources": ["*"], "verbs": ["get", "list", "watch", "update", "patch"] },
        ],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": { "name": name },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name },
        "subjects": [{ "kind": "ServiceAccount", "name": "traefik", "namespace": "kube-system" }],
    });
    let class = json!({
        "apiVersion": format!("{group}/v1"),
        "kind": "GatewayClass",
        "metadata": { "name": name },
        "spec": { "controllerName": CONTROLLER },
    });
    for object in [&role, &binding, &class] {
        cluster.apply(object).await;
    }
    let listener = |name: &str, more: Value| {
        let mut listener = more;
        listener["name"] = json!(name);
        listener["port"] = json!(8000);
        listener["protocol"] = json!("HTTP");
        listener["allowedRoutes"] = json!({ "namespaces": { "from": "Same" } });
        listener
    };
    let listeners = [
        listener("web", json!({})),
        listener("strict", json!({ "hostname": "other.example" })),
    ];
    let spec = json!({ "gatewayClassName": name, "listeners": listeners });
    test.apply(
        &format!("{group}/v1"),
        "Gateway",
        "public",
        json!({ "spec": spec }),
    )
    .await;
    let arg = json!([{
        "op": "add",
        "path": "/spec/template/spec/containers/0/args/-",
        "value": "--providers.kubernetesgateway=true",
    }]);
    patch_traefik(cluster, &arg).await;
}

async fn patch_traefik(cluster: &Cluster, patch: &Value) {
    let patch = patch.to_string();
    let args = ["patch", TRAEFIK, "--type=json", "-p", &patch];
    cluster
        .kubectl(&[&["-n", "kube-system"], &args[..]].concat())
        .await;
    cluster.rolled_out("kube-system", "traefik").await;
}
