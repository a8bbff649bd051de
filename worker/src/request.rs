//! A request that the application works on: its body, its answer, and the WebSocket it may become.

use std::collections::HashSet;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::stream::Stream;
use portside_exchange::credit::Window;
use portside_exchange::envelope::Envelope;
use portside_exchange::{Body, BodyError, Delivery, Lasts, Message, Request};

use crate::event::{Delivered, Incoming};
use crate::gate::Output;
use crate::hibernation::{SocketId, close, credit_of_client, keeps_up};
use crate::host::{RequestName, name_of};
use crate::instance::Instance;
use crate::link::{CloseReason, Content, Failure, Frame, Head, LinkEnd, LinkId, Ran};
use crate::port::TooLarge;

/// What of a streamed answer may wait for the client before the application does.
const CHUNKS: Window = Window {
    messages: 8,
    bytes: 1 << 20,
};

/// A request's body as it comes.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, BodyError>> + Send>>;

/// A request that the application works on.
pub struct Exchange {
    pub(crate) end: LinkEnd,
    /// What it is called in logs.
    pub(crate) name: Option<RequestName>,
    /// The request's body, if it is a stream. Out while it is being read.
    body: Option<ByteStream>,
    answer: Answer,
    /// The client is gone.
    aborted: bool,
    /// Of a WebSocket that may outlive its connection.
    lasting: Option<Lasting>,
}

/// What is known of a WebSocket that may outlive its connection.
#[derive(Default)]
struct Lasting {
    /// How many of the client's messages the code has heard.
    heard: u64,
    /// The client goes on elsewhere as soon as the code has said what it has to.
    departs: bool,
}

/// How far the answer is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Due,
    /// Its body follows.
    Streaming,
    /// It is a WebSocket.
    Socket,
    Given,
}

impl Exchange {
    /// Takes the body out of a request if it is a stream.
    pub(crate) fn begin(request: &mut Request, end: LinkEnd) -> Self {
        let body = match std::mem::replace(&mut request.body, Body::Empty) {
            Body::Stream(stream) => Some(stream),
            whole => {
                request.body = whole;
                None
            }
        };
        Self {
            end,
            name: name_of(request),
            body,
            answer: Answer::Due,
            aborted: false,
            lasting: None,
        }
    }

    /// A call of a method, or a run of a handler.
    pub(crate) fn of_call(end: LinkEnd) -> Self {
        Self {
            end,
            name: None,
            body: None,
            answer: Answer::Due,
            aborted: false,
            lasting: None,
        }
    }

    /// A message for the client, as it is sent.
    fn sealed(&self, message: Message) -> Message {
        match self.lasting {
            Some(_) => Envelope::Message(message).seal(),
            None => message,
        }
    }

    pub(crate) fn is_streamed(&self) -> bool {
        self.body.is_some()
    }

    /// Whether its answer has not begun, or not ended.
    pub(crate) fn is_under_way(&self) -> bool {
        matches!(self.answer, Answer::Due | Answer::Streaming)
    }

    /// Tells the client what it can still be told. One whose WebSocket may be opened again sees that the way to it has ended.
    pub(crate) fn instance_ended(&self, reason: CloseReason) {
        if self.answer == Answer::Socket && self.lasting.is_none() {
            let gone = close(1012, "the application's instance ended");
            let _ = self.end.send(Frame::Socket(Delivery::unlimited(gone)));
        }
        self.end.close(reason);
    }
}

impl Instance {
    /// Takes a request's body to read it. Nothing if the request is over, nothing inside that if there is no more of it.
    pub fn take_body(&mut self, request: LinkId) -> Option<Option<ByteStream>> {
        let exchange = self.requests.get_mut(&request)?;
        Some(exchange.body.take())
    }

    /// Gives a request's body back, of which there may be more.
    pub fn return_body(&mut self, request: LinkId, body: ByteStream) {
        if let Some(exchange) = self.requests.get_mut(&request) {
            exchange.body = Some(body);
        }
    }

    /// Begins the answer to a request, once.
    pub fn respond(&mut self, request: LinkId, head: Head) {
        if !self.is_due(request) {
            if let Content::Hibernatable(reader) = &head.content {
                reader.lost();
            }
            return;
        }
        let Some(exchange) = self.requests.get_mut(&request) else {
            return;
        };
        exchange.answer = match head.content {
            Content::Full(_) | Content::Hibernatable(_) | Content::Spliced(_) => Answer::Given,
            Content::Follows => Answer::Streaming,
            Content::Socket(_) => Answer::Socket,
        };
        if let Content::Socket(lasts) = head.content {
            exchange.end.credit = credit_of_client();
            exchange.lasting = (lasts == Lasts::Reopened).then(Lasting::default);
        }
        self.emit(Output::Frame {
            link: request,
            frame: Frame::Head(Box::new(head)),
        });
    }

    /// Whether a request has no answer yet, which it is given now.
    pub(crate) fn is_due(&mut self, request: LinkId) -> bool {
        if self.is_lost() {
            return false; // whoever waits hears that
        }
        let exchange = self.requests.get_mut(&request);
        let Some(exchange) = exchange.filter(|exchange| exchange.answer == Answer::Due) else {
            return false;
        };
        exchange.answer = Answer::Given;
        true
    }

    /// The application failed to answer; the failure's message is for the log and, in development, for the client.
    pub fn respond_failed(&mut self, request: LinkId, failure: Failure) {
        if self.is_due(request) {
            let frame = Frame::Failed(failure);
            self.emit(Output::Frame {
                link: request,
                frame,
            });
        }
    }

    /// Answers with this frame, once.
    pub(crate) fn answer_call(&mut self, link: LinkId, frame: Frame) {
        if self.is_due(link) {
            self.emit(Output::Frame { link, frame });
        }
    }

    /// Says what became of a run of the `scheduled` handler.
    pub fn ran(&mut self, run: LinkId, ran: Ran) {
        self.answer_call(run, Frame::Ran(ran));
    }

    /// Waits until the client has room for a chunk of a streamed answer. `false` means that it is gone.
    pub fn poll_chunk_room(
        &self,
        request: LinkId,
        bytes: usize,
        cx: &mut Context<'_>,
    ) -> Poll<bool> {
        match self.requests.get(&request) {
            Some(exchange) if exchange.answer == Answer::Streaming && !exchange.aborted => exchange
                .end
                .credit
                .poll_room(bytes, CHUNKS, cx)
                .map(|()| true),
            _ => Poll::Ready(false),
        }
    }

    /// Sends a chunk of a streamed answer.
    pub fn send_chunk(&mut self, request: LinkId, data: Bytes) {
        if let Some(exchange) = self.requests.get(&request) {
            let place = exchange.end.credit.take(data.len());
            self.emit(Output::Frame {
                link: request,
                frame: Frame::Chunk { data, place },
            });
        }
    }

    /// The streamed answer is complete; or it breaks off for this reason, and the client sees that it is incomplete.
    pub fn end_body(&mut self, request: LinkId, broken_off: Option<BodyError>) {
        let Some(exchange) = self.requests.get_mut(&request) else {
            return;
        };
        if exchange.answer == Answer::Streaming {
            exchange.answer = Answer::Given;
            let frame = broken_off.map_or(Frame::End, Frame::Abort);
            self.emit(Output::Frame {
                link: request,
                frame,
            });
        }
    }

    /// Sends a message on an accepted WebSocket; a close is the last. A client that does not keep up, or is further behind
    /// than the clients of all this process's sockets together allow, loses the connection with 1013, and the application hears that it is over.
    ///
    /// # Errors
    /// The message is larger than the limit.
    pub fn send_to_client(&mut self, request: LinkId, message: Message) -> Result<(), TooLarge> {
        TooLarge::check(message.len(), self.limits.socket_message_bytes)?;
        let Some(exchange) = self.requests.get_mut(&request) else {
            return Ok(());
        };
        if exchange.answer != Answer::Socket {
            return Ok(());
        }
        let mut message = message;
        let departs = exchange.lasting.as_ref().is_some_and(|it| it.departs);
        // What it has had to say is said.
        let leaves = departs && matches!(message, Message::Close { .. });
        let most = self.limits.socket_buffer_bytes;
        if !leaves && !keeps_up(&exchange.end.credit, message.len(), most) {
            message = close(1013, "the client does not keep up");
            let frame = Frame::Socket(Delivery::unlimited(exchange.sealed(message.clone())));
            self.replay.push_back(Incoming::Frame {
                link: request,
                frame,
            });
        }
        let is_last = matches!(message, Message::Close { .. });
        message = match &exchange.lasting {
            Some(lasting) if leaves => Envelope::Left(lasting.heard).seal(),
            _ => exchange.sealed(message),
        };
        if is_last {
            exchange.answer = Answer::Given;
        }
        let place = exchange.end.credit.take(message.len());
        let frame = Frame::Socket(Delivery::placed(message, place));
        self.emit(Output::Frame {
            link: request,
            frame,
        });
        Ok(())
    }

    /// The same on a hibernatable WebSocket that a client has.
    ///
    /// # Errors
    /// The message is larger than the limit.
    pub fn send_hibernatable(
        &mut self,
        socket: SocketId,
        message: Message,
    ) -> Result<(), TooLarge> {
        TooLarge::check(message.len(), self.limits.socket_message_bytes)?;
        let Some(sockets) = self.sockets.clone() else {
            return Ok(());
        };
        if sockets.closing(socket).here {
            return Ok(());
        }
        if matches!(message, Message::Close { .. }) {
            sockets.closes(socket);
        }
        let message = Envelope::Message(message).seal();
        let delivery = match sockets.place(socket, message) {
            Ok(delivery) => delivery,
            // The answer that takes the socket to its client is at the gate, before this. Or the client was gone before it.
            Err(message) if !sockets.has_client(socket) => Delivery::unlimited(message),
            Err(_) => {
                let message = close(1013, "the client does not keep up");
                self.replay.extend(sockets.event(socket, message.clone()));
                Delivery::unlimited(Envelope::Message(message).seal())
            }
        };
        self.emit(Output::Hibernatable { socket, delivery });
        Ok(())
    }

    /// Says what is to be kept of a hibernatable WebSocket, for whoever holds its client: when what was written before is durable, for
    /// that may tell of it.
    pub fn keep_hibernatable(&mut self, socket: SocketId) {
        let Some(sockets) = self.sockets.clone() else {
            return;
        };
        let Some(kept) = sockets.kept(socket) else {
            return;
        };
        let delivery = match sockets.place(socket, kept) {
            Ok(delivery) => delivery,
            Err(kept) if !sockets.has_client(socket) => Delivery::unlimited(kept),
            // It will be said when the client is let go of, if that happens in order.
            Err(_) => return,
        };
        self.emit(Output::Hibernatable { socket, delivery });
    }

    /// What the client of an accepted WebSocket has said, for the code.
    pub(crate) fn hear_client(
        &mut self,
        link: LinkId,
        mut delivery: Delivery,
    ) -> Option<Delivered> {
        let exchange = self.requests.get_mut(&link);
        let is_open = exchange
            .as_ref()
            .is_some_and(|it| it.answer == Answer::Socket);
        let Some(lasting) = exchange.and_then(|exchange| exchange.lasting.as_mut()) else {
            return Some(Delivered::Socket { link, delivery });
        };
        match Envelope::open(delivery.message) {
            Ok(Envelope::Message(_)) if lasting.departs => None, // it is for the next one
            Ok(Envelope::Message(message)) => {
                if is_open {
                    lasting.heard += 1;
                    self.heard.push(link);
                }
                delivery.message = message;
                Some(Delivered::Socket { link, delivery })
            }
            Ok(Envelope::Depart { now }) if is_open && (now || !lasting.departs) => {
                lasting.departs = true;
                if now {
                    // As if the code had closed it: it has said all that it had the time for.
                    let _ = self.send_to_client(link, close(1012, ""));
                }
                Some(Delivered::SocketMoves { link, is_over: now })
            }
            Ok(Envelope::Depart { .. }) => None,
            // All else only the application says.
            Ok(_) | Err(_) => {
                delivery.message = close(1006, "");
                Some(Delivered::Socket { link, delivery })
            }
        }
    }

    /// Says how much the code has heard on accepted WebSockets that may outlive their connections.
    pub(crate) fn report_heard(&mut self) {
        let mut links = std::mem::take(&mut self.heard);
        links.sort_unstable();
        links.dedup();
        for link in links {
            let Some(exchange) = self.requests.get(&link) else {
                continue;
            };
            if let Some(lasting) = &exchange.lasting {
                let heard = Envelope::Heard(lasting.heard).seal();
                let _ = exchange.end.send(Frame::Socket(Delivery::unlimited(heard)));
            }
        }
        if let Some(sockets) = &self.sockets {
            sockets.report();
        }
    }

    /// Bytes sent on an accepted WebSocket that its client has not taken yet.
    #[must_use]
    pub fn waiting_for_client(&self, request: LinkId) -> usize {
        let exchange = self.requests.get(&request);
        exchange.map_or(0, |exchange| exchange.end.credit.bytes())
    }

    /// The client of an accepted WebSocket is gone; nothing more can be sent.
    pub fn client_gone(&mut self, request: LinkId) {
        if let Some(exchange) = self.requests.get_mut(&request)
            && exchange.answer == Answer::Socket
        {
            exchange.answer = Answer::Given;
        }
    }

    /// Nothing of a request remains to be done.
    pub fn end_request(&mut self, request: LinkId) {
        let reason = CloseReason::Closed;
        self.emit(Output::Close {
            link: request,
            reason,
        });
    }

    pub(crate) fn request_aborted(&mut self, request: LinkId) -> bool {
        let Some(exchange) = self.requests.get_mut(&request) else {
            return false;
        };
        exchange.aborted = true;
        exchange.end.credit.wake_sender();
        true
    }

    /// A frame on a request's link passes the gate.
    pub(crate) fn answer(&mut self, request: LinkId, frame: Frame) {
        if let Frame::Head(head) = &frame
            && let Content::Hibernatable(reader) = &head.content
        {
            let reader = reader.clone();
            if let Some(exchange) = self.requests.remove(&request) {
                reader.begin(exchange.end, frame);
            }
            return;
        }
        if let Some(exchange) = self.requests.get_mut(&request)
            && exchange.end.send(frame).is_err()
        {
            exchange.aborted = true;
            exchange.end.credit.wake_sender();
        }
    }

    /// Tells the clients whose requests have no answer why there is none. An answer that the gate has held back is none.
    pub(crate) fn fail_requests(&mut self, failure: &Failure) {
        let is_object = self.object.is_some();
        let held: HashSet<LinkId> = self.gate.held_answers().collect();
        for (link, exchange) in &mut self.requests {
            let frame = match exchange.answer {
                _ if held.contains(link) => Frame::Failed(failure.clone()),
                Answer::Due => Frame::Failed(failure.clone()),
                // As if the process that the object was in had ended.
                Answer::Socket if is_object => {
                    let broken_off = exchange.sealed(close(1006, ""));
                    Frame::Socket(Delivery::unlimited(broken_off))
                }
                _ => continue,
            };
            exchange.answer = Answer::Given;
            let _ = exchange.end.send(frame);
        }
    }
}
