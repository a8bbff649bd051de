//! An HTTP client that keeps one connection and asks one question at a time.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::load::Client;

/// One connection. Dropping it closes it.
pub struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    address: SocketAddr,
    driver: JoinHandle<()>,
}

impl Connection {
    /// Connects to a server.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // What goes wrong with the connection shows in the requests.
        let driver = tokio::spawn(async {
            let _ = connection.await;
        });
        Ok(Self {
            sender,
            address,
            driver,
        })
    }

    /// Asks, and reads the whole answer, which must be a 200.
    pub async fn get(&mut self, path: &str) -> Result<Bytes> {
        let request = Request::get(path).header(HOST, self.address.to_string());
        self.sender.ready().await?;
        let response = self
            .sender
            .send_request(request.body(Empty::new())?)
            .await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        ensure!(
            status == StatusCode::OK,
            "GET {path}: {status} {}",
            String::from_utf8_lossy(&body)
        );
        Ok(body)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Asks once, on a connection of its own.
pub async fn get(address: SocketAddr, path: &str) -> Result<Bytes> {
    Connection::open(address).await?.get(path).await
}

/// Asks the next of a load's paths again and again.
pub struct Getter {
    connection: Connection,
    /// At least one.
    paths: Arc<[String]>,
    next: usize,
    stride: usize,
}

impl Getter {
    /// So many clients that together go through all paths over and over.
    pub async fn open_many(
        address: SocketAddr,
        count: usize,
        paths: Vec<String>,
    ) -> Result<Vec<Self>> {
        ensure!(!paths.is_empty(), "a load needs paths");
        let paths: Arc<[String]> = paths.into();
        let mut clients = Vec::with_capacity(count);
        for next in 0..count {
            let connection = Connection::open(address).await.context("cannot connect")?;
            clients.push(Self {
                connection,
                paths: paths.clone(),
                next,
                stride: count,
            });
        }
        Ok(clients)
    }
}

impl Client for Getter {
    async fn once(&mut self) -> Result<()> {
        let path = &self.paths[self.next % self.paths.len()];
        self.connection.get(path).await?;
        self.next += self.stride;
        Ok(())
    }
}
