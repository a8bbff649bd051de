//! Whose word about the client's address, scheme and host counts.

use portside_exchange::FetchError;
use portside_frontdoor::{Config, TrustedProxies};

use crate::support::{config, start, text};

const NAMES: [&str; 6] = [
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "forwarded",
    // What gateways say to pods.
    "portside-offers",
];

async fn seen(trusted: TrustedProxies, headers: &str) -> (u16, Vec<String>) {
    let config = Config {
        trusted_proxies: trusted,
        ..config()
    };
    let server = start(config, |request| async move {
        let mut lines = vec![request.url];
        for name in NAMES {
            for value in request.headers.get_all(name) {
                lines.push(format!("{name}: {}", value.to_str().unwrap()));
            }
        }
        Ok(text(lines.join("\n")))
    })
    .await;
    let reply = server
        .ask(&format!("GET /p HTTP/1.1\r\nhost: own\r\n{headers}\r\n"))
        .await;
    let lines = reply.text().lines().map(str::to_owned).collect();
    server.end().await;
    (reply.status, lines)
}

#[tokio::test]
async fn forwarding_headers_count_only_from_trusted_peers() {
    let sent = "x-forwarded-for: 1.1.1.1\r\nx-forwarded-for: 2.2.2.2\r\nx-forwarded-proto: https\r\n\
                x-forwarded-host: shop.example\r\nx-forwarded-port: 443\r\nforwarded: for=1.1.1.1\r\n\
                portside-offers: a\r\n";
    let ours = vec![
        "http://own/p".to_owned(),
        "x-forwarded-for: 127.0.0.1".to_owned(),
        "x-forwarded-proto: http".to_owned(),
        "x-forwarded-host: own".to_owned(),
    ];
    let theirs = vec![
        "https://shop.example/p".to_owned(),
        "x-forwarded-for: 1.1.1.1, 2.2.2.2, 127.0.0.1".to_owned(),
        "x-forwarded-proto: https".to_owned(),
        "x-forwarded-host: shop.example".to_owned(),
        "x-forwarded-port: 443".to_owned(),
        "forwarded: for=1.1.1.1, for=127.0.0.1".to_owned(),
        "portside-offers: a".to_owned(),
    ];
    let networks = |text: &str| TrustedProxies::Networks(vec![text.parse().unwrap()]);
    for (trusted, expected) in [
        (TrustedProxies::None, &ours),
        (networks("10.0.0.0/8"), &ours),
        (networks("::/0"), &ours),
        (networks("127.0.0.0/8"), &theirs),
        (TrustedProxies::All, &theirs),
    ] {
        let name = format!("{trusted:?}");
        assert_eq!(seen(trusted, sent).await, (200, expected.clone()), "{name}");
    }
    // Nothing sent, nothing to add to.
    assert_eq!(seen(TrustedProxies::All, "").await.1, ours);
    // The nearest proxy's word counts.
    let (_, lines) = seen(
        TrustedProxies::All,
        "x-forwarded-proto: https, http\r\nx-forwarded-host: far, near:8443\r\n",
    )
    .await;
    assert_eq!(lines[0], "http://near:8443/p");
    let (status, _) = seen(TrustedProxies::All, "x-forwarded-host: a/b\r\n").await;
    assert_eq!(status, 400);
}

/// The ids that the application and the client got for a request with these headers.
async fn ids(trusted_proxies: TrustedProxies, headers: &str, status: u16) -> (String, String) {
    let config = Config {
        trusted_proxies,
        ..config()
    };
    let (sender, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let server = start(config, move |request| {
        let ids: Vec<String> = request
            .headers
            .get_all("x-request-id")
            .iter()
            .map(|id| id.to_str().unwrap().to_owned())
            .collect();
        sender.send(ids.join(",")).unwrap();
        async move {
            match status {
                200 => Ok(text("")),
                _ => Err(FetchError::Failed("broken".into())),
            }
        }
    })
    .await;
    let reply = server
        .ask(&format!("GET / HTTP/1.1\r\nhost: a\r\n{headers}\r\n"))
        .await;
    assert_eq!(reply.status, status);
    let told = reply.header("x-request-id").unwrap_or_default().to_owned();
    server.end().await;
    (seen.recv().await.unwrap(), told)
}

#[tokio::test]
async fn a_request_has_one_id_and_only_a_trusted_peer_chooses_it() {
    let sent = "x-request-id: id-1\r\nx-request-id: id-2\r\n";
    let (seen, told) = ids(TrustedProxies::All, sent, 500).await;
    assert_eq!((&*seen, &*told), ("id-1", "id-1"));
    // Naming it as a header of this hop does not take it away.
    let hop = format!("{sent}connection: x-request-id\r\n");
    for headers in [sent, "", &*hop] {
        let (seen, told) = ids(TrustedProxies::None, headers, 500).await;
        assert_eq!(seen.len(), 36, "{seen}");
        assert_eq!(seen, told, "who is refused can say which it was");
    }
    let (_, told) = ids(TrustedProxies::All, sent, 200).await;
    assert_eq!(told, "", "what else is in a response is the application's");
}

#[tokio::test]
async fn a_request_that_reaches_no_application_has_an_id_too() {
    let server = start(config(), |_| async { Ok(text("")) }).await;
    let reply = server
        .ask("TRACE / HTTP/1.1\r\nhost: a\r\nx-request-id: id-1\r\n\r\n")
        .await;
    assert_eq!(reply.status, 405);
    assert_eq!(reply.header("x-request-id").unwrap().len(), 36);
    server.end().await;
}
