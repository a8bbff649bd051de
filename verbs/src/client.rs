//! Asks whoever knows the workers of an application.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, anyhow};
use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::{FutureExt, Stream, stream};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use portside_manage::{PATH, Page, Problem};
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use url::Url;

use crate::output::{printable, printable_lines};

/// How many items of a list are asked for at a time.
const CHUNK: &str = "500";
/// How long an answer may take: a worker that is to end has some seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is asked, as [`portside_manage`] has it.
#[derive(Debug, Clone)]
pub struct Question {
    /// Of the request.
    pub method: Method,
    /// The parts of the path, which may have any characters.
    pub path: Vec<String>,
    /// Names and values.
    pub query: Vec<(String, String)>,
    /// Empty if there is none.
    pub body: Bytes,
}

/// The body of an answer.
pub type Body = UnsyncBoxBody<Bytes, anyhow::Error>;

/// How questions get to the process that answers them.
pub trait Way: Send + Sync {
    /// Its answer, whatever that is.
    fn ask(&self, question: Question) -> BoxFuture<'_, anyhow::Result<Response<Body>>>;

    /// What is said if there is none: who does not answer, and what to do.
    fn unreachable(&self) -> String;
}

/// Asks for workers.
pub struct Client {
    way: Box<dyn Way>,
}

impl Client {
    /// Of the `portside dev` at this URL.
    #[must_use]
    pub fn new(url: Url) -> Self {
        Self::by(Box::new(Process::new(url)))
    }

    /// Of whoever is at the end of this way.
    #[must_use]
    pub fn by(way: Box<dyn Way>) -> Self {
        Self { way }
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
        self.each_page(path, query, |items| all.items.extend(items))
            .await?;
        Ok(all)
    }

    /// The same, for those who need not keep all of it.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn each_page<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        mut take: impl FnMut(Vec<T>),
    ) -> anyhow::Result<()> {
        let mut after: Option<String> = None;
        loop {
            let mut query = [&[("limit", CHUNK)], query].concat();
            query.extend(after.as_deref().map(|after| ("after", after)));
            let page: Page<T> = self.get(path, &query).await?;
            take(page.items);
            if page.next.is_none() {
                return Ok(());
            }
            after = page.next;
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
        Ok(lines(self.answered(&Method::GET, path, query, None).await?))
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
        let body = body.collect().await;
        let body = body.with_context(|| self.way.unreachable())?;
        Ok(body.to_bytes())
    }

    /// The body of an answer that is what was asked for.
    async fn answered(
        &self,
        method: &Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> anyhow::Result<Body> {
        let response = self.request(method, path, query, body).await;
        let response = response.with_context(|| self.way.unreachable())?;
        let (status, body) = (response.status(), response.into_body());
        if status.is_success() {
            return Ok(body);
        }
        let body = body.collect().await;
        let body = body.with_context(|| self.way.unreachable())?;
        Err(problem(status, &body.to_bytes()))
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
    ) -> anyhow::Result<Response<Body>> {
        let query = query.iter();
        let question = Question {
            method: method.clone(),
            path: path.iter().map(|part| (*part).to_owned()).collect(),
            query: query
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            body: body.unwrap_or_default().into(),
        };
        let answering = timeout(PATIENCE, self.way.ask(question)).await;
        answering.context("no answer in a minute")?
    }
}

/// The lines of a body as they come, each with its end.
pub fn lines(body: Body) -> impl Stream<Item = anyhow::Result<Bytes>> + Send {
    stream::try_unfold((body, BytesMut::new()), async |(mut body, mut rest)| {
        loop {
            if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line = rest.split_to(end + 1).freeze();
                return Ok(Some((line, (body, rest))));
            }
            match body.frame().await {
                Some(frame) => rest.extend(frame?.into_data().ok()),
                None if rest.is_empty() => return Ok(None),
                None => return Ok(Some((rest.split().freeze(), (body, rest)))),
            }
        }
    })
}

/// What was said instead of an answer. On one line, as any name may be in it, which must not look like other lines.
#[derive(Debug)]
struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&self.0))
    }
}

impl std::error::Error for Refused {}

/// The error with the lines of what was said, where those are a stack.
pub fn in_lines(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<Refused>() {
        Some(Refused(said)) => anyhow!(printable_lines(said)),
        None => error,
    }
}

/// Why it was not answered.
fn problem(status: StatusCode, body: &[u8]) -> anyhow::Error {
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => Refused(problem.error).into(),
        Err(_) if status == StatusCode::NOT_FOUND => {
            anyhow!("what answers there is no application of this version of Portside")
        }
        Err(_) => anyhow!("{status}: {}", printable(&String::from_utf8_lossy(body))),
    }
}

/// The way to a `portside dev`.
pub struct Process {
    url: Url,
    http: Http<HttpConnector, Full<Bytes>>,
}

impl Process {
    /// At this URL.
    #[must_use]
    pub fn new(url: Url) -> Self {
        Self {
            url,
            http: Http::builder(TokioExecutor::new()).build_http(),
        }
    }
}

impl Way for Process {
    fn ask(&self, question: Question) -> BoxFuture<'_, anyhow::Result<Response<Body>>> {
        let mut url = self.url.clone();
        let parts = question.path.iter();
        let parts = parts.map(|part| utf8_percent_encode(part, NON_ALPHANUMERIC).to_string());
        url.set_path(&format!("{PATH}/{}", parts.collect::<Vec<_>>().join("/")));
        url.query_pairs_mut().clear().extend_pairs(question.query);
        async move {
            let request = Request::builder().method(question.method).uri(url.as_str());
            let request = request.body(Full::from(question.body))?;
            let response = self.http.request(request).await?;
            Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()))
        }
        .boxed()
    }

    fn unreachable(&self) -> String {
        format!(
            "nobody answers at {}: start the application with portside dev, or say --url where it is",
            self.url
        )
    }
}
