//! One worker: to look at it, and to delete it.

use std::sync::Arc;

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Request, Workers};
use crate::answer::{self, Answer};
use crate::follow::Scope;
use crate::known::Known;
use crate::object;
use crate::pods::Question;
use crate::query::parameter;
use crate::shape::Shape;
use crate::status::Refusal;
use crate::table::Include;
use crate::{GROUP, RESOURCE};

/// How a worker is to be deleted; nothing else of it matters here.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct DeleteOptions {
    dry_run: Vec<String>,
    preconditions: Preconditions,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Preconditions {
    uid: Option<String>,
    resource_version: Option<String>,
}

impl Workers {
    pub(super) async fn get(
        self: &Arc<Self>,
        namespace: &str,
        name: &str,
        request: Request<'_>,
    ) -> Result<Answer, Refusal> {
        let include = parameter(request.query, "includeObject").unwrap_or_default();
        let shape = Shape::parse(request.accept, Include::parse(&include)?)?;
        let (known, id) = self.find(namespace, name)?;
        // Whoever watches it from here on misses nothing.
        let scope = Scope {
            namespace: Some(namespace.to_owned()),
            class: Some(known.class.name.clone()),
        };
        let version = self.follows.begin(&scope).await.to_string();
        let worker = self.pods.worker(&known, id).await?;
        let worker = worker.ok_or_else(|| Refusal::not_found(name))?;
        Ok(answer::json(&shape.alone(
            &known.class,
            &worker,
            &version,
            true,
        )))
    }

    pub(super) async fn delete(
        &self,
        namespace: &str,
        name: &str,
        request: Request<'_>,
    ) -> Result<Answer, Refusal> {
        let options: DeleteOptions = match request.body.is_empty() {
            true => DeleteOptions::default(),
            false => serde_json::from_slice(&request.body).map_err(|error| {
                Refusal::bad_request(format!("the body is no DeleteOptions: {error}"))
            })?,
        };
        let (known, id) = self.find(namespace, name)?;
        let uid = object::uid(&known.class, id).to_string();
        let Preconditions {
            uid: meant,
            resource_version,
        } = options.preconditions;
        if meant.is_some_and(|it| it != uid) {
            return Err(Refusal::conflict(format!(
                "{name} has the uid {uid}, and not that of the preconditions"
            )));
        }
        if resource_version.is_some() {
            let message =
                "preconditions.resourceVersion is not served: workers change all the time";
            return Err(Refusal::bad_request(message));
        }
        if self.pods.worker(&known, id).await?.is_none() {
            return Err(Refusal::not_found(name));
        }
        let is_rehearsal =
            !options.dry_run.is_empty() || parameter(request.query, "dryRun").is_some();
        if !is_rehearsal {
            self.done(&known, Question::new(Method::DELETE, &["workers", id], &[]))
                .await?;
        }
        Ok(answer::json(&success(name, &uid)))
    }

    /// Has something done by the pod that has a worker.
    pub(super) async fn done(&self, known: &Known, question: Question) -> Result<(), Refusal> {
        self.pods.ask_owner(known, &question).await.map(drop)
    }
}

/// What is said of what was done.
pub(super) fn success(name: &str, uid: &str) -> Value {
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": { "name": name, "group": GROUP, "kind": RESOURCE, "uid": uid },
    })
}
