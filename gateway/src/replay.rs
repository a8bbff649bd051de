//! A request's body that can be sent again.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::Stream;
use hyper::body::{Frame, SizeHint};
use portside_exchange::{Body, BodyError};
use tokio::time::Instant;

/// Bytes kept of a body for sending it again. A longer body can be sent only once.
pub const MAX_KEPT: usize = 1 << 20;

type Source = Pin<Box<dyn Stream<Item = Result<Bytes, BodyError>> + Send>>;

/// A request's body, read from the client as attempts to send it need it.
pub struct Replay {
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    /// The rest of what the client sends; none at its end.
    source: Option<Source>,
    kept: Vec<Bytes>,
    kept_bytes: usize,
    repeatable: bool,
    /// The client did not send all of it.
    broken: bool,
    /// The latest attempt: only it reads.
    attempt: u64,
    /// When a byte last moved.
    moved: Instant,
}

/// The body as one attempt sends it. Fails as soon as a later attempt has begun.
pub struct Upload {
    shared: Arc<Mutex<Shared>>,
    attempt: u64,
    /// Chunks taken of those that are kept.
    taken: usize,
    /// Bytes of the whole, if they are all here.
    length: Option<u64>,
}

impl Replay {
    /// Takes a client's body.
    #[must_use]
    pub fn new(body: Body) -> Self {
        let (source, kept) = match body {
            Body::Empty => (None, Vec::new()),
            Body::Full(bytes) if bytes.is_empty() => (None, Vec::new()),
            Body::Full(bytes) => (None, vec![bytes]),
            Body::Stream(stream) => (Some(stream), Vec::new()),
        };
        Self {
            shared: Arc::new(Mutex::new(Shared {
                source,
                kept_bytes: kept.iter().map(Bytes::len).sum(),
                kept,
                repeatable: true,
                broken: false,
                attempt: 0,
                moved: Instant::now(),
            })),
        }
    }

    /// The body from its beginning. Call only while it [`Replay::is_repeatable`].
    #[must_use]
    pub fn attempt(&self) -> Upload {
        let mut shared = lock(&self.shared);
        shared.attempt += 1;
        shared.moved = Instant::now();
        Upload {
            attempt: shared.attempt,
            taken: 0,
            length: shared.source.is_none().then_some(shared.kept_bytes as u64),
            shared: Arc::clone(&self.shared),
        }
    }

    /// Whether everything that was read is still there.
    #[must_use]
    pub fn is_repeatable(&self) -> bool {
        lock(&self.shared).repeatable
    }

    /// Whether the client failed to send all of it.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        lock(&self.shared).broken
    }

    /// The body will not be sent again: nothing more is kept.
    pub fn settle(&self) {
        let mut shared = lock(&self.shared);
        // What is here already may still be on its way.
        if shared.source.is_some() {
            shared.repeatable = false;
        }
    }

    /// When the latest attempt began or last took a byte.
    #[must_use]
    pub fn moved(&self) -> Instant {
        lock(&self.shared).moved
    }
}

impl Upload {
    /// No bytes.
    #[must_use]
    pub fn empty() -> Self {
        Replay::new(Body::Empty).attempt()
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn keep(&mut self, chunk: &Bytes) {
        if self.repeatable && self.kept_bytes + chunk.len() <= MAX_KEPT {
            self.kept_bytes += chunk.len();
            self.kept.push(chunk.clone());
        } else {
            self.repeatable = false;
            self.kept = Vec::new();
        }
    }
}

impl hyper::body::Body for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let mut shared = lock(&this.shared);
        if shared.attempt != this.attempt {
            let error = BodyError::Incomplete("the request is being sent again".into());
            return Poll::Ready(Some(Err(error)));
        }
        if let Some(chunk) = shared.kept.get(this.taken).cloned() {
            this.taken += 1;
            shared.moved = Instant::now();
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        let Some(source) = shared.source.as_mut() else {
            return Poll::Ready(None);
        };
        let item = ready!(source.as_mut().poll_next(cx));
        shared.moved = Instant::now();
        Poll::Ready(match item {
            Some(Ok(chunk)) => {
                shared.keep(&chunk);
                this.taken = shared.kept.len();
                Some(Ok(Frame::data(chunk)))
            }
            Some(Err(error)) => {
                shared.broken = true;
                shared.repeatable = false;
                Some(Err(error))
            }
            None => {
                shared.source = None;
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.length == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.length
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use http_body_util::BodyExt;
    use tokio::sync::mpsc;

    /// A body that ends when the sender is dropped.
    fn streamed() -> (mpsc::UnboundedSender<Result<Bytes, BodyError>>, Replay) {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let stream = futures::stream::poll_fn(move |cx| receiver.poll_recv(cx));
        (sender, Replay::new(Body::Stream(Box::pin(stream))))
    }

    /// The next chunk, if there is one at once.
    fn next(upload: &mut Upload) -> Option<Option<Result<Bytes, BodyError>>> {
        let frame = upload.frame().now_or_never()?;
        Some(frame.map(|frame| frame.map(|frame| frame.into_data().unwrap())))
    }

    fn all(upload: Upload) -> Bytes {
        let collected = upload.collect().now_or_never().unwrap();
        collected.unwrap().to_bytes()
    }

    #[test]
    fn a_whole_body_is_sent_as_often_as_needed() {
        let replay = Replay::new(Body::Full("whole".into()));
        for _ in 0..3 {
            assert!(replay.is_repeatable());
            let upload = replay.attempt();
            assert_eq!(hyper::body::Body::size_hint(&upload).exact(), Some(5));
            assert_eq!(all(upload), "whole");
        }
        assert!(hyper::body::Body::is_end_stream(
            &Replay::new(Body::Empty).attempt()
        ));
    }

    #[test]
    fn a_later_attempt_sends_what_was_read_and_then_the_rest() {
        let (client, replay) = streamed();
        let mut first = replay.attempt();
        client.send(Ok("one".into())).unwrap();
        assert_eq!(next(&mut first), Some(Some(Ok("one".into()))));
        assert_eq!(next(&mut first), None);

        let mut second = replay.attempt();
        assert!(
            matches!(next(&mut first), Some(Some(Err(_)))),
            "only the latest attempt reads"
        );
        client.send(Ok("two".into())).unwrap();
        assert_eq!(next(&mut second), Some(Some(Ok("one".into()))));
        assert_eq!(next(&mut second), Some(Some(Ok("two".into()))));
        drop(client);
        assert_eq!(next(&mut second), Some(None));
        assert_eq!(all(replay.attempt()), "onetwo");
    }

    #[test]
    fn a_long_body_is_sent_once_and_not_kept() {
        let (client, replay) = streamed();
        let mut upload = replay.attempt();
        for _ in 0..3 {
            client.send(Ok(vec![0; MAX_KEPT / 2].into())).unwrap();
        }
        next(&mut upload).unwrap();
        next(&mut upload).unwrap();
        assert!(replay.is_repeatable(), "exactly as much as is kept");
        next(&mut upload).unwrap();
        assert!(!replay.is_repeatable());
        assert!(lock(&replay.shared).kept.is_empty());
        client.send(Ok("more".into())).unwrap();
        assert_eq!(next(&mut upload), Some(Some(Ok("more".into()))));
    }

    #[test]
    fn nothing_is_kept_once_settled() {
        let (client, replay) = streamed();
        let mut upload = replay.attempt();
        client.send(Ok("one".into())).unwrap();
        client.send(Ok("two".into())).unwrap();
        next(&mut upload).unwrap();
        replay.settle();
        assert_eq!(next(&mut upload), Some(Some(Ok("two".into()))));
        assert!(!replay.is_repeatable());
        assert!(lock(&replay.shared).kept.is_empty());
    }

    #[test]
    fn a_body_that_breaks_off_is_not_repeated() {
        let (client, replay) = streamed();
        let mut upload = replay.attempt();
        let error = BodyError::TooLarge { limit: 1 };
        client.send(Err(error.clone())).unwrap();
        assert_eq!(next(&mut upload), Some(Some(Err(error))));
        assert!(replay.is_broken() && !replay.is_repeatable());
    }
}
