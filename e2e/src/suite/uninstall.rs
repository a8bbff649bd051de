//! The end.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::apps;
use crate::cluster::{SYSTEM, until};
use crate::load;
use crate::release::Release;
use crate::test::Test;

/// Portside goes while classes are there, one with a finalizer: they keep running, and can be deleted afterwards.
pub async fn nothing_gets_stuck(test: Arc<Test>) {
    let mut spec = apps::ledger("1");
    spec["storage"] = json!({ "deletionPolicy": "Delete" });
    let class = test.class("left", spec).await;
    class.ready().await;
    load::add(&class.site(), "/a", "one").await;
    let finalizers = &class.get().await["metadata"]["finalizers"];
    assert_eq!(*finalizers, json!(["portside.dev/data"]));

    let release = Release::new(&test.cluster);
    release.uninstall("portside").await;
    let left = test
        .cluster
        .kubectl(&[
            "-n",
            SYSTEM,
            "get",
            "deployments,services,jobs,secrets,serviceaccounts,roles,rolebindings,clusterroles,clusterrolebindings,apiservices",
            "-o",
            "name",
            "-l",
            "app.kubernetes.io/part-of=portside",
        ])
        .await;
    assert_eq!(left.trim(), "");
    let finalizers = &class.get().await["metadata"]["finalizers"];
    assert!(finalizers.is_null(), "{finalizers}");
    assert_eq!(class.pods().await.len(), 1, "what runs goes on");

    // The definitions' chart leaves the definition, and with it the classes.
    release.uninstall("portside-crds").await;
    class.get().await;

    let delete = ["delete", "namespace", &test.namespace, "--timeout=180s"];
    test.cluster.kubectl(&delete).await;
    until(
        "the end of all namespaces of these tests",
        Duration::from_secs(240),
        async || {
            let namespaces = test
                .cluster
                .kubectl(&["get", "namespaces", "-o", "name"])
                .await;
            let left: Vec<_> = namespaces
                .lines()
                .filter(|name| name.contains("/portside-e2e-") && !name.ends_with("-served"))
                .collect();
            if left.is_empty() || test.cluster.settings.keep {
                Ok(())
            } else {
                Err(format!("{left:?}"))
            }
        },
    )
    .await;
}
