//! Where the database is, while classes run.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::failures::answers_again;
use crate::apps;
use crate::class::{Class, name, uid};
use crate::cluster::{SYSTEM, until};
use crate::load::Load;
use crate::release::sql;
use crate::test::Test;

/// For a kubelet to bring a Secret to a pod, which then looks at it.
const FOLLOWED: Duration = Duration::from_secs(180);

/// A role, with a database of its own, gets another password while clients write to two pods: no request fails, nothing is restarted.
pub async fn a_new_password_is_followed_under_load(test: Arc<Test>) {
    let cluster = &test.cluster;
    for statement in [
        "DROP DATABASE IF EXISTS rotated WITH (FORCE)",
        "DROP ROLE IF EXISTS rotated",
        "CREATE ROLE rotated LOGIN PASSWORD 'first-password'",
        "CREATE DATABASE rotated OWNER rotated",
    ] {
        sql(cluster, statement).await;
    }
    let write = async |password: &str| {
        let url =
            format!("postgres://rotated:{password}@portside-postgres.{SYSTEM}.svc:5432/rotated");
        let data = json!({ "stringData": { "url": url } });
        test.apply("v1", "Secret", "rotated", data).await;
    };
    write("first-password").await;
    let mut spec = apps::ledger("1");
    spec["storage"] = json!({ "database": { "secretKeyRef": { "name": "rotated" } } });
    spec["scaling"] = json!({ "replicas": 2 });
    let class = test.class("ledger", spec).await;
    class.ready().await;
    class.all_serve(2).await;
    let before: Vec<_> = class.pods().await.iter().map(uid).collect();

    let load = Load::start(&class.site(), 4);
    sql(cluster, "ALTER ROLE rotated PASSWORD 'second-password'").await;
    write("second-password").await;
    until("the pods to use the new URL", FOLLOWED, async || {
        for pod in class.pods().await {
            let log = logged(&class, &pod).await;
            if !log.contains("new connections use it") {
                return Err(format!("{} does not", name(&pod)));
            }
        }
        Ok(())
    })
    .await;
    // With the new connections alone.
    load.goes_on(FOLLOWED).await;
    load.finish().await.flawless();
    let after = class.pods().await;
    assert_eq!(after.iter().map(uid).collect::<Vec<_>>(), before);
    for pod in &after {
        assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0);
    }

    // Another database is not followed.
    sql(cluster, "CREATE DATABASE elsewhere OWNER rotated").await;
    let url =
        format!("postgres://rotated:second-password@portside-postgres.{SYSTEM}.svc:5432/elsewhere");
    let data = json!({ "stringData": { "url": url } });
    test.apply("v1", "Secret", "rotated", data).await;
    until("a pod to say that it stays", FOLLOWED, async || {
        let log = logged(&class, &after[0]).await;
        match log.contains("the new URL names another database") {
            true => Ok(()),
            false => Err("not yet".to_owned()),
        }
    })
    .await;
    answers_again(&class, "stays").await;
    class.delete().await;
    for statement in [
        "DROP DATABASE rotated WITH (FORCE)",
        "DROP DATABASE elsewhere WITH (FORCE)",
        "DROP ROLE rotated",
    ] {
        sql(cluster, statement).await;
    }
}

async fn logged(class: &Class, pod: &Value) -> String {
    let logs = ["logs", name(pod), "--container=sidecar", "--tail=-1"];
    class.kubectl(&logs).await
}

/// A class keeps its database's Secret. An authority may come later, and is named if it is not there.
pub async fn its_secret_stays_and_a_missing_authority_is_named(test: Arc<Test>) {
    let class = test.class("ledger", apps::ledger("1")).await;
    class.ready().await;
    let patch =
        |database: Value| json!({ "spec": { "storage": { "database": database } } }).to_string();
    let other = patch(json!({ "secretKeyRef": { "name": "other" } }));
    let object = "serverlessworkerclasses/ledger";
    let change = [
        "-n",
        &test.namespace,
        "patch",
        object,
        "--type=merge",
        "--patch",
    ];
    let changed = test
        .cluster
        .try_kubectl(&[&change[..], &[&other]].concat())
        .await;
    let refusal = changed.unwrap_err();
    assert!(
        refusal.contains("cannot have another secretKeyRef"),
        "{refusal}"
    );

    let ca = patch(json!({ "ca": { "configMapKeyRef": { "name": "authorities" } } }));
    class.kubectl(&[&change[2..], &[&ca]].concat()).await;
    let missing = class.condition("Ready", "False", "DatabaseMissing").await;
    let message = missing["message"].as_str().unwrap();
    assert!(
        message.contains("there is no ConfigMap authorities with the key ca.crt"),
        "{message}"
    );
    // The pod from before runs on.
    answers_again(&class, "before").await;
    class
        .patch(&json!({ "spec": { "storage": { "database": { "ca": null } } } }))
        .await;
    class.ready().await;
}
