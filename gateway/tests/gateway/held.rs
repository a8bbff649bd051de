//! WebSockets that outlive their pods, through the gateway. The pods are stand-ins that say in envelopes what the tests want.

use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue};
use portside_crds::sidecar::{
    HELD_HEADER, HOLDS, HOLDS_HEADER, KEPT, OFFERS_HEADER, RECONNECTED_HEADER, REOPENED, State,
};
use portside_exchange::envelope::Envelope;
use portside_exchange::{
    Delivery, Lasts, Message, Outbox, Request, Response, Socket, SocketSender,
};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message as WsMessage;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::support::{Cluster, Fetched, HOST, Pod, respond, until, within};

type Client = WebSocketStream<TcpStream>;

/// The application of all pods of a test: each socket that it accepts, in order.
#[derive(Clone)]
struct App {
    opened: Arc<Mutex<Vec<Arc<Opened>>>>,
    /// How it says that sockets are opened again.
    way: &'static str,
    status: Arc<Mutex<u16>>,
}

/// A socket, and what was said on it.
struct Opened {
    headers: HeaderMap,
    outbox: Mutex<Option<Outbox>>,
    heard: Mutex<Vec<Delivery>>,
}

impl App {
    fn new(way: &'static str) -> Self {
        Self {
            opened: Arc::default(),
            way,
            status: Arc::new(Mutex::new(101)),
        }
    }

    async fn serving(&self, name: &str) -> Pod {
        let app = self.clone();
        let pod = Pod::start(name, move |request| {
            let fetched = app.accept(&request);
            async { fetched }
        })
        .await;
        pod.becomes(State::Serving, 0);
        pod
    }

    fn accept(&self, request: &Request) -> Fetched {
        let status = *self.status.lock().unwrap();
        if status != 101 {
            return Ok(respond(status, "no"));
        }
        assert_eq!(request.headers[HOLDS_HEADER], HOLDS);
        let (outbox, outgoing) = portside_exchange::outgoing();
        let opened = Arc::new(Opened {
            headers: request.headers.clone(),
            outbox: Mutex::new(Some(outbox)),
            heard: Mutex::default(),
        });
        self.opened.lock().unwrap().push(opened.clone());
        let incoming = SocketSender::new(64, move |delivery| {
            opened.heard.lock().unwrap().push(delivery);
        });
        let mut response = Response {
            socket: Some(Socket {
                outgoing,
                incoming,
                lasts: Lasts::Held,
            }),
            ..respond(101, "")
        };
        let way = HeaderValue::from_static(self.way);
        response.headers.insert(HELD_HEADER, way);
        Ok(response)
    }

    /// The socket that was opened so many after the first.
    async fn opened(&self, number: usize) -> Arc<Opened> {
        until(|| self.opened.lock().unwrap().len() > number).await;
        self.opened.lock().unwrap()[number].clone()
    }
}

impl Opened {
    fn say(&self, envelope: Envelope) {
        let outbox = self.outbox.lock().unwrap();
        outbox.as_ref().unwrap().send(envelope.seal());
    }

    /// As a pod that is gone.
    fn breaks(&self) {
        *self.outbox.lock().unwrap() = None;
    }

    async fn hears(&self, texts: &[&str]) {
        until(|| self.heard.lock().unwrap().len() >= texts.len()).await;
        let heard = self.heard.lock().unwrap();
        let heard: Vec<_> = heard.iter().map(|it| opened(&it.message)).collect();
        let texts: Vec<_> = texts.iter().map(|&text| self::text(text)).collect();
        assert_eq!(heard, texts);
    }
}

fn opened(message: &Message) -> Envelope {
    Envelope::open(message.clone()).unwrap()
}

fn text(text: &str) -> Envelope {
    Envelope::Message(Message::Text(Bytes::copy_from_slice(text.as_bytes())))
}

fn close(code: u16, reason: &str) -> Message {
    Message::Close {
        code,
        reason: reason.into(),
    }
}

/// A client of a cluster that has one pod.
async fn of_one_pod(way: &'static str) -> (App, Pod, Cluster, Client) {
    let app = App::new(way);
    let pod = app.serving("a").await;
    let cluster = Cluster::of(&[&pod]).await;
    let client = connect(&cluster).await;
    (app, pod, cluster, client)
}

async fn connect(cluster: &Cluster) -> Client {
    let mut request = format!("ws://{HOST}/socket").into_client_request().unwrap();
    // Lies.
    for name in [RECONNECTED_HEADER, OFFERS_HEADER, HOLDS_HEADER] {
        let value = HeaderValue::from_static("x");
        request.headers_mut().insert(name, value);
    }
    let own = HeaderValue::from_static("own");
    request.headers_mut().insert("x-own", own);
    let stream = TcpStream::connect(cluster.address).await.unwrap();
    let (client, response) = within(client_async(request, stream)).await.unwrap();
    assert!(!response.headers().contains_key(HELD_HEADER));
    client
}

async fn say(client: &mut Client, texts: &[&str]) {
    for text in texts {
        client.send(WsMessage::text(*text)).await.unwrap();
    }
}

async fn hears(client: &mut Client, text: &str) {
    let heard = within(client.next()).await.unwrap().unwrap();
    assert_eq!(heard, WsMessage::text(text));
}

async fn closed(client: &mut Client) -> u16 {
    let mut code = None;
    while let Some(Ok(message)) = within(client.next()).await {
        if let WsMessage::Close(frame) = message {
            code = Some(frame.map_or(1005, |frame| frame.code.into()));
        }
    }
    code.expect("closed without a word")
}

#[tokio::test]
async fn what_a_pod_that_leaves_has_not_heard_another_hears_in_order() {
    let app = App::new(REOPENED);
    let pods = [app.serving("a").await, app.serving("b").await];
    let cluster = Cluster::of(&[&pods[0], &pods[1]]).await;
    let mut client = connect(&cluster).await;
    let first = app.opened(0).await;
    assert!(!first.headers.contains_key(RECONNECTED_HEADER), "a lie");
    assert!(!first.headers.contains_key(OFFERS_HEADER), "a lie");
    say(&mut client, &["1", "2", "3", "4"]).await;
    first.hears(&["1", "2", "3", "4"]).await;
    first.say(text("before"));
    first.say(Envelope::Heard(1));
    first.say(Envelope::Left(2));
    first.say(text("too late"));
    let second = app.opened(1).await;
    assert_eq!(second.headers[RECONNECTED_HEADER], "1");
    assert_eq!(second.headers["x-own"], "own");
    say(&mut client, &["5"]).await;
    second.hears(&["3", "4", "5"]).await;
    second.say(text("after"));
    hears(&mut client, "before").await;
    hears(&mut client, "after").await;
    let reopened = "portside_gateway_websockets_reopened_total";
    assert_eq!(cluster.metric(reopened), 1.0);
    client.close(None).await.unwrap();
    second.hears_close(1005).await;
    second.say(Envelope::Message(close(1005, "")));
    until(|| cluster.metrics.websockets.get() == 0).await;
}

impl Opened {
    async fn hears_close(&self, code: u16) {
        let last = || {
            let heard = self.heard.lock().unwrap();
            heard.last().and_then(|it| match opened(&it.message) {
                Envelope::Message(Message::Close { code, .. }) => Some(code),
                _ => None,
            })
        };
        until(|| last().is_some()).await;
        assert_eq!(last(), Some(code));
    }
}

#[tokio::test]
async fn what_is_in_doubt_when_a_pod_is_lost_is_not_said_again() {
    let app = App::new(REOPENED);
    let mut pods = [app.serving("a").await];
    let cluster = Cluster::of(&[&pods[0]]).await;
    let mut client = connect(&cluster).await;
    let first = app.opened(0).await;
    say(&mut client, &["1", "2"]).await;
    first.hears(&["1", "2"]).await;
    pods[0].kill();
    let other = app.serving("b").await;
    cluster.has(&[&other]);
    let second = app.opened(1).await;
    say(&mut client, &["3"]).await;
    second.hears(&["3"]).await;
    assert_eq!(second.headers[RECONNECTED_HEADER], "1");
}

#[tokio::test]
async fn a_client_that_nobody_takes_again_is_told_to_connect_anew() {
    let (app, _pod, cluster, mut client) = of_one_pod(REOPENED).await;
    *app.status.lock().unwrap() = 403;
    app.opened(0).await.say(Envelope::Left(0));
    assert_eq!(closed(&mut client).await, 1012);
    until(|| cluster.metrics.websockets.get() == 0).await;
}

#[tokio::test]
async fn a_request_that_ends_pods_is_not_sent_to_many() {
    let app = App::new(REOPENED);
    let (pod, mut ends) = (app.serving("a").await, app.serving("b").await);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    ends.endpoint.http = listener.local_addr().unwrap();
    let cluster = Cluster::of(&[&pod]).await;
    let mut client = connect(&cluster).await;
    cluster.has(&[&ends]);
    app.opened(0).await.breaks();
    let requests = async {
        for requests in 1.. {
            let (mut connection, _) = listener.accept().await.unwrap();
            assert_ne!(connection.read(&mut [0; 100]).await.unwrap(), 0);
            assert!(requests <= 2, "and another one");
        }
    };
    tokio::select! {
        code = closed(&mut client) => assert_eq!(code, 1012),
        () = requests => {}
    }
}

#[tokio::test]
async fn a_kept_socket_comes_back_with_what_its_pod_has_said() {
    let app = App::new(KEPT);
    let pods = [app.serving("a").await, app.serving("b").await];
    let cluster = Cluster::of(&[&pods[0], &pods[1]]).await;
    let mut client = connect(&cluster).await;
    let first = app.opened(0).await;
    for state in ["old", "new"] {
        first.say(Envelope::State(state.into()));
    }
    say(&mut client, &["1", "2"]).await;
    first.hears(&["1", "2"]).await;
    first.say(Envelope::Left(1));
    let second = app.opened(1).await;
    let kept = BASE64_STANDARD.decode(&second.headers[OFFERS_HEADER]);
    assert_eq!(kept.unwrap(), b"new");
    for header in [RECONNECTED_HEADER, "x-own"] {
        assert!(!second.headers.contains_key(header), "{header}");
    }
    second.hears(&["2"]).await;
    // Its pod breaks, and nobody knows what it has heard; the client closes meanwhile, which is told.
    *app.status.lock().unwrap() = 503;
    second.breaks();
    client.close(None).await.unwrap();
    *app.status.lock().unwrap() = 101;
    app.opened(2).await.hears_close(1005).await;
}

#[tokio::test]
async fn a_kept_socket_of_which_nothing_is_known_ends_with_its_pod() {
    let (app, _pod, _cluster, mut client) = of_one_pod(KEPT).await;
    app.opened(0).await.say(Envelope::Left(0));
    assert_eq!(closed(&mut client).await, 1012);
}

#[tokio::test]
async fn a_pod_that_lies_is_left_and_harms_nobody() {
    let (app, _pod, _cluster, mut client) = of_one_pod(REOPENED).await;
    let lies = [
        Envelope::Heard(3),
        Envelope::Left(3),
        Envelope::Depart { now: true },
    ];
    for (number, lie) in lies.into_iter().enumerate() {
        let said = number.to_string();
        say(&mut client, &[&said]).await;
        let opened = app.opened(number).await;
        opened.hears(&[&said]).await;
        opened.say(lie);
        app.opened(number + 1).await;
    }
    let last = app.opened(3).await;
    last.say(Envelope::Message(close(1006, "")));
    assert_eq!(closed(&mut client).await, 1012, "what cannot be said");
}

#[tokio::test]
async fn a_client_whose_messages_are_not_heard_has_to_wait() {
    let (app, _pod, _cluster, mut client) = of_one_pod(REOPENED).await;
    let first = app.opened(0).await;
    let message = WsMessage::binary(vec![7; 64 << 10]);
    let mut sent = 0;
    let patience = std::time::Duration::from_millis(500);
    while tokio::time::timeout(patience, client.send(message.clone()))
        .await
        .is_ok()
    {
        sent += 1;
        // The pod takes them, and none is heard.
        first.heard.lock().unwrap().clear();
        assert!(sent < 1000, "nothing slows it down");
    }
    let more = app.opened.lock().unwrap().len();
    assert_eq!(more, 1);
    // All of it is still there.
    first.say(Envelope::Left(0));
    let second = app.opened(1).await;
    let mut heard = 0;
    within(async {
        while heard <= sent {
            let taken = std::mem::take(&mut *second.heard.lock().unwrap()).len();
            heard += taken;
            second.say(Envelope::Heard(heard as u64));
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            if heard >= sent {
                break;
            }
        }
    })
    .await;
    assert!(heard >= sent);
}

#[tokio::test]
async fn what_waits_for_a_slow_client_is_bounded_however_often_its_socket_is_opened_again() {
    let (app, _pod, _cluster, mut client) = of_one_pod(REOPENED).await;
    let long = Bytes::from(vec![7; 4 << 20]);
    let mut said = 0;
    // Connections buffer a few; the socket is opened again after a second at most.
    let patience = std::time::Duration::from_secs(2);
    while let Ok(opened) = tokio::time::timeout(patience, app.opened(said)).await {
        opened.say(Envelope::Message(Message::Binary(long.clone())));
        opened.say(Envelope::Left(0));
        said += 1;
        assert!(said < 8, "all of it waits");
    }
    for _ in 0..said {
        let heard = within(client.next()).await.unwrap().unwrap();
        assert_eq!(heard.into_data(), long);
    }
    app.opened(said).await;
}
