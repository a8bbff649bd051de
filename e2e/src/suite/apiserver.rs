//! The API server of workers as it is installed: who believes whom, who may see what, and what its absence does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::{Cluster, SYSTEM, until};
use crate::release::Release;
use crate::test::Test;
use crate::workers::{API_SERVICE, PATIENCE, find, in_state, name, note, notes, path, registered};

const DEPLOYMENT: &str = "portside-apiserver";
const AUTHORITIES: &str = "portside-apiserver-ca";
const CERTIFICATE: &str = "portside-apiserver-tls";

/// What a Secret of the release has.
async fn secret(cluster: &Cluster, name: &str) -> Option<BTreeMap<String, String>> {
    let found = cluster.get(SYSTEM, &format!("secret/{name}")).await?;
    Some(serde_json::from_value(found["data"].clone()).unwrap())
}

/// How many authorities the pods of the class `notes` believe.
async fn believed(test: &Test) -> Result<usize, String> {
    let map = "configmap/notes-runtime";
    let map = test.cluster.get(&test.namespace, map).await;
    let map = map.ok_or("there is no ConfigMap")?;
    let text = map["data"]["ca.crt"].as_str().unwrap_or_default();
    Ok(text.matches("BEGIN CERTIFICATE").count())
}

/// What helm has installed works at once: the cluster and pods believe the operator's authority, of which the API server of workers has only
/// a certificate, and may do no more than it needs.
pub async fn everybody_knows_whom_to_believe(test: Arc<Test>) {
    let cluster = &test.cluster;
    registered(cluster).await;
    let authorities = secret(cluster, AUTHORITIES).await.unwrap();
    let certificate = secret(cluster, CERTIFICATE).await.unwrap();
    assert!(authorities.contains_key("ca.key"));
    let keys: Vec<_> = certificate.keys().collect();
    assert_eq!(keys, ["ca.crt", "tls.crt", "tls.key"]);
    let registration = format!("apiservice/{API_SERVICE}");
    let registration = cluster.get("default", &registration).await.unwrap();
    assert_eq!(registration["spec"]["caBundle"], authorities["ca.crt"]);

    let class = test.class("notes", notes(1)).await;
    class.ready().await;
    assert_eq!(believed(&test).await, Ok(1));
    let none = ["get", "serverlessworkers", "-o", "name"];
    assert_eq!(class.kubectl(&none).await.trim(), "");
    note(&class, "ann", "one").await;
    in_state(&test, "notes.js#ann", "Awake").await;

    let account = format!("--as=system:serviceaccount:{SYSTEM}:{DEPLOYMENT}");
    let may = async |verb: &str, what: &str| {
        let can = ["auth", "can-i", verb, what, &account, "--all-namespaces"];
        cluster.try_kubectl(&can).await.is_ok()
    };
    for (verb, what) in [
        ("watch", "pods"),
        ("watch", "serverlessworkerclasses.portside.dev"),
        ("create", "tokenreviews.authentication.k8s.io"),
        ("create", "subjectaccessreviews.authorization.k8s.io"),
    ] {
        assert!(may(verb, what).await, "{verb} {what}");
    }
    for (verb, what) in [
        ("get", "secrets"),
        ("list", "configmaps"),
        ("create", "pods/exec"),
        ("patch", "serverlessworkerclasses.portside.dev"),
    ] {
        assert!(!may(verb, what).await, "{verb} {what}");
    }
}

/// Gives a user one of the chart's roles in the namespace.
async fn grant(test: &Test, user: &str, role: &str) {
    let rest = json!({
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user }],
    });
    let version = "rbac.authorization.k8s.io/v1";
    test.apply(version, "RoleBinding", role, rest).await;
}

/// Who has a role in a namespace sees the workers of that one; what they store, and doing something to them, takes another role.
pub async fn rights_are_kubernetes_own(test: Arc<Test>) {
    let (cluster, tenant) = (&test.cluster, test.tenant("b").await);
    registered(cluster).await;
    let ours = test.class("notes", notes(1)).await;
    let theirs = tenant.class("notes", notes(1)).await;
    ours.ready().await;
    theirs.ready().await;
    note(&ours, "ann", "one").await;
    note(&theirs, "bob", "one").await;
    let ann = in_state(&test, "notes.js#ann", "Awake").await;
    let bob = in_state(&tenant, "notes.js#bob", "Awake").await;
    let user = format!("viewer-of-{}", test.namespace);
    let as_user = async |args: &[&str]| {
        let who = ["--as", &user];
        cluster.try_kubectl(&[&who[..], args].concat()).await
    };
    let is_forbidden = |answer: Result<String, String>| {
        let said = answer.unwrap_err();
        assert!(
            said.contains("Forbidden") || said.contains("forbidden"),
            "{said}"
        );
    };
    let list = ["-n", &test.namespace, "get", "sw", "-o", "name"];
    is_forbidden(as_user(&list).await);
    grant(&test, &user, "portside-workers-view").await;
    until("the role", Duration::from_secs(30), async || {
        as_user(&list).await
    })
    .await;

    assert!(as_user(&list).await.unwrap().contains(name(&ann)));
    let others = ["-n", &tenant.namespace, "get", "sw"];
    is_forbidden(as_user(&others).await);
    is_forbidden(as_user(&["get", "sw", "--all-namespaces"]).await);
    let raw =
        |test: &Test, worker: &Value, what: &str| path(test, &format!("/{}/{what}", name(worker)));
    let log = raw(&test, &ann, "log?tailLines=5");
    let said = as_user(&["get", "--raw", &log]).await.unwrap();
    assert!(said.contains("noted one"), "{said}");
    is_forbidden(as_user(&["get", "--raw", &raw(&tenant, &bob, "log")]).await);
    is_forbidden(as_user(&["get", "--raw", &raw(&test, &ann, "state")]).await);
    is_forbidden(as_user(&["delete", "--raw", &raw(&test, &ann, "state?key=note")]).await);
    for what in ["exec", "sql", "wake", "sleep", "inspect"] {
        // What is sent does not matter: it is not looked at.
        let path = raw(&test, &ann, what);
        is_forbidden(as_user(&["create", "--raw", &path, "-f", "/dev/null"]).await);
    }
    let delete = ["-n", &test.namespace, "delete", "sw", name(&ann)];
    is_forbidden(as_user(&delete).await);
    in_state(&test, "notes.js#ann", "Awake").await;

    grant(&test, &user, "portside-workers-edit").await;
    let state = raw(&test, &ann, "state");
    let said = until("the role", Duration::from_secs(30), async || {
        as_user(&["get", "--raw", &state]).await
    })
    .await;
    assert!(said.contains("\"one\""), "{said}");
    is_forbidden(as_user(&["get", "--raw", &raw(&tenant, &bob, "state")]).await);
    as_user(&delete).await.unwrap();
}

/// Deletes a Secret of the release and waits until another one is there.
async fn replace_secret(cluster: &Cluster, name: &str) {
    let before = secret(cluster, name).await.unwrap();
    let delete = ["-n", SYSTEM, "delete", "secret", name];
    cluster.kubectl(&delete).await;
    let what = format!("another Secret {name}");
    until(&what, Duration::from_secs(60), async || {
        match secret(cluster, name).await {
            Some(now) if now != before => Ok(()),
            _ => Err("it is not there".to_owned()),
        }
    })
    .await;
}

/// Looks for two minutes, by when every pod has been brought what is new, or for as long as there is.
async fn stays_seen(test: &Test) {
    let looks = match test.cluster.settings.short {
        true => 5,
        false => 40,
    };
    for _ in 0..looks {
        find(test, "notes.js#ann").await.unwrap();
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
}

/// Certificate and authority are replaced, and all the while workers are seen.
pub async fn certificates_are_replaced_and_nobody_is_refused(test: Arc<Test>) {
    let cluster = &test.cluster;
    registered(cluster).await;
    let class = test.class("notes", notes(1)).await;
    class.ready().await;
    note(&class, "ann", "one").await;
    in_state(&test, "notes.js#ann", "Awake").await;
    assert_eq!(believed(&test).await, Ok(1));

    replace_secret(cluster, CERTIFICATE).await;
    stays_seen(&test).await;
    replace_secret(cluster, AUTHORITIES).await;
    until(
        "both authorities to be believed",
        Duration::from_secs(60),
        async || match believed(&test).await? {
            2 => Ok(()),
            other => Err(format!("{other} are")),
        },
    )
    .await;
    stays_seen(&test).await;
    // A pod that is new believes them, too.
    class.apply(notes(2)).await;
    class.ready().await;
    note(&class, "bob", "one").await;
    in_state(&test, "notes.js#bob", "Awake").await;
    registered(cluster).await;
}

/// Scales the API server of workers.
async fn scale(cluster: &Cluster, replicas: u32) {
    let deployment = format!("deployment/{DEPLOYMENT}");
    let replicas = format!("--replicas={replicas}");
    let scale = ["-n", SYSTEM, "scale", &deployment, &replicas];
    cluster.kubectl(&scale).await;
}

/// Each request may reach another replica: a watch goes on from any list, and a page follows any other.
pub async fn any_replica_answers(test: Arc<Test>) {
    let cluster = &test.cluster;
    registered(cluster).await;
    cluster.rolled_out(SYSTEM, DEPLOYMENT).await;
    let class = test.class("notes", notes(1)).await;
    class.ready().await;
    for who in ["ann", "bob", "cat", "dan"] {
        note(&class, who, "one").await;
    }
    in_state(&test, "notes.js#dan", "Awake").await;
    let get = async |query: &str| {
        let path = path(&test, query);
        cluster.kubectl(&["get", "--raw", &path]).await
    };
    let list = async |query: &str| -> Value { serde_json::from_str(&get(query).await).unwrap() };
    for _ in 0..10 {
        let (mut next, mut seen) = (String::new(), 0);
        let version = loop {
            let page = list(&format!("?limit=1{next}")).await;
            seen += page["items"].as_array().unwrap().len();
            match page["metadata"]["continue"].as_str() {
                Some(token) => next = format!("&continue={token}"),
                None => break page["metadata"]["resourceVersion"].clone(),
            }
        };
        assert_eq!(seen, 4);
        let version = version.as_str().unwrap();
        let query =
            format!("?watch=1&allowWatchBookmarks=true&timeoutSeconds=1&resourceVersion={version}");
        let said = get(&query).await;
        assert!(
            said.contains("\"BOOKMARK\"") && !said.contains("\"ERROR\""),
            "{said}"
        );
    }
}

/// Nobody answers for workers: namespaces are deleted all the same, and later everything is as before.
pub async fn namespaces_go_without_it(test: Arc<Test>) {
    let (cluster, tenant) = (&test.cluster, test.tenant("b").await);
    registered(cluster).await;
    let class = test.class("notes", notes(1)).await;
    class.ready().await;
    note(&class, "ann", "one").await;
    tenant.class("notes", notes(1)).await.ready().await;
    scale(cluster, 0).await;
    let delete = ["delete", "namespace", &tenant.namespace, "--timeout=240s"];
    cluster.kubectl(&delete).await;
    // Classes do not need it.
    note(&class, "ann", "two").await;
    scale(cluster, 2).await;
    cluster.rolled_out(SYSTEM, DEPLOYMENT).await;
    registered(cluster).await;
    // It may have fallen asleep meanwhile.
    note(&class, "ann", "three").await;
    in_state(&test, "notes.js#ann", "Awake").await;
}

/// Turned off by an upgrade, nobody is believed any more; turned on again, it sees the same pods.
pub async fn it_can_be_turned_off(test: Arc<Test>) {
    let cluster = &test.cluster;
    registered(cluster).await;
    let class = test.class("notes", notes(1)).await;
    class.ready().await;
    note(&class, "ann", "one").await;
    let pods = class.pods().await;
    let release = Release::new(cluster);
    let tag = &cluster.settings.tag;
    let off = ["apiserver.enabled=false".to_owned()];
    release.upgrade_with(tag, &off).await;
    let registration = format!("apiservice/{API_SERVICE}");
    assert!(cluster.get("default", &registration).await.is_none());
    until("nobody to be believed", PATIENCE, async || {
        let map = cluster
            .get(&test.namespace, "configmap/notes-runtime")
            .await;
        map.map_or(Ok(()), |map| Err(map.to_string()))
    })
    .await;
    release.upgrade(tag).await;
    registered(cluster).await;
    until("the worker to be seen", PATIENCE, async || {
        find(&test, "notes.js#ann").await
    })
    .await;
    let uids = |pods: &[Value]| {
        let uids = pods.iter().map(crate::class::uid);
        uids.collect::<Vec<_>>()
    };
    assert_eq!(
        uids(&class.pods().await),
        uids(&pods),
        "no pod was replaced"
    );
}
