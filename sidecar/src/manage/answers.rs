//! Questions by HTTP, and answers, as [`portside_manage`] has them.

use std::borrow::Cow;
use std::future::ready;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use percent_encoding::percent_decode_str;
use portside_core::ids::{WorkerId, WorkerKey};
use portside_core::keys::KeyRange;
use portside_core::stored::WorkerPage;
use portside_exchange::{Body, BodyError, Response};
use portside_manage::{Event, Exec, Move, PATH, Problem, Sql, State, parse_id};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use url::Url;

use super::Wanted;
use crate::app::App;
use crate::changes::Unchanged;
use crate::events;
use crate::lines::Reader;

/// How many workers or keys a page has that is not asked for so many, and at most.
pub const PAGE: usize = 100;
const MOST: usize = WorkerPage::MOST;
/// The largest body that is read: a value in JSON may take some times the bytes that it is stored in.
pub(super) const MOST_BYTES: usize = 16 << 20;

/// Who follows hears at least this often that the process is there.
const ALIVE: Duration = Duration::from_secs(10);
/// How often it is looked whether a worker whose log is followed is still here.
const LOOK: Duration = Duration::from_secs(1);

type Lines = BoxStream<'static, Result<Bytes, BodyError>>;

/// What is answered other than what was asked for.
pub(super) enum Failed {
    BadRequest(String),
    NotFound(String),
    Gone(String),
    Unchanged(Unchanged),
}

impl From<Unchanged> for Failed {
    fn from(unchanged: Unchanged) -> Self {
        Self::Unchanged(unchanged)
    }
}

impl From<portside_store::Error> for Failed {
    fn from(error: portside_store::Error) -> Self {
        Self::Unchanged(error.into())
    }
}

type Answer = Result<Response, Failed>;

/// The answer to a request for a URL below [`PATH`]; nothing for any other. `elsewhere` is the one where another process has the
/// worker. Whoever calls this has seen to it that the client may ask.
pub async fn answer(
    app: &App,
    (method, url, body): (&Method, &Url, &mut Body),
    elsewhere: impl FnOnce() -> Response,
) -> Option<Response> {
    let path = url.path().strip_prefix(PATH)?;
    let mut parts = path.split('/').skip(1);
    let whole = (parts.next(), parts.next(), parts.next(), parts.next());
    let answered = match whole {
        (Some("workers"), None, ..) => match *method {
            Method::GET => list(app, url).await,
            _ => Err(not_so(method)),
        },
        (Some("workers"), Some(worker), what, None) => {
            one(app, (method, url, body), worker, what).await
        }
        (Some("events"), None, ..) if *method == Method::GET => follow(app, url).await,
        (Some("log"), None, ..) if *method == Method::GET => log(app, url, None),
        (Some("events" | "log"), None, ..) => Err(not_so(method)),
        _ => Err(nothing_here()),
    };
    Some(answered.unwrap_or_else(|failed| match failed {
        Failed::BadRequest(error) => problem(StatusCode::BAD_REQUEST, error),
        Failed::NotFound(error) => problem(StatusCode::NOT_FOUND, error),
        Failed::Gone(error) => problem(StatusCode::GONE, error),
        Failed::Unchanged(Unchanged::Elsewhere) => elsewhere(),
        Failed::Unchanged(Unchanged::Refused(error)) => problem(StatusCode::CONFLICT, error),
        Failed::Unchanged(Unchanged::Unknown(error)) => {
            problem(StatusCode::SERVICE_UNAVAILABLE, error)
        }
    }))
}

async fn list(app: &App, url: &Url) -> Answer {
    let after = match parameter(url, "after") {
        Some(id) => Some(parse_id(&id).ok_or_else(|| bad("after is a worker's id"))?),
        None => None,
    };
    let state = match parameter(url, "state").as_deref() {
        None => None,
        Some("awake") => Some(State::Awake),
        Some("asleep") => Some(State::Asleep),
        Some(_) => return Err(bad("state is awake or asleep")),
    };
    let wanted = Wanted {
        page: WorkerPage {
            after,
            script: parameter(url, "script").map(Cow::into_owned),
            limit: limit(url)?,
        },
        state,
    };
    Ok(json(&app.list_workers(&wanted).await?))
}

/// What is asked of one worker.
async fn one(
    app: &App,
    (method, url, body): (&Method, &Url, &mut Body),
    worker: &str,
    what: Option<&str>,
) -> Answer {
    let worker = decoded(worker)?;
    let key = app.resolve_worker(&worker).await?;
    match (method, what) {
        (&Method::GET, None) => match app.describe_worker(&key).await? {
            Some(worker) => Ok(json(&worker)),
            None => Err(Failed::NotFound(format!(
                "{worker} is not stored, and not awake"
            ))),
        },
        (&Method::DELETE, None) => {
            app.delete_worker(&key).await?;
            Ok(done())
        }
        (&Method::POST, Some("wake")) => {
            app.wake(&key).await?;
            Ok(done())
        }
        (&Method::POST, Some("sleep")) => {
            app.put_to_sleep(&key).await?;
            Ok(done())
        }
        (&Method::GET, Some("log")) => {
            app.must_have(key.id())?;
            log(app, url, Some(key.id()))
        }
        (&Method::GET, Some("keys")) => {
            let range = KeyRange {
                prefix: parameter(url, "prefix").map(Cow::into_owned),
                start_after: parameter(url, "after").map(Cow::into_owned),
                limit: Some(limit(url)?),
                ..KeyRange::default()
            };
            Ok(json(&app.worker_entries(&key, range).await?))
        }
        (_, Some("key")) => {
            let name = parameter(url, "name").ok_or_else(|| bad("which key? Say name=…"))?;
            one_entry(app, (method, body), &key, name.into_owned()).await
        }
        (&Method::POST, Some("exec")) => {
            let Exec { expression } = read(body).await?;
            Ok(json(&app.evaluate(&key, expression).await?))
        }
        (&Method::POST, Some("move")) => {
            let Move { pod } = read(body).await?;
            Ok(json(&app.move_worker(&key, pod.as_deref()).await?))
        }
        (&Method::POST, Some("inspect")) => Ok(json(&app.inspect_worker(&key).await?)),
        (&Method::POST, Some("sql")) => {
            let Sql { query } = read(body).await?;
            Ok(json(&app.worker_rows(&key, query).await?))
        }
        (
            _,
            None | Some("wake" | "sleep" | "move" | "keys" | "log" | "sql" | "exec" | "inspect"),
        ) => Err(not_so(method)),
        _ => Err(nothing_here()),
    }
}

/// What happens to workers, from now on or from after what the asker knows.
async fn follow(app: &App, url: &Url) -> Answer {
    let (start, after) = (parameter(url, "start"), parameter(url, "after"));
    let after = match (&start, &after) {
        (None, None) => None,
        (Some(start), Some(after)) => {
            let after = after.parse().map_err(|_| bad("after is a number"))?;
            Some((&**start, after))
        }
        _ => return Err(bad("start and after go together")),
    };
    let follower = app.events().follow(after).await;
    let follower = follower.map_err(|events::Unknown| {
        Failed::Gone("what followed is not known any more: begin anew".to_owned())
    })?;
    let begin = stream::once(ready(Ok(follower.begin())));
    let news = stream::unfold(Some(follower), async |follower| {
        let mut follower = follower?;
        match follower.next(ALIVE).await {
            Some(lines) => Some((Ok(lines), Some(follower))),
            None if follower.is_over() => Some((Ok(events::line(&Event::End)), None)),
            None => None,
        }
    });
    let body = Body::Stream(Box::pin(begin.chain(news)));
    Ok(with_type("application/x-ndjson", body))
}

/// The last lines of the log, and, if they are wanted, those that come: of one worker, as long as this process has it, or of all and the
/// server.
fn log(app: &App, url: &Url, worker: Option<WorkerId>) -> Answer {
    let tail = match parameter(url, "tail") {
        None => usize::MAX,
        Some(tail) => tail.parse().map_err(|_| bad("tail is a number"))?,
    };
    let mut reader = app.lines().read(worker, tail);
    let last = stream::once(ready(Ok(Bytes::from(reader.last()))));
    let body: Lines = match parameter(url, "follow").as_deref() {
        None | Some("false") => last.boxed(),
        Some("true") => {
            let app = app.weak();
            let is_here = move || {
                let app = app.upgrade();
                app.is_some_and(|app| worker.is_none_or(|worker| app.must_have(worker).is_ok()))
            };
            let news = stream::unfold((reader, is_here), async |(mut reader, is_here)| {
                let line = next_line(&mut reader, &is_here).await?;
                Some((Ok(line.into()), (reader, is_here)))
            });
            last.chain(news).boxed()
        }
        Some(_) => return Err(bad("follow is true or false")),
    };
    Ok(with_type("text/plain; charset=utf-8", Body::Stream(body)))
}

/// What is logged next; nothing once what is followed is not here any more.
async fn next_line(reader: &mut Reader, is_here: impl Fn() -> bool) -> Option<String> {
    loop {
        match timeout(LOOK, reader.next()).await {
            Ok(line) => return line,
            Err(_) if is_here() => {}
            Err(_) => return None,
        }
    }
}

async fn one_entry(
    app: &App,
    (method, body): (&Method, &mut Body),
    key: &WorkerKey,
    entry: String,
) -> Answer {
    match *method {
        Method::GET => match app.worker_entry(key, entry.clone()).await? {
            Some(found) => Ok(json(&found)),
            None => Err(Failed::NotFound(format!("there is no key {entry:?}"))),
        },
        Method::PUT => {
            let value = read(body).await?;
            app.put_worker_entry(key, entry, Some(value)).await?;
            Ok(done())
        }
        Method::DELETE => {
            app.put_worker_entry(key, entry, None).await?;
            Ok(done())
        }
        _ => Err(not_so(method)),
    }
}

/// The body, from JSON.
async fn read<T: DeserializeOwned>(body: &mut Body) -> Result<T, Failed> {
    let mut bytes = Vec::new();
    match std::mem::replace(body, Body::Empty) {
        Body::Empty => {}
        Body::Full(all) => bytes.extend(all),
        Body::Stream(mut stream) => {
            while let Some(some) = stream.next().await {
                bytes.extend(some.map_err(|error| bad(&error.to_string()))?);
                if bytes.len() > MOST_BYTES {
                    return Err(bad("the body is larger than 16 MiB"));
                }
            }
        }
    }
    serde_json::from_slice(&bytes)
        .map_err(|error| bad(&format!("the body is no such JSON: {error}")))
}

fn limit(url: &Url) -> Result<usize, Failed> {
    match parameter(url, "limit") {
        None => Ok(PAGE),
        Some(text) => match text.parse() {
            Ok(limit @ 1..=MOST) => Ok(limit),
            _ => Err(bad("limit is a number from 1 to 1000")),
        },
    }
}

fn parameter<'u>(url: &'u Url, wanted: &str) -> Option<Cow<'u, str>> {
    let mut parameters = url.query_pairs();
    parameters.find_map(|(name, value)| (name == wanted).then_some(value))
}

fn decoded(part: &str) -> Result<String, Failed> {
    let decoded = percent_decode_str(part).decode_utf8();
    let decoded = decoded.map_err(|_| bad("what is percent-encoded in the path is no UTF-8"))?;
    Ok(decoded.into_owned())
}

fn bad(why: &str) -> Failed {
    Failed::BadRequest(why.to_owned())
}

fn not_so(method: &Method) -> Failed {
    Failed::BadRequest(format!("{method} cannot be done with that"))
}

fn nothing_here() -> Failed {
    Failed::NotFound("there is nothing at this path".to_owned())
}

fn done() -> Response {
    response(StatusCode::NO_CONTENT, Body::Empty)
}

/// What is answered of a worker that another process has (RFC 9110 section 15.5.20).
pub(super) fn elsewhere() -> Response {
    let error = "another pod has this worker".to_owned();
    problem(StatusCode::MISDIRECTED_REQUEST, error)
}

fn problem(status: StatusCode, error: String) -> Response {
    with_body(status, &Problem { error })
}

fn json(answer: &impl Serialize) -> Response {
    with_body(StatusCode::OK, answer)
}

fn with_body(status: StatusCode, answer: &impl Serialize) -> Response {
    // Texts, numbers and lists: nothing of it cannot be written.
    let body = serde_json::to_vec(answer).unwrap_or_default();
    let mut response = with_type("application/json", Body::Full(body.into()));
    response.status = status;
    response
}

fn with_type(kind: &'static str, body: Body) -> Response {
    let mut response = response(StatusCode::OK, body);
    let kind = HeaderValue::from_static(kind);
    response.headers.insert(CONTENT_TYPE, kind);
    response
}

fn response(status: StatusCode, body: Body) -> Response {
    Response {
        status,
        reason: Default::default(),
        headers: HeaderMap::new(),
        body,
        socket: None,
    }
}
