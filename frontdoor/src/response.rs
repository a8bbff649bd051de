//! The application's answer, or ours in its place.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode, Version};
use hyper::ext::ReasonPhrase;
use portside_exchange::{Body, FetchError, REQUEST_ID};

use crate::body::Outgoing;
use crate::headers::{content_length, remove_hop_by_hop};
use crate::request_id;

/// Seconds after which a client may try again when the front door itself is full.
const BUSY_SECONDS: u64 = 1;

/// An answer without, or instead of, the application's.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    text: Text,
    retry_after: Option<u64>,
}

#[derive(Debug)]
enum Text {
    /// What the client did wrong.
    Client(&'static str),
    /// The application's or the server's trouble: only the status' name is shown.
    Ours,
    /// The application's trouble, shown to its developer.
    Shown(String),
}

impl Refusal {
    /// A refusal that tells the client what it did wrong.
    pub(crate) fn new(status: StatusCode, text: &'static str) -> Self {
        Self {
            status,
            text: Text::Client(text),
            retry_after: None,
        }
    }

    pub(crate) fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large")
    }

    /// Another version of WebSockets than ours (RFC 6455 section 4.4).
    pub(crate) fn websocket_version() -> Self {
        Self::new(
            StatusCode::UPGRADE_REQUIRED,
            "only version 13 of WebSockets is served",
        )
    }

    pub(crate) fn busy() -> Self {
        Self::ours(StatusCode::SERVICE_UNAVAILABLE, Some(BUSY_SECONDS))
    }

    fn ours(status: StatusCode, retry_after: Option<u64>) -> Self {
        Self {
            status,
            text: Text::Ours,
            retry_after,
        }
    }

    /// What it is answered with.
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// The application broke the rules, or itself. Clients see `detail` only if `show`.
    pub(crate) fn application(detail: &str, show: bool, id: &HeaderValue) -> Self {
        let request_id = request_id::shown(id);
        tracing::warn!(detail, request_id, "the application failed");
        Self {
            text: if show {
                Text::Shown(detail.to_owned())
            } else {
                Text::Ours
            },
            ..Self::ours(StatusCode::INTERNAL_SERVER_ERROR, None)
        }
    }

    pub(crate) fn from_fetch(error: &FetchError, show: bool, id: &HeaderValue) -> Self {
        match error {
            FetchError::Failed(detail) => Self::application(detail, show, id),
            FetchError::TimedOut => Self::ours(error.status(), None),
            FetchError::Overloaded { retry_after_ms } => {
                Self::ours(error.status(), Some(retry_after_ms.div_ceil(1000)))
            }
            FetchError::Unavailable(_) | FetchError::ShuttingDown => {
                Self::ours(error.status(), Some(BUSY_SECONDS))
            }
        }
    }
}

/// Writes a refusal as a response, with the request's id: whoever gets it can say which it was.
pub(crate) fn refuse(refusal: Refusal, id: &HeaderValue) -> Response<Outgoing> {
    let text = match refusal.text {
        Text::Client(text) => Bytes::from_static(text.as_bytes()),
        Text::Ours => Bytes::from_static(
            refusal
                .status
                .canonical_reason()
                .unwrap_or_default()
                .as_bytes(),
        ),
        Text::Shown(text) => text.into(),
    };
    let mut response = Response::new(Outgoing::whole(text));
    *response.status_mut() = refusal.status;
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id.clone());
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    if refusal.status == StatusCode::UPGRADE_REQUIRED {
        headers.insert(
            header::SEC_WEBSOCKET_VERSION,
            HeaderValue::from_static("13"),
        );
    }
    if let Some(seconds) = refusal.retry_after {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// The answer to a request that panicked. How much of it was read is not certain, so the connection ends with it.
pub(crate) fn after_a_panic(version: Version, id: &HeaderValue) -> Response<Outgoing> {
    let refusal = Refusal::ours(StatusCode::INTERNAL_SERVER_ERROR, None);
    let mut response = refuse(refusal, id);
    if version != Version::HTTP_2 {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    response
}

/// Makes the application's answer legal HTTP (RFC 9110 sections 6.4.1, 7.6.1 and 8.6).
pub(crate) fn from_application(
    status: StatusCode,
    reason: Bytes,
    mut headers: HeaderMap,
    body: Body,
    head_only: bool,
) -> Response<Outgoing> {
    remove_hop_by_hop(&mut headers);
    let declared = content_length(&headers);
    headers.remove(header::CONTENT_LENGTH);
    let bodiless = matches!(
        status,
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED
    );
    if head_only && !bodiless {
        // The length a GET would have.
        let length = match &body {
            Body::Full(bytes) => Some(bytes.len() as u64),
            Body::Empty | Body::Stream(_) => declared,
        };
        if let Some(length) = length {
            headers.insert(header::CONTENT_LENGTH, length.into());
        }
    }
    let body = if head_only || bodiless {
        Body::Empty
    } else {
        body
    };
    let mut response = Response::new(Outgoing::new(body, declared));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    // hyper has a phrase for statuses that are registered only, and no good one for others.
    if !reason.is_empty() || status.canonical_reason().is_none() {
        let reason = ReasonPhrase::try_from(reason);
        let reason = reason.unwrap_or(const { ReasonPhrase::from_static(b"") });
        response.extensions_mut().insert(reason);
    }
    response
}
