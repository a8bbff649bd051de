//! The cluster's API server as it asks ours for somebody.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

pub const BASE: &str = "/apis/runtime.portside.dev/v1alpha1";
pub const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/// Longer than anything takes.
pub const LONG: Duration = Duration::from_secs(60);

/// Asks for one user.
#[derive(Clone)]
pub struct Client {
    sender: SendRequest<Full<Bytes>>,
    user: Option<String>,
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The names of a list's objects.
    pub fn names(&self) -> Vec<String> {
        let items = self.json()["items"].as_array().unwrap().clone();
        let name = |it: &Value| it["metadata"]["name"].as_str().unwrap().to_owned();
        items.iter().map(name).collect()
    }

    pub fn version(&self) -> String {
        self.json()["metadata"]["resourceVersion"]
            .as_str()
            .unwrap()
            .to_owned()
    }
}

impl Client {
    /// # Errors
    /// There is no connection.
    pub async fn connect(
        address: SocketAddr,
        config: ClientConfig,
        user: Option<&str>,
    ) -> Result<Self, String> {
        let mut config = config;
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = TcpStream::connect(address)
            .await
            .map_err(|it| it.to_string())?;
        let name = portside_manage::API_SERVER.try_into().unwrap();
        let stream = TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await;
        let stream = TokioIo::new(stream.map_err(|it| it.to_string())?);
        let shaken = http2::handshake(TokioExecutor::new(), stream).await;
        let (sender, connection) = shaken.map_err(|it| it.to_string())?;
        tokio::spawn(connection);
        Ok(Self {
            sender,
            user: user.map(str::to_owned),
        })
    }

    pub async fn send(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        body: &str,
    ) -> hyper::Result<http::Response<Incoming>> {
        let uri = if path.starts_with("/apis")
            || !path.starts_with("/serverless") && !path.starts_with("/namespaces")
        {
            format!("https://x{path}")
        } else {
            format!("https://x{BASE}{path}")
        };
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .header("accept", accept);
        if let Some(user) = &self.user {
            request = request
                .header("x-remote-user", user)
                .header("x-remote-group", "people");
        }
        let request = request
            .body(Full::new(Bytes::from(body.to_owned())))
            .unwrap();
        let mut sender = self.sender.clone();
        sender.ready().await?;
        timeout(LONG, sender.send_request(request)).await.unwrap()
    }

    pub async fn ask(&self, method: Method, path: &str, accept: &str, body: &str) -> Answer {
        let (head, body) = self
            .send(method, path, accept, body)
            .await
            .unwrap()
            .into_parts();
        let body = timeout(LONG, body.collect()).await.unwrap();
        Answer {
            status: head.status,
            headers: head.headers,
            body: body.unwrap().to_bytes(),
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, "application/json", "").await
    }

    pub async fn watch(&self, path: &str) -> Watch {
        let answer = self
            .send(Method::GET, path, "application/json", "")
            .await
            .unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        Watch::of(answer)
    }
}

/// An open watch.
pub struct Watch {
    body: Incoming,
    rest: BytesMut,
}

impl Watch {
    pub fn of(answer: http::Response<Incoming>) -> Self {
        Self {
            body: answer.into_body(),
            rest: BytesMut::new(),
        }
    }

    /// The next event: its type and its object; nothing once it has ended.
    pub async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some(end) = self.rest.iter().position(|it| *it == b'\n') {
                let line = self.rest.split_to(end + 1);
                let event: Value = serde_json::from_slice(&line).unwrap();
                return Some((
                    event["type"].as_str().unwrap().to_owned(),
                    event["object"].clone(),
                ));
            }
            let frame = timeout(LONG, self.body.frame())
                .await
                .expect("nothing comes")?;
            self.rest.extend(frame.unwrap().into_data().ok());
        }
    }

    /// The type of the next event, and the name of its object.
    pub async fn seen(&mut self) -> (String, String) {
        let (kind, object) = self.next().await.expect("it has ended");
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        (kind, name.to_owned())
    }
}
