//! The front door's end of a request's link: the answer becomes a response, and its messages a WebSocket.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::stream::Stream;
use portside_exchange::credit::Place;
use portside_exchange::{
    Body, BodyError, FetchError, Outbox, Request, Response, Socket, SocketSender, outgoing,
};
use tokio::sync::{mpsc, oneshot};

use crate::event::Incoming;
use crate::inbox::Inbox;
use crate::link::{
    CloseReason, Content, FailureCode, Frame, Head, Kind, LinkEnd, LinkId, Opening, Receive,
    Rejected,
};

/// Messages of one client on their way to the application before the client has to wait.
const SOCKET_WINDOW: usize = 64;

type Answer = Result<Response, FetchError>;

/// A request that was sent to a server.
pub struct Call {
    /// This end of its link.
    link: LinkId,
    inbox: Arc<Inbox>,
    /// The answer; an error if the server's instance ended before it.
    pub answer: oneshot::Receiver<Answer>,
}

impl Call {
    /// Opens a link for the request to whoever reads `inbox`.
    ///
    /// # Errors
    /// It was not taken; the request comes back.
    pub fn send(
        request: Box<Request>,
        inbox: &Arc<Inbox>,
    ) -> Result<Self, (Refused, Box<Request>)> {
        let link = LinkId::of_new_link();
        let (reply, answer) = oneshot::channel();
        let caller = Caller {
            link,
            inbox: Arc::downgrade(inbox),
            state: Mutex::new(State::Waiting(reply)),
        };
        let opening = Opening {
            kind: Kind::Fetch(request),
            end: LinkEnd::new(link.other(), Arc::new(caller)),
        };
        let (why, returned) = match inbox.receive(Incoming::Opened(opening)) {
            Ok(()) => {
                let inbox = inbox.clone();
                return Ok(Self {
                    link,
                    inbox,
                    answer,
                });
            }
            Err(Rejected::Closed(returned)) => (Refused::Asleep, returned),
            Err(Rejected::Full(returned)) => (Refused::Overloaded, returned),
        };
        match returned {
            Incoming::Opened(Opening {
                kind: Kind::Fetch(request),
                ..
            }) => Err((why, request)),
            _ => unreachable!("it comes back as it was"),
        }
    }

    /// Tells the server that the client is gone.
    pub fn abort(&self) {
        let _ = self.inbox.receive(Incoming::Closed {
            link: self.link.other(),
            reason: CloseReason::Closed,
        });
    }
}

/// Why a request was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The server fell asleep.
    Asleep,
    /// Too much waits for it.
    Overloaded,
}

/// Receives what the server sends on a request's link.
struct Caller {
    link: LinkId,
    /// Weak, for this may itself wait in that inbox.
    inbox: Weak<Inbox>,
    state: Mutex<State>,
}

enum State {
    Waiting(oneshot::Sender<Answer>),
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
            (Frame::Head(head), State::Waiting(_)) => {
                let (next, response) = self.begin(*head);
                if let State::Waiting(reply) = std::mem::replace(&mut *state, next) {
                    // A client that went away takes no response.
                    let _ = reply.send(Ok(response));
                }
            }
            (Frame::Failed(failure), State::Waiting(_)) => {
                if let State::Waiting(reply) = std::mem::replace(&mut *state, State::Done) {
                    let error = match failure.code {
                        FailureCode::Overloaded => FetchError::Overloaded {
                            retry_after_ms: failure.retry_after_ms,
                        },
                        FailureCode::Unavailable => FetchError::Unavailable(failure.message),
                        FailureCode::Failed => FetchError::Failed(failure.message),
                    };
                    let _ = reply.send(Err(error));
                }
            }
            (Frame::Chunk { data, place }, State::Streaming(chunks)) => {
                let sent = chunks.send(Ok((data, place)));
                return sent.map_err(|mpsc::error::SendError(unsent)| match unsent {
                    Ok((data, place)) => Frame::Chunk { data, place },
                    Err(_) => Frame::End,
                });
            }
            (Frame::Abort(reason), State::Streaming(chunks)) => {
                let _ = chunks.send(Err(BodyError::Incomplete(reason)));
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
                    inbox: self.inbox.clone(),
                };
                (State::Streaming(sender), Body::Stream(Box::pin(body)), None)
            }
            Content::Socket => {
                let (outbox, outgoing) = outgoing();
                let (link, inbox) = (self.link.other(), self.inbox.clone());
                let incoming = SocketSender::new(SOCKET_WINDOW, move |delivery| {
                    let frame = Frame::Socket(delivery);
                    // An instance that ended needs no message.
                    if let Some(inbox) = inbox.upgrade() {
                        let _ = inbox.receive(Incoming::Frame { link, frame });
                    }
                });
                let socket = Socket { outgoing, incoming };
                (State::Socket(outbox), Body::Empty, Some(socket))
            }
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

impl Receive for Caller {
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
    inbox: Weak<Inbox>,
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
        if let Some(inbox) = self.inbox.upgrade().filter(|_| !self.ended) {
            let _ = inbox.receive(Incoming::Closed {
                link: self.link.other(),
                reason: CloseReason::Closed,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::Failure;

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
            call.answer.try_recv().unwrap().err().unwrap()
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
