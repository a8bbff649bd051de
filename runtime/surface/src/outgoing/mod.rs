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

use crate::actors;
use connect::Target;

/// What comes from a connection's task. Its end without a close is a failure.
enum Heard {
    Open(Agreed),
    /// It did not open, for this reason.
    Failed(String),
    Delivery(Delivery),
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
    outlet: Outlet,
    heard: Rc<Mutex<mpsc::UnboundedReceiver<Heard>>>,
    task: Task,
    /// Whose it is.
    actor: u32,
}

/// The way to a connection's task.
#[derive(Clone)]
struct Outlet {
    messages: mpsc::UnboundedSender<Message>,
    /// Bytes of messages that are not written yet.
    buffered: Arc<AtomicUsize>,
    closing: Arc<carry::Closing>,
}

impl Outlet {
    fn send(self, message: Message) {
        if matches!(message, Message::Close { .. }) {
            self.closing.begun.cancel();
        }
        // A task that has ended has said so.
        let _ = self.messages.send(message);
    }
}

/// A task that ends when this is dropped.
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Lets something leave the instance, behind the writes and the outputs before it. All that JavaScript does to the world with
/// a WebSocket to others passes here, but for connecting, which waits for its permit in the connection's task.
fn leave(state: &OpState, actor: u32, step: impl FnOnce() + 'static) {
    actors::with(state, actor, |instance| instance.leave(step));
}

/// Starts to connect. `authorization` is a header's value, empty for none.
#[op2]
#[smi]
pub(crate) fn op_websocket_open(
    state: &mut OpState,
    #[smi] actor: u32,
    #[string] url: String,
    #[string] authorization: String,
    #[serde] protocols: Vec<String>,
) -> Result<u32, JsErrorBox> {
    let target = Target::new(&url, authorization, protocols)
        .map_err(|error| JsErrorBox::new("DOMExceptionSyntaxError", error.to_string()))?;
    // The target is judged as it is now; only reaching for it waits.
    let allowed = connect::check(state.borrow_mut::<PermissionsContainer>(), &target);
    let client = deno_fetch::get_or_create_client_from_state(state);
    let (permit, limit) = {
        let instance = actors::get(state, actor)?;
        let mut instance = instance.borrow_mut();
        (instance.permit(), instance.limits().socket_message_bytes)
    };
    let (messages, outgoing) = mpsc::unbounded_channel();
    let (sender, heard) = mpsc::unbounded_channel();
    let outlet = Outlet {
        messages,
        buffered: Arc::default(),
        closing: Arc::default(),
    };
    let ends = carry::Ends {
        outgoing,
        buffered: Arc::clone(&outlet.buffered),
        closing: Arc::clone(&outlet.closing),
        heard: sender,
    };
    let task = tokio::spawn(async move {
        // An instance that ends takes its connections along.
        if let Some(permit) = permit
            && permit.await.is_err()
        {
            return;
        }
        // What fails here fails as a peer does that cannot be reached.
        let heard = ends.heard.clone();
        let ready = allowed.and_then(|()| client.map_err(|error| error.to_string()));
        let ran = match ready {
            Ok(client) => carry::run(client, target, limit, ends).await,
            Err(why) => Err(why),
        };
        if let Err(why) = ran {
            let _ = heard.send(Heard::Failed(why));
        }
    });
    let connections = state.borrow_mut::<Connections>();
    connections.next += 1;
    let id = connections.next;
    let connection = Connection {
        outlet,
        heard: Rc::new(Mutex::new(heard)),
        task: Task(task.abort_handle()),
        actor,
    };
    connections.open.insert(id, connection);
    Ok(id)
}

/// Why a message cannot be sent, as the close code that the connection then ends with; zero if it can.
fn send(state: &mut OpState, id: u32, message: Message) -> u16 {
    let limits = Arc::clone(state.borrow::<Shared>().borrow().limits());
    let len = message.len();
    if len > limits.socket_message_bytes {
        return code::TOO_BIG;
    }
    if let Some((actor, outlet)) = outlet(state, id) {
        let before = outlet.buffered.fetch_add(len, Ordering::Relaxed);
        // One that waits alone always fits.
        if before > 0 && before + len > limits.socket_buffer_bytes {
            return code::TRY_AGAIN_LATER;
        }
        leave(state, actor, move || outlet.send(message));
    }
    0
}

/// Whose the connection is, and the way to it.
fn outlet(state: &OpState, id: u32) -> Option<(u32, Outlet)> {
    let open = state.borrow::<Connections>().open.get(&id)?;
    Some((open.actor, open.outlet.clone()))
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
    if let Some((actor, outlet)) = outlet(state, id) {
        leave(state, actor, move || {
            outlet.send(Message::Close { code, reason })
        });
    }
}

/// Bytes of messages that are not written yet.
#[op2(fast)]
#[number]
pub(crate) fn op_websocket_buffered(state: &mut OpState, #[smi] id: u32) -> usize {
    outlet(state, id).map_or(0, |(_, outlet)| outlet.buffered.load(Ordering::Relaxed))
}

/// Nothing more is sent or heard. A connection that is over by itself ends in its own time, another one at once: the peer sees
/// that, so it passes the gate.
#[op2(fast)]
pub(crate) fn op_websocket_end(state: &mut OpState, #[smi] id: u32, over: bool) {
    let connections = state.borrow_mut::<Connections>();
    connections.lingering.retain(|task| !task.0.is_finished());
    let Some(connection) = connections.open.remove(&id) else {
        return;
    };
    if over {
        connections.lingering.push(connection.task);
    } else {
        leave(state, connection.actor, move || drop(connection));
    }
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
    Failed {
        /// Why it did not open; empty if it did, or nobody knows.
        why: String,
    },
}

impl News {
    fn lost() -> Self {
        let why = String::new();
        Self::Failed { why }
    }
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
        return News::lost();
    };
    let next = heard.lock().await.recv().await;
    match next {
        None => News::lost(),
        Some(Heard::Failed(why)) => News::Failed { why },
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
            } => News::lost(),
            Message::Close { code, reason } => News::Close { code, reason },
        },
    }
}
