//! The server's `fetch`: reading the request's body, sending the response.

use std::cell::RefCell;
use std::collections::HashMap;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use deno_core::{JsBuffer, OpState, op2};
use deno_error::JsErrorBox;
use futures::stream::{Stream, StreamExt};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use portside_exchange::{Body, BodyError, FetchError, Response};
use tokio::sync::{mpsc, oneshot};

use crate::event::RequestId;
use crate::instance::Instance;
use crate::sockets;
use crate::stack;

/// Chunks of a streamed response that wait for the client before JavaScript does.
const RESPONSE_CHUNKS: usize = 8;

type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, BodyError>> + Send>>;

/// A request that JavaScript is working on.
pub struct Exchange {
    /// Taken by the response.
    pub reply: Option<oneshot::Sender<Result<Response, FetchError>>>,
    /// The request's body, if it is a stream. Out while it is being read.
    pub body: Option<ByteStream>,
    /// Where a streamed response goes.
    pub chunks: Option<mpsc::Sender<Result<Bytes, BodyError>>>,
}

fn exchange<R>(state: &mut OpState, id: u64, f: impl FnOnce(&mut Exchange) -> R) -> Option<R> {
    state
        .borrow_mut::<Instance>()
        .exchanges
        .get_mut(&RequestId(id))
        .map(f)
}

/// The next chunk of a request's body; an empty one is its end. Fails when the request is over, for then what is missing
/// is not known.
#[op2]
#[buffer]
pub(crate) async fn op_body_read(
    state: Rc<RefCell<OpState>>,
    #[number] id: u64,
) -> Result<Vec<u8>, JsErrorBox> {
    let taken = exchange(&mut state.borrow_mut(), id, |exchange| exchange.body.take());
    let taken = taken.ok_or_else(|| {
        JsErrorBox::type_error("the request is over: its body cannot be read any more")
    })?;
    let Some(mut body) = taken else {
        return Ok(vec![]);
    };
    loop {
        match body.next().await {
            None => return Ok(vec![]),
            Some(Err(error)) => return Err(JsErrorBox::type_error(error.to_string())),
            Some(Ok(chunk)) if chunk.is_empty() => {}
            Some(Ok(chunk)) => {
                exchange(&mut state.borrow_mut(), id, |exchange| {
                    exchange.body = Some(body)
                });
                return Ok(chunk.into());
            }
        }
    }
}

/// Headers as JavaScript hands them over: name, newline, value, newline, and so on.
///
/// # Errors
/// A name or value that HTTP does not allow.
fn parse_headers(joined: &str) -> Result<HeaderMap, JsErrorBox> {
    let mut headers = HeaderMap::new();
    let mut parts = joined.split('\n');
    while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
        let invalid =
            || JsErrorBox::type_error(format!("the response has an invalid header {name:?}"));
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid())?;
        headers.append(name, header_value(value).ok_or_else(invalid)?);
    }
    Ok(headers)
}

/// A `ByteString` (each character one byte) as a header's value.
fn header_value(text: &str) -> Option<HeaderValue> {
    if text.is_ascii() {
        return HeaderValue::from_str(text).ok();
    }
    let bytes: Option<Vec<u8>> = text
        .chars()
        .map(|c| u8::try_from(u32::from(c)).ok())
        .collect();
    HeaderValue::from_bytes(&bytes?).ok()
}

/// Headers as JavaScript takes them; the reverse of [`parse_headers`].
#[must_use]
pub fn join_headers(headers: &HeaderMap) -> String {
    let mut joined = String::with_capacity(headers.len() * 40);
    for (name, value) in headers {
        joined.push_str(name.as_str());
        joined.push('\n');
        match value.to_str() {
            Ok(text) => joined.push_str(text),
            Err(_) => joined.extend(value.as_bytes().iter().map(|byte| char::from(*byte))),
        }
        joined.push('\n');
    }
    joined
}

fn respond(
    state: &mut OpState,
    id: u64,
    status: u16,
    headers: &str,
    body: Body,
    socket: Option<portside_exchange::Socket>,
) -> Result<(), JsErrorBox> {
    let headers = parse_headers(headers)?;
    let status = StatusCode::from_u16(status)
        .map_err(|_| JsErrorBox::range_error(format!("{status} is not an HTTP status")))?;
    if let Some(Some(reply)) = exchange(state, id, |exchange| exchange.reply.take()) {
        // A client that went away takes no response.
        let _ = reply.send(Ok(Response {
            status,
            headers,
            body,
            socket,
        }));
    }
    Ok(())
}

/// Responds with text.
#[op2(fast)]
pub(crate) fn op_respond_text(
    state: &mut OpState,
    #[number] id: u64,
    #[smi] status: u16,
    #[string] headers: &str,
    #[string] body: String,
) -> Result<(), JsErrorBox> {
    respond(state, id, status, headers, Body::Full(body.into()), None)
}

/// Responds with bytes.
#[op2]
pub(crate) fn op_respond_bytes(
    state: &mut OpState,
    #[number] id: u64,
    #[smi] status: u16,
    #[string] headers: &str,
    #[buffer] body: JsBuffer,
) -> Result<(), JsErrorBox> {
    let body = if body.is_empty() {
        Body::Empty
    } else {
        Body::Full(Bytes::copy_from_slice(&body))
    };
    respond(state, id, status, headers, body, None)
}

/// Responds with a body that follows in chunks.
#[op2(fast)]
pub(crate) fn op_respond_stream(
    state: &mut OpState,
    #[number] id: u64,
    #[smi] status: u16,
    #[string] headers: &str,
) -> Result<(), JsErrorBox> {
    let (sender, mut receiver) = mpsc::channel(RESPONSE_CHUNKS);
    let stream = futures::stream::poll_fn(move |cx: &mut Context<'_>| -> Poll<Option<_>> {
        receiver.poll_recv(cx)
    });
    exchange(state, id, |exchange| exchange.chunks = Some(sender));
    respond(
        state,
        id,
        status,
        headers,
        Body::Stream(Box::pin(stream)),
        None,
    )
}

/// Sends a chunk when there is room. `false` means that the client went away.
#[op2]
pub(crate) async fn op_response_write(
    state: Rc<RefCell<OpState>>,
    #[number] id: u64,
    #[buffer] chunk: JsBuffer,
) -> bool {
    let chunks = exchange(&mut state.borrow_mut(), id, |exchange| {
        exchange.chunks.clone()
    })
    .flatten();
    match chunks {
        Some(chunks) => chunks
            .send(Ok(Bytes::copy_from_slice(&chunk)))
            .await
            .is_ok(),
        None => false,
    }
}

/// Breaks a streamed response off, so that the client sees that it is incomplete.
#[op2]
pub(crate) async fn op_response_abort(
    state: Rc<RefCell<OpState>>,
    #[number] id: u64,
    #[string] reason: String,
) {
    let chunks = exchange(&mut state.borrow_mut(), id, |exchange| {
        exchange.chunks.take()
    })
    .flatten();
    if let Some(chunks) = chunks {
        let _ = chunks
            .send(Err(BodyError::Incomplete(
                stack::readable(&reason).into_owned(),
            )))
            .await;
    }
}

/// Accepts the client's WebSocket; returns the socket's number.
#[op2(fast)]
#[number]
pub(crate) fn op_respond_socket(
    state: &mut OpState,
    #[number] id: u64,
    #[string] headers: &str,
) -> Result<u64, JsErrorBox> {
    let (socket, theirs) = sockets::open(state.borrow_mut::<Instance>());
    respond(
        state,
        id,
        StatusCode::SWITCHING_PROTOCOLS.as_u16(),
        headers,
        Body::Empty,
        Some(theirs),
    )?;
    Ok(socket)
}

/// The application failed to respond; the message is for the log and, in development, for the client.
#[op2(fast)]
pub(crate) fn op_respond_error(state: &mut OpState, #[number] id: u64, #[string] message: String) {
    if let Some(Some(reply)) = exchange(state, id, |exchange| exchange.reply.take()) {
        let _ = reply.send(Err(FetchError::Failed(
            stack::readable(&message).into_owned(),
        )));
    }
}

/// Nothing of a request remains to be done.
#[op2(fast)]
pub(crate) fn op_exchange_end(state: &mut OpState, #[number] id: u64) {
    state
        .borrow_mut::<Instance>()
        .exchanges
        .remove(&RequestId(id));
}

/// The server's variables.
#[op2]
#[serde]
pub(crate) fn op_env(state: &mut OpState) -> HashMap<String, String> {
    state.borrow::<Instance>().env.iter().cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_survive_the_crossing() {
        let mut headers = HeaderMap::new();
        headers.append("set-cookie", HeaderValue::from_static("a=1"));
        headers.append("set-cookie", HeaderValue::from_static("b=2"));
        headers.append("x-latin", HeaderValue::from_bytes(b"caf\xe9").unwrap());
        headers.append("x-empty", HeaderValue::from_static(""));
        assert_eq!(parse_headers(&join_headers(&headers)).unwrap(), headers);
    }

    #[test]
    fn headers_that_http_forbids_are_refused() {
        for joined in ["bad name\nv\n", "x\na\0b\n", "x\n\u{20ac}\n"] {
            assert!(parse_headers(joined).is_err(), "{joined:?}");
        }
    }
}
