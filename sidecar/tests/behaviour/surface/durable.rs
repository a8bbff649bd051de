//! What a `new WebSocket(…)` does waits until what its worker wrote before is durable.

use std::sync::Arc;
use std::time::Duration;

use portside_websocket::{Event, Message};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::outgoing::Peer;
use crate::app::{PATIENCE, Setup, TestApp};
use crate::held::{HeldStore, Mode};
use crate::lab::lab;
use crate::{Case, cases};

/// These tests.
pub const CASES: &[Case] = cases![
    messages_and_the_close_wait_for_writes,
    nothing_is_said_if_the_commit_fails,
    no_connection_is_opened_before_writes_are_durable,
    no_connection_is_opened_if_the_commit_fails,
    no_connection_is_given_up_before_writes_are_durable,
];

const USER: &str = r#"
let socket;
export const jobs = {
  open(url) {
    socket = new WebSocket(url);
    return new Promise((resolve) => socket.onopen = () => resolve("open"));
  },
  begin(url) {
    socket = new WebSocket(url);
    return "begun";
  },
  say() {
    storage.put("k", 1);
    socket.send("first");
    socket.send(new Uint8Array(3));
    socket.close(4001, "why");
    console.log(`buffered ${socket.bufferedAmount}`);
    return "said";
  },
  connect(url) {
    storage.put("k", 1);
    socket = new WebSocket(url);
    return "connecting";
  },
  giveUp() {
    storage.put("k", 1);
    socket.close();
    return "given up";
  },
};
"#;

/// Time in which something that is held back would come if it were not.
const EARLY: Duration = Duration::from_millis(300);

struct Scene {
    app: Arc<TestApp>,
    store: Arc<HeldStore>,
    listener: TcpListener,
    url: String,
}

impl Scene {
    async fn new() -> Self {
        let store = HeldStore::new().await;
        let setup = Setup {
            store: Some(store.clone()),
            ..lab(USER)
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self {
            app: Arc::new(setup.start().await),
            store,
            url: format!("ws://{}/", listener.local_addr().unwrap()),
            listener,
        }
    }

    fn ask(&self, job: &str) -> JoinHandle<(u16, String)> {
        let (app, path) = (self.app.clone(), format!("/w/{job}?{}", self.url));
        tokio::spawn(async move { app.get(&path).await })
    }

    /// A peer of the worker's WebSocket, which is open.
    async fn peer(self) -> (Self, Peer) {
        let opened = self.ask("open");
        let Self {
            app,
            store,
            listener,
            url,
        } = self;
        let peer = Peer::accept(&listener).await;
        assert_eq!(opened.await.unwrap(), (200, "open".into()));
        let scene = Self {
            app,
            store,
            listener,
            url,
        };
        (scene, peer)
    }

    /// Has the worker do a job, in whose turn it writes, while commits are held back.
    async fn hold(&self, job: &str) -> JoinHandle<(u16, String)> {
        self.store.set(Mode::Held);
        let asked = self.ask(job);
        self.store.is_asked().await;
        asked
    }

    async fn end(self, asked: JoinHandle<(u16, String)>) {
        self.store.set(Mode::Open);
        let _ = asked.await.unwrap();
        self.app.app.shut_down().await;
    }
}

async fn messages_and_the_close_wait_for_writes() {
    let (scene, mut peer) = Scene::new().await.peer().await;
    let asked = scene.hold("say").await;
    scene.app.expect_log("buffered 8").await;
    let early = timeout(EARLY, peer.reader.next()).await;
    assert!(early.is_err(), "heard what is not durable: {early:?}");
    scene.store.set(Mode::Open);
    let said = [
        Message::Text("first".into()),
        Message::Binary(vec![0; 3].into()),
        Message::Close {
            code: 4001,
            reason: "why".into(),
        },
    ];
    for wanted in said {
        let heard = timeout(PATIENCE, peer.reader.next()).await.unwrap();
        assert!(
            matches!(&heard, Ok(Event::Message(message)) if *message == wanted),
            "{heard:?} instead of {wanted:?}"
        );
    }
    drop(peer);
    scene.end(asked).await;
}

async fn nothing_is_said_if_the_commit_fails() {
    let (scene, mut peer) = Scene::new().await.peer().await;
    let asked = scene.hold("say").await;
    scene.store.set(Mode::Failing);
    let heard = timeout(PATIENCE, peer.reader.next()).await.unwrap();
    assert!(heard.is_err(), "heard what is lost: {heard:?}");
    scene.end(asked).await;
}

async fn no_connection_is_opened_before_writes_are_durable() {
    let scene = Scene::new().await;
    let asked = scene.hold("connect").await;
    let early = timeout(EARLY, scene.listener.accept()).await;
    assert!(early.is_err(), "a peer was reached before the write");
    scene.store.set(Mode::Open);
    timeout(PATIENCE, Peer::accept(&scene.listener))
        .await
        .unwrap();
    scene.end(asked).await;
}

async fn no_connection_is_opened_if_the_commit_fails() {
    let scene = Scene::new().await;
    let asked = scene.hold("connect").await;
    scene.store.set(Mode::Failing);
    scene.app.expect_log("the worker was ended").await;
    let late = timeout(EARLY, scene.listener.accept()).await;
    assert!(late.is_err(), "a peer was reached, and the write is lost");
    scene.end(asked).await;
}

/// A connection that is not open yet and is closed ends without a word: that, too, says something.
async fn no_connection_is_given_up_before_writes_are_durable() {
    let scene = Scene::new().await;
    assert_eq!(scene.ask("begin").await.unwrap().0, 200);
    let (mut stream, _) = scene.listener.accept().await.unwrap();
    let mut head = [0; 4096];
    assert!(stream.read(&mut head).await.unwrap() > 0);
    let asked = scene.hold("giveUp").await;
    let early = timeout(EARLY, stream.read(&mut head)).await;
    assert!(
        early.is_err(),
        "the connection ended before the write: {early:?}"
    );
    scene.store.set(Mode::Open);
    let ended = timeout(PATIENCE, stream.read(&mut head)).await.unwrap();
    assert!(!matches!(ended, Ok(1..)), "{ended:?}");
    scene.end(asked).await;
}
