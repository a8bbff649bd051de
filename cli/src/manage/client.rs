//! Asks a process that runs an application.

use std::time::Duration;

use anyhow::{Context, anyhow};
use bytes::{Bytes, BytesMut};
use futures::{Stream, stream};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use portside_manage::{PATH, Page, Problem};
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use url::Url;

use super::output::printable;

/// How many items of a list are asked for at a time.
const CHUNK: &str = "500";
/// How long an answer may take: a worker that is to end has some seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client of `portside dev`.
pub struct Client {
    url: Url,
    http: Http<HttpConnector, Full<Bytes>>,
}

impl Client {
    /// Of the one at this URL.
    pub fn new(url: Url) -> Self {
        Self {
            url,
            http: Http::builder(TokioExecutor::new()).build_http(),
        }
    }

    /// What is at a path, whose parts may have any characters, with a query.
    ///
    /// # Errors
    /// Nobody answers, or that it cannot be had.
    pub async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> anyhow::Result<T> {
        let answer = self.send(&Method::GET, path, query, None).await?;
        serde_json::from_slice(&answer).context("the answer is of another version of portside")
    }

    /// All of a list, page by page.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn list<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> anyhow::Result<Page<T>> {
        let mut all = Page::default();
        loop {
            let mut query = [&[("limit", CHUNK)], query].concat();
            let after = all.next.take();
            query.extend(after.as_deref().map(|after| ("after", after)));
            let page: Page<T> = self.get(path, &query).await?;
            all.items.extend(page.items);
            if page.next.is_none() {
                return Ok(all);
            }
            all.next = page.next;
        }
    }

    /// The answer to a question in JSON.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn ask<T: DeserializeOwned>(
        &self,
        path: &[&str],
        question: &impl serde::Serialize,
    ) -> anyhow::Result<T> {
        let body = serde_json::to_vec(question)?;
        let answer = self.send(&Method::POST, path, &[], Some(body)).await?;
        serde_json::from_slice(&answer).context("the answer is of another version of portside")
    }

    /// An answer that goes on, line by line, each with its end.
    ///
    /// # Errors
    /// As [`Client::get`]; later, that the other side is gone.
    pub async fn lines(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> anyhow::Result<impl Stream<Item = anyhow::Result<Bytes>> + Send + use<>> {
        let body = self.answered(&Method::GET, path, query, None).await?;
        let body = (body, BytesMut::new());
        Ok(stream::try_unfold(body, async |(mut body, mut rest)| {
            loop {
                if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                    let line = rest.split_to(end + 1).freeze();
                    return Ok(Some((line, (body, rest))));
                }
                match body.frame().await {
                    Some(frame) => rest.extend(frame?.into_data().ok()),
                    None => return Ok(None),
                }
            }
        }))
    }

    /// Has something done.
    ///
    /// # Errors
    /// It is not done.
    pub async fn order(
        &self,
        method: &Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> anyhow::Result<()> {
        self.send(method, path, query, body).await.map(drop)
    }

    async fn send(
        &self,
        method: &Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> anyhow::Result<Bytes> {
        let body = self.answered(method, path, query, body).await?;
        let body = body.collect().await.with_context(|| self.unreachable())?;
        Ok(body.to_bytes())
    }

    /// The body of an answer that is what was asked for.
    async fn answered(
        &self,
        method: &Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> anyhow::Result<Incoming> {
        let response = self.request(method, path, query, body).await;
        let response = response.with_context(|| self.unreachable())?;
        let (status, body) = (response.status(), response.into_body());
        if status.is_success() {
            return Ok(body);
        }
        let body = body.collect().await.with_context(|| self.unreachable())?;
        Err(self.problem(status, &body.to_bytes()))
    }

    fn unreachable(&self) -> String {
        format!(
            "nobody answers at {}: start the application with portside dev, or say --url where it is",
            self.url
        )
    }

    /// Why it was not answered.
    fn problem(&self, status: StatusCode, body: &[u8]) -> anyhow::Error {
        match serde_json::from_slice::<Problem>(body) {
            Ok(problem) => anyhow!(printable(&problem.error)),
            Err(_) if status == StatusCode::NOT_FOUND => anyhow!(
                "what answers at {} is no portside dev of this version",
                self.url
            ),
            Err(_) => anyhow!("{status}: {}", printable(&String::from_utf8_lossy(body))),
        }
    }

    /// The answer, whatever it is.
    ///
    /// # Errors
    /// There is none.
    pub async fn fetch(
        &self,
        method: &Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let response = self.request(method, path, query, body).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        Ok((status, body))
    }

    async fn request(
        &self,
        method: &Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> anyhow::Result<Response<Incoming>> {
        let mut url = self.url.clone();
        let parts = path.iter();
        let parts = parts.map(|part| utf8_percent_encode(part, NON_ALPHANUMERIC).to_string());
        url.set_path(&format!("{PATH}/{}", parts.collect::<Vec<_>>().join("/")));
        url.query_pairs_mut().clear().extend_pairs(query);
        let request = Request::builder().method(method).uri(url.as_str());
        let request = request.body(Full::from(body.unwrap_or_default()))?;
        let answering = timeout(PATIENCE, self.http.request(request)).await;
        Ok(answering.context("no answer in a minute")??)
    }
}
