//! WebSockets through the gateway, with tungstenite as the client.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::HeaderValue;
use portside_crds::sidecar::State;
use portside_exchange::{
    Delivery, Lasts, Message, Outbox, Request, Response, Socket, SocketSender,
};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message as WsMessage};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::support::{Cluster, Fetched, HOST, Pod, respond, until, within};

type Client = WebSocketStream<TcpStream>;

/// A pod's application's side of its one socket.
#[derive(Clone, Default)]
struct App {
    log: Arc<Mutex<Vec<Message>>>,
    sender: Arc<Mutex<Option<Arc<Outbox>>>>,
    /// Messages it has got and not let go of, if it is to keep them.
    kept: Arc<Mutex<Option<Vec<Delivery>>>>,
    echoes: bool,
}

impl App {
    fn echo() -> Self {
        Self {
            echoes: true,
            ..Self::default()
        }
    }

    async fn start(&self, name: &str) -> Pod {
        let app = self.clone();
        let pod = Pod::start(name, move |request| {
            let fetched = app.accept(&request);
            async { fetched }
        })
        .await;
        pod.becomes(State::Active, 1);
        pod
    }

    fn accept(&self, request: &Request) -> Fetched {
        if !request.url.ends_with("/socket") {
            return Ok(respond(403, "no socket here"));
        }
        assert!(request.websocket);
        assert!(!request.headers.contains_key("sec-websocket-extensions"));
        let (sender, outgoing) = portside_exchange::outgoing();
        *self.sender.lock().unwrap() = Some(Arc::new(sender));
        let app = self.clone();
        let incoming = SocketSender::new(16, move |delivery| {
            let message = delivery.message.clone();
            app.log.lock().unwrap().push(message.clone());
            if app.echoes && !matches!(message, Message::Close { .. }) {
                app.send(message);
            }
            if let Some(kept) = &mut *app.kept.lock().unwrap() {
                kept.push(delivery);
            }
        });
        let mut response = Response {
            socket: Some(Socket {
                outgoing,
                incoming,
                lasts: Lasts::No,
            }),
            ..respond(101, "")
        };
        for name in ["x-own", "sec-websocket-protocol"] {
            if let Some(value) = request.headers.get(name) {
                response
                    .headers
                    .insert(http::HeaderName::from_static(name), value.clone());
            }
        }
        Ok(response)
    }

    fn send(&self, message: Message) {
        self.sender.lock().unwrap().as_ref().unwrap().send(message);
    }

    fn waiting(&self) -> usize {
        self.sender.lock().unwrap().as_ref().unwrap().waiting()
    }

    async fn sees_close(&self, code: u16, reason: &str) {
        let last = || self.log.lock().unwrap().last().cloned();
        until(|| matches!(last(), Some(Message::Close { .. }))).await;
        assert_eq!(last(), Some(close(code, reason)));
    }
}

fn close(code: u16, reason: &str) -> Message {
    Message::Close {
        code,
        reason: reason.into(),
    }
}

async fn dial(cluster: &Cluster, path: &str) -> Result<(Client, http::HeaderMap), Error> {
    let mut request = format!("ws://{HOST}{path}").into_client_request()?;
    for (name, value) in [("x-own", "own"), ("sec-websocket-protocol", "chat")] {
        request
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    let stream = TcpStream::connect(cluster.address).await?;
    let (client, response) = within(client_async(request, stream)).await?;
    Ok((client, response.headers().clone()))
}

async fn connect(cluster: &Cluster) -> Client {
    dial(cluster, "/socket").await.unwrap().0
}

/// How the socket ends. Reads to the end of the connection, for only then is the close answered.
async fn closed(client: &mut Client) -> (u16, String) {
    let mut close = None;
    while let Some(Ok(message)) = within(client.next()).await {
        if let WsMessage::Close(frame) = message {
            close = Some(frame.map_or((1005, String::new()), |frame| {
                (frame.code.into(), frame.reason.to_string())
            }));
        }
    }
    close.expect("closed without a word")
}

#[tokio::test]
async fn messages_pass_both_ways() {
    let app = App::echo();
    let pod = app.start("a").await;
    let cluster = Cluster::of(&[&pod]).await;
    let (mut client, headers) = dial(&cluster, "/socket").await.unwrap();
    assert_eq!(headers["x-own"], "own");
    assert_eq!(headers["sec-websocket-protocol"], "chat");
    for message in [
        WsMessage::text("text ü"),
        WsMessage::text(""),
        WsMessage::binary(vec![0, 255]),
        WsMessage::binary(vec![7; 3 << 20]),
    ] {
        client.send(message.clone()).await.unwrap();
        assert_eq!(within(client.next()).await.unwrap().unwrap(), message);
    }
    assert_eq!(cluster.metrics.websockets.get(), 1);
    client.close(None).await.unwrap();
    app.sees_close(1005, "").await;
    until(|| cluster.metrics.websockets.get() == 0).await;
    assert_eq!(
        cluster.metric("portside_gateway_requests_total{status=\"1xx\"}"),
        1.0
    );
}

#[tokio::test]
async fn closes_pass_with_code_and_reason() {
    let app = App::default();
    let pod = app.start("a").await;
    let cluster = Cluster::of(&[&pod]).await;

    let mut client = connect(&cluster).await;
    let frame = CloseFrame {
        code: 4001.into(),
        reason: "bye".into(),
    };
    client.close(Some(frame)).await.unwrap();
    app.sees_close(4001, "bye").await;

    for (code, reason) in [(4002, "over"), (1000, ""), (1005, ""), (1013, "later")] {
        let mut client = connect(&cluster).await;
        app.send(Message::Text("last".into()));
        app.send(close(code, reason));
        let last = within(client.next()).await.unwrap().unwrap();
        assert_eq!(last, WsMessage::text("last"));
        assert_eq!(closed(&mut client).await, (code, reason.to_owned()));
    }
    until(|| cluster.metrics.websockets.get() == 0).await;
}

#[tokio::test]
async fn a_client_that_is_lost_is_lost_to_the_pod() {
    let app = App::default();
    let pod = app.start("a").await;
    let cluster = Cluster::of(&[&pod]).await;
    drop(connect(&cluster).await.into_inner());
    app.sees_close(1006, "").await;
    until(|| cluster.metrics.websockets.get() == 0).await;
}

#[tokio::test]
async fn other_answers_than_a_socket_are_passed_on() {
    let pod = App::default().start("a").await;
    let cluster = Cluster::of(&[&pod]).await;
    let Err(Error::Http(response)) = dial(&cluster, "/other").await else {
        panic!("not refused");
    };
    assert_eq!(response.status(), 403);
    let missing = Cluster::impatient(&[]).await;
    let Err(Error::Http(response)) = dial(&missing, "/socket").await else {
        panic!("not refused");
    };
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["portside-reason"], "Starting");
}

#[tokio::test]
async fn a_handshake_waits_and_is_sent_again_as_any_request() {
    let app = App::echo();
    let pod = app.start("a").await;
    pod.becomes(State::Standby, 0);
    let cluster = Cluster::of(&[&pod]).await;
    let (mut client, ()) = tokio::join!(connect(&cluster), async {
        cluster.held(1).await;
        pod.refuses(true);
        pod.becomes(State::Active, 1);
        until(|| pod.refused() > 0).await;
        pod.refuses(false);
    });
    client.send(WsMessage::text("hello")).await.unwrap();
    let echo = within(client.next()).await.unwrap().unwrap();
    assert_eq!(echo, WsMessage::text("hello"));
}

#[tokio::test]
async fn a_pod_that_is_killed_or_overtaken_is_a_restart() {
    let mut killed = App::default().start("a").await;
    let cluster = Cluster::of(&[&killed]).await;
    let mut client = connect(&cluster).await;
    killed.kill();
    assert_eq!(closed(&mut client).await.0, 1012);

    let app = App::echo();
    let old = app.start("b").await;
    let new = Pod::named("c").await;
    let cluster = Cluster::of(&[&old, &new]).await;
    let mut client = connect(&cluster).await;
    new.becomes(State::Active, 2);
    assert_eq!(closed(&mut client).await.0, 1012);
    app.sees_close(1006, "").await;
}

#[tokio::test]
async fn a_pod_that_drains_says_itself_when_its_sockets_end() {
    let app = App::default();
    let old = app.start("a").await;
    let new = Pod::named("b").await;
    let cluster = Cluster::of(&[&old, &new]).await;
    let mut client = connect(&cluster).await;
    old.becomes(State::Draining, 1);
    new.becomes(State::Active, 2);
    within(async { while cluster.get("/").await.text != "b" {} }).await;
    app.send(close(1001, "shutting down"));
    assert_eq!(closed(&mut client).await, (1001, "shutting down".into()));
}

#[tokio::test]
async fn a_gateway_that_ends_says_so_to_both_sides() {
    let app = App::default();
    let pod = app.start("a").await;
    let cluster = Cluster::of(&[&pod]).await;
    let mut client = connect(&cluster).await;
    cluster.shut_down();
    assert_eq!(closed(&mut client).await.0, 1001);
    app.sees_close(1001, "shutting down").await;
    within(cluster.gateway.finish()).await;
}

#[tokio::test]
async fn a_message_that_is_too_big_ends_the_socket() {
    let app = App::default();
    let pod = app.start("a").await;
    let cluster = Cluster::of(&[&pod]).await;
    let mut client = connect(&cluster).await;
    app.send(Message::Binary(vec![0; (4 << 20) + 1].into()));
    assert_eq!(closed(&mut client).await.0, 1009);
}

#[tokio::test]
async fn a_client_that_does_not_read_slows_the_pod_down() {
    const MESSAGES: usize = 64;
    const SIZE: usize = 1 << 20;
    let app = App::default();
    let pod = app.start("a").await;
    let cluster = Cluster::of(&[&pod]).await;
    let mut client = connect(&cluster).await;
    for n in 0..MESSAGES {
        app.send(Message::Binary(vec![u8::try_from(n).unwrap(); SIZE].into()));
    }
    let mut waiting = usize::MAX;
    while app.waiting() != waiting {
        waiting = app.waiting();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert!(waiting > MESSAGES * SIZE / 2, "only {waiting} bytes wait");
    for n in 0..MESSAGES {
        let message = within(client.next()).await.unwrap().unwrap();
        let expected = Bytes::from(vec![u8::try_from(n).unwrap(); SIZE]);
        assert!(
            message == WsMessage::Binary(expected),
            "message {n} differs"
        );
    }
}

#[tokio::test]
async fn a_pod_that_does_not_read_slows_the_client_down() {
    let app = App::default();
    *app.kept.lock().unwrap() = Some(Vec::new());
    let pod = app.start("a").await;
    let cluster = Cluster::of(&[&pod]).await;
    let mut client = connect(&cluster).await;
    let mut sent = 0;
    let message = WsMessage::binary(vec![0; 1 << 20]);
    while tokio::time::timeout(Duration::from_millis(500), client.send(message.clone()))
        .await
        .is_ok()
    {
        sent += 1;
        assert!(sent < 256, "nothing slows it down");
    }
    // It goes on, and the client is still served in the other direction.
    app.send(Message::Text("busy".into()));
    let busy = within(client.next()).await.unwrap().unwrap();
    assert_eq!(busy, WsMessage::text("busy"));
    *app.kept.lock().unwrap() = None;
    within(client.flush()).await.unwrap();
    client.close(None).await.unwrap();
    app.sees_close(1005, "").await;
}
