//! Clients that end their side of the connection and wait for the answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use portside_exchange::Body;
use portside_frontdoor::Config;
use tokio::io::AsyncWriteExt;

use crate::support::{Client, PATIENCE, Running, config, respond, start, text, until};

/// Says when it is dropped.
struct Gone(Arc<AtomicBool>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn patient() -> Config {
    Config {
        half_close_timeout: PATIENCE,
        ..config()
    }
}

/// A server, a client whose request it does not answer, and whether that is given up.
async fn unanswered(config: Config) -> (Running, Client, Arc<AtomicBool>) {
    let gone = Arc::new(AtomicBool::new(false));
    let guard = Arc::clone(&gone);
    let server = start(config, move |_| {
        let gone = Gone(Arc::clone(&guard));
        async move {
            std::future::pending::<()>().await;
            drop(gone);
            Ok(text(""))
        }
    })
    .await;
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    until(|| server.calls() == 1).await;
    (server, client, gone)
}

#[tokio::test]
async fn all_requests_before_it_are_answered_and_then_the_connection_ends() {
    let server = start(patient(), |request| async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        Ok(match request.body {
            Body::Empty => text(request.url),
            body => respond(200, body),
        })
    })
    .await;
    let mut client = server.connect().await;
    client
        .send("GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\n\r\n")
        .await;
    client.stream.shutdown().await.unwrap();
    assert_eq!(client.reply().await.text(), "http://a/1");
    assert_eq!(client.reply().await.text(), "http://a/2");
    assert!(client.is_closed().await);

    let mut client = server.connect().await;
    client
        .send(
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        )
        .await;
    client.stream.shutdown().await.unwrap();
    assert_eq!(client.reply().await.text(), "hi");
    assert!(client.is_closed().await);
    server.end().await;
}

#[tokio::test]
async fn an_answer_that_streams_is_read_to_its_end() {
    let server = start(patient(), |_| async {
        let chunks = futures::stream::iter(0..3).then(|_| async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Ok("chunk".into())
        });
        Ok(respond(200, Body::Stream(Box::pin(chunks))))
    })
    .await;
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    client.stream.shutdown().await.unwrap();
    assert_eq!(client.reply().await.text(), "chunkchunkchunk");
    assert!(client.is_closed().await);
    server.end().await;
}

#[tokio::test]
async fn an_answer_that_waits_for_room_is_read_to_its_end() {
    const LENGTH: usize = 32 << 20;
    let server = start(patient(), |_| async { Ok(text(vec![b'x'; LENGTH])) }).await;
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    client.stream.shutdown().await.unwrap();
    client.stream.readable().await.unwrap();
    // By now the system's buffers are full.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(client.reply().await.body.len(), LENGTH);
    assert!(client.is_closed().await);
    server.end().await;
}

/// A client that is gone looks the same.
#[tokio::test]
async fn a_client_is_lost_when_it_was_silent_for_too_long() {
    let impatient = Config {
        half_close_timeout: Duration::from_millis(100),
        ..config()
    };
    let (server, mut client, gone) = unanswered(impatient).await;
    client.stream.shutdown().await.unwrap();
    assert!(client.is_closed().await);
    until(|| gone.load(Ordering::SeqCst)).await;
    server.end().await;
}

#[tokio::test]
async fn a_client_that_resets_the_connection_is_lost_at_once() {
    let (server, client, gone) = unanswered(patient()).await;
    client.stream.set_zero_linger().unwrap();
    let began = std::time::Instant::now();
    drop(client);
    until(|| gone.load(Ordering::SeqCst)).await;
    assert!(began.elapsed() < PATIENCE / 2);
    server.end().await;
}

/// Nobody waits for anything there.
#[tokio::test]
async fn an_idle_connection_ends_at_once() {
    let server = start(patient(), |_| async { Ok(text("")) }).await;
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(client.reply().await.status, 200);
    client.stream.shutdown().await.unwrap();
    let began = std::time::Instant::now();
    assert!(client.is_closed().await);
    assert!(began.elapsed() < PATIENCE / 2);
    server.end().await;
}
