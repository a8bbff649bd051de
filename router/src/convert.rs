//! What a link carries, from the form that it has in a process to the one that it has between pods, and back.

use bytes::Bytes;
use futures::stream;
use portside_exchange::{Body, Request};
use portside_wire::frame;
use portside_worker::link::{Content, Frame, Head};
use portside_worker::request::ByteStream;

/// A body is sent in pieces if it is longer than this; and each piece is no longer.
pub(crate) const PIECE_BYTES: usize = 256 << 10;

/// Whether the body is sent at once; else what follows.
fn whole(body: Body) -> Result<Bytes, ByteStream> {
    match body {
        Body::Empty => Ok(Bytes::new()),
        Body::Full(bytes) if bytes.len() <= PIECE_BYTES => Ok(bytes),
        Body::Full(bytes) => Err(Box::pin(stream::iter([Ok(bytes)]))),
        Body::Stream(stream) => Err(stream),
    }
}

/// What comes after the head of an answer with this body, and the body if that follows.
pub(crate) fn content_out(body: Body) -> (frame::Content, Option<ByteStream>) {
    match whole(body) {
        Ok(bytes) => (frame::Content::Full(bytes), None),
        Err(stream) => (frame::Content::Follows, Some(stream)),
    }
}

/// The request as it is sent, and its body if that follows.
pub(crate) fn request_out(request: Request) -> (frame::Request, Option<ByteStream>) {
    let Request {
        method,
        url,
        headers,
        body,
        websocket,
    } = request;
    let (body, follows) = match whole(body) {
        Ok(bytes) => (frame::Body::Full(bytes), None),
        Err(stream) => (frame::Body::Follows, Some(stream)),
    };
    let request = frame::Request {
        method,
        url,
        headers,
        websocket,
        body,
    };
    (request, follows)
}

/// The request as it was received. `follows` is where its body comes, should it follow.
pub(crate) fn request_in(request: frame::Request, follows: impl FnOnce() -> ByteStream) -> Request {
    let frame::Request {
        method,
        url,
        headers,
        websocket,
        body,
    } = request;
    let body = match body {
        frame::Body::Full(bytes) if bytes.is_empty() => Body::Empty,
        frame::Body::Full(bytes) => Body::Full(bytes),
        frame::Body::Follows => Body::Stream(follows()),
    };
    Request {
        method,
        url,
        headers,
        body,
        websocket,
    }
}

/// The beginning of an answer, as its caller hears it.
pub(crate) fn head_in(head: frame::Head) -> Frame {
    let frame::Head {
        status,
        reason,
        headers,
        content,
    } = head;
    Frame::Head(Box::new(Head {
        status,
        reason,
        headers,
        content: match content {
            frame::Content::Full(bytes) => Content::Full(bytes),
            frame::Content::Follows => Content::Follows,
            frame::Content::Socket(lasts) => Content::Socket(lasts),
        },
    }))
}
