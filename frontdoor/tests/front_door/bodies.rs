//! Bodies flow both ways as they come, and stop when one side goes away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use http::header::HeaderValue;
use portside_exchange::{Body, Response};
use tokio::sync::mpsc;

use crate::support::{config, respond, start, text, until, within};

/// A response body fed through a channel.
fn channel() -> (mpsc::UnboundedSender<Bytes>, Body) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let body = stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|bytes| (Ok(bytes), receiver))
    });
    (sender, Body::Stream(Box::pin(body)))
}

#[tokio::test]
async fn an_echo_answers_each_chunk_before_the_next_is_sent() {
    let server = start(
        config(),
        |request| async move { Ok(respond(200, request.body)) },
    )
    .await;
    let mut client = server.connect().await;
    for round in 0..2 {
        client
            .send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")
            .await;
        let reply = client.head().await;
        assert_eq!(reply.status, 200);
        for word in ["one", "two", "three"] {
            client.send(format!("{:x}\r\n{word}\r\n", word.len())).await;
            assert_eq!(client.chunk().await, word.as_bytes(), "round {round}");
        }
        client.send("0\r\n\r\n").await;
        assert_eq!(client.chunk().await, b"");
    }
    server.end().await;
}

#[tokio::test]
async fn large_bodies_pass_unchanged() {
    let server = start(
        config(),
        |request| async move { Ok(respond(200, request.body)) },
    )
    .await;
    let body: Vec<u8> = (0..5_000_000_u32)
        .map(|index| (index % 251) as u8)
        .collect();
    let mut client = server.connect().await;
    let (mut read, mut write) = client.stream.split();
    let head = format!(
        "PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let sending = async {
        use tokio::io::AsyncWriteExt;
        write.write_all(head.as_bytes()).await.unwrap();
        write.write_all(&body).await.unwrap();
    };
    let mut received = Vec::new();
    let receiving = tokio::io::AsyncReadExt::read_to_end(&mut read, &mut received);
    let ((), len) = within(futures::future::join(sending, receiving)).await;
    assert!(len.unwrap() > body.len());
    client.buffer = received;
    assert!(client.reply().await.body == body);
    server.end().await;
}

#[tokio::test]
async fn server_sent_events_arrive_when_they_are_sent() {
    let (sender, body) = channel();
    let body = std::sync::Mutex::new(Some(body));
    let server = start(config(), move |_| {
        let mut response = respond(200, body.lock().unwrap().take().unwrap());
        response.headers.insert(
            "content-type",
            HeaderValue::from_static("text/event-stream"),
        );
        async { Ok(response) }
    })
    .await;
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let reply = client.head().await;
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    for index in 0..3 {
        let event = format!("data: {index}\n\n");
        sender.send(event.clone().into()).unwrap();
        assert_eq!(client.chunk().await, event.as_bytes());
    }
    drop(client);
    // The application learns that nobody listens.
    within(sender.closed()).await;
    server.end().await;
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_fetch() {
    struct Gone(Arc<AtomicBool>);
    impl Drop for Gone {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let gone = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&gone);
    let server = start(config(), move |_| {
        let guard = Gone(Arc::clone(&flag));
        async move {
            let _guard = guard;
            std::future::pending::<()>().await;
            Ok(text("never"))
        }
    })
    .await;
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    until(|| server.calls() == 1).await;
    assert!(!gone.load(Ordering::SeqCst));
    drop(client);
    until(|| gone.load(Ordering::SeqCst)).await;
    server.end().await;
}

#[tokio::test]
async fn an_upload_waits_while_the_application_does_not_read() {
    let read = Arc::new(AtomicUsize::new(0));
    let (go, gate) = tokio::sync::watch::channel(false);
    let count = Arc::clone(&read);
    let server = start(config(), move |request| {
        let (count, mut gate) = (Arc::clone(&count), gate.clone());
        async move {
            gate.wait_for(|open| *open).await.unwrap();
            let Body::Stream(mut body) = request.body else {
                panic!("a long body is a stream")
            };
            while let Some(chunk) = body.next().await {
                count.fetch_add(chunk.unwrap().len(), Ordering::SeqCst);
            }
            Ok(text("read"))
        }
    })
    .await;
    const LEN: usize = 50 << 20;
    let mut client = server.connect().await;
    client
        .send(format!(
            "PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: {LEN}\r\n\r\n"
        ))
        .await;
    let chunk = vec![7; 1 << 20];
    let mut sent = 0;
    // Until the sockets' buffers are full: the front door takes no more.
    loop {
        let writing = tokio::io::AsyncWriteExt::write(&mut client.stream, &chunk);
        match tokio::time::timeout(std::time::Duration::from_millis(300), writing).await {
            Ok(len) => sent += len.unwrap(),
            Err(_) => break,
        }
        assert!(sent < LEN, "all of it was taken");
    }
    go.send(true).unwrap();
    while sent < LEN {
        let part = chunk.len().min(LEN - sent);
        client.send(&chunk[..part]).await;
        sent += part;
    }
    assert_eq!(client.reply().await.text(), "read");
    assert_eq!(read.load(Ordering::SeqCst), LEN);
    server.end().await;
}

#[tokio::test]
async fn a_broken_upload_is_a_client_error_unless_a_response_has_begun() {
    let server = start(config(), |request| async move {
        let Body::Stream(mut body) = request.body else {
            panic!("chunks are a stream")
        };
        while let Some(chunk) = body.next().await {
            if chunk.is_err() {
                return Ok(text("the application saw it"));
            }
        }
        Ok(text("complete"))
    })
    .await;
    let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    for (body, status) in [
        ("3\r\nabc\r\n0\r\n\r\n", 200),
        ("3\r\nabc\r\nxyz\r\n", 400),
        ("3\r\nabcdef", 400),
        ("-1\r\n\r\n", 400),
        ("fffffffffffffffffff\r\n", 400),
    ] {
        assert_eq!(
            server.ask(&[head, body].concat()).await.status,
            status,
            "{body:?}"
        );
    }
    server.end().await;
}

#[tokio::test]
async fn expect_continue_is_answered_when_the_body_is_wanted() {
    let server = start(config(), |request| async move {
        Ok(match request.body {
            Body::Full(bytes) => text(bytes),
            _ => respond(204, Body::Empty),
        })
    })
    .await;
    let mut client = server.connect().await;
    client
        .send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n")
        .await;
    assert_eq!(client.head().await.status, 100);
    client.send("ok").await;
    assert_eq!(client.reply().await.text(), "ok");
    server.end().await;
}

#[tokio::test]
async fn a_declared_length_that_is_wrong_breaks_the_response_off() {
    let server = start(config(), |request| async move {
        let chunks = [Ok(Bytes::from("12345")), Ok(Bytes::from("67890"))];
        let mut response: Response = respond(200, Body::Stream(Box::pin(stream::iter(chunks))));
        let length = request.url.rsplit('/').next().unwrap();
        response
            .headers
            .insert("content-length", length.parse().unwrap());
        Ok(response)
    })
    .await;
    let reply = server.ask("GET /10 HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(reply.text(), "1234567890");
    assert_eq!(reply.header("content-length"), Some("10"));
    for length in ["7", "12"] {
        let mut client = server.connect().await;
        client
            .send(format!("GET /{length} HTTP/1.1\r\nhost: a\r\n\r\n"))
            .await;
        while client.fill().await {}
        let received = String::from_utf8_lossy(&client.buffer).into_owned();
        let body = received.split("\r\n\r\n").nth(1).unwrap_or_default();
        assert!(body.len() < length.parse().unwrap(), "{received:?}");
    }
    server.end().await;
}

#[tokio::test]
async fn an_answer_that_does_not_wait_for_the_body_arrives() {
    let server = start(config(), |_| async { Ok(text("enough")) }).await;
    let mut client = server.connect().await;
    let body = vec![0; 8 << 20];
    let head = format!(
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    client.send(head).await;
    // Only then does it look for an answer, as simple clients do.
    within(client.send(body)).await;
    let reply = client.reply().await;
    assert_eq!((reply.status, reply.text()), (200, "enough"));
    assert!(client.is_closed().await);
    drop(client);
    server.end().await;
}
