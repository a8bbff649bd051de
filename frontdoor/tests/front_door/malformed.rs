//! What is not HTTP gets a 4xx, or nothing but the end of the connection, and never reaches the application.

use std::time::Duration;

use portside_frontdoor::Config;

use crate::support::{config, start, text};

#[tokio::test]
async fn malformed_requests_are_refused_before_the_application() {
    let server = start(config(), |_| async { Ok(text("called")) }).await;
    let long_header = format!(
        "GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
        "y".repeat(100_000)
    );
    let many_headers = format!(
        "GET / HTTP/1.1\r\nhost: a\r\n{}\r\n",
        "x: y\r\n".repeat(200)
    );
    let long_path = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "p".repeat(20_000));
    let table: &[(&str, &[u8], &[u16])] = &[
        ("no request", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", &[400]),
        ("method with a space", b"GE T / HTTP/1.1\r\nhost: a\r\n\r\n", &[400]),
        ("method with brackets", b"G[T / HTTP/1.1\r\nhost: a\r\n\r\n", &[400]),
        ("unknown version", b"GET / HTTP/3.0\r\nhost: a\r\n\r\n", &[400]),
        ("no version", b"GET /\r\nhost: a\r\n\r\n", &[400]),
        ("broken version", b"GET / HTTQ/1.1\r\nhost: a\r\n\r\n", &[400]),
        ("space in path", b"GET /a b HTTP/1.1\r\nhost: a\r\n\r\n", &[400]),
        ("relative path", b"GET a/b HTTP/1.1\r\nhost: a\r\n\r\n", &[400]),
        ("NUL in path", b"GET /\0 HTTP/1.1\r\nhost: a\r\n\r\n", &[400]),
        ("NUL in value", b"GET / HTTP/1.1\r\nhost: a\r\nx: \0\r\n\r\n", &[400]),
        ("NUL in name", b"GET / HTTP/1.1\r\nhost: a\r\nx\0: y\r\n\r\n", &[400]),
        ("CR in value", b"GET / HTTP/1.1\r\nhost: a\r\nx: a\rb: c\r\n\r\n", &[400]),
        ("space before colon", b"GET / HTTP/1.1\r\nhost: a\r\nx : y\r\n\r\n", &[400]),
        ("no colon", b"GET / HTTP/1.1\r\nhost: a\r\nxy\r\n\r\n", &[400]),
        ("empty name", b"GET / HTTP/1.1\r\nhost: a\r\n: y\r\n\r\n", &[400]),
        ("folded header", b"GET / HTTP/1.1\r\nhost: a\r\nx: y\r\n z\r\n\r\n", &[400]),
        ("no host", b"GET / HTTP/1.1\r\n\r\n", &[400]),
        ("empty host", b"GET / HTTP/1.1\r\nhost:\r\n\r\n", &[400]),
        ("two hosts", b"GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n", &[400]),
        ("host with path", b"GET / HTTP/1.1\r\nhost: a/b\r\n\r\n", &[400]),
        ("host with user", b"GET / HTTP/1.1\r\nhost: u@a\r\n\r\n", &[400]),
        ("host with space", b"GET / HTTP/1.1\r\nhost: a b\r\n\r\n", &[400]),
        ("host with bad port", b"GET / HTTP/1.1\r\nhost: a:b\r\n\r\n", &[400]),
        ("absolute without host", b"GET http://a/ HTTP/1.1\r\n\r\n", &[400]),
        ("negative length", b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n", &[400]),
        ("signed length", b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +1\r\n\r\na", &[400]),
        ("length in words", b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: one\r\n\r\n", &[400]),
        ("huge length", b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999\r\n\r\n", &[400]),
        ("two lengths", b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", &[400]),
        ("length, then chunks", b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", &[400]),
        ("chunks, then length", b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n", &[400]),
        ("unknown coding", b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n", &[400]),
        ("coded, then chunked", b"POST / HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n0\r\n\r\n", &[501]),
        ("coded, chunked in another line", b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", &[501]),
        ("chunked twice", b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n", &[501]),
        ("chunked not last", b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n", &[400]),
        ("chunks in HTTP/1.0", b"POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", &[400]),
        ("huge header", long_header.as_bytes(), &[431]),
        ("many headers", many_headers.as_bytes(), &[431]),
        ("long path", long_path.as_bytes(), &[414]),
        ("CONNECT", b"CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n", &[405]),
        ("TRACE", b"TRACE / HTTP/1.1\r\nhost: a\r\n\r\n", &[405]),
        ("asterisk", b"OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n", &[405]),
        ("key of wrong length", b"GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: YQ==\r\n\r\n", &[400]),
        ("no key", b"GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n\r\n", &[400]),
        ("old WebSocket", b"GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 8\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", &[426]),
    ];
    let mut wrong = Vec::new();
    for (name, request, statuses) in table {
        let mut client = server.connect().await;
        client.send(request).await;
        let status = client.head().await.status;
        if !statuses.contains(&status) {
            wrong.push(format!("{name}: {status} instead of {statuses:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(server.calls(), 0);
    server.end().await;
}

/// What a smuggler puts behind a request of two lengths is not run as a second one.
#[tokio::test]
async fn nothing_is_read_behind_contradictory_lengths() {
    let server = start(config(), |_| async { Ok(text("called")) }).await;
    let mut client = server.connect().await;
    client
        .send(
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n\
             0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n",
        )
        .await;
    let reply = client.reply().await;
    assert_eq!(reply.status, 400);
    assert_eq!(reply.header("connection"), Some("close"));
    assert!(client.is_closed().await);
    assert_eq!(server.calls(), 0);
    server.end().await;
}

#[tokio::test]
async fn small_bodies_that_break_off_never_reach_the_application() {
    let server = start(config(), |_| async { Ok(text("called")) }).await;
    let mut client = server.connect().await;
    client
        .send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n12345")
        .await;
    tokio::io::AsyncWriteExt::shutdown(&mut client.stream)
        .await
        .unwrap();
    // hyper may have nobody left to tell.
    if client.fill().await {
        assert_eq!(client.head().await.status, 400);
    }
    assert_eq!(server.calls(), 0);
    server.end().await;
}

#[tokio::test]
async fn slow_heads_end_with_408_and_silent_connections_without_a_word() {
    let config = Config {
        header_timeout: Duration::from_millis(300),
        ..config()
    };
    let server = start(config, |_| async { Ok(text("called")) }).await;
    let mut slow = server.connect().await;
    slow.send("GET / HTTP/1.1\r\nhost: a\r\nx: ").await;
    let mut silent = server.connect().await;
    let mut preface = server.connect().await;
    preface.send("PRI * HTTP/2.0\r\n").await;
    let mut idle = server.connect().await;
    idle.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(idle.reply().await.status, 200);
    let reply = slow.reply().await;
    assert_eq!(reply.status, 408);
    assert_eq!(reply.header("connection"), Some("close"));
    for client in [&mut slow, &mut silent, &mut preface, &mut idle] {
        assert!(client.is_closed().await);
    }
    assert_eq!(server.calls(), 1);
    server.end().await;
}
