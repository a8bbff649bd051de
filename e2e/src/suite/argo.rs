//! Classes as Argo CD sees them, by its engine and its Lua machine.

use std::sync::Arc;

use serde_json::{Value, json};

use super::gitops::{PAGE, gone};
use crate::apps;
use crate::argo::{Argo, Health};
use crate::class::{Class, condition};
use crate::page;
use crate::test::Test;

/// Argo CD sees no difference in what it has applied, waits for a class before the next wave, finds drift, and prunes.
pub async fn it_syncs_in_waves_and_knows_the_health(test: Arc<Test>) {
    let argo = Argo::new(&test);
    if !argo.is_there() {
        return;
    }
    let files = page::files(PAGE, &test);
    argo.takes(&files["application.yaml"]).await;
    let class = Class::new(&test, "chat");
    let spec = |version: &str| {
        let mut spec = apps::ledger(version);
        spec["routes"] = json!([{ "host": test.host("chat") }]);
        json!({
            "apiVersion": "portside.dev/v1alpha1",
            "kind": "ServerlessWorkerClass",
            "metadata": { "name": "chat", "annotations": { "argocd.argoproj.io/sync-wave": "1" } },
            "spec": spec,
        })
    };
    let after = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": "after", "annotations": { "argocd.argoproj.io/sync-wave": "2" } },
    });
    let definition = include_str!("../../../crds/generated/serverlessworkerclasses.yaml");
    let definition = another(definition);
    let of_it = json!({
        "apiVersion": "waves.example.com/v1alpha1",
        "kind": "Wave",
        "metadata": { "name": "in-the-same-sync", "annotations": { "argocd.argoproj.io/sync-wave": "2" } },
        "spec": spec("1")["spec"],
    });
    let fresh = argo.health_of(&spec("1")).await;
    assert_eq!(fresh["status"], "Progressing", "{fresh}");
    let all = |class: &Value| format!("{definition}\n---\n{class}\n---\n{after}\n---\n{of_it}\n");
    let synced = argo.sync(&all(&spec("1"))).await;
    assert_eq!(synced.as_array().unwrap().len(), 4, "{synced}");
    argo.health(&class, Health::Healthy).await;
    let came = async |what: &str| {
        let object = test.cluster.get(&test.namespace, what).await.unwrap();
        object["metadata"]["creationTimestamp"].to_string()
    };
    let ready = condition(&class.get().await, "Ready")["lastTransitionTime"].to_string();
    assert!(
        came("configmap/after").await >= ready,
        "the wave after did not wait"
    );
    assert_eq!(argo.diff(&all(&spec("1"))).await, json!([]));

    class
        .patch(&json!({ "spec": { "code": { "inline": { "server.js": "somebody's" } } } }))
        .await;
    assert_eq!(
        argo.diff(&all(&spec("1"))).await,
        json!(["ServerlessWorkerClass/chat"])
    );
    argo.health(&class, Health::Degraded).await;
    argo.sync(&all(&spec("1"))).await;
    class.ready().await;
    class.patch(&json!({ "spec": { "suspend": true } })).await;
    class.current().await;
    argo.health(&class, Health::Suspended).await;
    argo.sync(&after.to_string()).await;
    gone(&test).await;
    test.cluster
        .kubectl(&[
            "delete",
            "crd",
            "waves.waves.example.com",
            "--ignore-not-found",
        ])
        .await;
}

/// The definition of classes under another name, which is not there yet. Not one of `all`: what kubectl remembers of it would fail others
/// who get those once it is gone.
fn another(definition: &str) -> String {
    definition
        .replace("    - all\n", "")
        .replace("portside.dev", "waves.example.com")
        .replace("serverlessworkerclasses", "waves")
        .replace("serverlessworkerclass", "wave")
        .replace("ServerlessWorkerClass", "Wave")
        .replace("- swc", "- wv")
}
