//! What the application and the client see of each other.

use std::net::SocketAddr;

use bytes::Bytes;
use http::header::HeaderValue;
use portside_exchange::{Body, FetchError, Request};
use portside_frontdoor::Config;

use crate::support::{Client, config, respond, start, text};

/// Describes a request, one thing per line.
fn describe(request: &Request) -> String {
    let mut lines = vec![format!("{} {}", request.method, request.url)];
    let names = request.headers.iter();
    // Which is another one each time.
    for (name, value) in names.filter(|(name, _)| *name != "x-request-id") {
        lines.push(format!("{name}: {}", value.to_str().unwrap()));
    }
    lines.sort_unstable();
    lines.join("\n")
}

#[tokio::test]
async fn the_application_sees_the_request_without_its_hop_by_hop_headers() {
    let server = start(
        config(),
        |request| async move { Ok(text(describe(&request))) },
    )
    .await;
    let reply = server
        .ask(
            "PATCH /a/../b%20c?d=%zz&&e HTTP/1.1\r\nHost: Example.com:81\r\nX-A: 1\r\nx-a: 2\r\n\
             Connection: keep-alive, x-private\r\nx-private: 1\r\nte: trailers\r\nupgrade: h2c\r\n\r\n",
        )
        .await;
    assert_eq!(
        reply.text(),
        "PATCH http://example.com:81/b%20c?d=%zz&&e\nhost: Example.com:81\nx-a: 1\nx-a: 2\n\
         x-forwarded-for: 127.0.0.1\nx-forwarded-host: Example.com:81\nx-forwarded-proto: http"
    );
    let reply = server
        .ask("GET http://other:1/x HTTP/1.1\r\nhost: a\r\n\r\n")
        .await;
    assert!(
        reply.text().starts_with("GET http://other:1/x\n"),
        "{reply:?}"
    );
    let reply = server.ask("GET /old HTTP/1.0\r\n\r\n").await;
    assert!(
        reply
            .text()
            .contains(&format!("GET http://{}/old", server.addr)),
        "{reply:?}"
    );
    server.end().await;
}

#[tokio::test]
async fn an_ipv4_client_of_a_listener_for_both_families_is_seen_as_one() {
    let listen = "[::]:0".parse().unwrap();
    // Not every machine has IPv6.
    if std::net::TcpListener::bind::<SocketAddr>(listen).is_err() {
        return;
    }
    let config = Config { listen, ..config() };
    let server = start(
        config,
        |request| async move { Ok(text(describe(&request))) },
    )
    .await;
    let address = SocketAddr::from(([127, 0, 0, 1], server.addr.port()));
    let mut client = Client::connect(address).await;
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    let reply = client.reply().await;
    for line in [
        format!("GET http://{address}/\n"),
        "x-forwarded-for: 127.0.0.1\n".to_owned(),
    ] {
        assert!(reply.text().contains(&line), "{reply:?}");
    }
    server.end().await;
}

#[tokio::test]
async fn a_connection_serves_many_requests_also_pipelined_ones() {
    let server = start(config(), |request| async move {
        let body = match request.body {
            Body::Full(bytes) => bytes,
            _ => Bytes::new(),
        };
        Ok(text([request.url.as_bytes(), &body].concat()))
    })
    .await;
    let mut client = server.connect().await;
    for index in 0..3 {
        client
            .send(format!(
                "POST /{index} HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n-b"
            ))
            .await;
        assert_eq!(client.reply().await.text(), format!("http://a/{index}-b"));
    }
    client
        .send("GET /4 HTTP/1.1\r\nhost: a\r\n\r\nGET /5 HTTP/1.1\r\nhost: a\r\n\r\n")
        .await;
    assert_eq!(client.reply().await.text(), "http://a/4");
    assert_eq!(client.reply().await.text(), "http://a/5");
    client
        .send("GET /6 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await;
    assert_eq!(client.reply().await.text(), "http://a/6");
    assert!(client.is_closed().await);
    server.end().await;
}

#[tokio::test]
async fn failures_have_their_statuses_and_say_nothing_more() {
    let answer = |request: Request| async move {
        Err(match request.url.rsplit('/').next().unwrap() {
            "failed" => FetchError::Failed("secret detail".into()),
            "slow" => FetchError::TimedOut,
            "full" => FetchError::Overloaded {
                retry_after_ms: 1500,
            },
            "away" => FetchError::Unavailable("secret detail".into()),
            _ => FetchError::ShuttingDown,
        })
    };
    let server = start(config(), answer).await;
    for (path, status, body, retry) in [
        ("failed", 500, "Internal Server Error", None),
        ("slow", 504, "Gateway Timeout", None),
        ("full", 503, "Service Unavailable", Some("2")),
        ("away", 503, "Service Unavailable", Some("1")),
        ("ending", 503, "Service Unavailable", Some("1")),
    ] {
        let reply = server
            .ask(&format!("GET /{path} HTTP/1.1\r\nhost: a\r\n\r\n"))
            .await;
        assert_eq!(reply.status, status);
        assert_eq!(reply.text(), body);
        assert_eq!(reply.header("retry-after"), retry);
    }
    server.end().await;

    let config = Config {
        show_errors: true,
        ..config()
    };
    let server = start(config, answer).await;
    let reply = server.ask("GET /failed HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!((reply.status, reply.text()), (500, "secret detail"));
    assert_eq!(
        reply.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    server.end().await;
}

#[tokio::test]
async fn responses_are_legal_whatever_the_application_says() {
    let server = start(config(), |request| async move {
        let (path, query) = request.url["http://a/".len()..].split_once('?').unwrap();
        let body = match query {
            "full" => Body::Full("12345".into()),
            "stream" => Body::Stream(Box::pin(futures::stream::iter([Ok("12345".into())]))),
            _ => Body::Empty,
        };
        let mut response = respond(path.parse().unwrap(), body);
        for (name, value) in [
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("transfer-encoding", "gzip"),
            ("upgrade", "h2c"),
            ("content-length", "3"),
            ("content-length", "4"),
            ("x-kept", "1"),
        ] {
            response
                .headers
                .append(name, HeaderValue::from_static(value));
        }
        if query == "declared" {
            response
                .headers
                .insert("content-length", HeaderValue::from_static("77"));
        }
        Ok(response)
    })
    .await;
    for (method, target, status, length, body) in [
        ("GET", "200?full", 200, Some("5"), "12345"),
        ("GET", "200?stream", 200, None, "12345"),
        ("GET", "200?empty", 200, Some("0"), ""),
        ("GET", "200?declared", 200, Some("0"), ""),
        ("HEAD", "200?full", 200, Some("5"), ""),
        ("HEAD", "200?stream", 200, None, ""),
        ("HEAD", "200?declared", 200, Some("77"), ""),
        ("GET", "204?full", 204, None, ""),
        ("GET", "304?full", 304, None, ""),
        ("GET", "101?empty", 500, Some("21"), "Internal Server Error"),
        ("GET", "103?empty", 500, Some("21"), "Internal Server Error"),
    ] {
        let mut client = server.connect().await;
        client
            .send(format!(
                "{method} /{target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
            ))
            .await;
        let reply = if method == "HEAD" {
            client.head().await
        } else {
            client.reply().await
        };
        let case = format!("{method} {target}: {reply:?}");
        assert_eq!(reply.status, status, "{case}");
        assert_eq!(reply.header("content-length"), length, "{case}");
        assert_eq!(reply.text(), body, "{case}");
        assert_eq!(reply.header("x-hop"), None, "{case}");
        assert_ne!(reply.header("transfer-encoding"), Some("gzip"), "{case}");
        if status != 500 {
            assert_eq!(reply.header("x-kept"), Some("1"), "{case}");
        }
        assert!(client.is_closed().await, "{case}");
    }
    server.end().await;
}

#[tokio::test]
async fn a_status_has_the_applications_text_or_its_usual_one_or_none() {
    let server = start(config(), |request| async move {
        let (status, reason) = request.url["http://a/".len()..].split_once('/').unwrap();
        let mut response = respond(status.parse().unwrap(), Body::Empty);
        response.reason = reason.replace("%0D", "\r").into();
        Ok(response)
    })
    .await;
    for (path, line) in [
        ("200/", "HTTP/1.1 200 OK\r\n"),
        ("200/Fine", "HTTP/1.1 200 Fine\r\n"),
        ("299/Odd", "HTTP/1.1 299 Odd\r\n"),
        ("299/", "HTTP/1.1 299 \r\n"),
        // What would end the line is left out.
        ("299/a%0Db", "HTTP/1.1 299 \r\n"),
    ] {
        let request = format!("GET /{path} HTTP/1.1\r\nhost: a\r\n\r\n");
        let reply = server.ask(&request).await;
        assert!(reply.head.starts_with(line), "{path}: {reply:?}");
    }
    server.end().await;
}
