//! A caller's end of a link: the answer becomes a response, and its messages a WebSocket, or it is what a method returned.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::stream::Stream;
use portside_exchange::credit::Place;
use portside_exchange::{
    Body, BodyError, Delivery, FetchError, Lasts, Outbox, Request, Response, Socket, SocketSender,
    outgoing,
};
use tokio::sync::{mpsc, oneshot};

use crate::event::Incoming;
use crate::inbox::Inbox;
use crate::link::{
    CloseReason, Content, Expression, Failure, FailureCode, Frame, Head, Kind, LinkEnd, LinkId,
    Opening, Push, Ran, Receive, Rejected, Scheduled,
};

/// Messages of one client on their way to the application before the client has to wait.
const SOCKET_WINDOW: usize = 64;

/// A call that was made on a link of its own: a request, whose answer is a [`Response`], one of a method, whose answer is a
/// structured clone, or a run of a handler.
pub struct Call<A> {
    /// This end of its link.
    link: LinkId,
    callee: Arc<Callee>,
    /// The answer; nothing comes if the instance that was called ended before it.
    pub answer: oneshot::Receiver<Result<A, Failure>>,
}

impl Call<Response> {
    /// A request that is to be sent, and how to open its link.
    #[must_use]
    pub fn fetch(request: Box<Request>) -> (Self, Opening) {
        Self::new(Kind::Fetch(request), State::Fetching)
    }

    /// A hibernatable WebSocket that is to be brought back, as it is kept, and how to open its link.
    #[must_use]
    pub fn adopt(kept: Bytes) -> (Self, Opening) {
        Self::new(Kind::Adopt(Box::new(kept)), State::Fetching)
    }

    /// Opens a link for the request to whoever reads `inbox`.
    ///
    /// # Errors
    /// It was not taken; the request comes back.
    pub fn send(
        request: Box<Request>,
        inbox: &Arc<Inbox>,
    ) -> Result<Self, (Refused, Box<Request>)> {
        let (call, opening) = Self::fetch(request);
        match call.open(opening, inbox) {
            Ok(()) => Ok(call),
            Err((why, Kind::Fetch(request))) => Err((why, request)),
            Err(_) => unreachable!("it comes back as it was"),
        }
    }
}

impl Call<Vec<u8>> {
    /// A call of a method that is to be made, and how to open its link.
    #[must_use]
    pub fn push(push: Push) -> (Self, Opening) {
        Self::new(Kind::Rpc(Box::new(push)), State::Calling)
    }

    /// An expression that is to be evaluated, and how to open its link.
    #[must_use]
    pub fn evaluate(expression: String) -> (Self, Opening) {
        let expression = Box::new(Expression(expression));
        Self::new(Kind::Evaluate(expression), State::Calling)
    }
}

impl Call<Ran> {
    /// Opens a link for a run of the `scheduled` handler to whoever reads `inbox`.
    ///
    /// # Errors
    /// It was not taken.
    pub fn scheduled(scheduled: Scheduled, inbox: &Arc<Inbox>) -> Result<Self, Refused> {
        let (call, opening) = Self::new(Kind::Scheduled(Box::new(scheduled)), State::Running);
        match call.open(opening, inbox) {
            Ok(()) => Ok(call),
            Err((why, _)) => Err(why),
        }
    }
}

impl<A> Call<A> {
    fn new(
        kind: Kind,
        waiting: impl FnOnce(oneshot::Sender<Result<A, Failure>>) -> State,
    ) -> (Self, Opening) {
        let link = LinkId::of_new_link();
        let (reply, answer) = oneshot::channel();
        let callee = Arc::<Callee>::default();
        let caller = Caller {
            link,
            callee: callee.clone(),
            state: Mutex::new(waiting(reply)),
        };
        let opening = Opening::new(kind, LinkEnd::new(link.other(), Arc::new(caller)));
        let call = Self {
            link,
            callee,
            answer,
        };
        (call, opening)
    }

    fn open(&self, opening: Opening, inbox: &Arc<Inbox>) -> Result<(), (Refused, Kind)> {
        let (why, returned) = match inbox.receive(Incoming::Opened(opening)) {
            Ok(()) => {
                self.opened(inbox.clone());
                return Ok(());
            }
            Err(Rejected::Closed(returned)) => (Refused::Asleep, returned),
            Err(Rejected::Full(returned)) => (Refused::Overloaded, returned),
        };
        match returned {
            Incoming::Opened(opening) => Err((why, opening.kind)),
            _ => unreachable!("it comes back as it was"),
        }
    }

    /// A call that failed before it was made.
    #[must_use]
    pub fn failed(failure: Failure) -> Self {
        let (reply, answer) = oneshot::channel();
        let _ = reply.send(Err(failure));
        Self {
            link: LinkId::of_new_link(),
            callee: Arc::default(),
            answer,
        }
    }

    /// The link is open, and this is who reads at its other end.
    pub fn opened(&self, callee: Arc<dyn Receive>) {
        self.callee.opened(callee);
    }

    /// To be told when the link is open, by whoever opens it.
    #[must_use]
    pub fn callee(&self) -> Arc<Callee> {
        self.callee.clone()
    }

    /// Tells whoever was called that the caller is gone.
    pub fn abort(&self) {
        self.callee.tell(Incoming::Closed {
            link: self.link.other(),
            reason: CloseReason::Closed,
        });
    }
}

/// Who was called: whom to tell what the caller has to say besides.
#[derive(Default)]
pub struct Callee(Mutex<Far>);

enum Far {
    /// The link is not open yet; and what there is to say.
    Unknown(Vec<Incoming>),
    /// Weak, for what the caller is a part of may itself wait in that inbox.
    Known(Weak<dyn Receive>),
}

impl Default for Far {
    fn default() -> Self {
        Self::Unknown(vec![])
    }
}

impl Callee {
    fn lock(&self) -> MutexGuard<'_, Far> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The link is open, and this is who reads at its other end.
    pub fn opened(&self, callee: Arc<dyn Receive>) {
        let before = std::mem::replace(&mut *self.lock(), Far::Known(Arc::downgrade(&callee)));
        if let Far::Unknown(waiting) = before {
            for incoming in waiting {
                let _ = callee.receive(incoming);
            }
        }
    }

    /// An instance that ended needs no telling.
    fn tell(&self, incoming: Incoming) {
        let callee = match &mut *self.lock() {
            Far::Unknown(waiting) => return waiting.push(incoming),
            Far::Known(callee) => callee.upgrade(),
        };
        if let Some(callee) = callee {
            let _ = callee.receive(incoming);
        }
    }
}

impl From<Failure> for FetchError {
    fn from(failure: Failure) -> Self {
        match failure.code {
            FailureCode::Overloaded => Self::Overloaded {
                retry_after_ms: failure.retry_after_ms,
            },
            FailureCode::Unavailable => Self::Unavailable(failure.message),
            FailureCode::Failed | FailureCode::Reset => Self::Failed(failure.message),
        }
    }
}

/// Why a request, or a run, was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The server fell asleep.
    Asleep,
    /// Too much waits for it.
    Overloaded,
}

/// Receives what comes back on a call's link.
struct Caller {
    link: LinkId,
    callee: Arc<Callee>,
    state: Mutex<State>,
}

enum State {
    Fetching(oneshot::Sender<Result<Response, Failure>>),
    Calling(oneshot::Sender<Result<Vec<u8>, Failure>>),
    Running(oneshot::Sender<Result<Ran, Failure>>),
    Streaming(mpsc::UnboundedSender<Result<(Bytes, Place), BodyError>>),
    Socket(Outbox),
    Done,
}

impl Caller {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn frame(&self, frame: Frame) -> Result<(), Frame> {
        let mut state = self.lock();
        match (frame, &*state) {
            (Frame::Head(head), State::Fetching(_)) => {
                let (next, response) = self.begin(*head);
                if let State::Fetching(reply) = std::mem::replace(&mut *state, next) {
                    drop(state);
                    // A client that went away takes no response; its end of a socket says so, and may be answered.
                    let _ = reply.send(Ok(response));
                }
            }
            (Frame::Resolve(value), State::Calling(_)) => {
                if let State::Calling(reply) = std::mem::replace(&mut *state, State::Done) {
                    let _ = reply.send(Ok(value));
                }
            }
            (Frame::Ran(ran), State::Running(_)) => {
                if let State::Running(reply) = std::mem::replace(&mut *state, State::Done) {
                    let _ = reply.send(Ok(ran));
                }
            }
            (
                Frame::Failed(failure),
                State::Fetching(_) | State::Calling(_) | State::Running(_),
            ) => match std::mem::replace(&mut *state, State::Done) {
                State::Fetching(reply) => drop(reply.send(Err(failure))),
                State::Calling(reply) => drop(reply.send(Err(failure))),
                State::Running(reply) => drop(reply.send(Err(failure))),
                _ => {}
            },
            (Frame::Chunk { data, place }, State::Streaming(chunks)) => {
                let sent = chunks.send(Ok((data, place)));
                return sent.map_err(|mpsc::error::SendError(unsent)| match unsent {
                    Ok((data, place)) => Frame::Chunk { data, place },
                    Err(_) => Frame::End,
                });
            }
            (Frame::Abort(error), State::Streaming(chunks)) => {
                let _ = chunks.send(Err(error));
                *state = State::Done;
            }
            (Frame::End, State::Streaming(_)) => *state = State::Done,
            (Frame::Socket(delivery), State::Socket(outbox)) => outbox.forward(delivery),
            (frame, _) => return Err(frame), // too late for it
        }
        Ok(())
    }

    fn begin(&self, head: Head) -> (State, Response) {
        let Head {
            status,
            reason,
            headers,
            content,
        } = head;
        let (state, body, socket) = match content {
            Content::Full(bytes) if bytes.is_empty() => (State::Done, Body::Empty, None),
            Content::Full(bytes) => (State::Done, Body::Full(bytes), None),
            Content::Follows => {
                let (sender, chunks) = mpsc::unbounded_channel();
                let body = Chunks {
                    chunks,
                    ended: false,
                    link: self.link,
                    callee: self.callee.clone(),
                };
                (State::Streaming(sender), Body::Stream(Box::pin(body)), None)
            }
            Content::Socket(lasts) => {
                let (link, callee) = (self.link.other(), self.callee.clone());
                socket(lasts, move |delivery| {
                    let frame = Frame::Socket(delivery);
                    callee.tell(Incoming::Frame { link, frame });
                })
            }
            Content::Hibernatable(reader) => {
                socket(Lasts::Kept, move |delivery| reader.hear(delivery))
            }
            Content::Spliced(socket) => (State::Done, Body::Empty, Some(socket)),
        };
        let response = Response {
            status,
            reason,
            headers,
            body,
            socket,
        };
        (state, response)
    }
}

/// A WebSocket, what of whose client is heard in this way.
fn socket(
    lasts: Lasts,
    hear: impl Fn(Delivery) + Send + Sync + 'static,
) -> (State, Body, Option<Socket>) {
    let (outbox, outgoing) = outgoing();
    let incoming = SocketSender::new(SOCKET_WINDOW, hear);
    let socket = Socket {
        outgoing,
        incoming,
        lasts,
    };
    (State::Socket(outbox), Body::Empty, Some(socket))
}

impl Receive for Caller {
    fn reopened(&self, target: Arc<dyn Receive>) {
        self.callee.opened(target);
    }

    fn receive(&self, incoming: Incoming) -> Result<(), Rejected> {
        match incoming {
            Incoming::Frame { link, frame } => self
                .frame(frame)
                .map_err(|frame| Rejected::Closed(Incoming::Frame { link, frame })),
            Incoming::Closed { .. } => {
                let state = std::mem::replace(&mut *self.lock(), State::Done);
                if let State::Streaming(chunks) = state {
                    let reason = "the application's instance ended".to_owned();
                    let _ = chunks.send(Err(BodyError::Incomplete(reason)));
                }
                Ok(()) // and a reply or socket that is dropped says so itself
            }
            other => Err(Rejected::Closed(other)),
        }
    }
}

/// A response's body. Dropping it before its end tells the server that the client is gone.
struct Chunks {
    chunks: mpsc::UnboundedReceiver<Result<(Bytes, Place), BodyError>>,
    ended: bool,
    link: LinkId,
    callee: Arc<Callee>,
}

impl Stream for Chunks {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = std::task::ready!(self.chunks.poll_recv(cx));
        self.ended |= next.is_none();
        Poll::Ready(next.map(|chunk| chunk.map(|(data, _place)| data)))
    }
}

impl Drop for Chunks {
    fn drop(&mut self) {
        if !self.ended {
            self.callee.tell(Incoming::Closed {
                link: self.link.other(),
                reason: CloseReason::Closed,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_refused_hears_what_kind_of_failure_it_was() {
        let heard = |failure: &Failure| {
            let inbox = Arc::new(Inbox::new(1, 1));
            let request = Request {
                method: http::Method::GET,
                url: "http://a/".to_owned(),
                headers: http::HeaderMap::new(),
                body: Body::Empty,
                websocket: false,
            };
            let call = Call::send(Box::new(request), &inbox);
            let mut call = call.ok().expect("there is room");
            inbox.refuse_all(failure);
            FetchError::from(call.answer.try_recv().unwrap().err().unwrap())
        };
        let failed = FetchError::Failed("it throws".into());
        assert_eq!(heard(&Failure::failed("it throws")), failed);
        let unavailable = FetchError::Unavailable("it closes".into());
        assert_eq!(heard(&Failure::unavailable("it closes")), unavailable);
        let overloaded = FetchError::Overloaded {
            retry_after_ms: 1_000,
        };
        assert_eq!(heard(&Failure::overloaded("it is full")), overloaded);
    }
}
