//! What is asked of the pods of a class together: pages of its workers, and what the one pod that has a worker knows.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream};
use http::{Method, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use portside_manage::{Problem, Worker, Workers, merge};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::{NoAnswer, Pods, Question, is_elsewhere};
use crate::known::{Known, Pod};
use crate::status::Refusal;

/// The largest answer of one worker that is read: what it has stored.
const MOST_BYTES: usize = 16 << 20;
/// The largest page: one of workers with long names. Of those that are larger than usual few are read at once, so that pods that lie
/// take no memory from the others.
const MOST_BYTES_OF_PAGE: usize = 2 << 20;
const USUAL_BYTES_OF_PAGE: usize = 256 << 10;
pub(super) const LARGE: usize = 16;
/// How many pods of a class are asked for a page at once.
const AT_ONCE: usize = 8;
/// How long a body may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which workers of a class are asked for.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Those after this one.
    pub after: Option<String>,
    /// Only those that are awake.
    pub awake: bool,
    /// Only those of this script.
    pub script: Option<String>,
}

impl Pods {
    /// A page of a class's workers, by all pods that answer; nothing if none of them does.
    pub async fn page(&self, known: &Known, wanted: &Wanted, limit: usize) -> Option<Workers> {
        let pods = known.pods.iter();
        let asked: Vec<_> = pods.map(|pod| self.page_of(pod, wanted, limit)).collect();
        let answers = stream::iter(asked).buffered(AT_ONCE);
        // Each is put to those before as it comes, so that no more than a few are held.
        answers
            .filter_map(async |it| it.ok())
            .fold(None, async |before: Option<Workers>, page| {
                let pages = before.into_iter().chain([page]).collect();
                Some(merge(pages, limit))
            })
            .await
    }

    /// A page of what one pod says.
    ///
    /// # Errors
    ///
    /// It does not answer, or says what cannot be.
    pub async fn page_of(
        &self,
        pod: &Pod,
        wanted: &Wanted,
        limit: usize,
    ) -> Result<Workers, NoAnswer> {
        let limit_text = limit.to_string();
        let mut query = vec![("limit", &*limit_text)];
        query.extend(wanted.after.as_deref().map(|it| ("after", it)));
        query.extend(wanted.script.as_deref().map(|it| ("script", it)));
        query.extend(wanted.awake.then_some(("state", "awake")));
        let question = Question::new(Method::GET, &["workers"], &query);
        let asking = async {
            let answer = self.ask(pod, question).await?;
            let page = self.read_page(answer).await;
            page.map_err(|why| NoAnswer::of(pod, why))
        };
        let asked = timeout(PATIENCE, asking).await;
        let page: Workers =
            asked.unwrap_or_else(|_| Err(NoAnswer::of(pod, "it takes too long")))?;
        if page.is_answer(wanted.after.as_deref(), limit) {
            Ok(page)
        } else {
            Err(NoAnswer::of(pod, "what it says is no page"))
        }
    }

    async fn read_page(&self, answer: Response<Incoming>) -> Result<Workers, String> {
        succeeded(&answer)?;
        let mut body = answer.into_body();
        let mut text = BytesMut::new();
        let mut one_of_few = None;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| error.to_string())?;
            text.extend(frame.into_data().ok());
            if text.len() > MOST_BYTES_OF_PAGE {
                return Err("its page is too large".to_owned());
            }
            if text.len() > USUAL_BYTES_OF_PAGE && one_of_few.is_none() {
                // It is never closed.
                one_of_few = self.large.acquire().await.ok();
            }
        }
        parse(&text)
    }

    /// Asks the pod that has a worker, which is found by asking one after the other.
    ///
    /// # Errors
    ///
    /// None of them has it, or it says that it cannot be done.
    pub async fn ask_owner(
        &self,
        known: &Known,
        question: &Question,
    ) -> Result<Response<Incoming>, Refusal> {
        let class = &known.class;
        let mut silent = None;
        let mut answered = false;
        for pod in &known.pods {
            match self.ask(pod, question.clone()).await {
                Ok(answer) if is_elsewhere(&answer) => answered = true,
                Ok(answer) if answer.status().is_success() => return Ok(answer),
                Ok(answer) => return Err(problem(answer).await),
                // Another pod may have the worker by now, and would do it once more.
                Err(no_answer) if no_answer.heard && !question.is_safe() => {
                    let message = format!("{no_answer}; it may have been done all the same");
                    return Err(Refusal::of_pod(504, message));
                }
                Err(no_answer) => silent = Some(no_answer),
            }
        }
        Err(match silent {
            Some(no_answer) if answered => Refusal::unavailable(no_answer.to_string()),
            None if answered => Refusal::unavailable(format!(
                "no pod of class {}/{} has this worker now: it is on its way to another; ask again",
                class.namespace, class.name
            )),
            _ => Refusal::no_pod(&class.namespace, &class.name),
        })
    }

    /// A worker as the pod that has it says; nothing if it is neither stored nor awake.
    ///
    /// # Errors
    ///
    /// As [`Pods::ask_owner`].
    pub async fn worker(&self, known: &Known, which: &str) -> Result<Option<Worker>, Refusal> {
        let question = Question::new(Method::GET, &["workers", which], &[]);
        let answer = match self.ask_owner(known, &question).await {
            Err(refusal) if refusal.code == 404 => return Ok(None),
            answer => answer?,
        };
        let worker: Worker = read(answer).await.map_err(Refusal::unavailable)?;
        let is_meant = worker.id == which || worker.address == which;
        if is_meant && worker.can_be() {
            Ok(Some(worker))
        } else {
            Err(Refusal::unavailable(
                "the pod tells of another worker, or of one that cannot be",
            ))
        }
    }
}

/// The body of an answer.
///
/// # Errors
///
/// It does not come, or is too large.
pub async fn bytes(answer: Response<Incoming>) -> Result<Bytes, String> {
    let body = Limited::new(answer.into_body(), MOST_BYTES).collect();
    match timeout(PATIENCE, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("its answer takes too long".to_owned()),
    }
}

async fn read<T: DeserializeOwned>(answer: Response<Incoming>) -> Result<T, String> {
    succeeded(&answer)?;
    parse(&bytes(answer).await?)
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| format!("what it says cannot be read: {error}"))
}

fn succeeded(answer: &Response<Incoming>) -> Result<(), String> {
    match answer.status() {
        StatusCode::OK => Ok(()),
        status => Err(format!("it says {status}")),
    }
}

/// What a pod says that goes wrong.
async fn problem(answer: Response<Incoming>) -> Refusal {
    let status = answer.status();
    let body = bytes(answer).await.unwrap_or_default();
    let problem: Option<Problem> = serde_json::from_slice(&body).ok();
    let message = problem.map_or_else(|| format!("the pod says {status}"), |it| it.error);
    Refusal::of_pod(status.as_u16(), message)
}
