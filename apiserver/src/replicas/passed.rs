//! The answer of another replica, passed back.

use bytes::Bytes;
use futures::stream;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WARNING};
use http::{HeaderName, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use crate::answer::{self, Answer, BoxError};

/// What an answer says besides its body.
const HEADERS: [HeaderName; 5] = [CONTENT_TYPE, CACHE_CONTROL, WARNING, RETRY_AFTER, ALLOW];

/// A body of another replica, as it comes: no more is read of it than the client takes, and the other end learns when it is dropped.
struct Passed {
    body: Incoming,
    /// Whether it may end here: of a watch, before and behind each line.
    is_whole: bool,
    stop: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

/// As it is passed back. Of a watch, `stop` ends it.
pub(super) fn back(
    answer: Response<Incoming>,
    watches: bool,
    permit: OwnedSemaphorePermit,
    stop: CancellationToken,
) -> Answer {
    let (head, body) = answer.into_parts();
    let passed = Passed {
        body,
        is_whole: watches,
        stop,
        _permit: permit,
    };
    let pieces = stream::try_unfold(passed, |mut passed| async move {
        let piece = passed.next().await?;
        Ok(piece.map(|it| (it, passed)))
    });
    let mut back = Answer::new(answer::streamed(pieces));
    *back.status_mut() = head.status;
    for name in HEADERS {
        for value in head.headers.get_all(&name) {
            back.headers_mut().append(&name, value.clone());
        }
    }
    back
}

impl Passed {
    async fn next(&mut self) -> Result<Option<Bytes>, BoxError> {
        loop {
            let frame = tokio::select! {
                frame = self.body.frame() => frame,
                () = self.stop.cancelled(), if self.is_whole => return Ok(None),
            };
            let Some(frame) = frame.transpose()? else {
                return Ok(None);
            };
            if let Ok(data) = frame.into_data()
                && let Some(last) = data.last()
            {
                // Each event of a watch is a line, and nothing else that is passed back has any.
                self.is_whole = *last == b'\n';
                return Ok(Some(data));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Refusal;

    /// Without Retry-After, for one, client-go does not ask again.
    #[test]
    fn all_that_a_refusal_says_is_passed_back() {
        for refusal in [
            Refusal::too_many("watches"),
            Refusal::not_allowed("PATCH", "workers"),
            Refusal::unavailable("pods"),
        ] {
            let answer = Answer::from(refusal);
            for name in answer.headers().keys() {
                assert!(HEADERS.contains(name), "{name}");
            }
        }
    }
}
