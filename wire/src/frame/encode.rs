//! From items to bytes.

use bytes::{BufMut, Bytes, BytesMut};
use http::HeaderMap;
use portside_exchange::{BodyError, Lasts, Message};
use portside_worker::bond::InstanceNumber;
use portside_worker::link::{Failure, FailureCode, Push};

use super::{Body, Content, Frame, Head, Item, Kind, Opening, Refusal, Request, kinds};
use crate::primitives::Write;

/// An item's bytes: what was written for it, and its payload, which is not copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Encoded {
    head: Vec<u8>,
    payload: Bytes,
}

impl Encoded {
    pub fn len(&self) -> usize {
        self.head.len() + self.payload.len()
    }

    /// Appends up to `most` bytes from `start` on, and returns how many those were.
    pub fn write_piece(&self, start: usize, most: usize, out: &mut BytesMut) -> usize {
        let end = self.len().min(start + most);
        let split = self.head.len();
        out.extend_from_slice(&self.head[start.min(split)..end.min(split)]);
        out.extend_from_slice(&self.payload[start.max(split) - split..end.max(split) - split]);
        end - start
    }
}

impl From<Item> for Encoded {
    fn from(item: Item) -> Self {
        let mut head = Vec::with_capacity(16);
        let payload = put_item(item, &mut head);
        Self { head, payload }
    }
}

/// Writes all but the payload, which comes last and so needs no length.
fn put_item(item: Item, out: &mut Vec<u8>) -> Bytes {
    match item {
        Item::Open(opening) => {
            out.put_u8(kinds::OPEN);
            put_opening(*opening, out)
        }
        Item::Accept(accepted) => {
            out.put_u8(kinds::ACCEPT);
            out.put_number(accepted.epoch.0);
            Bytes::new()
        }
        Item::Refuse(refusal) => {
            out.put_u8(kinds::REFUSE);
            put_refusal(&refusal, out);
            Bytes::new()
        }
        Item::Frame(frame) => put_frame(frame, out),
        Item::Skipped => {
            out.put_u8(kinds::SKIPPABLE);
            Bytes::new()
        }
    }
}

fn put_opening(opening: Opening, out: &mut Vec<u8>) -> Bytes {
    let Opening {
        to,
        epoch,
        kind,
        name,
        reached,
        request,
        reconnected,
    } = opening;
    out.put_text(to.script());
    out.put_text(to.name());
    out.put_number(epoch.0);
    out.put_option(name, |out, name| out.put_text(&name));
    out.put_option(reached, |out, number| out.put_number(number.0));
    out.put_option(request, |out, name| out.put_text(&name));
    out.put_flag(reconnected);
    match kind {
        Kind::Port => {
            out.put_u8(0);
            Bytes::new()
        }
        Kind::Fetch(request) => {
            out.put_u8(1);
            put_request(*request, out)
        }
        Kind::Rpc(push) => {
            out.put_u8(2);
            let Push { path, arguments } = *push;
            out.put_size(path.len());
            path.iter().for_each(|name| out.put_text(name));
            out.put_flag(arguments.is_some());
            arguments.unwrap_or_default().into()
        }
        Kind::Scheduled(scheduled) => {
            out.put_u8(3);
            out.put_i64(scheduled.time);
            out.put_text(&scheduled.cron);
            Bytes::new()
        }
        Kind::Adopt(kept) => {
            out.put_u8(4);
            kept
        }
    }
}

fn put_request(request: Request, out: &mut Vec<u8>) -> Bytes {
    let Request {
        method,
        url,
        headers,
        websocket,
        body,
    } = request;
    out.put_text(method.as_str());
    out.put_text(&url);
    put_headers(&headers, out);
    out.put_flag(websocket);
    match body {
        Body::Full(bytes) => {
            out.put_u8(0);
            bytes
        }
        Body::Follows => {
            out.put_u8(1);
            Bytes::new()
        }
    }
}

fn put_headers(headers: &HeaderMap, out: &mut Vec<u8>) {
    out.put_size(headers.len());
    for (name, value) in headers {
        out.put_text(name.as_str());
        out.put_sized(value.as_bytes());
    }
}

fn put_refusal(refusal: &Refusal, out: &mut Vec<u8>) {
    match refusal {
        Refusal::NotOwner { owner, epoch } => {
            out.put_u8(0);
            out.put_option(*owner, |out, pod| out.put_u128(pod.0));
            out.put_number(epoch.0);
        }
        Refusal::Failed(failure) => {
            out.put_u8(1);
            put_failure(failure, out);
        }
    }
}

fn put_frame(frame: Frame, out: &mut Vec<u8>) -> Bytes {
    match frame {
        Frame::Message { data, request } => {
            out.put_u8(kinds::MESSAGE);
            out.put_option(request, |out, name| out.put_text(&name));
            return data;
        }
        Frame::Head(head) => {
            out.put_u8(kinds::HEAD);
            return put_head(*head, out);
        }
        Frame::Resolve(value) => {
            out.put_u8(kinds::RESOLVE);
            return value;
        }
        Frame::Ran(ran) => {
            out.put_u8(kinds::RAN);
            out.put_flag(ran.succeeded);
            out.put_flag(ran.no_retry);
        }
        Frame::Chunk(data) => {
            out.put_u8(kinds::CHUNK);
            return data;
        }
        Frame::End => out.put_u8(kinds::END),
        Frame::Abort(error) => {
            out.put_u8(kinds::ABORT);
            put_body_error(&error, out);
        }
        Frame::Unread => out.put_u8(kinds::UNREAD),
        Frame::Socket(message) => {
            out.put_u8(kinds::SOCKET);
            return put_message(message, out);
        }
        Frame::Failed(failure) => {
            out.put_u8(kinds::FAILED);
            put_failure(&failure, out);
        }
        Frame::Parted(reason) => {
            out.put_u8(kinds::PARTED);
            out.put_reason(reason);
        }
        Frame::Reached(InstanceNumber(number)) => {
            out.put_u8(kinds::REACHED);
            out.put_number(number);
        }
        Frame::Heard(messages) => {
            out.put_u8(kinds::HEARD);
            out.put_number(messages);
        }
        Frame::Moved { connected, heard } => {
            out.put_u8(kinds::MOVED);
            out.put_flag(connected);
            out.put_number(heard);
        }
    }
    Bytes::new()
}

fn put_head(head: Head, out: &mut Vec<u8>) -> Bytes {
    let Head {
        status,
        reason,
        headers,
        content,
    } = head;
    out.put_u16(status.as_u16());
    out.put_sized(&reason);
    put_headers(&headers, out);
    let (kind, payload) = match content {
        Content::Full(bytes) => (0, bytes),
        Content::Follows => (1, Bytes::new()),
        // What is held is so by whoever has the connection of the client, and nobody between pods.
        Content::Socket(Lasts::No | Lasts::Held) => (2, Bytes::new()),
        Content::Socket(Lasts::Reopened) => (3, Bytes::new()),
        Content::Socket(Lasts::Kept) => (4, Bytes::new()),
    };
    out.put_u8(kind);
    payload
}

fn put_message(message: Message, out: &mut Vec<u8>) -> Bytes {
    match message {
        Message::Text(text) => {
            out.put_u8(0);
            text
        }
        Message::Binary(bytes) => {
            out.put_u8(1);
            bytes
        }
        Message::Close { code, reason } => {
            out.put_u8(2);
            out.put_u16(code);
            reason.into()
        }
    }
}

fn put_body_error(error: &BodyError, out: &mut Vec<u8>) {
    match error {
        BodyError::Incomplete(why) => {
            out.put_u8(0);
            out.put_text(why);
        }
        BodyError::Thrown { message, thrown } => {
            out.put_u8(1);
            out.put_text(message);
            out.put_sized(thrown);
        }
        BodyError::TooLarge { limit } => {
            out.put_u8(2);
            out.put_size(*limit);
        }
    }
}

fn put_failure(failure: &Failure, out: &mut Vec<u8>) {
    let Failure {
        code,
        retry_after_ms,
        message,
        thrown,
        is_overload,
    } = failure;
    out.put_u8(match code {
        FailureCode::Overloaded => 0,
        FailureCode::Unavailable => 1,
        FailureCode::Failed => 2,
        FailureCode::Reset => 3,
    });
    out.put_number(*retry_after_ms);
    out.put_text(message);
    out.put_option(thrown.as_ref(), |out, thrown| out.put_sized(thrown));
    out.put_flag(*is_overload);
}
