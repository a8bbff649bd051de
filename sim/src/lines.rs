//! The sockets that a pod's front door has open, one for each object: hibernatable ones, which stay while their objects sleep.

use std::collections::VecDeque;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use portside_exchange::{Message, Response, Socket};
use portside_worker::caller::Call;

use crate::code::answered_list;
use crate::network::Time;
use crate::request::{Answer, Request};

/// A socket to an object, on which each message is answered with one, in their order.
pub(crate) struct Line {
    end: End,
    waiting: VecDeque<(Request, Time)>,
}

enum End {
    /// What was asked meanwhile is sent when it is there.
    Opening(Call<Response>),
    Open(Socket),
}

impl Line {
    /// The answer to this call is the socket.
    pub fn new(call: Call<Response>) -> Self {
        Self {
            end: End::Opening(call),
            waiting: VecDeque::new(),
        }
    }

    pub fn ask(&mut self, request: Request, now: Time) {
        self.waiting.push_back((request, now));
        if let End::Open(socket) = &mut self.end {
            send(socket, &request);
        }
    }

    pub fn is_open(&self) -> bool {
        matches!(self.end, End::Open(_))
    }

    /// Since when the one has been waiting that waits for longest.
    pub fn waits_since(&self) -> Option<Time> {
        self.waiting.front().map(|(_, since)| *since)
    }

    /// The answers that there are; and whether the socket is there still. If it is not, nothing waits any more.
    pub fn answers(&mut self) -> (Vec<(Request, Answer)>, bool) {
        let mut answers = Vec::new();
        let is_there = self.hear(&mut answers);
        if !is_there {
            let failed = self.waiting.drain(..);
            answers.extend(failed.map(|(request, _)| (request, Answer::Failed)));
        }
        (answers, is_there)
    }

    fn hear(&mut self, answers: &mut Vec<(Request, Answer)>) -> bool {
        if let End::Opening(call) = &mut self.end {
            let mut socket = match call.answer.try_recv() {
                Err(tokio::sync::oneshot::error::TryRecvError::Empty) => return true,
                Ok(Ok(Response {
                    socket: Some(socket),
                    ..
                })) => socket.plain(),
                Ok(_) | Err(_) => return false,
            };
            for (request, _) in &self.waiting {
                send(&mut socket, request);
            }
            self.end = End::Open(socket);
        }
        let End::Open(socket) = &mut self.end else {
            return true;
        };
        loop {
            match socket
                .outgoing
                .poll_recv(&mut Context::from_waker(Waker::noop()))
            {
                Poll::Pending => return true,
                Poll::Ready(Some(Message::Binary(list))) => {
                    let asked = self.waiting.pop_front();
                    answers.extend(
                        asked.map(|(request, _)| (request, Answer::List(answered_list(&list)))),
                    );
                }
                Poll::Ready(_) => return false,
            }
        }
    }
}

/// There are never so many that the window is full.
fn send(socket: &mut Socket, request: &Request) {
    let message = Message::Text(Bytes::from(request.operation.url()));
    let mut sending = pin!(socket.incoming.send(message));
    let _ = sending
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()));
}
