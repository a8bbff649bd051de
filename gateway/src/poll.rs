//! Asks a pod again and again what it is.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use portside_core::backoff::Backoff;
use portside_core::ids::PodId;
use portside_core::ownership::gateway::{Claim, Incarnation};
use portside_crds::sidecar::{OWNERSHIP_PATH, Ownership, State};
use tokio::time::{Instant, sleep, timeout};

use crate::class::Class;
use crate::pod::Pod;
use crate::pool::Pool;
use crate::replay::Upload;

/// How long a pod keeps a question that has no new answer, in seconds, and for how much longer the answer is waited for: time
/// for a busy pod.
const LONG_POLL: (u64, u64) = (30, 5);
/// The same while it serves beside others, for then each answer says whether its lease is renewed.
const LEASE_POLL: (u64, u64) = (1, 1);
/// The same for a question to be answered at once. While an overtaken pod is asked whether it has let go, requests wait.
const ANSWER_AT_ONCE_TIMEOUT: Duration = Duration::from_secs(1);
/// The least time between two questions, in case a pod does not keep them.
const PAUSE: Duration = Duration::from_millis(20);
/// Bytes of an answer.
const MAX_ANSWER: usize = 4096;
/// Pauses after questions without an answer. A pod that starts is asked often enough for it not to be noticed.
const BACKOFF: Backoff = Backoff {
    first_ms: 50,
    max_ms: 1000,
};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Connection(#[from] crate::pool::Error),
    #[error("the answer is incomplete: {0}")]
    Incomplete(String),
    #[error("no answer in {} s", .0.as_secs())]
    TimedOut(Duration),
    #[error("the status is {0}")]
    Status(StatusCode),
    #[error("not an answer: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("this is the pod {0}")]
    OtherPod(String),
}

/// Tells the class what the pod says, until the future is dropped.
pub(crate) async fn run(class: Arc<Class>, pod: Arc<Pod>, admin: Arc<Pool>) {
    let mut known: Option<Ownership> = None;
    let mut failures = 0;
    loop {
        let asked = Instant::now();
        let answer = tokio::select! {
            answer = ask(&admin, &pod, known.as_ref()) => answer,
            () = pod.doubted() => {
                known = None;
                sleep(PAUSE).await;
                continue;
            }
        };
        match answer {
            Ok(ownership) => {
                failures = 0;
                class.heard(&pod.endpoint, incarnation(&ownership), claim(&ownership));
                known = Some(ownership);
                sleep(PAUSE.saturating_sub(asked.elapsed())).await;
            }
            Err(error) => {
                tracing::debug!(class = %class.key, pod = pod.endpoint.pod, %error, "cannot ask");
                known = None;
                class.lost(&pod.endpoint);
                sleep(Duration::from_millis(BACKOFF.delay_ms(failures))).await;
                failures += 1;
            }
        }
    }
}

fn incarnation(ownership: &Ownership) -> Option<Incarnation> {
    let id = u128::from_str_radix(ownership.incarnation.as_deref()?, 16);
    Some(Incarnation {
        id: PodId(id.ok()?),
        renewals: ownership.renewals,
    })
}

fn claim(ownership: &Ownership) -> Claim {
    match ownership.state {
        State::Standby => Claim::Standby,
        State::Active => Claim::Active(ownership.term),
        State::Serving => Claim::Serving,
        State::Draining => Claim::Draining,
    }
}

async fn ask(admin: &Arc<Pool>, pod: &Pod, known: Option<&Ownership>) -> Result<Ownership, Error> {
    let (target, limit) = match known {
        Some(known) => {
            let not = known.token();
            let (wait, grace) = match known.state {
                State::Serving => LEASE_POLL,
                State::Standby | State::Active | State::Draining => LONG_POLL,
            };
            let target = format!("{OWNERSHIP_PATH}?not={not}&wait={wait}");
            (target, Duration::from_secs(wait + grace))
        }
        None => (OWNERSHIP_PATH.to_owned(), ANSWER_AT_ONCE_TIMEOUT),
    };
    let request = Request::get(target)
        .header(header::HOST, pod.endpoint.admin.to_string())
        .body(Upload::empty())
        .expect("a state, a term and an address are valid in a request");
    let answer = async {
        let answer = admin.send(request, false).await?;
        let status = answer.response.status();
        let body = Limited::new(answer.response.into_body(), MAX_ANSWER);
        let body = body
            .collect()
            .await
            .map_err(|error| Error::Incomplete(error.to_string()))?;
        answer.lease.give_back();
        if status != StatusCode::OK {
            return Err(Error::Status(status));
        }
        Ok(serde_json::from_slice::<Ownership>(&body.to_bytes())?)
    };
    let ownership = timeout(limit, answer)
        .await
        .map_err(|_| Error::TimedOut(limit))??;
    // An address may belong to another pod by now.
    if ownership.pod != pod.endpoint.pod {
        return Err(Error::OtherPod(ownership.pod));
    }
    Ok(ownership)
}
