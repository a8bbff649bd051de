//! WebSockets whose clients are held while the pods behind them come and go.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::HeaderValue;
use portside_crds::sidecar::{
    HELD_HEADER, HOLDS, HOLDS_HEADER, KEPT, OFFERS_HEADER, RECONNECTED_HEADER, REOPENED, State,
};
use portside_exchange::envelope::Envelope;
use portside_exchange::{
    Application, Body, FetchError, Lasts, Message, Request, Response, Socket, SocketSender,
};
use portside_store::Store;
use tokio::time::{sleep, timeout};

use crate::app::{PATIENCE, Setup, eventually, open};
use crate::objects::with_objects;
use crate::sharing::{ALL, Running, pod};
use crate::{Case, cases};

/// These tests.
pub const CASES: &[Case] = cases![
    a_socket_of_a_server_goes_on_at_another_pod,
    a_socket_of_a_server_that_did_not_ask_for_it_is_an_ordinary_one,
    a_socket_of_a_server_goes_on_with_new_code,
    what_a_server_still_has_to_say_reaches_the_client,
    a_hibernatable_socket_follows_its_object_and_leaves_pods_that_drain,
    a_hibernatable_socket_comes_back_when_its_pod_is_lost,
    a_hibernatable_socket_waits_while_its_one_pod_is_replaced,
];

/// Holds a client, as a gateway does.
struct Holder {
    path: &'static str,
    way: &'static str,
    socket: Socket,
    unheard: VecDeque<String>,
    heard: u64,
    kept: Option<Bytes>,
    /// How often the socket was opened again.
    reopened: usize,
}

async fn ask(
    pod: &Running,
    path: &str,
    headers: &[(&'static str, &str)],
) -> Result<Response, FetchError> {
    let headers = headers.iter().map(|(name, value)| {
        let name = http::HeaderName::from_static(name);
        (name, HeaderValue::from_str(value).unwrap())
    });
    let request = Request {
        method: http::Method::GET,
        url: format!("http://app.test{path}"),
        headers: headers.collect(),
        body: Body::Empty,
        websocket: true,
    };
    pod.pod.fetch(request).await
}

const UPGRADE: (&str, &str) = ("upgrade", "websocket");

impl Holder {
    async fn open(pod: &Running, path: &'static str, way: &'static str) -> Self {
        // Clients may have a header like the gateway's.
        let alike = ("x-portside-reconnected", RECONNECTED_HEADER);
        let response = ask(pod, path, &[UPGRADE, (HOLDS_HEADER, HOLDS), alike])
            .await
            .unwrap();
        assert_eq!(response.headers[HELD_HEADER], way);
        let socket = response.socket.unwrap();
        assert_eq!(socket.lasts, Lasts::Held);
        Self {
            path,
            way,
            socket,
            unheard: VecDeque::new(),
            heard: 0,
            kept: None,
            reopened: 0,
        }
    }

    async fn send(&mut self, text: &str) {
        let message = Message::Text(Bytes::copy_from_slice(text.as_bytes()));
        self.socket.incoming.send(message).await;
    }

    async fn say(&mut self, text: impl Into<String>) {
        let text = text.into();
        self.send(&text).await;
        self.unheard.push_back(text);
    }

    fn is_heard(&mut self, heard: u64) {
        for _ in self.heard..heard {
            assert!(self.unheard.pop_front().is_some(), "more than was said");
        }
        self.heard = heard;
    }

    /// Opens the socket again, as soon as that can be, and says what was not heard.
    async fn reopen(&mut self, pod: &Running) {
        let kept = self.kept.as_ref().map(|kept| BASE64_STANDARD.encode(kept));
        let header = match (self.way, &kept) {
            (KEPT, Some(kept)) => (OFFERS_HEADER, &**kept),
            _ => (RECONNECTED_HEADER, "1"),
        };
        let mut response = None;
        let opened = eventually(async || {
            let headers = [UPGRADE, (HOLDS_HEADER, HOLDS), header];
            let answered = ask(pod, self.path, &headers).await;
            let opened = answered.as_ref().is_ok_and(|it| it.status == 101);
            response = Some(answered);
            opened
        });
        assert!(opened.await, "nobody takes it");
        let response = response.unwrap().unwrap();
        assert_eq!(response.headers[HELD_HEADER], self.way);
        self.socket = response.socket.unwrap();
        self.heard = 0;
        self.reopened += 1;
        for text in self.unheard.clone() {
            self.send(&text).await;
        }
    }

    /// The next thing that the application says; opens the socket again at `next` when its pod leaves.
    async fn hear(&mut self, next: &Running) -> Message {
        loop {
            let said = poll_fn(|cx| self.socket.outgoing.poll_recv(cx));
            let said = timeout(PATIENCE, said).await.expect("nothing came");
            match Envelope::open(said.expect("it broke off")) {
                Ok(Envelope::Message(message)) => return message,
                Ok(Envelope::Heard(heard)) => self.is_heard(heard),
                Ok(Envelope::State(kept)) => self.kept = Some(kept),
                Ok(Envelope::Left(heard)) => {
                    self.is_heard(heard);
                    self.reopen(next).await;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    async fn hear_text(&mut self, next: &Running) -> String {
        match self.hear(next).await {
            Message::Text(text) => String::from_utf8(text.to_vec()).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// Says these numbers, a few at a time, and hears as many answers.
    async fn count(&mut self, numbers: std::ops::Range<u32>, next: &Running) -> Vec<String> {
        let mut answers = vec![];
        for number in numbers.clone() {
            self.say(number.to_string()).await;
            while (numbers.start + answers.len() as u32) + 8 < number {
                answers.push(self.hear_text(next).await);
            }
            sleep(Duration::from_millis(2)).await;
        }
        while answers.len() < numbers.len() {
            answers.push(self.hear_text(next).await);
        }
        answers
    }
}

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

/// Answers what it hears, and what it has to say besides.
const ECHO: &str = r#"
    export default {
      async fetch(request) {
        const { pathname } = new URL(request.url);
        const { 0: client, 1: socket } = new WebSocketPair();
        socket.accept();
        let pending;
        socket.addEventListener("message", ({ data }) => {
          if (data === "who") socket.send(`${request.reconnected} ${request.headers.has("portside-reconnected")}`);
          else if (data === "slow") pending = new Promise((resolve) => setTimeout(resolve, 300)).then(() => socket.send("slow"));
          else socket.send(data);
        });
        socket.addEventListener("close", async ({ code, wasClean }) => {
          console.log(`closed ${code} ${wasClean}`);
          await pending;
          socket.close();
        });
        return new Response(null, { status: 101, webSocket: client, reconnects: pathname !== "/plain" });
      },
    };"#;

fn echo() -> Setup {
    Setup::new(&[("server.js", ECHO)])
}

async fn store() -> (Arc<dyn Store>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (open(dir.path()).await, dir)
}

/// The first one has had everything before the second one came.
async fn two_pods(store: &Arc<dyn Store>, setup: &Setup) -> [Running; 2] {
    let first = pod(store, setup, 1).await;
    first.has(ALL).await;
    let second = pod(store, setup, 1).await;
    second.serves().await;
    [first, second]
}

async fn a_socket_of_a_server_goes_on_at_another_pod() {
    let (store, _dir) = store().await;
    let [first, second] = two_pods(&store, &echo()).await;
    let mut holder = Holder::open(&first, "/", REOPENED).await;
    holder.say("who").await;
    assert_eq!(holder.hear_text(&second).await, "false false");
    let leaving = tokio::spawn(first.leave());
    let answers = holder.count(0..400, &second).await;
    assert_eq!(answers, numbers(0..400));
    leaving.await.unwrap();
    holder.say("who").await;
    assert_eq!(holder.hear_text(&second).await, "true false");
    assert_eq!(holder.reopened, 1);
    second.leave().await;
}

async fn a_socket_of_a_server_that_did_not_ask_for_it_is_an_ordinary_one() {
    let (store, _dir) = store().await;
    let pod = pod(&store, &echo(), 1).await;
    pod.serves().await;
    for (path, headers) in [
        ("/plain", &[UPGRADE, (HOLDS_HEADER, HOLDS)][..]),
        ("/", &[UPGRADE]),
    ] {
        let response = ask(&pod, path, headers).await.unwrap();
        assert!(!response.headers.contains_key(HELD_HEADER));
        let mut socket = response.socket.unwrap();
        assert_eq!(socket.lasts, Lasts::No);
        socket.incoming.send(Message::Binary("bytes".into())).await;
        let said = poll_fn(|cx| socket.outgoing.poll_recv(cx)).await;
        assert_eq!(said, Some(Message::Binary("bytes".into())));
    }
    pod.leave().await;
}

async fn a_socket_of_a_server_goes_on_with_new_code() {
    let (store, _dir) = store().await;
    let pod = pod(&store, &echo(), 1).await;
    pod.serves().await;
    let mut holder = Holder::open(&pod, "/", REOPENED).await;
    let replacing = {
        let app = pod.app.clone();
        tokio::spawn(async move { app.replace(echo().class()).await })
    };
    assert_eq!(holder.count(0..200, &pod).await, numbers(0..200));
    replacing.await.unwrap().unwrap();
    assert_eq!(holder.count(200..210, &pod).await, numbers(200..210));
    assert_eq!(holder.reopened, 1);
    pod.leave().await;
}

async fn what_a_server_still_has_to_say_reaches_the_client() {
    let (store, _dir) = store().await;
    let [first, second] = two_pods(&store, &echo()).await;
    let mut holder = Holder::open(&first, "/", REOPENED).await;
    holder.say("slow").await;
    holder.say("1").await;
    assert_eq!(holder.hear_text(&second).await, "1");
    let leaving = tokio::spawn(first.leave());
    holder.say("2").await;
    let answers = [
        holder.hear_text(&second).await,
        holder.hear_text(&second).await,
    ];
    assert!(answers.contains(&"slow".to_owned()), "{answers:?}");
    assert!(answers.contains(&"2".to_owned()), "{answers:?}");
    leaving.await.unwrap();
    second.leave().await;
}

/// Counts in each socket's attachment, and how often `fetch` was run in its storage.
const ROOM: &str = r#"
    import { DurableObject } from "cloudflare:workers";
    export class Room extends DurableObject {
      async fetch() {
        await this.ctx.storage.put("fetched", ((await this.ctx.storage.get("fetched")) ?? 0) + 1);
        this.ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair("ping", "pong"));
        const [client, socket] = Object.values(new WebSocketPair());
        this.ctx.acceptWebSocket(socket, ["tag"]);
        socket.serializeAttachment(0);
        return new Response(null, { status: 101, webSocket: client });
      }
      async webSocketMessage(socket, message) {
        if (message === "room") {
          const tags = this.ctx.getTags(socket);
          const all = this.ctx.getWebSockets("tag").length;
          socket.send(JSON.stringify([this.ctx.id.name, tags, all, await this.ctx.storage.get("fetched")]));
          return;
        }
        const count = socket.deserializeAttachment();
        socket.serializeAttachment(count + 1);
        socket.send(message === `${count}` ? message : `${message} instead of ${count}`);
      }
      async webSocketClose(socket, code) {
        await this.ctx.storage.put("closed", code);
        socket.close(code);
      }
      closed() {
        return this.ctx.storage.get("closed");
      }
    }
    export default {
      async fetch(request, env) {
        const room = env.ROOM.getByName("room");
        if (request.headers.has("upgrade")) return room.fetch(request);
        return new Response(await room.closed());
      },
    };"#;

fn room() -> Setup {
    let mut setup = with_objects(ROOM, &[("ROOM", "Room")]);
    setup.limits.idle = Duration::from_millis(100);
    setup
}

/// What a socket says of the object and itself that has gone through all.
const ROOM_IS: &str = r#"["room",["tag"],1,1]"#;

async fn a_hibernatable_socket_follows_its_object_and_leaves_pods_that_drain() {
    let (store, _dir) = store().await;
    let before = pod(&store, &room(), 1).await;
    before.has(ALL).await;
    let caller = pod(&store, &room(), 0).await;
    caller.serves().await;
    let mut holder = Holder::open(&caller, "/", KEPT).await;
    assert_eq!(holder.count(0..50, &caller).await, numbers(0..50));
    // The object moves.
    let after = pod(&store, &room(), 2).await;
    assert_eq!(holder.count(50..400, &caller).await, numbers(50..400));
    after.has(ALL).await;
    assert_eq!(holder.count(400..410, &caller).await, numbers(400..410));
    let moved = holder.reopened;
    assert!(moved > 0, "the object has not moved");
    before.leave().await;
    // Its way drains.
    let leaving = tokio::spawn(caller.leave());
    assert_eq!(holder.count(410..600, &after).await, numbers(410..600));
    leaving.await.unwrap();
    assert_eq!(holder.reopened, moved + 1);
    // Nobody is woken by that alone, nor by automatic responses.
    assert!(eventually(async || after.app.awake() == 0).await);
    holder.say("ping").await;
    assert_eq!(holder.hear_text(&after).await, "pong");
    assert_eq!(after.app.awake(), 0);
    holder.say("room").await;
    assert_eq!(holder.hear_text(&after).await, ROOM_IS);
    after.leave().await;
}

async fn a_hibernatable_socket_comes_back_when_its_pod_is_lost() {
    let (store, _dir) = store().await;
    let pod = pod(&store, &room(), 1).await;
    pod.has(ALL).await;
    let mut holder = Holder::open(&pod, "/", KEPT).await;
    assert_eq!(holder.count(0..20, &pod).await, numbers(0..20));
    assert!(eventually(async || pod.app.awake() == 0).await);
    // Its connection breaks: what was heard is not known, and nothing is said again.
    drop(std::mem::replace(
        &mut holder.socket.incoming,
        SocketSender::new(1, |_| {}),
    ));
    holder.unheard.clear();
    holder.reopen(&pod).await;
    assert_eq!(pod.app.awake(), 0, "nobody is woken by that");
    assert_eq!(holder.count(20..40, &pod).await, numbers(20..40));
    holder.say("room").await;
    assert_eq!(holder.hear_text(&pod).await, ROOM_IS);
    let close = Message::Close {
        code: 4000,
        reason: "enough".into(),
    };
    let sealed = Envelope::Message(close).seal();
    holder.socket.incoming.send(sealed).await;
    holder.unheard.push_back("the close".to_owned());
    let answer = holder.hear(&pod).await;
    assert!(
        matches!(answer, Message::Close { code: 4000, .. }),
        "{answer:?}"
    );
    assert!(eventually(async || pod.get("/").await == "4000").await);
    pod.leave().await;
}

async fn a_hibernatable_socket_waits_while_its_one_pod_is_replaced() {
    let (store, _dir) = store().await;
    let setup = room();
    let first = pod(&store, &setup, 1).await;
    first.has(ALL).await;
    let mut holder = Holder::open(&first, "/", KEPT).await;
    assert_eq!(holder.count(0..20, &first).await, numbers(0..20));
    // New code in the same process: the socket stays where it is.
    first.app.replace(room().class()).await.unwrap();
    assert_eq!(holder.count(20..40, &first).await, numbers(20..40));
    assert_eq!(holder.reopened, 0);
    let leaving = tokio::spawn(first.leave());
    let second = pod(&store, &setup, 1).await;
    let next = eventually(async || second.pod.ownership().state == State::Serving);
    assert!(next.await);
    assert_eq!(holder.count(40..60, &second).await, numbers(40..60));
    leaving.await.unwrap();
    holder.say("room").await;
    assert_eq!(holder.hear_text(&second).await, ROOM_IS);
    second.leave().await;
}
