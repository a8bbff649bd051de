//! Several teams in one cluster, each with a namespace.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::apps;
use crate::class::{Class, condition};
use crate::cluster::{Cluster, SYSTEM, until};
use crate::release::apply_template;
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

/// Turns the chart's host policy on for the namespaces of the test.
async fn host_policy(test: &Test, tenant: &Test) {
    let values = [
        format!(
            "watchNamespaces={{{},{}}}",
            test.namespace, tenant.namespace
        ),
        "hostPolicy.enabled=true,hostPolicy.ingresses=true".to_owned(),
    ];
    apply_template(&test.cluster, "policy.yaml", SYSTEM, &values).await;
}

/// A class as somebody may ask for it.
fn asked(test: &Test, host: &str, annotation: &str) -> Value {
    let mut spec = apps::ledger("1");
    spec["routes"] = json!([{ "host": host }]);
    spec["ingress"] = json!({ "annotations": { annotation: "1" } });
    json!({
        "apiVersion": "portside.dev/v1alpha1",
        "kind": "ServerlessWorkerClass",
        "metadata": { "name": "asked", "namespace": test.namespace },
        "spec": spec,
    })
}

/// With the chart's host policy a namespace gets the hosts of its annotation, and keeps those that it had.
pub async fn a_namespace_has_the_hosts_it_is_given(test: Arc<Test>) {
    const ISSUER: &str = "cert-manager.io/cluster-issuer";
    let (cluster, tenant) = (&test.cluster, test.tenant("b").await);
    let given = format!("portside.dev/hosts=*.{}.example, x.test", test.namespace);
    let annotate = ["annotate", "namespace", &test.namespace, &given];
    cluster.kubectl(&annotate).await;
    host_policy(&test, &tenant).await;
    // The API server needs a moment to know a policy.
    until(
        "the policy",
        Duration::from_secs(60),
        async || match cluster.would_take(&asked(&tenant, "x.test", ISSUER)).await {
            Ok(()) => Err("accepted".to_owned()),
            Err(said) if said.contains("spec.routes has x.test, but namespace") => Ok(()),
            Err(said) => Err(said),
        },
    )
    .await;

    let own = |host: &str| host.replace("NS", &test.namespace);
    for (host, annotation, complaint) in [
        ("x.test", ISSUER, ""),
        ("a.NS.example", ISSUER, ""),
        ("*.NS.example", ISSUER, ""),
        ("a.b.NS.example", ISSUER, "spec.routes has a.b."),
        ("NS.example", ISSUER, "to the annotation portside.dev/hosts"),
        ("*.example", ISSUER, "spec.routes has *.example"),
        ("", ISSUER, "the empty host, which is every host"),
        (
            "x.test",
            "traefik.ingress.kubernetes.io/router.middlewares",
            "spec.ingress.annotations has traefik",
        ),
        (
            "x.test",
            "cert-manager.io/issuer-kind",
            "spec.ingress.annotations has cert-manager.io/issuer-kind",
        ),
        (
            "x.test",
            "cert-manager.io/alt-names",
            "allow it in hostPolicy",
        ),
    ] {
        let answer = cluster
            .would_take(&asked(&test, &own(host), annotation))
            .await;
        match answer {
            Ok(()) => assert_eq!(complaint, "", "{host} {annotation} was accepted"),
            Err(said) => assert!(
                !complaint.is_empty() && said.contains(complaint),
                "{host} {annotation}: {said}"
            ),
        }
    }

    // What is taken away stays with the class that has it, which can be changed otherwise.
    let class = test.class("kept", apps::ledger("1")).await;
    class.ready().await;
    let take = [
        "annotate",
        "namespace",
        &test.namespace,
        "portside.dev/hosts-",
    ];
    cluster.kubectl(&take).await;
    let route = json!([{ "host": test.host("kept") }, { "host": "x.test" }]);
    let patch = json!({ "spec": { "routes": route } }).to_string();
    let args = [
        "-n",
        &test.namespace,
        "patch",
        "swc",
        "kept",
        "--type=merge",
        "-p",
        &patch,
    ];
    until(
        "the hosts to be gone",
        Duration::from_secs(60),
        async || match cluster
            .try_kubectl(&[&args[..], &["--dry-run=server"]].concat())
            .await
        {
            Ok(_) => Err("accepted".to_owned()),
            Err(said) if said.contains("has no hosts") => Ok(()),
            Err(said) => Err(said),
        },
    )
    .await;
    class.apply(apps::ledger("2")).await;
    class.delete().await;
    policies_go(cluster).await;
}

/// An Ingress as somebody may ask for it: as the API server is to take it, or not.
async fn takes_ingress(test: &Test, annotations: Value, spec: Value) -> Result<(), String> {
    let ingress = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "spec": spec,
        "metadata": { "name": "asked", "namespace": test.namespace, "annotations": annotations },
    });
    test.cluster.would_take(&ingress).await
}

/// With the chart's host policy for Ingresses a namespace cannot have another's hosts past Portside either.
pub async fn an_ingress_has_the_hosts_of_its_namespace(test: Arc<Test>) {
    let (cluster, tenant) = (&test.cluster, test.tenant("b").await);
    let given = "portside.dev/hosts=b.test, *.b.test";
    let annotate = ["annotate", "namespace", &tenant.namespace, given];
    cluster.kubectl(&annotate).await;
    let backend = json!({ "service": { "name": "any", "port": { "number": 80 } } });
    let rule = |host: &str| {
        let paths = json!([{ "path": "/login", "pathType": "Prefix", "backend": backend }]);
        match host {
            "" => json!({ "http": { "paths": paths } }),
            _ => json!({ "host": host, "http": { "paths": paths } }),
        }
    };
    let rules = |host: &str| json!({ "rules": [rule(host)] });
    host_policy(&test, &tenant).await;
    until(
        "the policy",
        Duration::from_secs(60),
        async || match takes_ingress(&tenant, json!({}), rules("a.test")).await {
            Ok(()) => Err("accepted".to_owned()),
            Err(said) if said.contains("spec has a.test, but namespace") => Ok(()),
            Err(said) => Err(said),
        },
    )
    .await;
    let mut certificate = rules("b.test");
    certificate["tls"] =
        json!([{ "hosts": ["x.b.test"] }, { "hosts": ["b.test", "a.test"], "secretName": "s" }]);
    let alias = json!({ "nginx.ingress.kubernetes.io/server-alias": "a.test" });
    let issuer = json!({ "cert-manager.io/issuer": "x", "kubectl.kubernetes.io/last-applied-configuration": "{}" });
    // As cert-manager has it on those that answer an authority.
    let solver = json!({ "kubernetes.io/ingress.class": "traefik",
        "nginx.ingress.kubernetes.io/whitelist-source-range": "0.0.0.0/0,::/0" });
    for (annotations, spec, complaint) in [
        (json!({}), rules("b.test"), ""),
        (solver, rules("b.test"), ""),
        (issuer, rules("x.b.test"), ""),
        (json!({}), rules(""), "the empty host, which is every host"),
        (
            json!({}),
            json!({ "defaultBackend": backend }),
            "the empty host",
        ),
        (json!({}), certificate, "spec has a.test"),
        (
            json!({}),
            json!({ "rules": [rule("b.test"), rule("*.test")] }),
            "spec has *.test",
        ),
        (alias, rules("b.test"), "metadata.annotations has nginx"),
    ] {
        let asked = spec.to_string();
        match takes_ingress(&tenant, annotations, spec).await {
            Ok(()) => assert_eq!(complaint, "", "{asked} was accepted"),
            Err(said) => assert!(
                !complaint.is_empty() && said.contains(complaint),
                "{asked}: {said}"
            ),
        }
    }
    // The operator's own are those of classes, which are looked at themselves.
    let mut spec = apps::ledger("1");
    spec["routes"] = json!([{ "host": "shop.b.test" }]);
    let object = json!({ "spec": spec });
    let version = "portside.dev/v1alpha1";
    tenant
        .apply(version, "ServerlessWorkerClass", "shop", object)
        .await;
    Class::new(&tenant, "shop").ready().await;
    policies_go(cluster).await;
}

/// Takes the policies away again.
async fn policies_go(cluster: &Cluster) {
    let kinds = [
        "validatingadmissionpolicybinding",
        "validatingadmissionpolicy",
    ];
    let names = ["portside-hosts", "portside-ingresses"];
    let all: Vec<_> = kinds
        .iter()
        .flat_map(|kind| names.map(|name| format!("{kind}/{name}")))
        .collect();
    let all: Vec<_> = all.iter().map(String::as_str).collect();
    cluster.kubectl(&[&["delete"][..], &all].concat()).await;
}

/// Who may make a class gets no rights on nodes by it, whatever the namespace enforces.
pub async fn containers_beside_have_no_more_rights(test: Arc<Test>) {
    let mut spec = apps::ledger("1");
    let root =
        json!({ "name": "root", "image": "root:1", "securityContext": { "privileged": true } });
    spec["pod"] = json!({ "extraContainers": [root] });
    let class = test.class("ledger", spec).await;
    let stalled = class.failed().await;
    let ready = condition(&stalled, "Ready");
    assert_eq!(ready["reason"], "PodRejected");
    let message = ready["message"].as_str().unwrap();
    assert!(
        message.starts_with("spec.pod.extraContainers[0].securityContext: privileged"),
        "{ready}"
    );
    assert!(class.pods().await.is_empty());
}
