//! Accepted WebSockets: the application's side of `WebSocketPair`.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use deno_core::{JsBuffer, OpState, op2};
use deno_error::JsErrorBox;
use portside_exchange::{Message, Outbox, Socket, SocketSender, outgoing};

use crate::event::{Event, SocketId};
use crate::instance::Instance;
use crate::output::Output;

/// Messages of one client on their way to JavaScript before the client has to wait.
const WINDOW: u32 = 64;

static NEXT_SOCKET: AtomicU64 = AtomicU64::new(0);

/// A WebSocket whose client is connected.
pub struct OpenSocket {
    outbox: Outbox,
}

impl OpenSocket {
    /// Sends to the client, if it is still there.
    pub fn send(&self, message: Message) {
        self.outbox.send(message);
    }

    /// Bytes the client has not taken yet.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.outbox.waiting()
    }
}

/// Opens a socket of `instance`; returns its number and the front door's end.
pub fn open(instance: &mut Instance) -> (u64, Socket) {
    let id = NEXT_SOCKET.fetch_add(1, Ordering::Relaxed);
    let (outbox, outgoing) = outgoing();
    instance.sockets.insert(SocketId(id), OpenSocket { outbox });
    let inbox = instance.inbox.clone();
    let incoming = SocketSender::new(WINDOW, move |delivery| {
        // An instance that ended needs no message.
        let _ = inbox.push(Event::Socket {
            socket: SocketId(id),
            delivery,
        });
    });
    (id, Socket { outgoing, incoming })
}

fn send(state: &mut OpState, socket: u64, message: Message) -> Result<(), JsErrorBox> {
    let instance = state.borrow_mut::<Instance>();
    let limit = instance.limits.socket_message_bytes;
    if message.len() > limit {
        let size = message.len();
        return Err(JsErrorBox::range_error(format!(
            "a WebSocket message may have at most {limit} bytes, this one has {size}"
        )));
    }
    instance.emit(Output::Socket {
        socket: SocketId(socket),
        message,
    });
    Ok(())
}

/// Sends text.
#[op2(fast)]
pub(crate) fn op_socket_text(
    state: &mut OpState,
    #[number] socket: u64,
    #[string] text: String,
) -> Result<(), JsErrorBox> {
    send(state, socket, Message::Text(text.into()))
}

/// Sends bytes.
#[op2]
pub(crate) fn op_socket_binary(
    state: &mut OpState,
    #[number] socket: u64,
    #[buffer] data: JsBuffer,
) -> Result<(), JsErrorBox> {
    send(
        state,
        socket,
        Message::Binary(Bytes::copy_from_slice(&data)),
    )
}

/// Starts or answers the closing handshake.
#[op2(fast)]
pub(crate) fn op_socket_close(
    state: &mut OpState,
    #[number] socket: u64,
    #[smi] code: u16,
    #[string] reason: String,
) -> Result<(), JsErrorBox> {
    send(state, socket, Message::Close { code, reason })
}

/// The client is gone; nothing more can be sent.
#[op2(fast)]
pub(crate) fn op_socket_end(state: &mut OpState, #[number] socket: u64) {
    state
        .borrow_mut::<Instance>()
        .sockets
        .remove(&SocketId(socket));
}
