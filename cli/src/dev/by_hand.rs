//! What is done by hand, by requests to paths of their own: handlers of crons and alarms that are run, as in `wrangler dev`, and
//! workers that are looked at and managed, as by `portside workers`.

use std::borrow::Cow;

use http::{HeaderValue, StatusCode};
use portside_core::ids::WorkerKey;
use portside_core::objects::ObjectId;
use portside_crds::sidecar::{STATE_HEADER, State};
use portside_exchange::{FetchError, Request, Response};
use portside_manage::PATH;
use portside_sidecar::{App, Fired, Scheduled, manage};
use serde_json::json;
use url::Url;

use super::answers::{response, text};
use super::local::is_of_this_machine;

const SCHEDULED: &str = "/cdn-cgi/handler/scheduled";
const ALARM: &str = "/cdn-cgi/handler/alarm";

const WHOSE: &str = "whose alarm? Say class=NAME with name=… or id=…, or script=PATH, with name=… unless it is the default worker";

/// The answer to a request for what is done by hand; nothing for any other. Only programs of this machine may have it done.
pub async fn answer(app: &App, url: &Url, request: &mut Request) -> Option<Response> {
    let path = url.path();
    let is_managed = path
        .strip_prefix(PATH)
        .is_some_and(|rest| rest.starts_with('/'));
    match path {
        _ if !is_managed && path != SCHEDULED && path != ALARM => None,
        _ if !is_of_this_machine(url, &request.headers) => Some(text(
            StatusCode::FORBIDDEN,
            "only for requests of this machine, by 127.0.0.1 or localhost, and not for pages of other origins",
        )),
        SCHEDULED => Some(scheduled(app, url).await),
        ALARM => Some(alarm(app, url).await),
        _ => {
            let asked = (&request.method, url, &mut request.body);
            manage::answer(app, asked, not_here).await
        }
    }
}

async fn scheduled(app: &App, url: &Url) -> Response {
    let time = match parameter(url, "time") {
        None => portside_sidecar::now_ms(),
        Some(text) => match text.parse() {
            Ok(time) => time,
            Err(_) => return bad("time is wanted in milliseconds since 1970"),
        },
    };
    let cron = parameter(url, "cron").unwrap_or_default().into_owned();
    let ran = match app.scheduled(Scheduled { time, cron }).await {
        Ok(ran) => ran,
        Err(error) => return failed(&error),
    };
    let (status, outcome) = match ran.succeeded {
        true => (StatusCode::OK, "ok"),
        false => (StatusCode::INTERNAL_SERVER_ERROR, "exception"),
    };
    if parameter(url, "format").as_deref() != Some("json") {
        return text(status, outcome);
    }
    let body = json!({"outcome": outcome, "noRetry": ran.no_retry}).to_string();
    response(status, "application/json", body)
}

async fn alarm(app: &App, url: &Url) -> Response {
    let worker = match addressed(app, url) {
        Ok(worker) => worker,
        Err(problem) => return bad(&problem),
    };
    match app.fire_alarm(&worker).await {
        Ok(Fired::Handled) => text(StatusCode::OK, "ok"),
        Ok(Fired::Failed) => text(StatusCode::INTERNAL_SERVER_ERROR, "exception"),
        Ok(Fired::NoAlarm) => text(StatusCode::NOT_FOUND, "no alarm is set"),
        Ok(Fired::Elsewhere) => not_here(),
        Ok(Fired::UnderWay) => text(StatusCode::CONFLICT, "the alarm's handler runs already"),
        Err(error) => failed(&error),
    }
}

/// Whose alarm is meant.
fn addressed(app: &App, url: &Url) -> Result<WorkerKey, String> {
    let class = app.class();
    let name = parameter(url, "name");
    let (object_class, script) = (parameter(url, "class"), parameter(url, "script"));
    match (object_class, script) {
        (Some(wanted), None) => {
            let declared = class.objects.iter().find(|class| class.name == wanted);
            let origin = &declared
                .ok_or_else(|| format!("there is no class {wanted} of Durable Objects"))?
                .origin;
            let id = match (parameter(url, "id"), name) {
                (Some(id), None) => {
                    ObjectId::parse(origin, &id).map_err(|error| error.to_string())?
                }
                (None, Some(name)) => ObjectId::of_name(origin, &name),
                _ => return Err(WHOSE.to_owned()),
            };
            Ok(id.address(origin))
        }
        (None, Some(script)) => {
            if !class.bundle.modules.contains_key(&*script) {
                return Err(format!("there is no module {script}"));
            }
            WorkerKey::new(&script, &name.unwrap_or_default()).map_err(|error| error.to_string())
        }
        _ => Err(WHOSE.to_owned()),
    }
}

fn parameter<'u>(url: &'u Url, wanted: &str) -> Option<Cow<'u, str>> {
    let mut parameters = url.query_pairs();
    parameters.find_map(|(name, value)| (name == wanted).then_some(value))
}

fn failed(error: &FetchError) -> Response {
    text(error.status(), &error.to_string())
}

/// Has the gateway ask another pod.
fn not_here() -> Response {
    let mut response = text(
        StatusCode::MISDIRECTED_REQUEST,
        "another process has the worker, or none at the moment",
    );
    let state = HeaderValue::from_static(State::Standby.as_str());
    response.headers.insert(STATE_HEADER, state);
    response
}

fn bad(problem: &str) -> Response {
    text(StatusCode::BAD_REQUEST, problem)
}
