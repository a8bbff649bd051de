//! The WebSockets that JavaScript opens to others, `new WebSocket(…)`.
//!
//! Each has a task of its own that connects and carries messages. What waits between it and JavaScript is bounded in
//! bytes, both ways, and the task ends with the isolate.

mod carry;
mod connect;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use deno_core::{JsBuffer, OpState, ToJsBuffer, op2};
use deno_error::JsErrorBox;
use deno_permissions::PermissionsContainer;
use portside_exchange::{Delivery, Message};
use portside_websocket::client::Agreed;
use portside_websocket::code;
use portside_worker::engine::Shared;
use serde::Serialize;
use tokio::sync::{Mutex, mpsc};
use tokio::task::AbortHandle;

use connect::Target;

/// What comes from a connection's task. Its end without a close is a failure.
enum Heard {
    Open(Agreed),
    Delivery(Delivery),
}

/// What leaves the instance, in the order in which JavaScript says it.
enum Departure {
    Connect(Target),
    Send(Message),
}

/// The connections of one isolate, by the numbers that JavaScript knows them by. Dropping it ends all of them.
#[derive(Default)]
pub(crate) struct Connections {
    next: u32,
    open: HashMap<u32, Connection>,
    /// What is over for JavaScript, and lets the peer read what it was told.
    lingering: Vec<Task>,
}

struct Connection {
    messages: mpsc::UnboundedSender<Message>,
    /// Bytes of messages that are not written yet.
    buffered: Arc<AtomicUsize>,
    closing: Arc<carry::Closing>,
    heard: Rc<Mutex<mpsc::UnboundedReceiver<Heard>>>,
    /// What the task gets when it starts.
    unstarted: Option<carry::Ends>,
    task: Option<Task>,
}

/// A task that ends when this is dropped.
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Lets something leave the instance. Everything that a WebSocket to others does to the world passes here: an output gate
/// that is to hold it back belongs before [`perform`].
fn leave(state: &mut OpState, id: u32, departure: Departure) {
    perform(state, id, departure);
}

/// Does what JavaScript wanted, if the connection is not over.
fn perform(state: &mut OpState, id: u32, departure: Departure) {
    match departure {
        Departure::Connect(target) => {
            let limit = state
                .borrow::<Shared>()
                .borrow()
                .limits()
                .socket_message_bytes;
            // None is made without permissions: then the task fails, as for any peer that cannot be reached.
            let allowed = connect::is_allowed(state.borrow_mut::<PermissionsContainer>(), &target);
            let client = deno_fetch::get_or_create_client_from_state(state);
            let Some(connection) = state.borrow_mut::<Connections>().open.get_mut(&id) else {
                return;
            };
            if let (Some(ends), true, Ok(client)) = (connection.unstarted.take(), allowed, client) {
                let task = tokio::spawn(carry::run(client, target, limit, ends));
                connection.task = Some(Task(task.abort_handle()));
            }
        }
        Departure::Send(message) => {
            if let Some(connection) = state.borrow::<Connections>().open.get(&id) {
                if matches!(message, Message::Close { .. }) {
                    connection.closing.begun.cancel();
                }
                // A task that has ended has said so.
                let _ = connection.messages.send(message);
            }
        }
    }
}

/// Starts to connect. `authorization` is a header's value, empty for none.
#[op2]
#[smi]
pub(crate) fn op_websocket_open(
    state: &mut OpState,
    #[string] url: String,
    #[string] authorization: String,
    #[serde] protocols: Vec<String>,
) -> Result<u32, JsErrorBox> {
    let target = Target::new(&url, authorization, protocols)
        .map_err(|error| JsErrorBox::new("DOMExceptionSyntaxError", error.to_string()))?;
    let (messages, outgoing) = mpsc::unbounded_channel();
    let (sender, heard) = mpsc::unbounded_channel();
    let buffered = Arc::<AtomicUsize>::default();
    let closing = Arc::<carry::Closing>::default();
    let connections = state.borrow_mut::<Connections>();
    connections.next += 1;
    let id = connections.next;
    let connection = Connection {
        messages,
        buffered: Arc::clone(&buffered),
        closing: Arc::clone(&closing),
        heard: Rc::new(Mutex::new(heard)),
        unstarted: Some(carry::Ends {
            outgoing,
            buffered,
            closing,
            heard: sender,
        }),
        task: None,
    };
    connections.open.insert(id, connection);
    leave(state, id, Departure::Connect(target));
    Ok(id)
}

/// Why a message cannot be sent, as the close code that the connection then ends with; zero if it can.
fn send(state: &mut OpState, id: u32, message: Message) -> u16 {
    let limits = Arc::clone(state.borrow::<Shared>().borrow().limits());
    let len = message.len();
    if len > limits.socket_message_bytes {
        return code::TOO_BIG;
    }
    if let Some(connection) = state.borrow::<Connections>().open.get(&id) {
        let before = connection.buffered.fetch_add(len, Ordering::Relaxed);
        // One that waits alone always fits.
        if before > 0 && before + len > limits.socket_buffer_bytes {
            return code::TRY_AGAIN_LATER;
        }
    }
    leave(state, id, Departure::Send(message));
    0
}

/// Sends text; returns zero, or the code to fail with.
#[op2(fast)]
#[smi]
pub(crate) fn op_websocket_text(
    state: &mut OpState,
    #[smi] id: u32,
    #[string] text: String,
) -> u16 {
    send(state, id, Message::Text(text.into()))
}

/// Sends bytes; returns zero, or the code to fail with.
#[op2]
#[smi]
pub(crate) fn op_websocket_binary(
    state: &mut OpState,
    #[smi] id: u32,
    #[buffer] data: JsBuffer,
) -> u16 {
    send(state, id, Message::Binary(Bytes::copy_from_slice(&data)))
}

/// Starts the closing handshake, behind what was sent before.
#[op2(fast)]
pub(crate) fn op_websocket_close(
    state: &mut OpState,
    #[smi] id: u32,
    #[smi] code: u16,
    #[string] reason: String,
) {
    let close = Message::Close { code, reason };
    leave(state, id, Departure::Send(close));
}

/// Bytes of messages that are not written yet.
#[op2(fast)]
#[number]
pub(crate) fn op_websocket_buffered(state: &mut OpState, #[smi] id: u32) -> usize {
    let connections = state.borrow::<Connections>();
    connections
        .open
        .get(&id)
        .map_or(0, |open| open.buffered.load(Ordering::Relaxed))
}

/// Nothing more is sent or heard. A connection that is over by itself ends in its own time, another one at once.
#[op2(fast)]
pub(crate) fn op_websocket_end(state: &mut OpState, #[smi] id: u32, over: bool) {
    let connections = state.borrow_mut::<Connections>();
    let task = connections
        .open
        .remove(&id)
        .and_then(|connection| connection.task);
    connections.lingering.retain(|task| !task.0.is_finished());
    connections.lingering.extend(task.filter(|_| over));
}

/// What JavaScript hears of a connection.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum News {
    Open {
        protocol: String,
        extensions: String,
    },
    Text {
        data: String,
    },
    Binary {
        data: ToJsBuffer,
    },
    Close {
        code: u16,
        reason: String,
    },
    Failed,
}

/// The next news of a connection; what comes after a close or a failure is a failure.
#[op2]
#[serde]
pub(crate) async fn op_websocket_next(state: Rc<RefCell<OpState>>, #[smi] id: u32) -> News {
    let heard = {
        let state = state.borrow();
        let connections = state.borrow::<Connections>();
        connections.open.get(&id).map(|open| Rc::clone(&open.heard))
    };
    let Some(heard) = heard else {
        return News::Failed;
    };
    let next = heard.lock().await.recv().await;
    match next {
        None => News::Failed,
        Some(Heard::Open(Agreed {
            protocol,
            extensions,
            ..
        })) => News::Open {
            protocol,
            extensions,
        },
        Some(Heard::Delivery(Delivery { message, .. })) => match message {
            Message::Text(text) => News::Text {
                data: String::from_utf8(text.into()).unwrap_or_default(),
            },
            Message::Binary(bytes) => News::Binary {
                data: Vec::from(bytes).into(),
            },
            Message::Close {
                code: code::LOST, ..
            } => News::Failed,
            Message::Close { code, reason } => News::Close { code, reason },
        },
    }
}
