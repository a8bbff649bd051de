//! WebSockets, with a client that controls every bit, and once with another implementation.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::HeaderValue;
use portside_exchange::{
    Body, Delivery, Lasts, Message, Outbox, Request, Response, Socket, SocketSender, outgoing,
};
use portside_frontdoor::Config;
use portside_websocket::testing::frame;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite;

use crate::support::{
    Client, Fetched, Reply, Running, config, respond, start, text, until, within,
};

pub const HANDSHAKE: &str = "GET /chat HTTP/1.1\r\nhost: a\r\nupgrade: WebSocket\r\nconnection: keep-alive, Upgrade\r\n\
     sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// The application's side of one socket.
#[derive(Clone)]
struct App {
    /// What it got.
    log: Arc<Mutex<Vec<Message>>>,
    /// Where it sends, until it is done with the socket.
    sender: Arc<Mutex<Option<Arc<Outbox>>>>,
    /// Whether it keeps what it gets, so that its window fills.
    busy: bool,
    kept: Arc<Mutex<Vec<Delivery>>>,
    echo: bool,
    lasts: Lasts,
}

impl App {
    fn new(echo: bool) -> Self {
        Self {
            log: Arc::default(),
            sender: Arc::default(),
            busy: false,
            kept: Arc::default(),
            echo,
            lasts: Lasts::No,
        }
    }

    fn accept(&self, request: &Request) -> Fetched {
        assert!(request.websocket);
        assert_eq!(request.headers["upgrade"], "websocket");
        assert!(!request.headers.contains_key("connection"));
        let (sender, outgoing) = outgoing();
        let sender = Arc::new(sender);
        *self.sender.lock().unwrap() = Some(sender.clone());
        let app = self.clone();
        let sender = Arc::downgrade(&sender);
        let incoming = SocketSender::new(16, move |delivery| {
            let message = delivery.message.clone();
            app.log.lock().unwrap().push(message.clone());
            if app.busy {
                app.kept.lock().unwrap().push(delivery);
            }
            let is_close = matches!(message, Message::Close { .. });
            if let Some(sender) = sender.upgrade().filter(|_| app.echo && !is_close) {
                sender.send(message);
            }
        });
        let mut response = switch(Socket {
            outgoing,
            incoming,
            lasts: self.lasts,
        });
        response
            .headers
            .insert("sec-websocket-protocol", HeaderValue::from_static("chat"));
        Ok(response)
    }

    fn send(&self, message: Message) {
        self.sender.lock().unwrap().as_ref().unwrap().send(message);
    }

    fn last(&self) -> Option<Message> {
        self.log.lock().unwrap().last().cloned()
    }

    async fn sees_close(&self, code: u16, reason: &str) {
        let expected = close(code, reason);
        until(|| matches!(self.last(), Some(Message::Close { .. }))).await;
        assert_eq!(self.last(), Some(expected));
    }
}

fn switch(socket: Socket) -> Response {
    Response {
        socket: Some(socket),
        ..respond(101, Body::Empty)
    }
}

fn close(code: u16, reason: &str) -> Message {
    Message::Close {
        code,
        reason: reason.into(),
    }
}

async fn serve(config: Config, app: &App) -> Running {
    let app = app.clone();
    start(config, move |request| {
        let fetched = app.accept(&request);
        async move { fetched }
    })
    .await
}

/// A connection after its handshake.
async fn open(server: &Running, extensions: &str) -> Client {
    let mut client = server.connect().await;
    client.send(format!("{HANDSHAKE}{extensions}\r\n")).await;
    let reply = client.head().await;
    assert_eq!(reply.status, 101);
    assert_eq!(
        reply.header("sec-websocket-accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    assert_eq!(reply.header("upgrade"), Some("websocket"));
    assert_eq!(reply.header("connection"), Some("Upgrade"));
    assert_eq!(reply.header("sec-websocket-protocol"), Some("chat"));
    assert_eq!(
        reply.header("sec-websocket-extensions").is_some(),
        !extensions.is_empty()
    );
    client
}

/// A frame of the server: its first byte and its payload.
async fn receive(client: &mut Client) -> (u8, Vec<u8>) {
    let head = client.read(2).await;
    let len = match head[1] {
        126 => u16::from_be_bytes(client.read(2).await.try_into().unwrap()).into(),
        127 => u64::from_be_bytes(client.read(8).await.try_into().unwrap()),
        len => u64::from(len),
    };
    (head[0], client.read(len as usize).await)
}

fn close_payload(code: u16) -> Vec<u8> {
    code.to_be_bytes().to_vec()
}

#[tokio::test]
async fn messages_of_all_shapes_come_back() {
    let app = App::new(true);
    let server = serve(config(), &app).await;
    let mut client = open(&server, "").await;
    let large: Vec<u8> = (0..10_000_000_u32)
        .map(|index| (index % 251) as u8)
        .collect();
    for (first, payload) in [
        (0x81, "text \u{1f600}".as_bytes()),
        (0x81, b""),
        (0x82, b"\xff\x00"),
        (0x82, &large[..125]),
        (0x82, &large[..126]),
        (0x82, &large[..65_535]),
        (0x82, &large[..65_536]),
        (0x82, &large[..]),
    ] {
        client.send(frame(first, payload)).await;
        assert!(
            receive(&mut client).await == (first, payload.to_vec()),
            "{}",
            payload.len()
        );
    }
    // Fragments, with a ping among them, in one write.
    let parts = [
        frame(0x01, b"a"),
        frame(0x89, b"?"),
        frame(0x00, b"b"),
        frame(0x80, b"c"),
    ];
    client.send(parts.concat()).await;
    let mut got = [receive(&mut client).await, receive(&mut client).await];
    got.sort();
    assert_eq!(got, [(0x81, b"abc".to_vec()), (0x8a, b"?".to_vec())]);
    client.send(frame(0x88, b"\x0f\xa1done")).await;
    assert_eq!(receive(&mut client).await, (0x88, b"\x0f\xa1done".to_vec()));
    assert!(client.is_closed().await);
    app.sees_close(4001, "done").await;
    server.end().await;
}

#[tokio::test]
async fn frames_behind_the_handshake_are_not_lost() {
    let app = App::new(true);
    let server = serve(config(), &app).await;
    let mut client = server.connect().await;
    let eager = [
        format!("{HANDSHAKE}\r\n").into_bytes(),
        frame(0x81, b"eager"),
    ]
    .concat();
    client.send(eager).await;
    assert_eq!(client.head().await.status, 101);
    assert_eq!(receive(&mut client).await, (0x81, b"eager".to_vec()));
    drop(client);
    app.sees_close(1006, "").await;
    server.end().await;
}

#[tokio::test]
async fn the_application_closes_with_its_code_and_learns_of_the_answer() {
    for (sent, wire) in [
        (close(4000, "why"), b"\x0f\xa0why".to_vec()),
        (close(1000, ""), close_payload(1000)),
        (close(1005, ""), vec![]),
    ] {
        let app = App::new(false);
        let server = serve(config(), &app).await;
        let mut client = open(&server, "").await;
        app.send(Message::Text("last words".into()));
        app.send(sent);
        assert_eq!(receive(&mut client).await, (0x81, b"last words".to_vec()));
        assert_eq!(receive(&mut client).await, (0x88, wire.clone()));
        client.send(frame(0x88, &wire)).await;
        assert!(client.is_closed().await);
        match wire.get(..2) {
            Some(code) => {
                let code = u16::from_be_bytes([code[0], code[1]]);
                app.sees_close(code, &String::from_utf8_lossy(&wire[2..]))
                    .await;
            }
            None => app.sees_close(1005, "").await,
        }
        server.end().await;
    }
}

#[tokio::test]
async fn an_application_that_vanishes_closes_with_1011_and_a_mute_client_is_left_behind() {
    let app = App::new(false);
    let config = Config {
        close_timeout: Duration::from_millis(100),
        ..config()
    };
    let server = serve(config, &app).await;
    let mut client = open(&server, "").await;
    app.sender.lock().unwrap().take();
    assert_eq!(receive(&mut client).await, (0x88, close_payload(1011)));
    // The client never answers.
    app.sees_close(1006, "").await;
    assert!(client.is_closed().await);
    server.end().await;
}

#[tokio::test]
async fn sockets_can_be_closed_while_requests_are_served() {
    let config = Config {
        shutdown_code: 1012,
        ..config()
    };
    let app = App::new(true);
    let server = serve(config, &app).await;
    let mut early = open(&server, "").await;
    server.sockets.cancel();
    let (first, payload) = receive(&mut early).await;
    assert_eq!((first, &payload[..2]), (0x88, &close_payload(1012)[..]));
    early.send(frame(0x88, &close_payload(1012))).await;
    app.sees_close(1012, "").await;
    assert!(early.is_closed().await);

    let mut late = open(&server, "").await;
    let (first, payload) = receive(&mut late).await;
    assert_eq!((first, &payload[..2]), (0x88, &close_payload(1012)[..]));
    drop(late);
    server.end().await;
}

#[tokio::test]
async fn one_that_is_held_leaves_by_itself() {
    let config = Config {
        max_message_bytes: 1000,
        ..config()
    };
    let app = App {
        lasts: Lasts::Held,
        ..App::new(true)
    };
    let mut server = serve(config, &app).await;
    let mut client = open(&server, "").await;
    server.sockets.cancel();
    // The longest message, and what is around it.
    client.send(frame(0x82, &[7; 1001])).await;
    assert_eq!(receive(&mut client).await, (0x82, vec![7; 1001]));
    server.shut_down();
    let (first, _) = receive(&mut client).await;
    assert_eq!(first, 0x88, "in the end all end");
    drop(client);
    server.end().await;
}

#[tokio::test]
async fn a_client_that_breaks_the_rules_is_told_and_the_application_has_lost_it() {
    let config = Config {
        max_message_bytes: 1000,
        ..config()
    };
    for (wire, code) in [
        (vec![0x81, 1, b'a'], 1002),
        (frame(0x83, b""), 1002),
        (frame(0xc1, b""), 1002),
        (frame(0x81, b"\xff"), 1007),
        (frame(0x82, &[0; 1001]), 1009),
        // Much more behind it must not turn the close frame into a reset.
        ([frame(0x83, b""), vec![0; 1 << 20]].concat(), 1002),
    ] {
        let app = App::new(true);
        let server = serve(config.clone(), &app).await;
        let mut client = open(&server, "").await;
        client.send(frame(0x81, b"good")).await;
        client.send(wire).await;
        assert_eq!(receive(&mut client).await, (0x81, b"good".to_vec()));
        let (first, payload) = receive(&mut client).await;
        assert_eq!((first, &payload[..2]), (0x88, &close_payload(code)[..]));
        let how = format!(
            "WebSocket protocol error; protocolError.statusCode = {code}; protocolError.description = {}",
            String::from_utf8_lossy(&payload[2..])
        );
        app.sees_close(1006, &how).await;
        assert!(client.is_closed().await);
        // Otherwise the server reads on for a while.
        drop(client);
        server.end().await;
    }
}

#[tokio::test]
async fn compression_is_used_where_it_is_offered_and_helps() {
    let app = App::new(true);
    let server = serve(config(), &app).await;
    let mut client = open(
        &server,
        "sec-websocket-extensions: permessage-deflate; client_max_window_bits\r\n",
    )
    .await;
    // "Hello", as RFC 7692 compresses it; too short to be worth it on the way back.
    client
        .send(frame(0xc1, &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]))
        .await;
    assert_eq!(receive(&mut client).await, (0x81, b"Hello".to_vec()));
    for _ in 0..2 {
        let message = "the same again and ".repeat(1000);
        client.send(frame(0x81, message.as_bytes())).await;
        let (first, mut payload) = receive(&mut client).await;
        assert_eq!(first, 0xc1);
        assert!(payload.len() < 1000);
        payload.extend([0, 0, 0xff, 0xff]);
        let mut output = Vec::with_capacity(message.len() + 1);
        // Anew for each message: no context is kept.
        flate2::Decompress::new(false)
            .decompress_vec(&payload, &mut output, flate2::FlushDecompress::Sync)
            .unwrap();
        assert_eq!(output, message.as_bytes());
    }
    drop(client);
    app.sees_close(1006, "").await;
    server.end().await;
}

#[tokio::test]
async fn messages_that_compress_badly_come_back() {
    let app = App::new(true);
    let server = serve(config(), &app).await;
    let mut client = open(
        &server,
        "sec-websocket-extensions: permessage-deflate; server_max_window_bits=15\r\n",
    )
    .await;
    let mut state = 1_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    for index in 0..500 {
        // Bytes as of a picture, and JSON with a picture in it.
        let message: Vec<u8> = if index % 2 == 0 {
            (0..2000).map(|_| random()).collect()
        } else {
            let picture: Vec<u8> = (0..1200).map(|_| b'0' + random() % 64).collect();
            [&b"{\"image\":\""[..], &picture, b"\"}"].concat()
        };
        client.send(frame(0x82, &message)).await;
        let (first, mut payload) = receive(&mut client).await;
        if first == 0xc2 {
            payload.extend([0, 0, 0xff, 0xff]);
            let mut output = Vec::with_capacity(message.len() + 1);
            flate2::Decompress::new(false)
                .decompress_vec(&payload, &mut output, flate2::FlushDecompress::Sync)
                .unwrap();
            payload = output;
        }
        assert!(payload == message, "message {index}");
    }
    drop(client);
    server.end().await;
}

#[tokio::test]
async fn each_ping_is_answered_and_of_a_flood_the_latest_are() {
    let app = App::new(true);
    let server = serve(config(), &app).await;
    let mut client = open(&server, "").await;
    let pings = |count: u8| (0..count).flat_map(|index| frame(0x89, &[index]));
    client.send(pings(20).collect::<Vec<u8>>()).await;
    for index in 0..20 {
        assert_eq!(receive(&mut client).await, (0x8a, vec![index]));
    }
    client.send(pings(255).collect::<Vec<u8>>()).await;
    let mut answered = 0;
    while receive(&mut client).await != (0x8a, vec![254]) {
        answered += 1;
    }
    assert!(answered < 254);
    drop(client);
    server.end().await;
}

#[tokio::test]
async fn what_came_before_a_violation_is_answered_first() {
    let app = App {
        busy: true,
        ..App::new(false)
    };
    let server = serve(config(), &app).await;
    let mut client = open(&server, "").await;
    client
        .send([frame(0x81, b"good"), frame(0x83, b"")].concat())
        .await;
    until(|| app.last() == Some(Message::Text("good".into()))).await;
    app.send(Message::Text("the answer".into()));
    app.kept.lock().unwrap().clear();
    assert_eq!(receive(&mut client).await, (0x81, b"the answer".to_vec()));
    let (first, payload) = receive(&mut client).await;
    assert_eq!((first, &payload[..2]), (0x88, &close_payload(1002)[..]));
    drop(client);
    server.end().await;
}

#[tokio::test]
async fn a_busy_application_does_not_hide_a_violation() {
    let app = App {
        busy: true,
        ..App::new(false)
    };
    let config = Config {
        close_timeout: Duration::from_millis(50),
        ..config()
    };
    let server = serve(config, &app).await;
    let mut client = open(&server, "").await;
    client
        .send([frame(0x81, b"never taken"), frame(0x83, b"")].concat())
        .await;
    let (first, payload) = receive(&mut client).await;
    assert_eq!((first, &payload[..2]), (0x88, &close_payload(1002)[..]));
    drop(client);
    server.end().await;
}

#[tokio::test]
async fn pings_are_answered_between_large_messages_and_before_a_close() {
    let app = App::new(false);
    let server = serve(config(), &app).await;
    let mut client = open(&server, "").await;
    let large = Bytes::from(vec![7; 4 << 20]);
    for _ in 0..8 {
        app.send(Message::Binary(large.clone()));
    }
    // The first is being written, for the client has read nothing yet.
    until(|| app.sender.lock().unwrap().as_ref().unwrap().waiting() < 8 * large.len()).await;
    client
        .send([frame(0x89, b"early"), frame(0x88, &close_payload(1000))].concat())
        .await;
    let mut seen = Vec::new();
    while seen.last() != Some(&0x88) {
        seen.push(receive(&mut client).await.0);
    }
    let pong = seen.iter().position(|first| *first == 0x8a);
    assert!(pong.is_some_and(|at| at < 4), "{seen:x?}");
    assert_eq!(seen.iter().filter(|first| **first == 0x82).count(), 8);
    server.end().await;
}

#[tokio::test]
async fn a_silent_peer_is_pinged_and_lost_after_two_pings_without_an_answer() {
    let config = Config {
        ping_interval: Duration::from_millis(150),
        ..config()
    };
    let app = App::new(false);
    let server = serve(config, &app).await;
    let mut client = open(&server, "").await;
    for _ in 0..4 {
        assert_eq!(receive(&mut client).await, (0x89, vec![]));
        client.send(frame(0x8a, b"")).await;
    }
    assert!(app.last().is_none());
    for _ in 0..2 {
        assert_eq!(receive(&mut client).await, (0x89, vec![]));
    }
    assert!(client.is_closed().await);
    app.sees_close(1006, "").await;
    server.end().await;
}

#[tokio::test]
async fn a_busy_application_is_not_flooded_but_still_heard() {
    let app = App {
        busy: true,
        ..App::new(false)
    };
    let server = serve(config(), &app).await;
    let mut client = open(&server, "").await;
    client.send(frame(0x82, b"x").repeat(100)).await;
    until(|| app.log.lock().unwrap().len() == 16).await;
    app.send(Message::Binary(Bytes::from_static(b"still here")));
    assert_eq!(receive(&mut client).await, (0x82, b"still here".to_vec()));
    assert_eq!(app.log.lock().unwrap().len(), 16);
    drop(client);
    drop(server);
}

#[tokio::test]
async fn a_busy_application_is_not_flooded_with_bytes_either() {
    const SIZE: usize = 32 << 20;
    let app = App {
        busy: true,
        ..App::new(false)
    };
    let server = serve(config(), &app).await;
    let mut client = open(&server, "sec-websocket-extensions: permessage-deflate\r\n").await;
    let mut compress = flate2::Compress::new(flate2::Compression::fast(), false);
    let mut small = Vec::with_capacity(1 << 20);
    compress
        .compress_vec(&vec![0; SIZE], &mut small, flate2::FlushCompress::Sync)
        .unwrap();
    let wire = frame(0xc2, small.strip_suffix(&[0, 0, 0xff, 0xff]).unwrap());
    let (_, mut write) = client.stream.split();
    // It is read no further than there is room for.
    let _ = tokio::time::timeout(Duration::from_secs(1), write.write_all(&wire.repeat(64))).await;
    until(|| !app.log.lock().unwrap().is_empty()).await;
    for _ in 0..3 {
        app.send(Message::Binary(Bytes::from_static(b"still here")));
        assert_eq!(receive(&mut client).await, (0x82, b"still here".to_vec()));
    }
    assert_eq!(app.log.lock().unwrap().len(), 1, "what waits is bounded");
    app.kept.lock().unwrap().clear();
    until(|| app.log.lock().unwrap().len() == 2).await;
    drop(client);
    drop(server);
}

#[tokio::test]
async fn a_slow_application_still_learns_how_the_client_closed() {
    let app = App {
        busy: true,
        ..App::new(false)
    };
    let config = Config {
        close_timeout: Duration::from_millis(20),
        ..config()
    };
    let server = serve(config, &app).await;
    let mut client = open(&server, "").await;
    client.send(frame(0x82, b"x").repeat(16)).await;
    client.send(frame(0x88, b"\x0f\xa1done")).await;
    assert_eq!(receive(&mut client).await, (0x88, b"\x0f\xa1done".to_vec()));
    assert!(client.is_closed().await);
    // Several times the close timeout.
    tokio::time::sleep(Duration::from_millis(100)).await;
    app.kept.lock().unwrap().clear();
    app.sees_close(4001, "done").await;
    server.end().await;
}

#[tokio::test]
async fn an_application_has_more_to_say_after_a_close_and_answers_it() {
    let app = App::new(false);
    let server = serve(config(), &app).await;
    let mut client = open(&server, "").await;
    client.send(frame(0x88, b"\x0f\xa1done")).await;
    app.sees_close(4001, "done").await;
    app.send(Message::Text("still here".into()));
    assert_eq!(receive(&mut client).await, (0x81, b"still here".to_vec()));
    app.send(Message::Close {
        code: 4002,
        reason: "now".to_owned(),
    });
    assert_eq!(receive(&mut client).await, (0x88, b"\x0f\xa2now".to_vec()));
    assert!(client.is_closed().await);
    server.end().await;
}

#[tokio::test]
async fn a_connection_that_an_application_breaks_off_ends_without_a_close() {
    let app = App::new(false);
    let server = serve(config(), &app).await;
    let mut client = open(&server, "").await;
    app.send(Message::Close {
        code: 1006,
        reason: String::new(),
    });
    assert!(client.is_closed().await);
    server.end().await;
}

#[tokio::test]
async fn a_burst_arrives_whole_and_in_order() {
    let app = App::new(false);
    let server = serve(config(), &app).await;
    let mut client = open(&server, "").await;
    for index in 0..20_000_u32 {
        app.send(Message::Binary(Bytes::copy_from_slice(
            &index.to_be_bytes(),
        )));
    }
    for index in 0..20_000_u32 {
        assert_eq!(
            receive(&mut client).await,
            (0x82, index.to_be_bytes().to_vec())
        );
    }
    drop(client);
    server.end().await;
}

#[tokio::test]
async fn shutdown_closes_sockets_with_1001_and_waits_for_the_answer() {
    let app = App::new(false);
    let mut server = serve(config(), &app).await;
    let mut client = open(&server, "").await;
    server.shut_down();
    let (first, payload) = receive(&mut client).await;
    assert_eq!((first, &payload[..2]), (0x88, &close_payload(1001)[..]));
    client.send(frame(0x88, &close_payload(1001))).await;
    app.sees_close(1001, "").await;
    server.end().await;
}

#[tokio::test]
async fn only_a_handshake_can_be_accepted_and_it_can_be_declined() {
    let server = start(config(), |request| async move {
        if request.url.ends_with("/decline") {
            return Ok(text("no"));
        }
        assert!(!request.websocket);
        assert!(!request.headers.contains_key("upgrade"));
        let (_, outgoing) = outgoing();
        Ok(switch(Socket {
            outgoing,
            incoming: SocketSender::new(1, |_| {}),
            lasts: Lasts::No,
        }))
    })
    .await;
    let no_connection = HANDSHAKE.replace("connection: keep-alive, Upgrade\r\n", "");
    for request in [
        "GET / HTTP/1.1\r\nhost: a\r\n".to_owned(),
        no_connection,
        HANDSHAKE.replace("GET", "POST"),
    ] {
        assert_eq!(
            server.ask(&format!("{request}\r\n")).await.status,
            500,
            "{request}"
        );
    }
    let declined = HANDSHAKE.replace("/chat", "/decline");
    let reply = server.ask(&format!("{declined}\r\n")).await;
    assert_eq!((reply.status, reply.text()), (200, "no"));
    let old = HANDSHAKE.replace("version: 13", "version: 12");
    let reply = server.ask(&format!("{old}\r\n")).await;
    assert_eq!(
        (reply.status, reply.header("sec-websocket-version")),
        (426, Some("13"))
    );
    server.end().await;
}

#[tokio::test]
async fn who_has_to_upgrade_learns_to_what() {
    let server = start(config(), |request| async move {
        let mut refused = text("use a WebSocket");
        if request.url.ends_with("/socket") {
            refused.status = http::StatusCode::UPGRADE_REQUIRED;
        }
        let upgrade = http::HeaderValue::from_static("websocket");
        refused.headers.insert("upgrade", upgrade);
        Ok(refused)
    })
    .await;
    let upgrade = |reply: &Reply| reply.header("upgrade").map(str::to_owned);
    let reply = server.ask("GET /socket HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(reply.status, 426);
    assert_eq!(upgrade(&reply).as_deref(), Some("websocket"));
    assert_eq!(reply.header("connection"), Some("upgrade"));
    let reply = server.ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!((reply.status, upgrade(&reply)), (200, None));
    server.end().await;
}

#[tokio::test]
async fn another_implementation_understands_us() {
    let app = App::new(true);
    let server = serve(config(), &app).await;
    let stream = tokio::net::TcpStream::connect(server.addr).await.unwrap();
    let mut request =
        tungstenite::client::IntoClientRequest::into_client_request("ws://a/").unwrap();
    request
        .headers_mut()
        .insert("sec-websocket-protocol", HeaderValue::from_static("chat"));
    let (mut socket, _) = within(tokio_tungstenite::client_async(request, stream))
        .await
        .unwrap();
    for message in [
        tungstenite::Message::text("hello"),
        tungstenite::Message::binary(vec![1; 1 << 20]),
    ] {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(within(socket.next()).await.unwrap().unwrap(), message);
    }
    socket.close(None).await.unwrap();
    assert!(matches!(
        within(socket.next()).await,
        Some(Ok(tungstenite::Message::Close(None)))
    ));
    assert!(within(socket.next()).await.is_none());
    app.sees_close(1005, "").await;
    server.end().await;
}
