//! HTTP and WebSocket clients without any magic: one connection for each request.

use std::fmt::Debug;

use futures::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{HeaderMap, Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::{App, within};

/// A whole response.
#[derive(Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Reply {
    /// A header's value, empty when it is absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }
}

impl App {
    /// Sends a request and waits for the whole response.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Reply {
        let what = format!("the response to {method} {path}");
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.address());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
            .unwrap();
        let stream = TcpStream::connect(self.address()).await.unwrap();
        let exchange = async move {
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream))
                    .await
                    .unwrap();
            // Ends when the sender is dropped.
            tokio::spawn(connection);
            let response = sender.send_request(request).await.unwrap();
            Reply {
                status: response.status().as_u16(),
                headers: response.headers().clone(),
                body: response.into_body().collect().await.unwrap().to_bytes(),
            }
        };
        within(&what, exchange).await
    }

    /// `GET path`.
    pub async fn get(&self, path: &str) -> Reply {
        self.request(Method::GET, path, &[], "").await
    }

    /// `POST path` with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        let headers = [("content-type", "application/json")];
        self.request(Method::POST, path, &headers, &body.to_string())
            .await
    }

    /// Opens a WebSocket.
    pub async fn socket(&self, path: &str) -> Socket {
        Socket::open(&format!("ws://{}{path}", self.address())).await
    }
}

/// A WebSocket that speaks JSON.
#[derive(Debug)]
pub struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    /// Opens a `ws://` URL.
    pub async fn open(url: &str) -> Self {
        let (_, rest) = url.split_once("ws://").expect("a ws:// URL");
        let (address, _) = rest.split_once('/').expect("a path");
        let stream = TcpStream::connect(address).await.unwrap();
        let (socket, _) = within(url, tokio_tungstenite::client_async(url, stream))
            .await
            .unwrap_or_else(|error| panic!("{url}: {error}"));
        Self(socket)
    }

    /// Sends a message.
    pub async fn send(&mut self, message: &Value) {
        self.send_text(&message.to_string()).await;
    }

    /// Sends a text that need not be JSON.
    pub async fn send_text(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    /// The next message.
    pub async fn receive(&mut self) -> Value {
        loop {
            match self.next().await {
                Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).unwrap(),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("expected a message, got {other:?}"),
            }
        }
    }

    /// The next message whose `type` is `kind`; others are skipped.
    pub async fn receive_type(&mut self, kind: &str) -> Value {
        loop {
            let message = self.receive().await;
            if message["type"] == kind {
                return message;
            }
        }
    }

    /// Ends the connection and waits until the other side has agreed.
    pub async fn close(mut self) {
        self.0.close(None).await.unwrap();
        self.ended().await;
    }

    /// Reads until the connection has ended, in whatever way.
    pub async fn ended(&mut self) {
        while let Some(Ok(_)) = self.next().await {}
    }

    async fn next(&mut self) -> Option<Result<Message, impl Debug + use<>>> {
        within("a WebSocket message", self.0.next()).await
    }
}
