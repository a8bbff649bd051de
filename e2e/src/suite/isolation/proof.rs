//! Whoever reaches a port that wants proof, and has none.

use std::sync::Arc;

use tokio::process::Command;

use crate::class::name;
use crate::cluster::SYSTEM;
use crate::team::Team;
use crate::test::Test;
use crate::workers::{note, notes, path, registered};

/// Asks over TLS, believing anybody, and prints the status, or what came in the way.
const ASK: &str = r"
import ssl, sys, urllib.request
from urllib.error import HTTPError, URLError
context = ssl._create_unverified_context()
headers = dict(one.split('=', 1) for one in sys.argv[2:])
request = urllib.request.Request(sys.argv[1], headers=headers)
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
try:
    answer = opener.open(request, timeout=20)
    print(answer.status, answer.read().decode())
except HTTPError as error:
    print(error.code, error.read().decode())
except (URLError, OSError) as error:
    print('no answer:', error)
";

async fn asked(url: &str, headers: &[&str]) -> String {
    let asking = Command::new("python3")
        .args(["-c", ASK, url])
        .args(headers)
        .kill_on_drop(true)
        .output();
    let output = asking.await.unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Past the cluster's API server nobody is told anything: neither by the API server of workers, whatever headers say who asks and whichever
/// token is shown, nor by a pod.
pub async fn whoever_asks_in_anothers_name_is_refused(test: Arc<Test>) {
    let cluster = &test.cluster;
    registered(cluster).await;
    let class = test.class("notes", notes(1)).await;
    class.ready().await;
    note(&class, "ann", "hers").await;
    let team = Team::of(&test).await;
    let list = path(&test, "");
    let said = team.kubectl(&["get", "--raw", &list]).await.unwrap();
    assert!(said.contains("notes.js#ann"), "{said}");

    let selector = "app.kubernetes.io/component=apiserver";
    let servers = cluster.list(SYSTEM, "pods", selector).await;
    let pods = class.pods().await;
    for (namespace, pod, port, paths) in [
        (SYSTEM, name(&servers[0]), "8443", &[list.as_str()][..]),
        (
            &test.namespace,
            name(&pods[0]),
            "9091",
            &["/cdn-cgi/portside/identity", "/cdn-cgi/portside/workers"],
        ),
    ] {
        let only = format!(":{port}");
        let forward = ["-n", namespace, "port-forward", pod, &only];
        let mut forwarded = cluster.follow(&forward);
        let line = forwarded.line(&["Forwarding from 127.0.0.1:"]).await;
        let local = line.split([':', ' ']).nth(3).unwrap().to_owned();
        for path in paths {
            let url = format!("https://127.0.0.1:{local}{path}");
            let bearer = format!("Authorization=Bearer {}", token(&team).await);
            for headers in [
                &[][..],
                &["X-Remote-User=admin", "X-Remote-Group=system:masters"],
                &["Impersonate-User=admin", "Impersonate-Group=system:masters"],
                &[bearer.as_str()],
            ] {
                let said = asked(&url, headers).await;
                let is_refused = said.starts_with("401") || said.starts_with("no answer: ");
                assert!(is_refused, "{url} {headers:?}: {said}");
                assert!(!said.contains("ann"), "{url} {headers:?}: {said}");
            }
        }
    }
}

/// A token of the team's, which is good at the cluster's API server.
async fn token(team: &Team) -> String {
    let token = team.kubectl(&["create", "token", "team"]).await;
    token.unwrap().trim().to_owned()
}
