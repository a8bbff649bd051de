//! Hibernatable WebSockets: what an object says and asks of those that are kept for it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use deno_core::{JsBuffer, OpState, op2};
use deno_error::JsErrorBox;
use portside_core::compatibility::Feature;
use portside_exchange::Message;
use portside_worker::engine::Shared;
use portside_worker::hibernation::{AutoResponse, SocketId, Sockets};
use portside_worker::link::{Content, Head, LinkId};

use crate::actors;
use crate::http::parse_headers;
use crate::sockets::refuse;

/// What the application's date changes, as bits, in the order of [`Feature::ALL`].
#[op2(fast)]
#[smi]
pub(crate) fn op_compatibility(state: &mut OpState) -> u32 {
    let instance = state.borrow::<Shared>().borrow();
    let compatibility = instance.compatibility();
    let bits = Feature::ALL.iter().enumerate();
    bits.map(|(bit, feature)| u32::from(compatibility.has(*feature)) << bit)
        .sum()
}

fn sockets(state: &OpState, actor: u32) -> Result<Arc<Sockets>, JsErrorBox> {
    let instance = actors::get(state, actor)?;
    let sockets = instance.borrow().sockets().cloned();
    sockets
        .ok_or_else(|| JsErrorBox::type_error("only Durable Objects have hibernatable WebSockets"))
}

/// What is kept of each of them has changed.
fn keep_all(state: &OpState, actor: u32, sockets: &Sockets) {
    let all = sockets.list(None);
    actors::with(state, actor, |instance| {
        for socket in all {
            instance.keep_hibernatable(socket);
        }
    });
}

/// Keeps a socket with these tags, by the id that it returns.
#[op2]
#[number]
pub(crate) fn op_hibernatable_accept(
    state: &mut OpState,
    #[smi] actor: u32,
    #[serde] tags: Vec<String>,
) -> Result<u64, JsErrorBox> {
    let sockets = sockets(state, actor)?;
    let name = actors::with(state, actor, |instance| instance.object_name()).flatten();
    let accepted = sockets.accept(tags, name);
    accepted
        .map(|socket| socket.0)
        .map_err(|error| JsErrorBox::generic(error.to_string()))
}

/// Answers a request with the other end of a socket that is kept.
#[op2(fast)]
pub(crate) fn op_respond_hibernatable(
    state: &mut OpState,
    #[smi] actor: u32,
    #[number] request: u64,
    #[string] headers: &str,
    #[number] socket: u64,
) -> Result<(), JsErrorBox> {
    let head = Head {
        status: http::StatusCode::SWITCHING_PROTOCOLS,
        reason: Bytes::new(),
        headers: parse_headers(headers)?,
        content: Content::Hibernatable(sockets(state, actor)?.reader(SocketId(socket))),
    };
    actors::with(state, actor, |instance| {
        instance.respond(LinkId(request), head);
        instance.keep_hibernatable(SocketId(socket));
    });
    Ok(())
}

/// The ids of all sockets, or of those with a tag.
#[op2]
#[serde]
pub(crate) fn op_hibernatable_list(
    state: &mut OpState,
    #[smi] actor: u32,
    #[string] tag: Option<String>,
) -> Result<Vec<u64>, JsErrorBox> {
    let listed = sockets(state, actor)?.list(tag.as_deref());
    Ok(listed.into_iter().map(|socket| socket.0).collect())
}

/// A socket's tags.
#[op2]
#[serde]
pub(crate) fn op_hibernatable_tags(
    state: &mut OpState,
    #[smi] actor: u32,
    #[number] socket: u64,
) -> Result<Vec<String>, JsErrorBox> {
    Ok(sockets(state, actor)?.tags(SocketId(socket)))
}

/// Attaches a structured clone to a socket.
#[op2]
pub(crate) fn op_hibernatable_attach(
    state: &mut OpState,
    #[smi] actor: u32,
    #[number] socket: u64,
    #[buffer] clone: JsBuffer,
) -> Result<(), JsErrorBox> {
    sockets(state, actor)?.attach(SocketId(socket), &clone);
    actors::with(state, actor, |instance| {
        instance.keep_hibernatable(SocketId(socket));
    });
    Ok(())
}

/// What is attached to a socket.
#[op2]
#[buffer]
pub(crate) fn op_hibernatable_attachment(
    state: &mut OpState,
    #[smi] actor: u32,
    #[number] socket: u64,
) -> Result<Option<Vec<u8>>, JsErrorBox> {
    Ok(sockets(state, actor)?.attachment(SocketId(socket)))
}

/// Whether a socket was closed here (1), there (2), or both (3).
#[op2(fast)]
#[smi]
pub(crate) fn op_hibernatable_closing(
    state: &mut OpState,
    #[smi] actor: u32,
    #[number] socket: u64,
) -> Result<u32, JsErrorBox> {
    let closing = sockets(state, actor)?.closing(SocketId(socket));
    Ok(u32::from(closing.here) | u32::from(closing.there) << 1)
}

/// When an automatic response was last sent, in milliseconds since the Unix epoch; -1 for never.
#[op2(fast)]
#[number]
pub(crate) fn op_hibernatable_answered_at(
    state: &mut OpState,
    #[smi] actor: u32,
    #[number] socket: u64,
) -> Result<i64, JsErrorBox> {
    let answered = sockets(state, actor)?.answered_at(SocketId(socket));
    Ok(answered.unwrap_or(-1))
}

/// Sets what is answered automatically; nothing for no request.
#[op2]
pub(crate) fn op_hibernatable_set_auto_response(
    state: &mut OpState,
    #[smi] actor: u32,
    #[string] request: Option<String>,
    #[string] response: String,
) -> Result<(), JsErrorBox> {
    let auto_response = request.map(|request| AutoResponse {
        request: request.into(),
        response: response.into(),
    });
    let sockets = sockets(state, actor)?;
    sockets.set_auto_response(auto_response);
    keep_all(state, actor, &sockets);
    Ok(())
}

/// What is answered automatically, and with what.
#[op2]
#[serde]
pub(crate) fn op_hibernatable_auto_response(
    state: &mut OpState,
    #[smi] actor: u32,
) -> Result<Option<(String, String)>, JsErrorBox> {
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    let auto_response = sockets(state, actor)?.auto_response();
    Ok(auto_response.map(|known| (text(&known.request), text(&known.response))))
}

/// Sets for how long the handling of an event keeps the object, in milliseconds; 0 for as long as it takes.
#[op2(fast)]
pub(crate) fn op_hibernatable_set_timeout(
    state: &mut OpState,
    #[smi] actor: u32,
    #[number] timeout: u64,
) -> Result<(), JsErrorBox> {
    let timeout = (timeout > 0).then(|| Duration::from_millis(timeout));
    let sockets = sockets(state, actor)?;
    sockets.set_event_timeout(timeout);
    keep_all(state, actor, &sockets);
    Ok(())
}

/// For how long the handling of an event keeps the object, in milliseconds; 0 for as long as it takes.
#[op2(fast)]
#[number]
pub(crate) fn op_hibernatable_timeout(
    state: &mut OpState,
    #[smi] actor: u32,
) -> Result<u64, JsErrorBox> {
    let timeout = sockets(state, actor)?.event_timeout().unwrap_or_default();
    Ok(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX))
}

/// The handler of a socket's end is done.
#[op2(fast)]
pub(crate) fn op_hibernatable_ended(
    state: &mut OpState,
    #[smi] actor: u32,
    #[number] socket: u64,
) -> Result<(), JsErrorBox> {
    sockets(state, actor)?.ended(SocketId(socket));
    Ok(())
}

fn send(state: &OpState, actor: u32, socket: u64, message: Message) -> Result<(), JsErrorBox> {
    let instance = actors::get(state, actor)?;
    let sent = instance
        .borrow_mut()
        .send_hibernatable(SocketId(socket), message);
    sent.map_err(refuse)
}

/// Sends text to a client.
#[op2(fast)]
pub(crate) fn op_hibernatable_text(
    state: &mut OpState,
    #[smi] actor: u32,
    #[number] socket: u64,
    #[string] text: String,
) -> Result<(), JsErrorBox> {
    send(state, actor, socket, Message::Text(text.into()))
}

/// Sends bytes to a client.
#[op2]
pub(crate) fn op_hibernatable_binary(
    state: &mut OpState,
    #[smi] actor: u32,
    #[number] socket: u64,
    #[buffer] data: JsBuffer,
) -> Result<(), JsErrorBox> {
    let bytes = Bytes::copy_from_slice(&data);
    send(state, actor, socket, Message::Binary(bytes))
}

/// Starts or answers the closing handshake with a client.
#[op2(fast)]
pub(crate) fn op_hibernatable_close(
    state: &mut OpState,
    #[smi] actor: u32,
    #[number] socket: u64,
    #[smi] code: u16,
    #[string] reason: String,
) -> Result<(), JsErrorBox> {
    send(state, actor, socket, Message::Close { code, reason })
}

/// The object has closed a socket whose other end its own code has.
#[op2(fast)]
pub(crate) fn op_hibernatable_closes(
    state: &mut OpState,
    #[smi] actor: u32,
    #[number] socket: u64,
) -> Result<(), JsErrorBox> {
    sockets(state, actor)?.closes(SocketId(socket));
    Ok(())
}

/// What the object's own code says at the other end of a socket; returns what that is answered with at once.
#[op2]
#[string]
pub(crate) fn op_hibernatable_hear(
    state: &mut OpState,
    #[smi] actor: u32,
    #[number] socket: u64,
    #[string] text: Option<String>,
    #[buffer] bytes: Option<JsBuffer>,
) -> Result<Option<String>, JsErrorBox> {
    let message = match text {
        Some(text) => Message::Text(text.into()),
        None => Message::Binary(Bytes::copy_from_slice(bytes.as_deref().unwrap_or_default())),
    };
    let heard = sockets(state, actor)?.hear_own(SocketId(socket), message);
    let response = heard.map_err(|_| {
        JsErrorBox::range_error("too much that was sent on this WebSocket was not received yet")
    })?;
    Ok(response.map(|response| String::from_utf8_lossy(&response).into_owned()))
}

/// The object's own code closes the other end of a socket.
#[op2(fast)]
pub(crate) fn op_hibernatable_hear_close(
    state: &mut OpState,
    #[smi] actor: u32,
    #[number] socket: u64,
    #[smi] code: u16,
    #[string] reason: String,
) -> Result<(), JsErrorBox> {
    let message = Message::Close { code, reason };
    // A close always fits.
    let _ = sockets(state, actor)?.hear_own(SocketId(socket), message);
    Ok(())
}

/// Bytes sent to a client that it has not taken yet.
#[op2(fast)]
#[number]
pub(crate) fn op_hibernatable_waiting(
    state: &mut OpState,
    #[smi] actor: u32,
    #[number] socket: u64,
) -> Result<usize, JsErrorBox> {
    Ok(sockets(state, actor)?.waiting(SocketId(socket)))
}
