//! Bodies between hyper and the application, neither of which ever holds more than a few chunks.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::stream::{Stream, StreamExt};
use http::{StatusCode, Version};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use portside_exchange::{Body, BodyError};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};

use crate::Config;
use crate::io::{Answering, Heads};
use crate::response::Refusal;

/// What was wrong with a request's body, if anything was: it decides the status when no response has begun.
#[derive(Clone, Default)]
pub(crate) struct Fault(Arc<AtomicU8>);

const TOO_LARGE: u8 = 1;
const TIMED_OUT: u8 = 2;
const MALFORMED: u8 = 3;

impl Fault {
    fn set(&self, fault: u8) {
        self.0.store(fault, Ordering::Relaxed);
    }

    pub(crate) fn refusal(&self) -> Option<Refusal> {
        match self.0.load(Ordering::Relaxed) {
            TOO_LARGE => Some(Refusal::too_large()),
            TIMED_OUT => Some(Refusal::new(
                StatusCode::REQUEST_TIMEOUT,
                "the body came too slowly",
            )),
            MALFORMED => Some(Refusal::new(
                StatusCode::BAD_REQUEST,
                "the body is incomplete or malformed",
            )),
            _ => None,
        }
    }
}

/// A request's body.
pub(crate) struct Upload {
    incoming: Incoming,
    version: Version,
    left: usize,
    limit: usize,
    patience: Duration,
    /// Runs while a reader waits; made when one first has to.
    timer: Option<Pin<Box<Sleep>>>,
    waiting: bool,
    ended: bool,
    heads: Arc<Heads>,
    fault: Fault,
}

impl Upload {
    pub(crate) fn new(
        incoming: Incoming,
        version: Version,
        config: &Config,
        heads: Arc<Heads>,
        fault: &Fault,
    ) -> Self {
        Self {
            incoming,
            version,
            left: config.max_body_bytes,
            limit: config.max_body_bytes,
            patience: config.body_timeout,
            timer: None,
            waiting: false,
            ended: false,
            heads,
            fault: fault.clone(),
        }
    }

    /// Reads all of a body of `length` bytes.
    pub(crate) async fn collect(mut self, length: usize) -> Result<Bytes, BodyError> {
        let mut whole = BytesMut::new();
        while let Some(chunk) = self.next().await {
            let chunk = chunk?;
            if whole.is_empty() && chunk.len() == length {
                // To the end, so that hyper knows the body as read.
                return match self.next().await {
                    Some(Err(error)) => Err(error),
                    _ => Ok(chunk),
                };
            }
            whole.reserve(length - whole.len().min(length));
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.freeze())
    }

    fn fail(&mut self, fault: u8, error: BodyError) -> Poll<Option<Result<Bytes, BodyError>>> {
        self.ended = true;
        self.fault.set(fault);
        Poll::Ready(Some(Err(error)))
    }

    /// Ready once a reader has waited too long.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = Instant::now() + self.patience;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if !self.waiting {
            self.waiting = true;
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(cx)
    }
}

impl Stream for Upload {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        while !this.ended {
            let frame = match Pin::new(&mut this.incoming).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    ready!(this.poll_timer(cx));
                    let error = BodyError::Incomplete(format!(
                        "nothing arrived for {} ms",
                        this.patience.as_millis()
                    ));
                    return this.fail(TIMED_OUT, error);
                }
            };
            this.waiting = false;
            match frame {
                Some(Ok(frame)) => {
                    // Trailers are not passed on.
                    let Ok(bytes) = frame.into_data() else {
                        continue;
                    };
                    let Some(left) = this.left.checked_sub(bytes.len()) else {
                        let limit = this.limit;
                        return this.fail(TOO_LARGE, BodyError::TooLarge { limit });
                    };
                    this.left = left;
                    return Poll::Ready(Some(Ok(bytes)));
                }
                Some(Err(error)) => {
                    return this.fail(MALFORMED, BodyError::Incomplete(error.to_string()));
                }
                // hyper ends a body that the client has reset with NO_ERROR as if it were whole.
                None if this.version == Version::HTTP_2 && !this.incoming.is_end_stream() => {
                    let error = BodyError::Incomplete("the stream was reset".to_owned());
                    return this.fail(MALFORMED, error);
                }
                None => {
                    this.ended = true;
                    this.heads.resume();
                }
            }
        }
        Poll::Ready(None)
    }
}

/// A response's body, and the permit of its request.
pub(crate) struct Outgoing {
    content: Content,
    permit: Option<OwnedSemaphorePermit>,
    answering: Option<Answering>,
    stall: Option<Arc<Stall>>,
}

/// Since when a client has no room for more of a body than it has been given.
#[derive(Default)]
pub(crate) struct Stall(Mutex<Option<Instant>>);

impl Stall {
    /// Nothing while the client has room, and the application is what is waited for.
    pub(crate) fn since(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(|poison| poison.into_inner())
    }

    fn set(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(|poison| poison.into_inner()) = since;
    }
}

enum Content {
    Whole(Bytes),
    Stream {
        stream: Pin<Box<dyn Stream<Item = Result<Bytes, BodyError>> + Send>>,
        /// Bytes to come, where the application said so.
        left: Option<u64>,
    },
}

impl Content {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Stream { stream, left } => {
                let item = ready!(stream.as_mut().poll_next(cx));
                Poll::Ready(match (item, left) {
                    (None, Some(1..)) => Some(Err(BodyError::Incomplete(
                        "the application sent less than its content-length".into(),
                    ))),
                    (Some(Ok(bytes)), Some(left)) => {
                        Some(match left.checked_sub(bytes.len() as u64) {
                            Some(rest) => {
                                *left = rest;
                                Ok(Frame::data(bytes))
                            }
                            None => Err(BodyError::Incomplete(
                                "the application sent more than its content-length".into(),
                            )),
                        })
                    }
                    (item, _) => item.map(|chunk| chunk.map(Frame::data)),
                })
            }
        }
    }
}

impl Outgoing {
    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self {
            content: Content::Whole(bytes),
            permit: None,
            answering: None,
            stall: None,
        }
    }

    /// `length` bounds a stream, in both directions.
    pub(crate) fn new(body: Body, length: Option<u64>) -> Self {
        match body {
            Body::Empty => Self::whole(Bytes::new()),
            Body::Full(bytes) => Self::whole(bytes),
            Body::Stream(stream) => Self {
                content: Content::Stream {
                    stream,
                    left: length,
                },
                permit: None,
                answering: None,
                stall: None,
            },
        }
    }

    /// Counts the request as running until the body is written or dropped.
    pub(crate) fn hold(&mut self, permit: OwnedSemaphorePermit) {
        self.permit = Some(permit);
    }

    /// The request is answered when the body is written or dropped.
    pub(crate) fn answers(&mut self, answering: Answering) {
        self.answering = Some(answering);
    }

    /// Tells when the client has no room, which is where hyper does not ask for more.
    pub(crate) fn watch(&mut self) -> Weak<Stall> {
        Arc::downgrade(self.stall.get_or_insert_default())
    }
}

impl HttpBody for Outgoing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if let Some(stall) = &this.stall {
            stall.set(None);
        }
        let polled = this.content.poll(cx);
        if let (Some(stall), true) = (&this.stall, polled.is_ready()) {
            stall.set(Some(Instant::now()));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Whole(bytes) => bytes.is_empty(),
            // Its end may still be an error.
            Content::Stream { .. } => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Stream { left, .. } => {
                left.map_or_else(SizeHint::default, SizeHint::with_exact)
            }
        }
    }
}
