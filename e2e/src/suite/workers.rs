//! What the API server of workers answers.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::class::Class;
use crate::cluster::until;
use crate::test::Test;
use crate::workers::{find, in_state, name, note, notes, path, registered};

/// Lists have the columns that people look for, and the objects that programs do; of one namespace, and of all.
pub async fn kubectl_shows_those_of_all_namespaces(test: Arc<Test>) {
    let (cluster, tenant) = (&test.cluster, test.tenant("b").await);
    registered(cluster).await;
    let ours = test.class("notes", notes(1)).await;
    let theirs = tenant.class("others", notes(1)).await;
    ours.ready().await;
    theirs.ready().await;
    note(&ours, "ann", "one").await;
    note(&ours, "bob", "one").await;
    note(&theirs, "cyd", "one").await;
    let ann = in_state(&test, "notes.js#ann", "Awake").await;
    assert!(name(&ann).starts_with("notes."), "{ann}");
    assert_eq!(ann["kind"], "ServerlessWorker");
    assert_eq!(ann["metadata"]["namespace"], test.namespace);
    assert_eq!(ann["metadata"]["labels"]["portside.dev/class"], "notes");
    let spec = &ann["spec"];
    assert_eq!(
        [&spec["class"], &spec["script"], &spec["name"]],
        ["notes", "notes.js", "ann"]
    );
    let pods = ours.pods().await;
    assert_eq!(ann["status"]["pod"], pods[0]["metadata"]["name"]);
    assert_eq!(ann["status"]["keys"], 1);

    let all = ["get", "serverlessworkers", "--all-namespaces"];
    let table = cluster.kubectl(&all).await;
    let header = table.lines().next().unwrap();
    for column in [
        "NAMESPACE",
        "NAME",
        "CLASS",
        "ADDRESS",
        "STATE",
        "POD",
        "KEYS",
        "BYTES",
    ] {
        assert!(header.contains(column), "{header}");
    }
    assert!(!header.contains("REVISION"), "{header}");
    let row = |address: &str, namespace: &str| {
        let is_it = |line: &&str| line.contains(address) && line.starts_with(namespace);
        assert!(table.lines().any(|line| is_it(&line)), "{address}: {table}");
    };
    row("notes.js#ann", &format!("{} ", test.namespace));
    row("notes.js#cyd", &format!("{} ", tenant.namespace));
    let wide = ours.kubectl(&["get", "sw", "-o", "wide"]).await;
    assert!(
        wide.contains("REVISION") && wide.contains("SCRIPT"),
        "{wide}"
    );
    assert!(
        !wide.contains("notes.js#cyd"),
        "another namespace's: {wide}"
    );

    let asleep = [
        "get",
        "sw",
        "--field-selector=status.state=Asleep",
        "-o",
        "name",
    ];
    assert_eq!(ours.kubectl(&asleep).await.trim(), "");
    let labelled = ["get", "sw", "-l", "portside.dev/class=notes", "-o", "name"];
    assert_eq!(ours.kubectl(&labelled).await.lines().count(), 2);
    // Page by page, as kubectl asks for long lists.
    let pages = ["get", "sw", "--chunk-size=1", "-o", "name"];
    assert_eq!(ours.kubectl(&pages).await.lines().count(), 2);
    let explained = ["explain", "serverlessworkers.status.state"];
    let explained = cluster.kubectl(&explained).await;
    assert!(
        explained.contains("Awake") && explained.contains("Asleep"),
        "{explained}"
    );
}

/// The oldest kubectl that is here and the newest make the same of it.
pub async fn other_versions_of_kubectl_do_the_same(test: Arc<Test>) {
    let cluster = &test.cluster;
    registered(cluster).await;
    let class = test.class("notes", notes(1)).await;
    class.ready().await;
    if cluster.settings.kubectls.is_empty() {
        eprintln!("no other kubectl: PORTSIDE_E2E_KUBECTLS names none");
    }
    for program in &cluster.settings.kubectls {
        let kubectl = async |args: &[&str]| {
            let args = [&["-n", &test.namespace], args].concat();
            cluster.kubectl_of(program, &args).await
        };
        eprintln!("{}", kubectl(&["version", "--client"]).await);
        note(&class, "ann", "one").await;
        note(&class, "bob", "one").await;
        let table = kubectl(&["get", "sw", "--chunk-size=1"]).await;
        assert_eq!(table.lines().count(), 3, "{table}");
        assert!(
            table.contains("notes.js#ann") && table.contains("Awake"),
            "{table}"
        );
        let get = ["get", "sw", "-o", "jsonpath={.items[*].spec.name}"];
        let names = kubectl(&get).await;
        let mut names: Vec<_> = names.split(' ').collect();
        names.sort_unstable();
        assert_eq!(names, ["ann", "bob"]);
        let ann = in_state(&test, "notes.js#ann", "Awake").await;
        let described = kubectl(&["describe", "serverlessworker", name(&ann)]).await;
        assert!(described.contains("notes.js#ann"), "{described}");
        let explained = kubectl(&["explain", "serverlessworkers.spec"]).await;
        assert!(explained.contains("class"), "{explained}");
        let delete = ["delete", "sw", "-l", "portside.dev/class=notes"];
        let deleted = kubectl(&[&delete[..], &["--timeout=60s"]].concat()).await;
        assert_eq!(deleted.lines().count(), 2, "{deleted}");
    }
}

/// What happens is told while it is watched.
pub async fn a_watch_sees_one_wake_and_go_to_sleep(test: Arc<Test>) {
    registered(&test.cluster).await;
    let class = test.class("notes", notes(1)).await;
    class.ready().await;
    note(&class, "ann", "one").await;
    let ann = in_state(&test, "notes.js#ann", "Awake").await;
    let get = ["-n", &test.namespace, "get", "serverlessworkers"];
    let watch = ["--watch", "--output-watch-events"];
    let mut seen = test.cluster.follow(&[&get[..], &watch[..]].concat());
    seen.line(&["ADDED", name(&ann), "Awake"]).await;
    let sleep = path(&test, &format!("/{}/sleep", name(&ann)));
    test.cluster.post(&sleep, &json!({})).await.unwrap();
    seen.line(&["MODIFIED", name(&ann), "Asleep"]).await;
    note(&class, "ann", "two").await;
    seen.line(&["MODIFIED", name(&ann), "Awake"]).await;
    note(&class, "bob", "one").await;
    seen.line(&["ADDED", "notes.js#bob"]).await;
    let delete = ["delete", "serverlessworker", name(&ann), "--timeout=60s"];
    class.kubectl(&delete).await;
    seen.line(&["DELETED", name(&ann)]).await;
}

/// Moves a worker of a class with two pods to the one that does not have it, and uses it there.
async fn move_to_the_other(test: &Arc<Test>, class: &Class) {
    let ann = in_state(test, "notes.js#ann", "Awake").await;
    let pods = class.pods().await;
    let others = pods.iter().map(|pod| pod["metadata"]["name"].clone());
    let other = others.into_iter().find(|it| *it != ann["status"]["pod"]);
    let other = other.unwrap().as_str().unwrap().to_owned();
    let path = path(test, &format!("/{}/move", name(&ann)));
    let wanted = json!({ "pod": other });
    let said = test.cluster.post(&path, &wanted).await.unwrap();
    assert!(said.contains(&other), "{said}");
    note(class, "ann", "one").await;
    until("it to wake there", Duration::from_secs(30), async || {
        let ann = in_state(test, "notes.js#ann", "Awake").await;
        match ann["status"]["pod"] == other {
            true => Ok(()),
            false => Err(ann["status"].to_string()),
        }
    })
    .await;
}

/// Woken, put to sleep, moved, looked into, changed and deleted.
pub async fn one_is_managed_like_any_object(test: Arc<Test>) {
    let cluster = &test.cluster;
    registered(cluster).await;
    let class = test.class("notes", notes(2)).await;
    class.ready().await;
    note(&class, "ann", "one").await;
    let ann = in_state(&test, "notes.js#ann", "Awake").await;
    let of = |what: &str| path(&test, &format!("/{}/{what}", name(&ann)));
    let get = async |what: &str| cluster.try_kubectl(&["get", "--raw", &of(what)]).await;

    cluster.post(&of("sleep"), &json!({})).await.unwrap();
    in_state(&test, "notes.js#ann", "Asleep").await;
    cluster.post(&of("wake"), &json!({})).await.unwrap();
    in_state(&test, "notes.js#ann", "Awake").await;

    class.all_serve(2).await;
    move_to_the_other(&test, &class).await;
    let nobody = json!({ "pod": "nobody" });
    let refused = cluster.post(&of("move"), &nobody).await.unwrap_err();
    assert!(refused.contains("no pod nobody runs"), "{refused}");

    let state = get("state").await.unwrap();
    assert!(
        state.contains("\"note\"") && state.contains("\"one\""),
        "{state}"
    );
    cluster
        .put(&of("state?key=other"), &json!("changed"))
        .await
        .unwrap();
    let other = get("state?key=other").await.unwrap();
    assert!(other.contains("\"changed\""), "{other}");
    let delete = ["delete", "--raw", &of("state?key=other")];
    cluster.kubectl(&delete).await;
    let gone = get("state?key=other").await.unwrap_err();
    assert!(
        gone.contains("NotFound") || gone.contains("not found"),
        "{gone}"
    );

    note(&class, "ann", "two").await;
    let log = get("log?tailLines=20").await.unwrap();
    assert!(log.contains("noted two"), "{log}");
    let sum = json!({ "expression": "20 + 22" });
    let answer = cluster.post(&of("exec"), &sum).await.unwrap();
    assert!(answer.contains("42"), "{answer}");
    let thrown = json!({ "expression": "(() => { throw new Error('of mine') })()" });
    let answer = cluster.post(&of("exec"), &thrown).await.unwrap_err();
    assert!(answer.contains("of mine"), "{answer}");

    let delete = ["delete", "serverlessworker", name(&ann), "--timeout=60s"];
    class.kubectl(&delete).await;
    until(
        "the end of the worker",
        Duration::from_secs(30),
        async || match find(&test, "notes.js#ann").await {
            Ok(left) => Err(left.to_string()),
            Err(_) => Ok(()),
        },
    )
    .await;
    let missing = ["-n", &test.namespace, "get", "sw", name(&ann)];
    let missing = cluster.try_kubectl(&missing).await.unwrap_err();
    assert!(missing.contains("NotFound"), "{missing}");
}
