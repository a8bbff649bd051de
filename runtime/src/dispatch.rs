//! Calling into JavaScript: one function per kind of event, got once from the surface.

use deno_core::{JsRuntime, v8};
use portside_exchange::{Body, Message};
use portside_surface::event::Event;
use portside_surface::http::{Exchange, join_headers};
use portside_surface::instance::Instance;

/// The functions `portsideStart` returns, in its order.
#[derive(Clone, Copy)]
enum Function {
    SetHandlers,
    Fetch,
    FetchAborted,
    Connect,
    Message,
    PortClosed,
    PortFailed,
    Alarm,
    SocketMessage,
    SocketClose,
}

const FUNCTIONS: u32 = Function::SocketClose as u32 + 1;

/// The way into one isolate. Must be dropped while the isolate is entered.
pub struct Dispatch {
    functions: Vec<v8::Global<v8::Function>>,
}

type Scope<'s, 'i> = v8::PinScope<'s, 'i>;

impl Dispatch {
    /// Starts the surface in a new isolate.
    pub fn start(runtime: &mut JsRuntime) -> Result<Self, String> {
        let started = runtime
            .execute_script("portside:start", "portsideStart()")
            .map_err(|error| format!("the JavaScript surface did not start: {error}"))?;
        deno_core::scope!(scope, runtime);
        let list = v8::Local::new(scope, started)
            .try_cast::<v8::Array>()
            .map_err(|error| error.to_string())?;
        let functions = (0..FUNCTIONS)
            .map(|index| {
                let value = list
                    .get_index(scope, index)
                    .ok_or("the surface lacks a function")?;
                let function = value
                    .try_cast::<v8::Function>()
                    .map_err(|error| error.to_string())?;
                Ok(v8::Global::new(scope, function))
            })
            .collect::<Result<_, String>>()?;
        Ok(Self { functions })
    }

    fn call(
        &self,
        scope: &mut Scope<'_, '_>,
        function: Function,
        args: &[v8::Local<'_, v8::Value>],
    ) {
        let receiver = v8::undefined(scope).into();
        let function = v8::Local::new(scope, &self.functions[function as usize]);
        // The surface catches what handlers throw; nothing comes back only when the isolate is being terminated.
        let _ = function.call(scope, receiver, args);
    }

    /// Gives the surface the module's default export.
    pub fn set_handlers(&self, runtime: &mut JsRuntime, namespace: &v8::Global<v8::Object>) {
        deno_core::scope!(scope, runtime);
        let namespace = v8::Local::new(scope, namespace);
        let name = v8::String::new(scope, "default")
            .expect("a short string")
            .into();
        let exported = namespace
            .get(scope, name)
            .unwrap_or_else(|| v8::undefined(scope).into());
        self.call(scope, Function::SetHandlers, &[exported]);
    }

    /// Hands an event to JavaScript and runs the microtasks it caused.
    pub fn event(&self, runtime: &mut JsRuntime, event: Event) {
        let state = runtime.op_state();
        deno_core::scope!(scope, runtime);
        match event {
            Event::Fetch(fetch) => {
                let portside_surface::event::Fetch { id, request, reply } = *fetch;
                let number = number(scope, id.0);
                let method = string(scope, request.method.as_str());
                let url = string(scope, &request.url);
                let headers = string(scope, &join_headers(&request.headers));
                let (body, stream) = match request.body {
                    Body::Empty => (v8::undefined(scope).into(), None),
                    Body::Full(bytes) => (bytes_of(scope, bytes.into()), None),
                    Body::Stream(stream) => (v8::Boolean::new(scope, true).into(), Some(stream)),
                };
                let exchange = Exchange {
                    reply: Some(reply),
                    body: stream,
                    chunks: None,
                };
                state
                    .borrow_mut()
                    .borrow_mut::<Instance>()
                    .begin_exchange(id, exchange);
                self.call(
                    scope,
                    Function::Fetch,
                    &[number, method, url, headers, body],
                );
            }
            Event::FetchAborted { id } => {
                let id = number(scope, id.0);
                self.call(scope, Function::FetchAborted, &[id]);
            }
            Event::Opened { port } => {
                let port = number(scope, port.0);
                self.call(scope, Function::Connect, &[port]);
            }
            Event::Message { port, data } => {
                let args = [number(scope, port.0), bytes_of(scope, data)];
                self.call(scope, Function::Message, &args);
            }
            Event::PortClosed { port, reason } => {
                let args = [number(scope, port.0), string(scope, reason.code())];
                self.call(scope, Function::PortClosed, &args);
            }
            Event::PortFailed { port, failure } => {
                let overloaded = v8::Boolean::new(scope, failure.overloaded).into();
                let args = [
                    number(scope, port.0),
                    overloaded,
                    string(scope, &failure.message),
                    number(scope, failure.retry_after_ms),
                ];
                self.call(scope, Function::PortFailed, &args);
            }
            Event::Alarm(alarm) => {
                if !state
                    .borrow_mut()
                    .borrow_mut::<Instance>()
                    .alarm_fires(alarm)
                {
                    return;
                }
                #[expect(clippy::cast_precision_loss, reason = "a time within Date's range")]
                let scheduled = v8::Number::new(scope, alarm.scheduled as f64).into();
                let retries = number(scope, u64::from(alarm.retries));
                self.call(scope, Function::Alarm, &[scheduled, retries]);
            }
            Event::Socket { socket, delivery } => {
                let socket = number(scope, socket.0);
                match &delivery.message {
                    Message::Text(text) => {
                        let text = string(scope, &String::from_utf8_lossy(text));
                        self.call(scope, Function::SocketMessage, &[socket, text]);
                    }
                    Message::Binary(bytes) => {
                        let bytes = bytes_of(scope, bytes.to_vec());
                        self.call(scope, Function::SocketMessage, &[socket, bytes]);
                    }
                    Message::Close { code, reason } => {
                        let args = [
                            socket,
                            number(scope, u64::from(*code)),
                            string(scope, reason),
                        ];
                        self.call(scope, Function::SocketClose, &args);
                    }
                }
            }
            Event::Connect(_) | Event::Committed { .. } | Event::Stop => {
                unreachable!("handled by the instance before JavaScript")
            }
        }
        // After terminate() nothing runs any more, queued microtasks included.
        if !state.borrow().borrow::<Instance>().is_terminating() {
            scope.perform_microtask_checkpoint();
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counters and durations stay below 2^53"
)]
fn number<'s>(scope: &mut Scope<'s, '_>, value: u64) -> v8::Local<'s, v8::Value> {
    v8::Number::new(scope, value as f64).into()
}

fn string<'s>(scope: &mut Scope<'s, '_>, text: &str) -> v8::Local<'s, v8::Value> {
    match v8::String::new(scope, text) {
        Some(string) => string.into(),
        // Longer than V8's longest string; the limits on messages and headers are far below.
        None => v8::String::empty(scope).into(),
    }
}

fn bytes_of<'s>(scope: &mut Scope<'s, '_>, bytes: Vec<u8>) -> v8::Local<'s, v8::Value> {
    let length = bytes.len();
    let store = v8::ArrayBuffer::new_backing_store_from_bytes(bytes).make_shared();
    let buffer = v8::ArrayBuffer::with_backing_store(scope, &store);
    match v8::Uint8Array::new(scope, buffer, 0, length) {
        Some(array) => array.into(),
        None => v8::undefined(scope).into(),
    }
}
