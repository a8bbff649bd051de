//! `new WebSocket(…)` before peers that misbehave. Those that behave are in `network.js`.

use std::future::Future;
use std::time::Duration;

use http::{HeaderMap, Request};
use portside_websocket::server::Offer;
use portside_websocket::{Decoder, Encoder, Event, Message, Reader, Role, Writer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use crate::app::{PATIENCE, Setup};
use crate::{Case, cases};

/// These tests.
pub const CASES: &[Case] = cases![
    events_are_what_the_standard_says,
    a_message_that_is_too_big_in_fragments_ends_it,
    an_answer_to_another_key_is_a_failure,
    what_the_peer_does_not_read_is_bounded,
    closing_does_not_wait_for_ever,
    nothing_is_heard_after_close,
    a_connection_ends_with_its_worker,
];

const MODULES: &[(&str, &str)] = &[
    (
        "server.js",
        r#"
const jobs = {
  listen: (socket, log) => {},
  flood: (socket, log) => {
    socket.onopen = () => {
      for (let i = 0; i < 1000 && socket.readyState === WebSocket.OPEN; i++) socket.send(new Uint8Array(64 << 10));
      log.push(socket.bufferedAmount > 0);
    };
  },
  leave: (socket, log) => {
    socket.onopen = () => socket.close(1000, "enough");
  },
};

function run(url, job) {
  const socket = new WebSocket(url);
  const log = [];
  socket.addEventListener("open", () => log.push("open"));
  socket.addEventListener("message", ({ data, origin }) => log.push(["message", data, origin]));
  socket.addEventListener("error", (event) => log.push(["error", event.constructor.name, socket.readyState]));
  jobs[job](socket, log);
  return new Promise((resolve) => {
    socket.onclose = ({ code, reason, wasClean }) => {
      log.push(["close", code, reason, wasClean]);
      resolve(log);
    };
  });
}

export default {
  async fetch(request) {
    const { searchParams } = new URL(request.url);
    const [peer, job] = [searchParams.get("peer"), searchParams.get("job")];
    if (job !== "worker") return Response.json(await run(peer, job));
    const { port } = new ServerlessWorker("./worker.js", "one");
    port.postMessage(peer);
    return new Promise((resolve) => port.onclose = () => resolve(Response.json([])));
  },
};
"#,
    ),
    (
        "worker.js",
        r#"
export default {
  connect({ ports: [port] }) {
    port.onmessage = ({ data }) => new WebSocket(data).onmessage = () => terminate();
  },
};
"#,
    ),
];

/// The peer of a `new WebSocket(…)`.
pub(super) struct Peer {
    pub(super) reader: Reader<OwnedReadHalf>,
    writer: Writer<OwnedWriteHalf>,
}

impl Peer {
    pub(super) async fn accept(listener: &TcpListener) -> Self {
        let mut stream = shake_hands(listener, "").await;
        let _ = stream.flush().await;
        let (read, write) = stream.into_split();
        Self {
            reader: Reader::new(read, Decoder::new(Role::Server, 1 << 20, false)),
            writer: Writer::new(write, Encoder::new(Role::Server, None)),
        }
    }

    async fn say(&mut self, text: &'static str) {
        let text = Message::Text(text.into());
        self.writer.message(text).await.unwrap();
    }

    async fn close(&mut self, code: u16) {
        let reason = "done".to_owned();
        let close = Message::Close { code, reason };
        self.writer.message(close).await.unwrap();
    }

    /// Reads until the client closes; returns its code.
    async fn closed(&mut self) -> u16 {
        loop {
            if let Event::Message(Message::Close { code, .. }) = self.reader.next().await.unwrap() {
                return code;
            }
        }
    }
}

/// Answers a handshake without compression; `spoil` goes in front of what proves that it was understood.
async fn shake_hands(listener: &TcpListener, spoil: &str) -> TcpStream {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        assert!(stream.read_buf(&mut head).await.unwrap() > 0);
    }
    let mut request = Request::new(());
    for line in String::from_utf8(head).unwrap().lines().skip(1) {
        let Some((name, value)) = line.split_once(": ") else {
            continue;
        };
        let name: http::HeaderName = name.parse().unwrap();
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    assert!(request.headers().contains_key("sec-websocket-extensions"));
    request.headers_mut().remove("sec-websocket-extensions");
    let mut headers = HeaderMap::new();
    let offer = Offer::find(&request.into_parts().0).unwrap().unwrap();
    offer.accept(&mut headers);
    let mut answer = "HTTP/1.1 101 Switching Protocols\r\n".to_owned();
    for (name, value) in &headers {
        let spoil = if name == "sec-websocket-accept" {
            spoil
        } else {
            ""
        };
        answer += &format!("{name}: {spoil}{}\r\n", value.to_str().unwrap());
    }
    stream
        .write_all((answer + "\r\n").as_bytes())
        .await
        .unwrap();
    stream
}

/// Runs a job against a peer; returns what it logged.
async fn run<F: Future<Output = ()>>(
    job: &str,
    setup: impl FnOnce(&mut Setup),
    peer: impl FnOnce(TcpListener, String) -> F,
) -> Value {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let mut options = Setup::new(MODULES);
    setup(&mut options);
    let app = options.start().await;
    let path = format!("/?job={job}&peer={url}/path");
    let both = async { tokio::join!(app.text(&path), peer(listener, url)) };
    let (log, ()) = tokio::time::timeout(PATIENCE, both).await.unwrap();
    app.stop().await;
    serde_json::from_str(&log).unwrap()
}

fn failed() -> [Value; 2] {
    [
        json!(["error", "Event", 3]),
        json!(["close", 1006, "", false]),
    ]
}

async fn events_are_what_the_standard_says() {
    let log = run(
        "listen",
        |_| {},
        |listener, url| async move {
            let mut peer = Peer::accept(&listener).await;
            peer.say(&*Box::leak(url.into_boxed_str())).await;
            peer.close(4000).await;
            assert_eq!(peer.closed().await, 4000);
        },
    )
    .await;
    let origin = log[1][1].clone();
    assert_eq!(
        log,
        json!([
            "open",
            ["message", origin, origin],
            ["close", 4000, "done", true]
        ])
    );
}

async fn a_message_that_is_too_big_in_fragments_ends_it() {
    let log = run(
        "listen",
        |setup| setup.limits.socket_message_bytes = 200,
        |listener, _| async move {
            let mut stream = shake_hands(&listener, "").await;
            let fragments = [&[0x02, 120][..], &[0; 120], &[0x80, 120], &[0; 120]].concat();
            stream.write_all(&fragments).await.unwrap();
            let decoder = Decoder::new(Role::Server, 1000, false);
            let closed = Reader::new(stream, decoder).next().await.unwrap();
            let reason = "the message is too big".to_owned();
            let close = Message::Close { code: 1009, reason };
            assert_eq!(closed, Event::Message(close));
        },
    )
    .await;
    let [error, close] = failed();
    assert_eq!(log, json!(["open", error, close]));
}

async fn an_answer_to_another_key_is_a_failure() {
    let log = run(
        "listen",
        |_| {},
        |listener, _| async move {
            let mut stream = shake_hands(&listener, "A").await;
            assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
        },
    )
    .await;
    let [error, close] = failed();
    assert_eq!(log, json!([error, close]));
}

async fn what_the_peer_does_not_read_is_bounded() {
    let log = run(
        "flood",
        |setup| setup.limits.socket_buffer_bytes = 1 << 20,
        |listener, _| async move {
            let mut stream = shake_hands(&listener, "").await;
            // It ends, and nothing like all of it has come.
            let mut read = Vec::new();
            let _ = stream.read_to_end(&mut read).await;
            assert!(read.len() < 32 << 20);
        },
    )
    .await;
    let reason = "the peer does not keep up";
    assert_eq!(
        log,
        json!([
            "open",
            true,
            ["error", "Event", 3],
            ["close", 1013, reason, false]
        ])
    );
}

async fn closing_does_not_wait_for_ever() {
    let log = run(
        "leave",
        |_| {},
        |listener, _| async move {
            let mut peer = Peer::accept(&listener).await;
            assert_eq!(peer.closed().await, 1000);
            assert!(peer.reader.next().await.is_err(), "the connection ends");
        },
    )
    .await;
    let [error, close] = failed();
    assert_eq!(log, json!(["open", error, close]));
}

async fn nothing_is_heard_after_close() {
    let log = run(
        "leave",
        |_| {},
        |listener, _| async move {
            let mut peer = Peer::accept(&listener).await;
            assert_eq!(peer.closed().await, 1000);
            peer.say("too late").await;
            peer.close(1000).await;
        },
    )
    .await;
    assert_eq!(log, json!(["open", ["close", 1000, "done", true]]));
}

async fn a_connection_ends_with_its_worker() {
    let log = run(
        "worker",
        |_| {},
        |listener, _| async move {
            let mut peer = Peer::accept(&listener).await;
            peer.say("end").await;
            let ended = tokio::time::timeout(Duration::from_secs(10), peer.reader.next()).await;
            assert!(ended.unwrap().is_err(), "the connection ends");
        },
    )
    .await;
    assert_eq!(log, json!([]));
}
