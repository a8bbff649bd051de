//! What pods reach of each other, where NetworkPolicies are enforced.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::class::Class;
use crate::cluster::{SYSTEM, until};
use crate::release::COLLECTOR;
use crate::team::{Reached, Team};
use crate::test::Test;
use crate::workers::{note, notes};

/// How long it may take until a policy is enforced.
const ENFORCED: Duration = Duration::from_secs(30);

/// The ports of a class's pods: requests, metrics, links between pods, the API server of workers.
const REQUESTS: u16 = 8080;
const METRICS: u16 = 9090;
const PORTS: [u16; 4] = [REQUESTS, METRICS, 7070, 9091];

/// Code of the attacker: it fetches what it is told to, and says what became of that.
const FETCHER: &str = r#"
export default {
  async fetch(request) {
    const url = new URL(request.url).searchParams.get("url");
    try {
      const answer = await fetch(url, { signal: AbortSignal.timeout(3000) });
      return new Response(`got ${answer.status} ${await answer.text()}`);
    } catch (error) {
      return new Response(`failed: ${error.name}`);
    }
  },
};
"#;

/// Has a class fetch something.
async fn fetched(class: &Class, url: &str) -> String {
    let reply = class.site().get(&format!("/?url={url}")).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.text().to_owned()
}

/// Writes a policy for all pods of a namespace, or removes it.
async fn policy(test: &Test, ingress: Option<Value>) {
    const NAME: &str = "of-the-test";
    match ingress {
        Some(ingress) => {
            let spec = json!({ "podSelector": {}, "policyTypes": ["Ingress"], "ingress": ingress });
            let version = "networking.k8s.io/v1";
            test.apply(version, "NetworkPolicy", NAME, json!({ "spec": spec }))
                .await;
        }
        None => {
            let delete = ["-n", &test.namespace, "delete", "networkpolicy", NAME];
            test.cluster.kubectl(&delete).await;
        }
    }
}

/// Whether the cluster enforces policies: a connection is made without one, and not with one that forbids it.
async fn enforced(team: &Team, pod: &str, other: &str) -> bool {
    let place = [(other, REQUESTS)];
    expect(team, pod, &place, Reached::Connected).await;
    policy(&team.test, Some(json!([]))).await;
    let mut is_enforced = false;
    for _ in 0..10 {
        is_enforced = team.reaches(pod, &place).await == [Reached::Nothing];
        if is_enforced {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    policy(&team.test, None).await;
    assert!(
        is_enforced || !team.test.cluster.settings.enforced,
        "this cluster is said to enforce NetworkPolicies, and does not"
    );
    is_enforced
}

/// Waits until all of these places are reached, or none.
async fn expect(team: &Team, pod: &str, places: &[(&str, u16)], expected: Reached) {
    let what = format!("{pod}: {places:?} to be {expected:?}");
    until(&what, ENFORCED, async || {
        let found = team.reaches(pod, places).await;
        match found.iter().all(|it| *it == expected) {
            true => Ok(()),
            false => Err(format!("{found:?}")),
        }
    })
    .await;
}

/// Fails at once if any of these places is reached.
async fn expect_nothing(team: &Team, pod: &str, places: &[(&str, u16)]) {
    let found = team.reaches(pod, places).await;
    let is_reached = found.iter().any(|it| *it != Reached::Nothing);
    assert!(!is_reached, "{pod} reaches some of {places:?}: {found:?}");
}

/// Ports of one address.
fn at<'a>(address: &'a str, ports: &[u16]) -> Vec<(&'a str, u16)> {
    ports.iter().map(|port| (address, *port)).collect()
}

fn address(pod: &Value) -> &str {
    pod["status"]["podIP"].as_str().unwrap()
}

/// The addresses of a part of the release.
async fn part(test: &Test, component: &str) -> Vec<String> {
    let selector =
        format!("app.kubernetes.io/name=portside,app.kubernetes.io/component={component}");
    let pods = test.cluster.list(SYSTEM, "pods", &selector).await;
    assert!(!pods.is_empty(), "{component}");
    pods.iter().map(|pod| address(pod).to_owned()).collect()
}

/// What another team's pods could call themselves.
fn disguises() -> [(&'static str, Value); 3] {
    let of = |component: &str| json!({ "app.kubernetes.io/name": "portside", "app.kubernetes.io/component": component });
    let peer = json!({
        "portside.dev/class": "notes", "portside.dev/component": "sidecar", "app.kubernetes.io/managed-by": "portside",
    });
    [
        ("as-gateway", of("gateway")),
        ("as-apiserver", of("apiserver")),
        ("as-peer", peer),
    ]
}

/// A Service of the class's pods that leads to all their ports.
async fn direct_service(test: &Test) -> String {
    let ports: Vec<_> = PORTS
        .iter()
        .map(|port| json!({ "name": format!("p{port}"), "port": port }))
        .collect();
    let spec = json!({ "selector": { "portside.dev/class": "notes" }, "ports": ports });
    test.apply("v1", "Service", "direct", json!({ "spec": spec }))
        .await;
    let service = test.cluster.get(&test.namespace, "service/direct").await;
    service.unwrap()["spec"]["clusterIP"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// Pods of a class are reached by the gateway, by each other and by whoever collects metrics, at a port for each; not by another team's pods,
/// whatever they call themselves, nor by its code. Without the policy each of these ways is open.
pub async fn pods_are_reached_by_whom_they_serve(test: Arc<Test>) {
    let tenant = test.tenant("b").await;
    let team = Team::of(&tenant).await;
    team.pod("plain", &json!({})).await;
    let other = team.pod("other", &json!({})).await;
    if !enforced(&team, "plain", &other).await {
        eprintln!("left out: this cluster does not enforce NetworkPolicies");
        return;
    }
    let ours = test.class("notes", notes(2)).await;
    let fetcher = json!({ "code": { "inline": { "server.js": FETCHER } } });
    let theirs = tenant.class("fetcher", fetcher).await;
    for (name, labels) in disguises() {
        team.pod(name, &labels).await;
    }
    ours.ready().await;
    ours.all_serve(2).await;
    theirs.ready().await;
    // By way of the gateway, and on from one pod to the other.
    for number in 0..8 {
        note(&ours, &number.to_string(), "one").await;
    }
    let pods = ours.pods().await;
    let service = direct_service(&test).await;
    let url = format!("http://{}:{REQUESTS}/0?note=stolen", address(&pods[0]));

    nothing_gets_through(&team, &pods, &service).await;
    assert_eq!(fetched(&theirs, &url).await, "failed: TimeoutError");
    // Open to them, all of it is reached: so it was the policy that kept them out.
    let them = json!({ "kubernetes.io/metadata.name": tenant.namespace });
    let them = json!({ "namespaceSelector": { "matchLabels": them } });
    policy(&test, Some(json!([{ "from": [them] }]))).await;
    let all = [at(address(&pods[0]), &PORTS), at(&service, &PORTS)].concat();
    expect(&team, "plain", &all, Reached::Connected).await;
    assert_eq!(fetched(&theirs, &url).await, "got 200 stolen");
    policy(&test, None).await;
    expect(&team, "plain", &all, Reached::Nothing).await;
    nothing_gets_through(&team, &pods, &service).await;
    metrics_are_collected(&test, &pods).await;
}

async fn nothing_gets_through(team: &Team, pods: &[Value], service: &str) {
    let mut closed = at(service, &PORTS);
    for pod in pods {
        closed.extend(at(address(pod), &PORTS));
    }
    for (disguise, _) in disguises() {
        expect_nothing(team, disguise, &closed).await;
    }
    // Of Portside itself, what is for everybody: requests at the gateway, and the API server of workers, which wants proof.
    let gateways = part(&team.test, "gateway").await;
    let servers = part(&team.test, "apiserver").await;
    let operators = part(&team.test, "operator").await;
    for address in [&gateways, &servers, &operators].into_iter().flatten() {
        closed.push((address, METRICS));
    }
    expect_nothing(team, "plain", &closed).await;
    let open = gateways.iter().map(|it| (it.as_str(), REQUESTS));
    let open: Vec<_> = open
        .chain(servers.iter().map(|it| (it.as_str(), 8443)))
        .collect();
    expect(team, "plain", &open, Reached::Connected).await;
}

/// A namespace that the chart names for it reaches the ports with metrics, and nothing else.
async fn metrics_are_collected(test: &Arc<Test>, pods: &[Value]) {
    let collector = test.tenant("collector").await;
    let label = format!("portside-e2e={COLLECTOR}");
    let namespace = &collector.namespace;
    let change = ["label", "namespace", namespace, &label, "--overwrite"];
    test.cluster.kubectl(&change).await;
    let team = Team::of(&collector).await;
    team.pod("prometheus", &json!({})).await;
    let mut addresses = vec![address(&pods[0]).to_owned()];
    for component in ["gateway", "apiserver", "operator"] {
        addresses.extend(part(test, component).await);
    }
    let open: Vec<_> = addresses.iter().map(|it| (it.as_str(), METRICS)).collect();
    expect(&team, "prometheus", &open, Reached::Connected).await;
    // Neither the database: its namespace is not one that has it.
    let databases = part(test, "postgres").await;
    let mut closed = at(address(&pods[0]), &[REQUESTS, 7070, 9091]);
    closed.extend(databases.iter().map(|it| (it.as_str(), 5432)));
    expect_nothing(&team, "prometheus", &closed).await;
}
