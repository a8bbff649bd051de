//! What is asked of the pods of a class together: pages of its workers, and what the one pod that has a worker knows.

use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use http::{Method, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use portside_manage::{Problem, Worker, Workers, merge};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::{NoAnswer, Pods, Question, is_elsewhere};
use crate::known::{Known, Pod};
use crate::status::Refusal;

/// The largest answer that is read: a page of workers with the longest names.
const MOST_BYTES: usize = 16 << 20;
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
        let all = known
            .pods
            .iter()
            .map(|pod| self.page_of(pod, wanted, limit));
        let answers = join_all(all).await.into_iter();
        let pages: Vec<Workers> = answers.filter_map(Result::ok).collect();
        (!pages.is_empty()).then(|| merge(pages, limit))
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
            read(answer).await.map_err(|why| NoAnswer::of(pod, why))
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
        if worker.id == which || worker.address == which {
            Ok(Some(worker))
        } else {
            Err(Refusal::unavailable("the pod tells of another worker"))
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
    let status = answer.status();
    if status != StatusCode::OK {
        return Err(format!("it says {status}"));
    }
    let body = bytes(answer).await?;
    serde_json::from_slice(&body).map_err(|error| format!("what it says cannot be read: {error}"))
}

/// What a pod says that goes wrong.
async fn problem(answer: Response<Incoming>) -> Refusal {
    let status = answer.status();
    let body = bytes(answer).await.unwrap_or_default();
    let problem: Option<Problem> = serde_json::from_slice(&body).ok();
    let message = problem.map_or_else(|| format!("the pod says {status}"), |it| it.error);
    Refusal::of_pod(status.as_u16(), message)
}
