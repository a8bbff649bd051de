//! What a worker has stored and logged, and what is done to it: the pod that has it answers, as [`portside_manage`] has it.

use http::Method;
use http_body_util::BodyExt;

use super::one::success;
use super::{Request, Workers};
use crate::answer::{self, Answer, BoxError};
use crate::known::Known;
use crate::object;
use crate::pods::Question;
use crate::pods::workers::bytes;
use crate::query::parameter;
use crate::status::Refusal;

impl Workers {
    pub(super) async fn subresource(
        &self,
        namespace: &str,
        name: &str,
        subresource: &str,
        request: Request<'_>,
    ) -> Result<Answer, Refusal> {
        let (known, id) = self.find(namespace, name)?;
        let Some(question) = question(id, subresource, &request)? else {
            let (method, path) = (request.method.as_str(), format!("{name}/{subresource}"));
            return Err(Refusal::not_allowed(method, &path));
        };
        if subresource == "log" {
            return self.log(&known, question).await;
        }
        let answer = self.pods.ask_owner(&known, &question).await?;
        let body = bytes(answer).await.map_err(Refusal::unavailable)?;
        if body.is_empty() {
            let uid = object::uid(&known.class, id).to_string();
            return Ok(answer::json(&success(name, &uid)));
        }
        Ok(answer::with_type(answer::JSON, answer::full(body)))
    }

    async fn log(&self, known: &Known, question: Question) -> Result<Answer, Refusal> {
        let answer = self.pods.ask_owner(known, &question.streamed()).await?;
        let body = answer.into_body().map_err(BoxError::from).boxed_unsync();
        Ok(answer::with_type("text/plain; charset=utf-8", body))
    }
}

/// What the pod is asked; nothing if it cannot be done.
fn question(
    id: &str,
    subresource: &str,
    request: &Request<'_>,
) -> Result<Option<Question>, Refusal> {
    let get = |name: &str| parameter(request.query, name);
    let method = request.method;
    if *method != Method::GET && get("dryRun").is_some() {
        return Err(Refusal::bad_request(format!(
            "dryRun is not served for {subresource}"
        )));
    }
    let all = |part: &str, names: &[(&str, &'static str)]| {
        let given: Vec<(&str, String)> = names
            .iter()
            .filter_map(|(name, asked)| Some((*asked, get(name)?)))
            .collect();
        let query: Vec<(&str, &str)> = given.iter().map(|(name, it)| (*name, &**it)).collect();
        Question::new(method.clone(), &["workers", id, part], &query)
    };
    let question = match (method, subresource, get("key")) {
        (&Method::GET, "state", None) => all(
            "keys",
            &[("prefix", "prefix"), ("after", "after"), ("limit", "limit")],
        ),
        (&Method::GET | &Method::DELETE, "state", Some(_)) => all("key", &[("key", "name")]),
        (&Method::PUT, "state", Some(_)) => {
            all("key", &[("key", "name")]).with(request.body.clone())
        }
        (&Method::PUT | &Method::DELETE, "state", None) => {
            return Err(Refusal::bad_request("which key? Say ?key=KEY"));
        }
        (&Method::POST, "sql" | "exec" | "move", _) => {
            all(subresource, &[]).with(request.body.clone())
        }
        (&Method::POST, "wake" | "sleep" | "inspect", _) => all(subresource, &[]),
        (&Method::GET, "log", _) => all("log", &[("follow", "follow"), ("tailLines", "tail")]),
        _ => return Ok(None),
    };
    Ok(Some(question))
}
