//! A pod's response body on its way to the client.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::Stream;
use hyper::body::{Body as _, Incoming};
use portside_exchange::{Body, BodyError};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::access::Record;
use crate::pod::InFlight;
use crate::pool::{Answer, Lease};

/// A body that is read as the client takes it. Dropped before its end, it ends the pod's work on it.
struct Download {
    incoming: Incoming,
    lease: Option<Lease>,
    overtaken: Pin<Box<WaitForCancellationFutureOwned>>,
    record: Record,
    _in_flight: InFlight,
}

/// The answer's body, which keeps the request's record until its end.
pub(crate) fn body(
    answer: Answer,
    overtaken: CancellationToken,
    in_flight: InFlight,
    record: Record,
) -> Body {
    let incoming = answer.response.into_body();
    if incoming.is_end_stream() {
        answer.lease.give_back();
        return Body::Empty;
    }
    Body::Stream(Box::pin(Download {
        incoming,
        lease: Some(answer.lease),
        overtaken: Box::pin(overtaken.cancelled_owned()),
        record,
        _in_flight: in_flight,
    }))
}

impl Download {
    fn fail(&mut self, reason: String) -> Poll<Option<Result<Bytes, BodyError>>> {
        self.lease = None;
        Poll::Ready(Some(Err(BodyError::Incomplete(reason))))
    }

    fn end(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.give_back();
        }
    }
}

impl Stream for Download {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        while this.lease.is_some() {
            if this.overtaken.as_mut().poll(cx).is_ready() {
                return this.fail("another pod took over".into());
            }
            match std::task::ready!(Pin::new(&mut this.incoming).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    let data = frame.into_data();
                    // A reader that knows the length asks no further.
                    if this.incoming.is_end_stream() {
                        this.end();
                    }
                    // Trailers are not passed on.
                    let Ok(bytes) = data else { continue };
                    this.record.bytes += bytes.len() as u64;
                    return Poll::Ready(Some(Ok(bytes)));
                }
                Some(Err(error)) => return this.fail(error.to_string()),
                None => this.end(),
            }
        }
        Poll::Ready(None)
    }
}
