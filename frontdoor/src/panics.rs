//! A panic ends what it happened in and nothing else, and is never silent.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use http::{HeaderValue, Method, Uri};

use crate::request_id;

/// What may panic, as the log names it: without a query, which may hold secrets.
pub(crate) enum What {
    Connection {
        peer: IpAddr,
    },
    Request {
        method: Method,
        uri: Uri,
        peer: IpAddr,
        id: HeaderValue,
    },
    WebSocket {
        path: Box<str>,
        peer: IpAddr,
    },
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection { peer } => write!(f, "the connection of {peer}"),
            Self::Request {
                method,
                uri,
                peer,
                id,
            } => {
                let (path, id) = (uri.path(), request_id::shown(id));
                write!(f, "{method} {path} of {peer}, request {id}")
            }
            Self::WebSocket { path, peer } => write!(f, "the WebSocket {path} of {peer}"),
        }
    }
}

/// Runs `work`. If it panics there is nothing, and the log says so, with `what` it was.
///
/// What `work` had in its hands may be half done, so the caller must give that up: the connection, or the one request.
///
/// Not an async function: that would hold `work` twice, as its argument and as what it waits for.
pub(crate) fn caught<T>(
    what: What,
    work: impl Future<Output = T>,
) -> impl Future<Output = Option<T>> {
    AssertUnwindSafe(work).catch_unwind().map(move |outcome| {
        let panic = match outcome {
            Ok(done) => return Some(done),
            Err(panic) => panic,
        };
        tracing::error!(%what, panic = message(&*panic), "panicked");
        None
    })
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let formatted = panic.downcast_ref::<String>().map(String::as_str);
    formatted
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a message")
}
