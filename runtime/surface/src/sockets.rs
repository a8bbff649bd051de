//! Accepted WebSockets: the application's side of `WebSocketPair`.

use bytes::Bytes;
use deno_core::{JsBuffer, OpState, op2};
use deno_error::JsErrorBox;
use portside_exchange::Message;
use portside_worker::engine::Shared;
use portside_worker::instance::Instance;
use portside_worker::link::LinkId;
use portside_worker::port::TooLarge;

use crate::actors;

fn send(state: &mut OpState, actor: u32, socket: u64, message: Message) -> Result<(), JsErrorBox> {
    let instance = actors::get(state, actor)?;
    let sent = instance
        .borrow_mut()
        .send_to_client(LinkId(socket), message);
    sent.map_err(refuse)
}

/// Refuses a message that is too large to be sent to a client.
#[op2(fast)]
pub(crate) fn op_socket_check(
    state: &mut OpState,
    #[number] size: usize,
) -> Result<(), JsErrorBox> {
    let instance = state.borrow::<Shared>().borrow();
    TooLarge::check(size, instance.limits().socket_message_bytes).map_err(refuse)
}

pub(crate) fn refuse(error: TooLarge) -> JsErrorBox {
    JsErrorBox::range_error(format!("on a WebSocket, {error}"))
}

/// Sends text.
#[op2(fast)]
pub(crate) fn op_socket_text(
    state: &mut OpState,
    #[smi] actor: u32,
    #[number] socket: u64,
    #[string] text: String,
) -> Result<(), JsErrorBox> {
    send(state, actor, socket, Message::Text(text.into()))
}

/// Sends bytes.
#[op2]
pub(crate) fn op_socket_binary(
    state: &mut OpState,
    #[smi] actor: u32,
    #[number] socket: u64,
    #[buffer] data: JsBuffer,
) -> Result<(), JsErrorBox> {
    send(
        state,
        actor,
        socket,
        Message::Binary(Bytes::copy_from_slice(&data)),
    )
}

/// Starts or answers the closing handshake.
#[op2(fast)]
pub(crate) fn op_socket_close(
    state: &mut OpState,
    #[smi] actor: u32,
    #[number] socket: u64,
    #[smi] code: u16,
    #[string] reason: String,
) -> Result<(), JsErrorBox> {
    send(state, actor, socket, Message::Close { code, reason })
}

/// The client is gone; nothing more can be sent.
#[op2(fast)]
pub(crate) fn op_socket_end(state: &mut OpState, #[smi] actor: u32, #[number] socket: u64) {
    actors::with(state, actor, |instance| {
        instance.client_gone(LinkId(socket))
    });
}

/// Bytes sent that the client has not taken yet.
#[op2(fast)]
#[number]
pub(crate) fn op_socket_waiting(
    state: &mut OpState,
    #[smi] actor: u32,
    #[number] socket: u64,
) -> usize {
    let waiting = |instance: &mut Instance| instance.waiting_for_client(LinkId(socket));
    actors::with(state, actor, waiting).unwrap_or(0)
}
