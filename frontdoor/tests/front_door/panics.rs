//! What panics harms itself only, and is told with the request it happened in.

use std::io;
use std::sync::{Arc, Mutex};

use portside_exchange::{Body, Lasts, Socket, SocketSender, outgoing};
use portside_websocket::testing::frame;
use tracing_subscriber::fmt::MakeWriter;

use crate::support::{config, respond, start, text, until};
use crate::websocket::HANDSHAKE;

/// A log that a test can read. Tests run on one thread, and so does all they start.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn has(&self, text: &str) -> bool {
        String::from_utf8_lossy(&self.0.lock().unwrap()).contains(text)
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

fn log() -> (Log, tracing::subscriber::DefaultGuard) {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(log.clone())
        .finish();
    (log, tracing::subscriber::set_default(subscriber))
}

#[tokio::test]
async fn a_request_that_panics_is_a_500_and_others_go_on() {
    let (log, _guard) = log();
    let server = start(config(), |request| async move {
        assert!(!request.url.ends_with("/bad?secret"), "as the test wants");
        Ok(text("good"))
    })
    .await;
    let mut good = server.connect().await;
    good.send("GET /good HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(good.reply().await.text(), "good");

    let mut bad = server.connect().await;
    bad.send("GET /bad?secret HTTP/1.1\r\nhost: a\r\n\r\n")
        .await;
    let reply = bad.reply().await;
    assert_eq!((reply.status, reply.text()), (500, "Internal Server Error"));
    assert_eq!(reply.header("connection"), Some("close"));
    assert!(bad.is_closed().await);
    assert!(log.has("GET /bad of 127.0.0.1"), "with its request");
    assert!(log.has("as the test wants"), "with its message");
    assert!(!log.has("secret"), "without its query");

    good.send("GET /good HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(good.reply().await.text(), "good");
    drop(good);
    server.end().await;
}

#[tokio::test]
async fn a_websocket_that_panics_is_told_with_its_request() {
    let (log, _guard) = log();
    let server = start(config(), |_| async {
        let (sender, outgoing) = outgoing();
        // A socket whose application is gone would be closed.
        std::mem::forget(sender);
        let incoming = SocketSender::new(1, |delivery| {
            assert!(delivery.message.is_empty(), "as the test wants");
        });
        let mut response = respond(101, Body::Empty);
        response.socket = Some(Socket {
            outgoing,
            incoming,
            lasts: Lasts::No,
        });
        Ok(response)
    })
    .await;
    let mut client = server.connect().await;
    client.send(format!("{HANDSHAKE}\r\n")).await;
    assert_eq!(client.head().await.status, 101);
    client.send(frame(0x81, b"bang")).await;
    assert!(client.is_closed().await);
    until(|| log.has("the WebSocket /chat of 127.0.0.1")).await;
    assert!(log.has("as the test wants"));
    server.end().await;
}
