//! HTTP and WebSocket clients without any magic: one connection for each request.

use futures::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{HeaderMap, Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::within;

/// Why a client got nothing.
pub type Failed = Box<dyn std::error::Error + Send + Sync>;

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

/// A site on the network: where to connect to, and the name to ask for there.
#[derive(Debug, Clone)]
pub struct Site {
    /// Host and port of the connection.
    pub address: String,
    /// The `Host` header.
    pub host: String,
}

impl Site {
    /// A site that goes by its address.
    pub fn at(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            host: address.to_owned(),
        }
    }

    /// Sends a request and waits for the whole response.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Reply {
        let what = format!("the response to {method} {}{path}", self.host);
        let outcome = within(&what, self.try_request(method, path, headers, body)).await;
        outcome.unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    /// The same, for requests that may fail. Takes as long as the server does.
    ///
    /// # Errors
    /// When the connection is refused, or ends before the response is whole.
    pub async fn try_request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Reply, Failed> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.host);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes())))?;
        let stream = TcpStream::connect(&self.address).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // Ends when the sender is dropped.
        tokio::spawn(connection);
        let response = sender.send_request(request).await?;
        Ok(Reply {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.into_body().collect().await?.to_bytes(),
        })
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
        self.socket_with(path, &[]).await
    }

    /// The same, with more headers.
    pub async fn socket_with(&self, path: &str, headers: &[(&'static str, &str)]) -> Socket {
        let opening = within(path, self.try_socket_with(path, headers)).await;
        opening.unwrap_or_else(|error| panic!("{}{path}: {error}", self.host))
    }

    /// The same, where it may fail. Takes as long as the server does.
    ///
    /// # Errors
    /// When the connection is refused or ends, or the answer is not the expected one.
    pub async fn try_socket(&self, path: &str) -> Result<Socket, Failed> {
        self.try_socket_with(path, &[]).await
    }

    async fn try_socket_with(
        &self,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Socket, Failed> {
        let stream = TcpStream::connect(&self.address).await?;
        let mut request = format!("ws://{}{path}", self.host).into_client_request()?;
        for &(name, value) in headers {
            request.headers_mut().insert(name, value.parse()?);
        }
        let (socket, _) = tokio_tungstenite::client_async(request, stream).await?;
        Ok(Socket(socket))
    }
}

/// A WebSocket that speaks JSON.
#[derive(Debug)]
pub struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    /// Opens a `ws://` URL.
    pub async fn open(url: &str) -> Self {
        let (_, rest) = url.split_once("ws://").expect("a ws:// URL");
        let (address, path) = rest.split_once('/').expect("a path");
        Site::at(address).socket(&format!("/{path}")).await
    }

    /// Sends a message.
    pub async fn send(&mut self, message: &Value) {
        self.send_text(&message.to_string()).await;
    }

    /// Sends a text that need not be JSON.
    pub async fn send_text(&mut self, text: &str) {
        self.try_send(text).await.unwrap();
    }

    /// Sends a text on a connection that may have ended.
    ///
    /// # Errors
    /// When it has.
    pub async fn try_send(&mut self, text: &str) -> Result<(), Failed> {
        Ok(self.0.send(Message::text(text)).await?)
    }

    /// The next message.
    pub async fn receive(&mut self) -> Value {
        let message = within("a WebSocket message", self.try_receive()).await;
        message.unwrap_or_else(|error| panic!("expected a message: {error}"))
    }

    /// The next message on a connection that may end. Takes as long as the server does.
    ///
    /// # Errors
    /// When the connection ends instead.
    pub async fn try_receive(&mut self) -> Result<Value, Failed> {
        Ok(serde_json::from_str(&self.try_receive_text().await?)?)
    }

    /// The next message, which need not be JSON.
    pub async fn receive_text(&mut self) -> String {
        let message = within("a WebSocket message", self.try_receive_text()).await;
        message.unwrap_or_else(|error| panic!("expected a message: {error}"))
    }

    async fn try_receive_text(&mut self) -> Result<String, Failed> {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Text(text))) => return Ok(text.to_string()),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => return Err(format!("got {other:?}").into()),
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

    async fn next(&mut self) -> Option<Result<Message, tungstenite::Error>> {
        within("a WebSocket message", self.0.next()).await
    }
}
