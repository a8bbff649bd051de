//! HTTP/2 with prior knowledge.

use std::convert::Infallible;

use bytes::Bytes;
use futures::stream;
use http::Request;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::support::{Running, config, respond, start, text, within};

pub async fn connect<B>(server: &Running) -> SendRequest<B>
where
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: Unpin,
{
    let stream = TcpStream::connect(server.addr).await.unwrap();
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

#[tokio::test]
async fn streams_share_a_connection_and_end_independently() {
    let server = start(config(), |request| async move {
        assert_eq!(request.headers["host"], "example.com");
        Ok(text(request.url))
    })
    .await;
    let sender = connect::<Empty<Bytes>>(&server).await;
    let asks = (0..20).map(|index| {
        let mut sender = sender.clone();
        async move {
            let request = Request::get(format!("http://example.com/{index}?q"))
                .body(Empty::new())
                .unwrap();
            let response = sender.send_request(request).await.unwrap();
            assert_eq!(response.status(), 200);
            response.into_body().collect().await.unwrap().to_bytes()
        }
    });
    for (index, body) in within(futures::future::join_all(asks))
        .await
        .into_iter()
        .enumerate()
    {
        assert_eq!(body, format!("http://example.com/{index}?q"));
    }
    drop(sender);
    server.end().await;
}

#[tokio::test]
async fn bodies_stream_both_ways() {
    let server = start(
        config(),
        |request| async move { Ok(respond(200, request.body)) },
    )
    .await;
    let (sender, receiver) = mpsc::unbounded_channel::<Bytes>();
    let body = StreamBody::new(Box::pin(stream::unfold(
        receiver,
        |mut receiver| async move {
            let bytes = receiver.recv().await?;
            Some((Ok::<_, Infallible>(Frame::data(bytes)), receiver))
        },
    )));
    let mut client = connect(&server).await;
    let request = Request::post("http://a/").body(body).unwrap();
    let mut response = within(client.send_request(request))
        .await
        .unwrap()
        .into_body();
    for word in ["one", "two"] {
        sender.send(word.into()).unwrap();
        let frame = within(response.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), word);
    }
    drop(sender);
    // The end may come as an empty frame.
    assert!(
        within(response.collect())
            .await
            .unwrap()
            .to_bytes()
            .is_empty()
    );
    drop(client);
    server.end().await;
}

#[tokio::test]
async fn a_cookie_in_several_fields_is_one_cookie() {
    let server = start(config(), |request| async move {
        let cookies: Vec<_> = request.headers.get_all("cookie").iter().collect();
        Ok(text(format!("{cookies:?}")))
    })
    .await;
    let mut client = connect::<Empty<Bytes>>(&server).await;
    let request = Request::get("http://a/")
        .header("cookie", "a=1")
        .header("cookie", "b=2; c=3")
        .body(Empty::new())
        .unwrap();
    let response = within(client.send_request(request)).await.unwrap();
    let body = within(response.into_body().collect()).await.unwrap();
    assert_eq!(body.to_bytes(), r#"["a=1; b=2; c=3"]"#);
    drop(client);
    let request = "GET / HTTP/1.1\r\nhost: a\r\ncookie: a=1\r\ncookie: b=2\r\n\r\n";
    let reply = server.ask(request).await;
    assert_eq!(reply.text(), r#"["a=1; b=2"]"#);
    server.end().await;
}

#[tokio::test]
async fn requests_that_contradict_themselves_are_refused() {
    let server = start(config(), |_| async { Ok(text("called")) }).await;
    let mut client = connect::<Full<Bytes>>(&server).await;
    let request = Request::get("http://a/")
        .header("host", "b")
        .body(Full::default())
        .unwrap();
    let response = within(client.send_request(request)).await.unwrap();
    assert_eq!(response.status(), 400);
    let request = Request::get(format!("http://a/{}", "p".repeat(20_000)))
        .body(Full::default())
        .unwrap();
    let response = within(client.send_request(request)).await.unwrap();
    assert_eq!(response.status(), 414);
    assert_eq!(server.calls(), 0);
    drop(client);
    server.end().await;
}

/// Frames of a connection whose one request is reset, with this code, before its body has ended.
fn cut_off(code: u8) -> Vec<Vec<u8>> {
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00".to_vec();
    // POST http://a/ in HPACK's static table, without the end of the stream.
    let headers = b"\x00\x00\x06\x01\x04\x00\x00\x00\x01\x83\x86\x84\x41\x01a".to_vec();
    let data = b"\x00\x00\x04\x00\x00\x00\x00\x00\x01half".to_vec();
    let reset = [
        &b"\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00"[..],
        &[code],
    ]
    .concat();
    vec![preface, headers, data, reset]
}

#[tokio::test]
async fn a_body_that_is_reset_is_not_taken_for_a_whole_one() {
    use futures::StreamExt;
    let (sender, mut bodies) = mpsc::unbounded_channel();
    let server = start(config(), move |request| {
        let sender = sender.clone();
        // In a task of its own, as JavaScript reads: the front door gives up on a request that is reset.
        tokio::spawn(async move {
            let portside_exchange::Body::Stream(mut body) = request.body else {
                let _ = sender.send("not a stream".to_owned());
                return;
            };
            let mut seen = String::new();
            let end = loop {
                match body.next().await {
                    Some(Ok(bytes)) => seen += &String::from_utf8_lossy(&bytes),
                    Some(Err(_)) => break "broken off",
                    None => break "whole",
                }
            };
            let _ = sender.send(format!("{seen} {end}"));
        });
        async { Ok(text("early")) }
    })
    .await;
    // NO_ERROR, with which a server that answers early asks for no more, and CANCEL.
    for code in [0, 8] {
        for _ in 0..50 {
            let mut client = server.connect().await;
            for part in cut_off(code) {
                client.send(part).await;
            }
            let body = within(bodies.recv()).await.unwrap();
            assert!(body.ends_with(" broken off"), "reset with {code}: {body}");
        }
    }
    server.end().await;
}
