//! Expressions that people have evaluated in a worker's instance.

use std::time::Duration;

use portside_core::ids::WorkerKey;
use portside_manage::Evaluated;
use portside_manage::json::to_json;
use portside_runtime::surface::stack::readable;
use portside_worker::caller::Call;
use portside_worker::link::FailureCode;
use serde::Deserialize;
use serde_json::Value as Json;
use tokio::time::timeout;

use crate::app::App;
use crate::changes::Unchanged;

/// How long an answer may take. The instance itself waits for 30 s, once it has begun.
const PATIENCE: Duration = Duration::from_secs(45);

/// What the instance answers.
#[derive(Deserialize)]
#[serde(untagged)]
enum Outcome {
    Thrown { thrown: String },
    Evaluated(Evaluated),
}

impl App {
    /// Evaluates an expression in the worker's instance, which is woken for it. It goes on if whoever asked goes away. The answer leaves
    /// once what was written before is durable, as any other.
    ///
    /// # Errors
    /// It has thrown, or the instance ended, or could not begin; or the worker is another process's.
    pub(super) async fn evaluate(
        &self,
        key: &WorkerKey,
        expression: String,
    ) -> Result<Evaluated, Unchanged> {
        self.must_have(key.id())?;
        let (call, opening) = Call::evaluate(expression);
        if let Some(target) = self.fabric().open(key, opening) {
            call.opened(target);
        }
        let answer = timeout(PATIENCE, call.answer).await;
        let answer = answer.map_err(|_| Unchanged::refused("the worker does not answer"))?;
        let answer = answer
            .map_err(|_| Unchanged::refused("the worker's instance ended before it answered"))?;
        let clone = answer.map_err(|failure| match failure.code {
            FailureCode::Unavailable => Unchanged::Unknown(failure.message),
            _ => Unchanged::Refused(failure.message),
        })?;
        match outcome(&clone)? {
            Outcome::Evaluated(evaluated) => Ok(evaluated),
            Outcome::Thrown { thrown } => Err(Unchanged::refused(readable(&thrown))),
        }
    }
}

fn outcome(clone: &[u8]) -> Result<Outcome, Unchanged> {
    let shown: Json = to_json(clone).map_err(Unchanged::refused)?;
    serde_json::from_value(shown).map_err(Unchanged::refused)
}
