//! What a pod learns of the client and of what it asked for.

use http::Method;
use portside_crds::sidecar::State;
use portside_frontdoor::TrustedProxies;

use crate::support::{Cluster, HOST, PATIENCE, Pod, full, text};

const SHOWN: [&str; 5] = ["host", "x-forwarded-for", "x-request-id", "expect", "x-own"];

/// A pod that answers with the URL and some headers.
async fn mirror() -> Pod {
    let pod = Pod::start("a", |request| async move {
        let header = |name: &str| {
            let value = request.headers.get(name);
            value
                .map_or("-", |value| value.to_str().unwrap())
                .to_owned()
        };
        let mut lines = SHOWN.map(header).to_vec();
        lines.insert(0, request.url.clone());
        Ok(text(lines.join("\n")))
    })
    .await;
    pod.becomes(State::Active, 1);
    pod
}

/// What the pod sees of one request.
async fn seen(trusted: TrustedProxies) -> Vec<String> {
    let pod = mirror().await;
    let cluster = Cluster::empty(PATIENCE, trusted).await;
    cluster.has(&[&pod]);
    let request = cluster
        .request(Method::POST, "/x?y=%2F")
        .header("x-forwarded-for", "9.9.9.9")
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-host", format!("{HOST}:8443"))
        .header("x-request-id", "id-1")
        .header("expect", "100-continue")
        .header("x-own", "own");
    let reply = cluster.ask(request.body(full("body")).unwrap()).await;
    assert_eq!(reply.status, 200);
    reply.text.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn what_a_trusted_proxy_says_is_passed_on() {
    assert_eq!(
        seen(TrustedProxies::All).await,
        [
            &*format!("https://{HOST}:8443/x?y=%2F"),
            HOST,
            "9.9.9.9, 127.0.0.1, 127.0.0.1",
            "id-1",
            "-",
            "own",
        ]
    );
}

#[tokio::test]
async fn what_others_say_is_replaced() {
    let mut seen = seen(TrustedProxies::None).await;
    let id = seen.remove(3);
    assert_eq!(id.len(), 36, "{id}");
    assert_eq!(
        seen,
        [
            &*format!("http://{HOST}/x?y=%2F"),
            HOST,
            "127.0.0.1, 127.0.0.1",
            "-",
            "own",
        ]
    );
}
