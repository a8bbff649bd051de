//! Answers of HTTP.

use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WARNING};
use http::{Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use serde_json::Value;

use crate::status::{Refusal, warning};

/// What goes wrong in the middle of an answer: its client sees that it has no end.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// The body of an answer.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;
/// An answer.
pub type Answer = Response<Body>;

/// JSON's media type.
pub const JSON: &str = "application/json";

/// A body that is there as a whole.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    let full = Full::new(bytes.into());
    full.map_err(|never| match never {}).boxed_unsync()
}

/// A body that comes piece by piece.
pub fn streamed(pieces: impl Stream<Item = Result<Bytes, BoxError>> + Send + 'static) -> Body {
    StreamBody::new(pieces.map_ok(Frame::data)).boxed_unsync()
}

/// An answer with this body.
#[must_use]
pub fn with_type(kind: &'static str, body: Body) -> Answer {
    let mut answer = Response::new(body);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    let stored = HeaderValue::from_static("no-cache, private");
    headers.insert(CACHE_CONTROL, stored);
    answer
}

/// An answer in JSON.
#[must_use]
pub fn json(value: &Value) -> Answer {
    with_type(JSON, full(value.to_string()))
}

/// A text for people and probes.
#[must_use]
pub fn text(status: StatusCode, text: String) -> Answer {
    let mut answer = with_type("text/plain; charset=utf-8", full(text));
    *answer.status_mut() = status;
    answer
}

/// Adds warnings, which kubectl prints.
pub fn warn(answer: &mut Answer, warnings: &[String]) {
    for text in warnings {
        if let Ok(value) = HeaderValue::from_str(&warning(text)) {
            answer.headers_mut().append(WARNING, value);
        }
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let mut answer = json(&refusal.status());
        let code = StatusCode::from_u16(refusal.code);
        *answer.status_mut() = code.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if refusal.code == 429 {
            // Without it client-go does not ask again.
            let soon = HeaderValue::from_static("1");
            answer.headers_mut().insert(RETRY_AFTER, soon);
        }
        if refusal.code == 405 {
            let allowed = HeaderValue::from_static("GET, DELETE, POST, PUT");
            answer.headers_mut().insert(ALLOW, allowed);
        }
        answer
    }
}
