//! A request's body that can be sent again.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::Stream;
use hyper::body::{Frame, SizeHint};
use portside_exchange::{Body, BodyError};
use tokio::time::Instant;

use crate::share::{Place, Room, Share};

/// Bytes kept of a body for sending it again. A longer body can be sent only once, and so can one for which the process
/// has no room left, or none for its class.
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
    /// What this one takes of the bytes that the class's requests may keep.
    place: Place,
    /// Bytes of the whole, if that is known.
    length: Option<u64>,
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
    /// Takes a client's body. What is kept of it takes as many bytes of `share`.
    #[must_use]
    pub fn new(body: Body, share: &Arc<Share>) -> Self {
        let (length, source): (_, Option<Source>) = match body {
            Body::Empty => (Some(0), None),
            Body::Full(bytes) => {
                let once = futures::stream::iter([Ok(bytes.clone())]);
                (Some(bytes.len() as u64), Some(Box::pin(once)))
            }
            Body::Stream(stream) => (None, Some(stream)),
        };
        Self {
            shared: Arc::new(Mutex::new(Shared {
                source: source.filter(|_| length != Some(0)),
                kept: Vec::new(),
                kept_bytes: 0,
                place: Place::new(share),
                length,
                repeatable: true,
                broken: false,
                attempt: 0,
                moved: Instant::now(),
            })),
        }
    }

    /// The body from its beginning; `None` if some of it is gone. Ends the attempt before.
    #[must_use]
    pub fn attempt(&self) -> Option<Upload> {
        let mut shared = lock(&self.shared);
        if shared.attempt > 0 && !shared.repeatable {
            return None;
        }
        shared.attempt += 1;
        shared.moved = Instant::now();
        let whole = shared.source.is_none().then_some(shared.kept_bytes as u64);
        Some(Upload {
            attempt: shared.attempt,
            taken: 0,
            length: shared.length.or(whole),
            shared: Arc::clone(&self.shared),
        })
    }

    /// Ends the attempt, which must read no more once it is decided whether there is another.
    pub fn stop(&self) {
        lock(&self.shared).attempt += 1;
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
        let nothing = Replay::new(Body::Empty, &Room::new(0).share());
        nothing.attempt().expect("it is the first")
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn keep(&mut self, chunk: &Bytes) {
        let fits = self.repeatable && self.kept_bytes + chunk.len() <= MAX_KEPT;
        if fits && self.place.grow(chunk.len()) {
            self.kept_bytes += chunk.len();
            self.kept.push(chunk.clone());
        } else {
            self.repeatable = false;
            self.kept = Vec::new();
            self.place.clear();
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

    fn plenty() -> Arc<Share> {
        Room::new(10 * MAX_KEPT).share()
    }

    fn full(text: &'static str) -> Replay {
        Replay::new(Body::Full(text.into()), &plenty())
    }

    /// A body that ends when the sender is dropped.
    fn streamed() -> (mpsc::UnboundedSender<Result<Bytes, BodyError>>, Replay) {
        streamed_into(&plenty())
    }

    fn streamed_into(
        room: &Arc<Share>,
    ) -> (mpsc::UnboundedSender<Result<Bytes, BodyError>>, Replay) {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let stream = futures::stream::poll_fn(move |cx| receiver.poll_recv(cx));
        (sender, Replay::new(Body::Stream(Box::pin(stream)), room))
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
        let replay = full("whole");
        for _ in 0..3 {
            assert!(replay.is_repeatable());
            let upload = replay.attempt().unwrap();
            assert_eq!(hyper::body::Body::size_hint(&upload).exact(), Some(5));
            assert_eq!(all(upload), "whole");
        }
        assert!(hyper::body::Body::is_end_stream(&Upload::empty()));
    }

    #[test]
    fn a_later_attempt_sends_what_was_read_and_then_the_rest() {
        let (client, replay) = streamed();
        let mut first = replay.attempt().unwrap();
        client.send(Ok("one".into())).unwrap();
        assert_eq!(next(&mut first), Some(Some(Ok("one".into()))));
        assert_eq!(next(&mut first), None);

        let mut second = replay.attempt().unwrap();
        assert!(
            matches!(next(&mut first), Some(Some(Err(_)))),
            "only the latest attempt reads"
        );
        client.send(Ok("two".into())).unwrap();
        assert_eq!(next(&mut second), Some(Some(Ok("one".into()))));
        assert_eq!(next(&mut second), Some(Some(Ok("two".into()))));
        drop(client);
        assert_eq!(next(&mut second), Some(None));
        assert_eq!(all(replay.attempt().unwrap()), "onetwo");
    }

    #[test]
    fn a_long_body_is_sent_once_and_not_kept() {
        let (client, replay) = streamed();
        let mut upload = replay.attempt().unwrap();
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
        let mut upload = replay.attempt().unwrap();
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
        let mut upload = replay.attempt().unwrap();
        let error = BodyError::TooLarge { limit: 1 };
        client.send(Err(error.clone())).unwrap();
        assert_eq!(next(&mut upload), Some(Some(Err(error))));
        assert!(replay.is_broken() && !replay.is_repeatable());
    }

    #[test]
    fn an_attempt_that_was_given_up_reads_no_more() {
        let (client, replay) = streamed();
        let mut first = replay.attempt().unwrap();
        client.send(Ok(vec![1; 900 << 10].into())).unwrap();
        next(&mut first).unwrap();
        replay.stop();
        assert!(replay.is_repeatable(), "the decision to send it again");
        client.send(Ok(vec![2; 200 << 10].into())).unwrap();
        drop(client);
        assert!(matches!(next(&mut first), Some(Some(Err(_)))));
        let whole = all(replay.attempt().unwrap());
        assert_eq!(whole.len(), 1100 << 10);
        assert!(whole.starts_with(&[1; 900 << 10]), "from its beginning");
        assert!(replay.attempt().is_none(), "too long to be kept");
    }

    #[test]
    fn all_requests_together_keep_only_so_much() {
        let all = Room::new(4000);
        // A quarter of it.
        let room = all.share();
        let (client, first) = streamed_into(&room);
        let mut upload = first.attempt().unwrap();
        client.send(Ok(vec![0; 900].into())).unwrap();
        next(&mut upload).unwrap();
        let second = Replay::new(Body::Full(vec![0; 200].into()), &room);
        let mut other = second.attempt().unwrap();
        assert_eq!(hyper::body::Body::size_hint(&other).exact(), Some(200));
        assert!(matches!(next(&mut other), Some(Some(Ok(chunk))) if chunk.len() == 200));
        assert!(first.is_repeatable() && !second.is_repeatable());
        assert!(second.attempt().is_none());
        client.send(Ok(vec![0; 101].into())).unwrap();
        next(&mut upload).unwrap();
        assert!(!first.is_repeatable());
        assert_eq!(all.unused(), 4000, "nothing is kept");
        let (client, third) = streamed_into(&room);
        let mut upload = third.attempt().unwrap();
        client.send(Ok(vec![0; 1000].into())).unwrap();
        next(&mut upload).unwrap();
        assert_eq!(all.unused(), 3000);
        drop((upload, third));
        assert_eq!(all.unused(), 4000);
    }
}
