//! The server's `fetch`: reading the request's body, sending the response.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::rc::Rc;

use bytes::Bytes;
use deno_core::{JsBuffer, OpState, op2};
use deno_error::JsErrorBox;
use futures::stream::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use portside_core::variable::Value;
use portside_exchange::{BodyError, Lasts};
use portside_worker::engine::Shared;
use portside_worker::link::{Content, Failure, Head, LinkId};
use serde::Serialize;

use crate::{actors, stack};

/// The next chunk of a request's body; an empty one is its end. Fails when the request is over, for then what is missing
/// is not known.
#[op2]
#[buffer]
pub(crate) async fn op_body_read(
    state: Rc<RefCell<OpState>>,
    #[smi] actor: u32,
    #[number] id: u64,
) -> Result<Vec<u8>, JsErrorBox> {
    let instance = actors::get(&state.borrow(), actor)?;
    let taken = instance.borrow_mut().take_body(LinkId(id));
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
                instance.borrow_mut().return_body(LinkId(id), body);
                return Ok(chunk.into());
            }
        }
    }
}

/// Headers as JavaScript hands them over: name, newline, value, newline, and so on.
///
/// # Errors
/// A name or value that HTTP does not allow.
pub(crate) fn parse_headers(joined: &str) -> Result<HeaderMap, JsErrorBox> {
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
    actor: u32,
    id: u64,
    status: u16,
    reason: &str,
    headers: &str,
    content: Content,
) -> Result<(), JsErrorBox> {
    let headers = parse_headers(headers)?;
    let status = StatusCode::from_u16(status)
        .map_err(|_| JsErrorBox::range_error(format!("{status} is not an HTTP status")))?;
    let reason = header_value(reason)
        .ok_or_else(|| JsErrorBox::type_error(format!("{reason:?} is not a status text")))?;
    let head = Head {
        status,
        reason: Bytes::copy_from_slice(reason.as_bytes()),
        headers,
        content,
    };
    let instance = actors::get(state, actor)?;
    instance.borrow_mut().respond(LinkId(id), head);
    Ok(())
}

/// Responds with text.
#[op2(fast)]
pub(crate) fn op_respond_text(
    state: &mut OpState,
    #[smi] actor: u32,
    #[number] id: u64,
    #[smi] status: u16,
    #[string] reason: &str,
    #[string] headers: &str,
    #[string] body: String,
) -> Result<(), JsErrorBox> {
    respond(
        state,
        actor,
        id,
        status,
        reason,
        headers,
        Content::Full(body.into()),
    )
}

/// Responds with bytes.
#[op2]
pub(crate) fn op_respond_bytes(
    state: &mut OpState,
    #[smi] actor: u32,
    #[number] id: u64,
    #[smi] status: u16,
    #[string] reason: &str,
    #[string] headers: &str,
    #[buffer] body: JsBuffer,
) -> Result<(), JsErrorBox> {
    let content = Content::Full(Bytes::copy_from_slice(&body));
    respond(state, actor, id, status, reason, headers, content)
}

/// Responds with a body that follows in chunks.
#[op2(fast)]
pub(crate) fn op_respond_stream(
    state: &mut OpState,
    #[smi] actor: u32,
    #[number] id: u64,
    #[smi] status: u16,
    #[string] reason: &str,
    #[string] headers: &str,
) -> Result<(), JsErrorBox> {
    respond(state, actor, id, status, reason, headers, Content::Follows)
}

/// Sends a chunk when there is room. `false` means that the client went away.
#[op2]
pub(crate) async fn op_response_write(
    state: Rc<RefCell<OpState>>,
    #[smi] actor: u32,
    #[number] id: u64,
    #[buffer] chunk: JsBuffer,
) -> bool {
    let Some(instance) = actors::find(&state.borrow(), actor) else {
        return false;
    };
    let chunk = Bytes::copy_from_slice(&chunk);
    let size = chunk.len();
    let room = poll_fn(|cx| instance.borrow().poll_chunk_room(LinkId(id), size, cx));
    let room = room.await;
    if room {
        instance.borrow_mut().send_chunk(LinkId(id), chunk);
    }
    room
}

/// A streamed response is complete.
#[op2(fast)]
pub(crate) fn op_response_end(state: &mut OpState, #[smi] actor: u32, #[number] id: u64) {
    actors::with(state, actor, |instance| instance.end_body(LinkId(id), None));
}

/// Breaks a streamed response off, so that the client sees that it is incomplete; `thrown` is for a client that is code.
#[op2]
pub(crate) fn op_response_abort(
    state: &mut OpState,
    #[smi] actor: u32,
    #[number] id: u64,
    #[string] reason: &str,
    #[buffer] thrown: JsBuffer,
) {
    let error = BodyError::Thrown {
        message: stack::readable(reason).into_owned(),
        thrown: (&*thrown).into(),
    };
    actors::with(state, actor, |instance| {
        instance.end_body(LinkId(id), Some(error));
    });
}

/// Accepts the client's WebSocket, which has the request's number; `reconnects`: it may be opened again.
#[op2(fast)]
pub(crate) fn op_respond_socket(
    state: &mut OpState,
    #[smi] actor: u32,
    #[number] id: u64,
    #[string] headers: &str,
    reconnects: bool,
) -> Result<(), JsErrorBox> {
    let status = StatusCode::SWITCHING_PROTOCOLS.as_u16();
    let lasts = match reconnects {
        true => Lasts::Reopened,
        false => Lasts::No,
    };
    let content = Content::Socket(lasts);
    respond(state, actor, id, status, "", headers, content)
}

/// The application failed to respond; the message is for the log and, in development, for the client.
#[op2(fast)]
pub(crate) fn op_respond_error(
    state: &mut OpState,
    #[smi] actor: u32,
    #[number] id: u64,
    #[string] message: &str,
) {
    let message = stack::readable(message).into_owned();
    actors::with(state, actor, |instance| {
        instance.respond_failed(LinkId(id), Failure::failed(message))
    });
}

/// The application has too much to do to respond, and perhaps not in `retry_after_ms`.
#[op2(fast)]
pub(crate) fn op_respond_overloaded(
    state: &mut OpState,
    #[smi] actor: u32,
    #[number] id: u64,
    #[string] message: &str,
    #[number] retry_after_ms: u64,
) {
    let failure = Failure {
        retry_after_ms,
        ..Failure::overloaded(stack::readable(message))
    };
    actors::with(state, actor, |instance| {
        instance.respond_failed(LinkId(id), failure)
    });
}

/// Nothing of a request remains to be done.
#[op2(fast)]
pub(crate) fn op_exchange_end(state: &mut OpState, #[smi] actor: u32, #[number] id: u64) {
    actors::with(state, actor, |instance| instance.end_request(LinkId(id)));
}

/// The server's variables: those that are strings, the JSON of the others, the numbers of the classes that are bound, and by which
/// names assets are.
#[derive(Default, Serialize)]
pub(crate) struct Env {
    text: BTreeMap<String, String>,
    json: BTreeMap<String, String>,
    objects: BTreeMap<String, usize>,
    assets: Vec<String>,
}

/// The server's variables.
#[op2]
#[serde]
pub(crate) fn op_env(state: &mut OpState) -> Env {
    let mut env = Env::default();
    for (name, value) in state.borrow::<Shared>().borrow().env() {
        let name = name.clone();
        match value {
            Value::Text(text) => drop(env.text.insert(name, text.clone())),
            Value::Json(json) => drop(env.json.insert(name, json.clone())),
            Value::Objects(class) => drop(env.objects.insert(name, *class)),
            Value::Assets => env.assets.push(name),
        }
    }
    env
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
