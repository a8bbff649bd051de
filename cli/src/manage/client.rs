//! Asks a process that runs an application.

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
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
        let unreachable = || {
            format!(
                "nobody answers at {}: start the application with portside dev, or say --url where it is",
                self.url
            )
        };
        let fetched = self.fetch(method, path, query, body).await;
        let (status, body) = fetched.with_context(unreachable)?;
        if status.is_success() {
            return Ok(body);
        }
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => bail!(printable(&problem.error)),
            Err(_) if status == StatusCode::NOT_FOUND => Err(anyhow!(
                "what answers at {} is no portside dev of this version",
                self.url
            )),
            Err(_) => bail!("{status}: {}", printable(&String::from_utf8_lossy(&body))),
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
        let mut url = self.url.clone();
        let parts = path.iter();
        let parts = parts.map(|part| utf8_percent_encode(part, NON_ALPHANUMERIC).to_string());
        url.set_path(&format!("{PATH}/{}", parts.collect::<Vec<_>>().join("/")));
        url.query_pairs_mut().clear().extend_pairs(query);
        let request = Request::builder().method(method).uri(url.as_str());
        let request = request.body(Full::from(body.unwrap_or_default()))?;
        let answering = timeout(PATIENCE, self.http.request(request)).await;
        let response = answering.context("no answer in a minute")??;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        Ok((status, body))
    }
}
