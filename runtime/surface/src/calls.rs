//! Calls that JavaScript makes of objects: requests and methods, and what comes of them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::CStr;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use deno_core::{GarbageCollected, JsBuffer, OpState, ToJsBuffer, op2, v8};
use deno_error::JsErrorBox;
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{Stream, StreamExt};
use http::{HeaderValue, Method};
use portside_core::objects::ObjectId;
use portside_exchange::{
    Body, BodyError, FetchError, Lasts, Message, Outgoing, REQUEST_ID, Request, Response, Socket,
    SocketSender,
};
use portside_worker::bond::Bond;
use portside_worker::caller::Call;
use portside_worker::link::{Content, Failure, Head, LinkId, Opening, Push};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use crate::http::{join_headers, parse_headers};
use crate::objects::class_of;
use crate::ports::request_of;
use crate::{actors, stack};

/// Chunks of a request's body that may wait for whoever is called.
const CHUNKS: usize = 8;

/// The calls of an isolate's code, by their numbers.
#[derive(Default)]
pub(crate) struct Calls {
    last: u32,
    open: HashMap<u32, Open>,
}

type Chunks = Pin<Box<dyn Stream<Item = Result<Bytes, BodyError>> + Send>>;

/// What is open of a call.
#[derive(Default)]
struct Open {
    call: Option<Kind>,
    /// Where the request's body goes.
    upload: Upload,
    /// The response's body. Out while it is being read.
    body: Option<Chunks>,
    /// Ends the read that waits for more of the body.
    reading: Option<oneshot::Sender<()>>,
    /// What the code threw that sent the body.
    thrown: Option<Arc<[u8]>>,
    /// The response's WebSocket: what it says, and how to say something. The first is out while it is being read.
    outgoing: Option<Outgoing>,
    incoming: Option<SocketSender>,
    lasts: Lasts,
    /// Ends the wait for an answer.
    cancel: Option<oneshot::Sender<()>>,
}

impl Open {
    /// The response came with this WebSocket.
    fn give(&mut self, socket: Socket) {
        let Socket {
            outgoing,
            incoming,
            lasts,
        } = socket;
        self.outgoing = Some(outgoing);
        self.incoming = Some(incoming);
        self.lasts = lasts;
    }

    /// The code hears the response's WebSocket itself: it is an ordinary one from now on.
    fn accept(&mut self) {
        if let (Some(outgoing), Some(incoming)) = (self.outgoing.take(), self.incoming.take()) {
            let lasts = std::mem::take(&mut self.lasts);
            let socket = Socket {
                outgoing,
                incoming,
                lasts,
            };
            self.give(socket.plain());
        }
    }
}

enum Kind {
    Fetch(Call<Response>),
    Push(Call<Vec<u8>>),
    /// Of what is no object.
    Service(BoxFuture<'static, Result<Response, FetchError>>),
}

/// What a stub has of the object's instance that it has reached.
pub(crate) struct StubBond(Bond);

#[expect(
    unsafe_code,
    reason = "what V8's garbage collector frees must say what it holds"
)]
// SAFETY: it owns plain memory and holds nothing of V8's heap.
unsafe impl GarbageCollected for StubBond {
    fn trace(&self, _visitor: &mut v8::cppgc::Visitor) {}

    fn get_name(&self) -> &'static CStr {
        c"StubBond"
    }
}

/// That of a new stub.
#[op2]
#[cppgc]
pub(crate) fn op_stub_bond() -> StubBond {
    StubBond(Bond::default())
}

/// Which object is called, by whom, and with which stub.
struct Target {
    actor: u32,
    /// The request in whose course it is called, if it is known.
    request: Option<LinkId>,
    class: u32,
    id: String,
    name: Option<String>,
    bond: Bond,
}

impl Target {
    /// Opens the link of a call when what the caller has written is durable.
    fn open<A: 'static>(
        self,
        state: &OpState,
        call: (Call<A>, Opening),
    ) -> Result<Call<A>, JsErrorBox> {
        if let Some(failure) = self.bond.broken() {
            return Ok(Call::failed(failure));
        }
        let origin = class_of(state, self.class)?.origin;
        let id = ObjectId::parse(&origin, &self.id)
            .map_err(|error| JsErrorBox::type_error(error.to_string()))?;
        let to = id.address(&origin);
        let (call, mut opening) = call;
        opening.name = self.name.map(Into::into);
        opening.bond = Some(self.bond);
        let callee = call.callee();
        let instance = actors::get(state, self.actor)?;
        let mut instance = instance.borrow_mut();
        opening.request = instance.request_name(self.request);
        let fabric = instance.fabric().clone();
        instance.leave(move || {
            if let Some(reader) = fabric.open(&to, opening) {
                callee.opened(reader);
            }
        });
        Ok(call)
    }
}

fn begin(state: &mut OpState, open: Open) -> u32 {
    if !state.has::<Calls>() {
        state.put(Calls::default());
    }
    let calls = state.borrow_mut::<Calls>();
    calls.last += 1;
    calls.open.insert(calls.last, open);
    calls.last
}

/// Sends a request to an object; returns the call's number. A streamed body follows by `op_call_upload`.
#[op2]
#[smi]
pub(crate) fn op_stub_fetch(
    state: &mut OpState,
    #[smi] actor: u32,
    #[number] request: i64,
    #[smi] class: u32,
    #[string] id: String,
    #[string] name: Option<String>,
    #[cppgc] bond: &StubBond,
    #[string] method: &str,
    #[string] url: String,
    #[string] headers: &str,
    #[buffer] body: Option<JsBuffer>,
    streamed: bool,
) -> Result<u32, JsErrorBox> {
    let (upload, sent) = sent(method, url, headers, body, streamed)?;
    let target = Target {
        actor,
        request: request_of(request),
        class,
        id,
        name,
        bond: bond.0.clone(),
    };
    let call = target.open(state, Call::fetch(Box::new(sent)))?;
    let call = Some(Kind::Fetch(call));
    Ok(begin(
        state,
        Open {
            call,
            upload,
            ..Open::default()
        },
    ))
}

type Upload = Option<mpsc::Sender<Result<Bytes, BodyError>>>;

/// The request that is sent, and where its body follows if that is streamed.
fn sent(
    method: &str,
    url: String,
    headers: &str,
    body: Option<JsBuffer>,
    streamed: bool,
) -> Result<(Upload, Request), JsErrorBox> {
    let headers = parse_headers(headers)?;
    let (upload, body) = match body {
        _ if streamed => {
            let (sender, mut chunks) = mpsc::channel(CHUNKS);
            let stream = futures::stream::poll_fn(move |cx| chunks.poll_recv(cx));
            (Some(sender), Body::Stream(Box::pin(stream)))
        }
        Some(bytes) if !bytes.is_empty() => (None, Body::Full(Bytes::copy_from_slice(&bytes))),
        _ => (None, Body::Empty),
    };
    let upgrade = headers.get(http::header::UPGRADE);
    let request = Request {
        method: Method::from_bytes(method.as_bytes())
            .map_err(|_| JsErrorBox::type_error(format!("{method:?} is not an HTTP method")))?,
        url,
        websocket: upgrade.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket")),
        headers,
        body,
    };
    Ok((upload, request))
}

/// Sends a request to the application's static assets; returns the call's number. They know nothing of what the caller has
/// written, so it need not be durable before.
#[op2]
#[smi]
pub(crate) fn op_assets_fetch(
    state: &mut OpState,
    #[smi] actor: u32,
    #[number] request: i64,
    #[string] method: &str,
    #[string] url: String,
    #[string] headers: &str,
    #[buffer] body: Option<JsBuffer>,
    streamed: bool,
) -> Result<u32, JsErrorBox> {
    let (upload, mut sent) = sent(method, url, headers, body, streamed)?;
    let (assets, name) = {
        let instance = actors::get(state, actor)?;
        let instance = instance.borrow();
        let name = instance.request_name(request_of(request));
        (instance.assets().cloned(), name)
    };
    let assets = assets.ok_or_else(|| JsErrorBox::type_error("there are no assets"))?;
    sent.headers.remove(REQUEST_ID);
    let name = name.and_then(|name| HeaderValue::from_str(&name).ok());
    sent.headers.extend(name.map(|name| (REQUEST_ID, name)));
    let answer = async move { assets.fetch(sent).await };
    let call = Some(Kind::Service(answer.boxed()));
    Ok(begin(
        state,
        Open {
            call,
            upload,
            ..Open::default()
        },
    ))
}

/// Calls a method of an object, or reads a property if there are no arguments; returns the call's number.
#[op2]
#[smi]
pub(crate) fn op_stub_call(
    state: &mut OpState,
    #[smi] actor: u32,
    #[number] request: i64,
    #[smi] class: u32,
    #[string] id: String,
    #[string] name: Option<String>,
    #[cppgc] bond: &StubBond,
    #[serde] path: Vec<String>,
    #[buffer] arguments: Option<JsBuffer>,
) -> Result<u32, JsErrorBox> {
    let target = Target {
        actor,
        request: request_of(request),
        class,
        id,
        name,
        bond: bond.0.clone(),
    };
    let arguments = arguments.map(|arguments| arguments.to_vec());
    let call = target.open(state, Call::push(Push { path, arguments }))?;
    let call = Some(Kind::Push(call));
    Ok(begin(
        state,
        Open {
            call,
            ..Open::default()
        },
    ))
}

/// What came of a call: one of the three.
#[derive(Default, Serialize)]
pub(crate) struct Answer {
    response: Option<Answered>,
    value: Option<ToJsBuffer>,
    failed: Option<Failed>,
}

#[derive(Serialize)]
struct Answered {
    status: u16,
    reason: String,
    headers: String,
    body: Option<ToJsBuffer>,
    streamed: bool,
    socket: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Failed {
    code: &'static str,
    message: String,
    retry_after_ms: u64,
    overloaded: bool,
    thrown: Option<ToJsBuffer>,
}

impl From<Failure> for Answer {
    fn from(failure: Failure) -> Self {
        Self {
            failed: Some(Failed {
                code: failure.code.as_str(),
                message: failure.message,
                retry_after_ms: failure.retry_after_ms,
                overloaded: failure.is_overload,
                thrown: failure.thrown.map(|thrown| thrown.to_vec().into()),
            }),
            ..Self::default()
        }
    }
}

/// Waits for the answer to a call. Never answers at once: one that comes late does not go before others that came before.
#[op2(async(deferred), fast)]
#[serde]
pub(crate) async fn op_call_answer(state: Rc<RefCell<OpState>>, #[smi] number: u32) -> Answer {
    let (cancel, cancelled) = oneshot::channel();
    let kind = with(&state, number, |open| {
        open.cancel = Some(cancel);
        open.call.take()
    });
    let Some(kind) = kind.flatten() else {
        return lost().into();
    };
    match kind {
        Kind::Push(mut call) => {
            let answer = tokio::select! {
                answer = &mut call.answer => answer.unwrap_or_else(|_| Err(lost())),
                Ok(()) = cancelled => Err(lost()),
            };
            state
                .borrow_mut()
                .borrow_mut::<Calls>()
                .open
                .remove(&number);
            match answer {
                Ok(value) => Answer {
                    value: Some(value.into()),
                    ..Answer::default()
                },
                Err(failure) => failure.into(),
            }
        }
        Kind::Service(answer) => {
            let answer = tokio::select! {
                answer = answer => answer.map_err(|error| Failure::failed(error.to_string())),
                Ok(()) = cancelled => Err(lost()),
            };
            arrived(&state, number, answer)
        }
        Kind::Fetch(mut call) => {
            let answer = tokio::select! {
                answer = &mut call.answer => answer.unwrap_or_else(|_| Err(lost())),
                Ok(()) = cancelled => {
                    call.abort();
                    Err(lost())
                }
            };
            arrived(&state, number, answer)
        }
    }
}

fn arrived(state: &Rc<RefCell<OpState>>, number: u32, answer: Result<Response, Failure>) -> Answer {
    match answer {
        Ok(response) => answered(state, number, response),
        Err(failure) => {
            end(state, number);
            failure.into()
        }
    }
}

/// The object's instance ended before it answered.
fn lost() -> Failure {
    Failure::unavailable("Network connection lost.")
}

fn answered(state: &Rc<RefCell<OpState>>, number: u32, response: Response) -> Answer {
    let (body, stream) = match response.body {
        Body::Full(bytes) if bytes.len() > PIECE => (None, Some(pieces(bytes))),
        Body::Full(bytes) => (Some(Vec::from(bytes).into()), None),
        Body::Empty => (None, None),
        Body::Stream(stream) => (None, Some(stream)),
    };
    let answered = Answered {
        status: response.status.as_u16(),
        reason: response.reason.iter().copied().map(char::from).collect(),
        headers: join_headers(&response.headers),
        body,
        streamed: stream.is_some(),
        socket: response.socket.is_some(),
    };
    if stream.is_none() && response.socket.is_none() {
        end(state, number);
    } else {
        with(state, number, |open| {
            open.body = stream;
            if let Some(socket) = response.socket {
                open.give(socket);
            }
        });
    }
    Answer {
        response: Some(answered),
        ..Answer::default()
    }
}

/// What a large body is read in: whoever passes it on does not need room for all of it.
const PIECE: usize = 256 << 10;

fn pieces(mut bytes: Bytes) -> Chunks {
    let next = move |_: &mut Context<'_>| {
        let piece = bytes.split_to(bytes.len().min(PIECE));
        Poll::Ready((!piece.is_empty()).then_some(Ok(piece)))
    };
    Box::pin(futures::stream::poll_fn(next))
}

fn with<R>(state: &Rc<RefCell<OpState>>, number: u32, f: impl FnOnce(&mut Open) -> R) -> Option<R> {
    let mut state = state.borrow_mut();
    let calls = state.try_borrow_mut::<Calls>()?;
    calls.open.get_mut(&number).map(f)
}

/// Nothing of a call is left but the body that it sends.
fn end(state: &Rc<RefCell<OpState>>, number: u32) {
    let mut state = state.borrow_mut();
    let calls = state.borrow_mut::<Calls>();
    let uploads = calls
        .open
        .get(&number)
        .is_some_and(|open| open.upload.is_some());
    if !uploads {
        calls.open.remove(&number);
    }
}

/// Sends a chunk of a request's body when there is room. `false` means that nobody reads it.
#[op2]
pub(crate) async fn op_call_upload(
    state: Rc<RefCell<OpState>>,
    #[smi] number: u32,
    #[buffer] chunk: JsBuffer,
) -> bool {
    let upload = with(&state, number, |open| open.upload.clone()).flatten();
    let Some(upload) = upload else { return false };
    let chunk = Bytes::copy_from_slice(&chunk);
    upload.send(Ok(chunk)).await.is_ok()
}

/// A request's body is complete, or breaks off for this reason.
#[op2]
pub(crate) fn op_call_upload_end(
    state: Rc<RefCell<OpState>>,
    #[smi] number: u32,
    #[string] broken_off: Option<String>,
) {
    let upload = with(&state, number, |open| open.upload.take()).flatten();
    if let (Some(upload), Some(reason)) = (upload, broken_off) {
        let reason = stack::readable(&reason).into_owned();
        // Whoever does not read needs no reason.
        let _ = upload.try_send(Err(BodyError::Incomplete(reason)));
    }
}

/// The next chunk of a response's body; an empty one is its end.
#[op2]
#[buffer]
pub(crate) async fn op_call_read(
    state: Rc<RefCell<OpState>>,
    #[smi] number: u32,
) -> Result<Vec<u8>, JsErrorBox> {
    let (reading, mut cancelled) = oneshot::channel();
    let body = with(&state, number, |open| {
        open.reading = Some(reading);
        open.body.take()
    });
    let Some(mut body) = body.flatten() else {
        return Ok(vec![]);
    };
    loop {
        let next = tokio::select! {
            // Dropping the body is what tells its sender.
            _ = &mut cancelled => return Ok(vec![]),
            next = body.next() => next,
        };
        match next {
            None => {
                end(&state, number);
                return Ok(vec![]);
            }
            Some(Err(error)) => {
                let message = error.to_string();
                if let BodyError::Thrown { thrown, .. } = error {
                    with(&state, number, |open| open.thrown = Some(thrown));
                }
                return Err(JsErrorBox::type_error(message));
            }
            Some(Ok(chunk)) if chunk.is_empty() => {}
            Some(Ok(chunk)) => {
                with(&state, number, |open| open.body = Some(body));
                return Ok(chunk.into());
            }
        }
    }
}

/// What the code threw that sent a response's body, once that could not be read on.
#[op2]
#[buffer]
pub(crate) fn op_call_thrown(state: Rc<RefCell<OpState>>, #[smi] number: u32) -> Option<Box<[u8]>> {
    let thrown = with(&state, number, |open| open.thrown.take()).flatten();
    end(&state, number);
    thrown.map(|thrown| thrown.to_vec().into())
}

/// Nobody waits for the answer any more, nor for the rest of it.
#[op2(fast)]
pub(crate) fn op_call_cancel(state: Rc<RefCell<OpState>>, #[smi] number: u32) {
    let is_waiting = with(&state, number, |open| {
        open.body = None;
        open.reading = None;
        if let Some(Kind::Fetch(call)) = open.call.take() {
            call.abort();
        }
        open.cancel
            .take()
            .is_some_and(|cancel| cancel.send(()).is_ok())
    });
    if is_waiting == Some(false) {
        end(&state, number);
    }
}

/// What was heard on the WebSocket of a response: a text, bytes, or a close.
#[derive(Default, Serialize)]
pub(crate) struct Heard {
    text: Option<String>,
    bytes: Option<ToJsBuffer>,
    code: u16,
    reason: String,
}

/// The code accepts the WebSocket of a response.
#[op2(fast)]
pub(crate) fn op_call_accept(state: &mut OpState, #[smi] number: u32) {
    let calls = state.try_borrow_mut::<Calls>();
    if let Some(open) = calls.and_then(|calls| calls.open.get_mut(&number)) {
        open.accept();
    }
}

/// The next that is said on the WebSocket of a response.
#[op2]
#[serde]
pub(crate) async fn op_call_hear(state: Rc<RefCell<OpState>>, #[smi] number: u32) -> Heard {
    let outgoing = with(&state, number, |open| open.outgoing.take()).flatten();
    let lost = Heard {
        code: 1006,
        ..Heard::default()
    };
    let Some(mut outgoing) = outgoing else {
        return lost;
    };
    let Some(message) = poll_fn(|cx| outgoing.poll_recv(cx)).await else {
        return lost;
    };
    with(&state, number, |open| open.outgoing = Some(outgoing));
    match message {
        Message::Text(text) => Heard {
            text: Some(String::from_utf8_lossy(&text).into_owned()),
            ..Heard::default()
        },
        Message::Binary(bytes) => Heard {
            bytes: Some(Vec::from(bytes).into()),
            ..Heard::default()
        },
        Message::Close { code, reason } => Heard {
            code,
            reason,
            ..Heard::default()
        },
    }
}

/// Says something on the WebSocket of a response: a text, or bytes. One at a time.
#[op2]
pub(crate) async fn op_call_say(
    state: Rc<RefCell<OpState>>,
    #[smi] actor: u32,
    #[smi] number: u32,
    #[string] text: Option<String>,
    #[buffer] bytes: Option<JsBuffer>,
) -> Result<(), JsErrorBox> {
    let message = match (text, bytes) {
        (Some(text), _) => Message::Text(text.into()),
        (None, bytes) => {
            Message::Binary(Bytes::copy_from_slice(bytes.as_deref().unwrap_or_default()))
        }
    };
    say(&state, actor, number, message).await
}

/// Closes the WebSocket of a response.
#[op2]
pub(crate) async fn op_call_say_close(
    state: Rc<RefCell<OpState>>,
    #[smi] actor: u32,
    #[smi] number: u32,
    #[smi] code: u16,
    #[string] reason: String,
) -> Result<(), JsErrorBox> {
    say(&state, actor, number, Message::Close { code, reason }).await
}

async fn say(
    state: &Rc<RefCell<OpState>>,
    actor: u32,
    number: u32,
    message: Message,
) -> Result<(), JsErrorBox> {
    let permit = actors::get(&state.borrow(), actor)?.borrow_mut().permit();
    if let Some(permit) = permit {
        permit.await.map_err(|_| actors::gone())?;
    }
    let incoming = with(state, number, |open| open.incoming.take()).flatten();
    if let Some(mut incoming) = incoming {
        incoming.send(message).await;
        with(state, number, |open| open.incoming = Some(incoming));
    }
    Ok(())
}

/// Answers a request with the WebSocket that somebody else has accepted.
#[op2(fast)]
pub(crate) fn op_respond_spliced(
    state: &mut OpState,
    #[smi] actor: u32,
    #[number] id: u64,
    #[string] headers: &str,
    #[smi] call: u32,
) -> Result<(), JsErrorBox> {
    let calls = state.borrow_mut::<Calls>();
    let open = calls.open.remove(&call).unwrap_or_default();
    let (Some(outgoing), Some(incoming)) = (open.outgoing, open.incoming) else {
        return Err(JsErrorBox::type_error("the WebSocket is in use already"));
    };
    let head = Head {
        status: http::StatusCode::SWITCHING_PROTOCOLS,
        reason: Bytes::new(),
        headers: parse_headers(headers)?,
        content: Content::Spliced(Socket {
            outgoing,
            incoming,
            lasts: open.lasts,
        }),
    };
    let instance = actors::get(state, actor)?;
    instance.borrow_mut().respond(LinkId(id), head);
    Ok(())
}
