//! Responses of `portside dev` itself.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use portside_exchange::{Body, Response};

/// A line or so for people.
pub fn text(status: StatusCode, text: &str) -> Response {
    response(status, "text/plain;charset=UTF-8", text.to_owned())
}

/// A body of this kind.
pub fn response(status: StatusCode, kind: &'static str, body: String) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Response {
        status,
        reason: Default::default(),
        headers,
        body: Body::Full(body.into()),
        socket: None,
    }
}
