//! The gateway's own answers, where there is none of a pod's to pass on.

use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use portside_exchange::{Body, REQUEST_ID, Response};

/// Says why there is no answer of a pod's; programs may rely on its values.
pub const REASON: HeaderName = HeaderName::from_static("portside-reason");

/// Why a request gets no answer from a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No class has a route for it.
    NoRoute,
    /// The class is suspended.
    Suspended,
    /// The class asks for no pods.
    ScaledToZero,
    /// No pod became active in time.
    Starting,
    /// Too many requests wait already.
    Overloaded,
    /// The body had to be sent again and is too long for that.
    BodyTooLong,
    /// The client did not send all of the body.
    BodyIncomplete,
    /// The pod could not be reached, or did not say anything that can be passed on.
    Unreachable,
    /// The pod went away with the request.
    Lost,
    /// The pod took too long.
    TimedOut,
}

impl Refusal {
    /// Status, `portside-reason`, seconds after which to try again, and a sentence for people.
    const fn parts(self) -> (StatusCode, &'static str, Option<u64>, &'static str) {
        const UNAVAILABLE: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
        match self {
            Self::NoRoute => (
                StatusCode::NOT_FOUND,
                "NoRoute",
                None,
                "no class has a route for this host and path",
            ),
            Self::Suspended => (UNAVAILABLE, "Suspended", Some(60), "the class is suspended"),
            Self::ScaledToZero => (
                UNAVAILABLE,
                "ScaledToZero",
                Some(60),
                "the class has no pods, as it is scaled to zero",
            ),
            Self::Starting => (
                UNAVAILABLE,
                "Starting",
                Some(2),
                "the class has no active pod yet",
            ),
            Self::Overloaded => (
                UNAVAILABLE,
                "Overloaded",
                Some(1),
                "too many requests wait for the class to start",
            ),
            Self::BodyTooLong => (
                UNAVAILABLE,
                "Starting",
                Some(1),
                "the class moved to another pod; send the request again",
            ),
            Self::BodyIncomplete => (
                StatusCode::BAD_REQUEST,
                "BodyIncomplete",
                None,
                "the body is incomplete",
            ),
            Self::Unreachable => (
                StatusCode::BAD_GATEWAY,
                "Unreachable",
                None,
                "the class's pod cannot be reached",
            ),
            Self::Lost => (
                StatusCode::BAD_GATEWAY,
                "Lost",
                None,
                "the class's pod went away before it answered",
            ),
            Self::TimedOut => (
                StatusCode::GATEWAY_TIMEOUT,
                "TimedOut",
                None,
                "the class's pod did not answer in time",
            ),
        }
    }

    /// As a response, with the request's id.
    #[must_use]
    pub fn response(self, id: &HeaderValue) -> Response {
        let (status, reason, retry_after, text) = self.parts();
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        headers.insert(REASON, HeaderValue::from_static(reason));
        headers.insert(REQUEST_ID, id.clone());
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        Response {
            status,
            reason: Bytes::new(),
            headers,
            body: Body::Full(format!("{text}\n").into()),
            socket: None,
        }
    }
}
