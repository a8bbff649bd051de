//! What a team's own token can do about another team, by way of the API server.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::class::name as pod_name;
use crate::team::{Team, forbidden};
use crate::test::Test;
use crate::workers::{in_state, name, note, notes, path, registered};

/// What the other team's worker keeps, which nobody else may get to see.
const KEPT: &str = "of-ann-alone";

/// Both teams, each with a class of the same name that has a worker.
struct Teams {
    ours: Team,
    theirs: Team,
    /// Our worker, as it is listed.
    worker: Value,
    /// The pod that has it.
    pod: String,
}

impl Teams {
    async fn of(test: &Arc<Test>) -> Self {
        let tenant = test.tenant("b").await;
        registered(&test.cluster).await;
        let class = test.class("notes", notes(1)).await;
        let other = tenant.class("notes", notes(1)).await;
        class.ready().await;
        other.ready().await;
        note(&class, "ann", KEPT).await;
        note(&class, "and", KEPT).await;
        note(&other, "bob", "mine").await;
        in_state(&tenant, "notes.js#bob", "Awake").await;
        let worker = in_state(test, "notes.js#ann", "Awake").await;
        Self {
            ours: Team::of(test).await,
            theirs: Team::of(&tenant).await,
            worker,
            pod: pod_name(&class.pods().await[0]).to_owned(),
        }
    }

    /// A path of our worker's.
    fn of_worker(&self, what: &str) -> String {
        path(&self.ours.test, &format!("/{}{what}", name(&self.worker)))
    }
}

/// A team sees and does in its own namespace all that there is to do, and nothing in another's: by no path, name, selector or token.
pub async fn a_teams_rights_end_at_its_namespace(test: Arc<Test>) {
    let teams = Teams::of(&test).await;
    workers_are_the_namespaces(&teams).await;
    lists_stay_in_their_namespace(&teams).await;
    paths_lead_nowhere_else(&teams).await;
    pods_and_secrets_are_the_namespaces(&teams).await;
    nothing_that_leads_elsewhere_can_be_made(&teams).await;
    // After all of that.
    let state = teams.of_worker("/state");
    let said = teams.ours.kubectl(&["get", "--raw", &state]).await.unwrap();
    assert!(said.contains(KEPT), "{said}");
}

async fn workers_are_the_namespaces(teams: &Teams) {
    let (ours, theirs) = (&teams.ours, &teams.theirs);
    let namespace = &ours.test.namespace;
    let worker = name(&teams.worker);
    let state = teams.of_worker("/state");
    let log = teams.of_worker("/log");
    for args in [
        &["-n", namespace, "get", "serverlessworkers"][..],
        &["-n", namespace, "get", "serverlessworkers", worker],
        &["-n", namespace, "get", "serverlessworkerclasses"],
        &["get", "--raw", &state],
        &["get", "--raw", &log],
    ] {
        ours.kubectl(args).await.unwrap();
        theirs.is_forbidden(args).await;
    }
    let all = ["get", "serverlessworkers", "--all-namespaces"];
    let by_field = format!("--field-selector=metadata.namespace={namespace}");
    let delete = ["-n", namespace, "delete", "serverlessworkers"];
    for args in [
        &all[..],
        &[&all[..], &[&by_field]].concat(),
        &["get", "serverlessworkerclasses", "--all-namespaces"],
        &[
            "get",
            "--raw",
            &path(&ours.test, "?watch=1&timeoutSeconds=1"),
        ],
        &[
            "get",
            "--raw",
            "/apis/runtime.portside.dev/v1alpha1/serverlessworkers?watch=1&timeoutSeconds=1",
        ],
        &["delete", "--raw", &teams.of_worker("/state?key=note")],
        &[&delete[..], &[worker, "--wait=false"]].concat(),
        &[&delete[..], &["--all", "--wait=false"]].concat(),
        &[
            "-n",
            namespace,
            "delete",
            "serverlessworkerclasses",
            "notes",
            "--wait=false",
        ],
        &["-n", namespace, "scale", "swc/notes", "--replicas=0"],
    ] {
        theirs.is_forbidden(args).await;
    }
    let sum = json!({ "expression": "20 + 22" });
    for what in ["/exec", "/sql", "/wake", "/sleep", "/move", "/inspect"] {
        let asked = theirs.create(&teams.of_worker(what), &sum).await;
        forbidden(what, asked);
    }
    let answer = ours.create(&teams.of_worker("/exec"), &sum).await;
    assert!(answer.unwrap().contains("42"));
}

/// Whatever a list or watch of the own namespace is asked with, it is of that namespace.
async fn lists_stay_in_their_namespace(teams: &Teams) {
    let (ours, theirs) = (&teams.ours, &teams.theirs);
    let first = path(&ours.test, "?limit=1");
    let page = ours.kubectl(&["get", "--raw", &first]).await.unwrap();
    let page: Value = serde_json::from_str(&page).unwrap();
    let token = page["metadata"]["continue"].as_str().unwrap();
    let version = page["metadata"]["resourceVersion"].as_str().unwrap();
    let rest = path(&ours.test, &format!("?limit=1&continue={token}"));
    let rest = ours.kubectl(&["get", "--raw", &rest]).await.unwrap();
    assert!(rest.contains("notes.js#a"), "{rest}");
    let namespace = &ours.test.namespace;
    for query in [
        format!("?limit=1&continue={token}"),
        format!("?fieldSelector=metadata.namespace%3D{namespace}"),
        format!("?fieldSelector=metadata.name%3D{}", name(&teams.worker)),
        "?labelSelector=portside.dev%2Fclass%3Dnotes".to_owned(),
        format!("?namespace={namespace}"),
        format!("?watch=1&timeoutSeconds=2&resourceVersion={version}"),
        "?watch=1&timeoutSeconds=2&resourceVersion=0&allowWatchBookmarks=true".to_owned(),
    ] {
        let query = path(&theirs.test, &query);
        let answer = theirs.kubectl(&["get", "--raw", &query]).await;
        has_nothing_of(teams, &query, &answer);
    }
}

/// Names that are paths are names, and a path that leaves the namespace is not that namespace's.
async fn paths_lead_nowhere_else(teams: &Teams) {
    let (ours, theirs) = (&teams.ours, &teams.theirs);
    let worker = name(&teams.worker);
    let other = &ours.test.namespace;
    for rest in [
        format!("/{worker}/state"),
        format!("/../../{other}/serverlessworkers/{worker}/state"),
        format!("/..%2F..%2F{other}%2Fserverlessworkers%2F{worker}/state"),
        format!("/%2e%2e/%2e%2e/{other}/serverlessworkers/{worker}/state"),
        format!("/..%252F..%252F{other}%252Fserverlessworkers%252F{worker}/state"),
        format!("//../../{other}/serverlessworkers/{worker}/state"),
        format!("/{other}%2F{worker}/state"),
        format!("/{worker}%00/state"),
    ] {
        let path = path(&theirs.test, &rest);
        let answer = theirs.kubectl(&["get", "--raw", &path]).await;
        has_nothing_of(teams, &path, &answer);
        assert!(answer.is_err(), "{path}: {answer:?}");
    }
}

/// Fails if an answer tells something of our worker.
fn has_nothing_of(teams: &Teams, asked: &str, answer: &Result<String, String>) {
    let (Ok(said) | Err(said)) = answer;
    let is_told = said.contains(KEPT) || said.contains("notes.js#a");
    assert!(!is_told, "{asked}: {said}");
    let of_namespace = format!("\"namespace\":\"{}\"", teams.ours.test.namespace);
    assert!(!said.contains(&of_namespace), "{asked}: {said}");
}

async fn pods_and_secrets_are_the_namespaces(teams: &Teams) {
    let (ours, theirs) = (&teams.ours, &teams.theirs);
    let namespace = &ours.test.namespace;
    let in_ours = |args: &[&'static str]| [&["-n"], &[namespace.as_str()][..], args].concat();
    let proxied = |port: u16| {
        format!(
            "/api/v1/namespaces/{namespace}/pods/{}:{port}/proxy/metrics",
            teams.pod
        )
    };
    let logs = ["-n", namespace, "logs", &teams.pod];
    let exec = [
        "-n",
        namespace,
        "exec",
        &teams.pod,
        "--",
        "/portside",
        "--version",
    ];
    for args in [
        in_ours(&["get", "secret", "portside-database"]),
        in_ours(&["get", "configmaps"]),
        in_ours(&["get", "pods"]),
        in_ours(&["get", "events"]),
        in_ours(&["get", "services,deployments,ingresses"]),
        logs.to_vec(),
        vec!["get", "--raw", &proxied(9090)],
    ] {
        ours.kubectl(&args).await.unwrap();
        theirs.is_forbidden(&args).await;
    }
    let forward = ["-n", namespace, "port-forward", &teams.pod, ":8080"];
    let service = format!("/api/v1/namespaces/{namespace}/services/notes-workers:8080/proxy/ann");
    for args in [
        exec.to_vec(),
        forward.to_vec(),
        vec!["get", "--raw", &proxied(8080)],
        vec!["get", "--raw", &service],
        in_ours(&["create", "token", "notes-workers"]),
        vec!["get", "secrets", "--all-namespaces"],
        vec!["-n", "portside-system", "get", "secrets"],
        vec!["-n", "portside-system", "get", "pods"],
    ] {
        theirs.is_forbidden(&args).await;
    }
}

/// Gateways find pods by EndpointSlices and the status of pods: whoever may write these leads a gateway to whatever it reaches.
async fn nothing_that_leads_elsewhere_can_be_made(teams: &Teams) {
    let theirs = &teams.theirs;
    let namespace = &theirs.test.namespace;
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": { "name": "forged", "namespace": namespace, "labels": {
            "portside.dev/class": "notes", "kubernetes.io/service-name": "notes-workers",
        } },
        "ports": [{ "name": "http", "port": 8080 }, { "name": "admin", "port": 9090 }],
        "endpoints": [{ "addresses": ["10.0.0.1"], "targetRef": { "kind": "Pod", "name": teams.pod } }],
    });
    forbidden("an EndpointSlice", theirs.create("", &slice).await);
    let endpoints = json!({
        "apiVersion": "v1", "kind": "Endpoints", "metadata": { "name": "forged", "namespace": namespace },
        "subsets": [{ "addresses": [{ "ip": "10.0.0.1" }], "ports": [{ "port": 8080 }] }],
    });
    forbidden("Endpoints", theirs.create("", &endpoints).await);
    let address = r#"{"status":{"podIP":"10.0.0.1","podIPs":[{"ip":"10.0.0.1"}]}}"#;
    let theirs_pod = theirs
        .kubectl(&["get", "pods", "-o", "name"])
        .await
        .unwrap();
    let pod = theirs_pod.lines().next().unwrap();
    let patch = [
        "patch",
        pod,
        "--subresource=status",
        "--type=merge",
        "-p",
        address,
    ];
    theirs.is_forbidden(&patch).await;
    let hosts = "portside.dev/hosts=*";
    theirs
        .is_forbidden(&["annotate", "namespace", namespace, hosts])
        .await;
    theirs
        .is_forbidden(&[
            "delete",
            "networkpolicy",
            "-n",
            &teams.ours.test.namespace,
            "--all",
        ])
        .await;
    let admin = format!(
        "--as=system:serviceaccount:{}:team",
        teams.ours.test.namespace
    );
    theirs.is_forbidden(&["get", "pods", &admin]).await;

    // The kubelet calls probes: it would call other pods for this one, past every policy.
    let probe = json!({ "httpGet": { "host": "10.0.0.1", "port": 8080, "path": "/" } });
    let container = json!({ "name": "c", "image": "c", "livenessProbe": probe, "securityContext": {
        "runAsNonRoot": true, "allowPrivilegeEscalation": false,
        "capabilities": { "drop": ["ALL"] }, "seccompProfile": { "type": "RuntimeDefault" },
    } });
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "forged", "namespace": namespace },
        "spec": { "containers": [container] },
    });
    if minor(&theirs.test).await >= 34 {
        forbidden("a probe of another pod", theirs.create("", &pod).await);
    }
}

/// The minor version of the cluster. From 1.34 on its Pod Security standards keep probes to their own pods.
async fn minor(test: &Test) -> u32 {
    let version = test.cluster.kubectl(&["get", "--raw", "/version"]).await;
    let version: Value = serde_json::from_str(&version).unwrap();
    let minor = version["minor"].as_str().unwrap();
    minor.trim_end_matches('+').parse().unwrap()
}
