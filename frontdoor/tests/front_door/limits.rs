//! More than an operator allows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use http_body_util::Empty;
use portside_exchange::{Body, BodyError};
use portside_frontdoor::Config;

use crate::support::{Running, config, respond, start, text, until, within};

#[tokio::test]
async fn bodies_over_the_limit_get_413() {
    let config = Config {
        max_body_bytes: 100,
        ..config()
    };
    let server = start(config, |request| async move {
        if let Body::Stream(mut body) = request.body {
            let mut last = None;
            while let Some(chunk) = body.next().await {
                last = chunk.err();
            }
            assert_eq!(last, Some(BodyError::TooLarge { limit: 100 }));
        }
        Ok(text("read"))
    })
    .await;
    let announced = |len: usize| {
        let body = "x".repeat(len);
        format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {len}\r\n\r\n{body}")
    };
    assert_eq!(server.ask(&announced(100)).await.status, 200);
    assert_eq!(server.ask(&announced(101)).await.status, 413);
    assert_eq!(
        server.calls(),
        1,
        "a long body is refused before the application"
    );
    let chunk = "64\r\n".to_owned() + &"x".repeat(100) + "\r\n";
    let chunked = format!(
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{chunk}1\r\nx\r\n0\r\n\r\n"
    );
    assert_eq!(server.ask(&chunked).await.status, 413);
    assert_eq!(server.calls(), 2);
    server.end().await;
}

#[tokio::test]
async fn bodies_that_stall_get_408() {
    let config = Config {
        body_timeout: Duration::from_millis(200),
        ..config()
    };
    let server = start(config, |request| async move {
        if let Body::Stream(mut body) = request.body {
            while let Some(Ok(_)) = body.next().await {}
        }
        Ok(text("read"))
    })
    .await;
    let small = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n12345";
    assert_eq!(server.ask(small).await.status, 408);
    assert_eq!(server.calls(), 0);
    let chunked = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\n12345\r\n";
    assert_eq!(server.ask(chunked).await.status, 408);
    assert_eq!(server.calls(), 1);
    server.end().await;
}

#[tokio::test]
async fn requests_over_the_limit_get_503_until_one_is_done() {
    let config = Config {
        max_requests: 1,
        ..config()
    };
    let server = start(config, |request| async move {
        Ok(if request.url.ends_with("/stream") {
            let endless =
                futures::stream::iter([Ok("first".into())]).chain(futures::stream::pending());
            respond(200, Body::Stream(Box::pin(endless)))
        } else {
            text("short")
        })
    })
    .await;
    let mut first = server.connect().await;
    first.send("GET /stream HTTP/1.1\r\nhost: a\r\n\r\n").await;
    first.head().await;
    assert_eq!(first.chunk().await, b"first");
    let reply = server.ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(reply.status, 503);
    assert_eq!(reply.header("retry-after"), Some("1"));
    assert_eq!(server.calls(), 1);
    drop(first);
    crate::support::within(async {
        while server.ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.status != 200 {}
    })
    .await;
    until(|| server.calls() == 2).await;
    server.end().await;
}

/// An application that answers without end, and knows when nobody wants more.
async fn endless(write_timeout: Duration) -> (Running, Arc<AtomicBool>) {
    struct Dropped(Arc<AtomicBool>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let dropped = Arc::<AtomicBool>::default();
    let config = Config {
        write_timeout,
        ..config()
    };
    let seen = Arc::clone(&dropped);
    let server = start(config, move |_| {
        let guard = Dropped(Arc::clone(&seen));
        async move {
            let chunks = stream::repeat_with(move || {
                let _ = &guard;
                Ok(Bytes::from_static(&[7; 64 << 10]))
            });
            Ok(respond(200, Body::Stream(Box::pin(chunks))))
        }
    })
    .await;
    (server, dropped)
}

#[tokio::test]
async fn a_client_that_does_not_read_is_dropped() {
    let (server, dropped) = endless(Duration::from_millis(200)).await;
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    until(|| dropped.load(Ordering::SeqCst)).await;
    drop(client);
    server.end().await;
}

#[tokio::test]
async fn a_client_that_gives_a_stream_no_room_is_dropped() {
    let (server, dropped) = endless(Duration::from_millis(200)).await;
    let mut sender = crate::http2::connect::<Empty<Bytes>>(&server).await;
    let request = http::Request::get("http://a/").body(Empty::new()).unwrap();
    // Never read: hyper's client gives room for what is read only.
    let _response = within(sender.send_request(request)).await.unwrap();
    until(|| dropped.load(Ordering::SeqCst)).await;
    drop(sender);
    server.end().await;
}
