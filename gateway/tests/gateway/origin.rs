//! What a pod learns of the client and of what it asked for.

use http::Method;
use portside_crds::sidecar::State;
use portside_frontdoor::TrustedProxies;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Cluster, HOST, PATIENCE, Pod, full, text, within};

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

/// Whoever is trusted to say what clients asked for does not choose the class by that.
#[tokio::test]
async fn only_the_host_header_chooses_the_class() {
    let (shop, bank) = (mirror().await, Pod::active("bank", 1).await);
    let cluster = Cluster::empty(PATIENCE, TrustedProxies::All).await;
    cluster.has_classes(&[(HOST, &[&shop]), ("bank.test", &[&bank])]);
    let ask = async |host: &str, forwarded: &str| {
        let mut request = cluster.request(Method::GET, "/").body(full("")).unwrap();
        let headers = request.headers_mut();
        headers.insert("host", host.parse().unwrap());
        headers.insert("x-forwarded-host", forwarded.parse().unwrap());
        cluster.ask(request).await
    };
    let reply = ask(&format!("{}:80", HOST.to_uppercase()), "bank.test").await;
    let url = reply.text.lines().next();
    assert_eq!(url, Some("http://bank.test/"), "what the application sees");
    assert_eq!(ask("bank.test", HOST).await.text, "bank");
    for host in ["other.test", "1.2.3.400"] {
        let reply = ask(host, "bank.test").await;
        assert_eq!((reply.status, reply.reason()), (404, "NoRoute"), "{host}");
    }
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

/// Nobody between the client and the application can be shown another path than the application is.
#[tokio::test]
async fn a_pod_is_sent_the_url_that_was_routed_by() {
    let pod = mirror().await;
    let cluster = Cluster::empty(PATIENCE, TrustedProxies::None).await;
    cluster.has(&[&pod]);
    let mut client = TcpStream::connect(cluster.address).await.unwrap();
    let request = "GET http://CHAT.test:80/public/..\\%2e/x/../y|z?q='a HTTP/1.1\r\n\
        host: other.test\r\nconnection: close\r\n\r\n";
    client.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within(client.read_to_string(&mut answer)).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let seen: Vec<_> = body.lines().take(2).collect();
    assert_eq!(
        seen,
        [&*format!("http://{HOST}/y|z?q=%27a"), "CHAT.test:80"]
    );
}

#[tokio::test]
async fn a_client_gets_the_pods_status_text() {
    let pod = Pod::start("a", |_| async {
        let mut response = text("");
        response.reason = "Fine".into();
        Ok(response)
    })
    .await;
    pod.becomes(State::Active, 1);
    let cluster = Cluster::empty(PATIENCE, TrustedProxies::None).await;
    cluster.has(&[&pod]);
    let mut client = TcpStream::connect(cluster.address).await.unwrap();
    let request = format!("GET / HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within(client.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 Fine\r\n"), "{answer}");
}
