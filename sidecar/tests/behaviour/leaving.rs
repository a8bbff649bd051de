//! What leaves for third parties, and what becomes of an answer whose client leaves.

use std::sync::Arc;
use std::time::Duration;

use portside_exchange::{Body, Message};
use tokio::io::AsyncReadExt;

use crate::app::{Setup, eventually};
use crate::held::{HeldStore, Mode};
use crate::lab::lab;
use crate::{Case, cases};

/// These tests.
pub const CASES: &[Case] = cases![
    chunks_of_a_fetch_wait_for_writes,
    the_end_of_a_fetch_waits_for_writes,
    a_streamed_answer_hears_that_its_client_left,
    sockets_that_nobody_accepts_end_with_their_clients,
    a_message_that_is_too_large_is_refused_before_the_answer,
];

/// A worker sends a body of which a part, or the end, follows a write. Returns what arrived early.
async fn sent_before_durable(step: &str) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let user = format!(
        r#"
        const encoder = new TextEncoder();
        let controller;
        export const jobs = {{
            begin(url) {{
                const body = new ReadableStream({{ start: (it) => void (controller = it) }});
                controller.enqueue(encoder.encode("first"));
                fetch(url, {{ method: "POST", body, duplex: "half" }}).catch(() => undefined);
                return "begun";
            }},
            step() {{ storage.put("k", 1); {step} }},
        }};"#
    );
    let store = HeldStore::new().await;
    let setup = Setup {
        store: Some(store.clone()),
        ..lab(&user)
    };
    let app = Arc::new(setup.start().await);
    assert_eq!(
        app.text(&format!("/w/begin?http://{address}/")).await,
        "begun"
    );
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut heard = vec![0; 4096];
    let mut seen = String::new();
    while !seen.contains("first\r\n") {
        let read = stream.read(&mut heard).await.unwrap();
        seen.push_str(std::str::from_utf8(&heard[..read]).unwrap());
    }
    store.take_asked();
    store.set(Mode::Held);
    let asked = app.clone();
    let step = tokio::spawn(async move { asked.get("/w/step").await });
    store.is_asked().await;
    let early = tokio::time::timeout(Duration::from_millis(300), stream.read(&mut heard)).await;
    assert!(early.is_err(), "a third party heard of what is not durable");
    store.set(Mode::Open);
    let late = tokio::time::timeout(Duration::from_secs(30), stream.read(&mut heard)).await;
    assert!(late.is_ok(), "it never heard of what is durable");
    assert_eq!(step.await.unwrap().0, 200);
    app.app.shut_down().await;
}

async fn chunks_of_a_fetch_wait_for_writes() {
    sent_before_durable(r#"controller.enqueue(encoder.encode("second"));"#).await;
}

async fn the_end_of_a_fetch_waits_for_writes() {
    sent_before_durable("controller.close();").await;
    sent_before_durable(r#"controller.error(new Error("broken off"));"#).await;
}

/// A server with this `fetch`, and a worker that tells how many ports it has.
fn setup(fetch: &str) -> Setup {
    let server = format!(
        r#"
        const join = () => new Promise((resolve) => {{
            const {{ port }} = new ServerlessWorker("./worker.js", "a");
            port.onmessage = ({{ data }}) => resolve(data);
            port.postMessage("join");
        }});
        export default {{ async fetch(request, env, context) {{
            if (request.url.endsWith("/live")) return new Response(`${{await join() - 1}}`);
            {fetch}
        }} }};"#
    );
    let worker = r#"
        let live = 0;
        export default { connect({ ports: [port] }) {
            live++;
            port.onclose = () => live--;
            port.onmessage = () => port.postMessage(live);
        } };"#;
    Setup::new(&[("server.js", &server), ("worker.js", worker)])
}

async fn a_streamed_answer_hears_that_its_client_left() {
    let app = setup(
        r#"return new Response(new ReadableStream({
            start(controller) { controller.enqueue(new TextEncoder().encode("data: 1\n\n")); },
            cancel(reason) { console.log(`cancelled: ${reason}`); },
        }), { headers: { "content-type": "text/event-stream" } });"#,
    );
    let app = app.start().await;
    let response = app.request("GET", "/events", "").await.unwrap();
    let Body::Stream(mut body) = response.body else {
        panic!("not streamed")
    };
    let first = futures::StreamExt::next(&mut body).await;
    assert_eq!(&first.unwrap().unwrap()[..], b"data: 1\n\n");
    drop(body);
    app.expect_log("cancelled: the client went away").await;
    app.stop().await;
}

async fn sockets_that_nobody_accepts_end_with_their_clients() {
    let app = setup(
        r#"await join();
        return new Response(null, { status: 101, webSocket: new WebSocketPair()[0] });"#,
    );
    let app = app.start().await;
    for round in 0..4 {
        let mut socket = app.upgrade("/socket").await.socket.unwrap();
        if round % 2 == 0 {
            let close = Message::Close {
                code: 1000,
                reason: String::new(),
            };
            socket.incoming.send(close).await;
        }
    }
    app.eventually("/live", "0").await;
    app.stop().await;
}

async fn a_message_that_is_too_large_is_refused_before_the_answer() {
    let mut setup = setup(
        r#"await join();
        const { 0: client, 1: socket } = new WebSocketPair();
        socket.accept();
        let refused = "sent";
        try { socket.send("x".repeat(2000)); } catch (error) { refused = `${error.name}: ${error.message}`; }
        socket.send(refused);
        return new Response(null, { status: 101, webSocket: client });"#,
    );
    setup.limits.socket_message_bytes = 1000;
    let app = setup.start().await;
    let mut socket = app.upgrade("/socket").await.socket.unwrap();
    let mut first = None;
    let heard = eventually(async || {
        first = socket.outgoing.try_recv();
        first.is_some()
    });
    assert!(heard.await, "nothing was sent");
    let Some(Message::Text(text)) = first else {
        panic!("{first:?}")
    };
    let text = std::str::from_utf8(&text).unwrap();
    assert!(
        text.starts_with("RangeError: on a WebSocket, a message may have at most 1000 bytes"),
        "{text}"
    );
    drop(socket);
    app.eventually("/live", "0").await;
    app.stop().await;
}
