//! Calling into JavaScript: one function per kind of event, got once from the surface.

// Where this file is, also in the build script, of which it is a part, too.
#[path = "expression.rs"]
mod expression;

use deno_core::{JsRuntime, v8};
use portside_core::migrations::ObjectStorage;
use portside_exchange::{Body, Message};
use portside_surface::http::join_headers;
use portside_worker::cell::Actor;
use portside_worker::event::Delivered;
use portside_worker::host::Object;

/// Declares the functions that `portsideStart` returns, by their names there.
macro_rules! functions {
    ($($function:ident = $name:literal,)*) => {
        /// The surface's functions.
        #[derive(Clone, Copy)]
        enum Function { $($function,)* }

        /// Their names, in the order of [`Function`].
        const NAMES: &[&str] = &[$($name,)*];
    };
}

functions! {
    Begin = "begin",
    SetHandlers = "setHandlers",
    Fetch = "fetch",
    FetchAborted = "fetchAborted",
    Connect = "connect",
    Message = "message",
    PortClosed = "portClosed",
    PortLeft = "portLeft",
    PortFailed = "portFailed",
    Alarm = "alarm",
    Scheduled = "scheduled",
    Evaluate = "evaluate",
    ObjectBegins = "objectBegins",
    ObjectEnds = "objectEnds",
    ObjectFetch = "objectFetch",
    ObjectCall = "objectCall",
    ObjectAlarm = "objectAlarm",
    ObjectSocketMessage = "objectSocketMessage",
    ObjectSocketClose = "objectSocketClose",
    SocketMessage = "socketMessage",
    SocketClose = "socketClose",
    SocketMoves = "socketMoves",
}

/// The way into one isolate. Must be dropped while the isolate is entered.
pub struct Dispatch {
    functions: Vec<v8::Global<v8::Function>>,
}

type Scope<'s, 'i> = v8::PinScope<'s, 'i>;

impl Dispatch {
    /// Starts the surface in a new isolate.
    ///
    /// # Errors
    /// The surface and this file do not name the same functions.
    pub fn start(runtime: &mut JsRuntime) -> Result<Self, String> {
        let started = runtime
            .execute_script("portside:start", "portsideStart()")
            .map_err(|error| format!("the JavaScript surface did not start: {error}"))?;
        deno_core::scope!(scope, runtime);
        let table = v8::Local::new(scope, started)
            .try_cast::<v8::Object>()
            .map_err(|error| error.to_string())?;
        let named = table.get_own_property_names(scope, v8::GetPropertyNamesArgs::default());
        if named.is_none_or(|names| names.length() as usize != NAMES.len()) {
            return Err("the surface has functions that nobody calls".to_owned());
        }
        let functions = NAMES.iter().map(|name| {
            let key = v8::String::new(scope, name).ok_or("a name is too long")?;
            let value = table.get(scope, key.into());
            let function = value.and_then(|value| value.try_cast::<v8::Function>().ok());
            let function = function.ok_or(format!("the surface has no function {name:?}"))?;
            Ok(v8::Global::new(scope, function))
        });
        let functions = functions.collect::<Result<_, String>>()?;
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

    /// An instance begins: a worker of this name, or the server.
    pub fn begin(&self, runtime: &mut JsRuntime, name: Option<&str>) {
        deno_core::scope!(scope, runtime);
        let name = match name {
            Some(name) => string(scope, name),
            None => v8::undefined(scope).into(),
        };
        self.call(scope, Function::Begin, &[name]);
    }

    /// Gives the surface the module.
    pub fn set_handlers(&self, runtime: &mut JsRuntime, namespace: &v8::Global<v8::Object>) {
        deno_core::scope!(scope, runtime);
        let namespace = v8::Local::new(scope, namespace);
        self.call(scope, Function::SetHandlers, &[namespace.into()]);
    }

    /// An object begins to live here: the surface constructs it. Its class has this number.
    pub fn begin_object(
        &self,
        scope: &mut Scope<'_, '_>,
        actor: Actor,
        object: &Object,
        class: usize,
        storage: ObjectStorage,
    ) {
        let name = match &object.name {
            Some(name) => string(scope, name),
            None => v8::undefined(scope).into(),
        };
        let args = [
            number(scope, actor.0.into()),
            number(scope, class as u64),
            string(scope, &object.class),
            v8::Boolean::new(scope, storage == ObjectStorage::Sqlite).into(),
            string(scope, &object.id.to_string()),
            name,
        ];
        self.call(scope, Function::ObjectBegins, &args);
    }

    /// An object is gone.
    pub fn end_object(&self, scope: &mut Scope<'_, '_>, actor: Actor) {
        let args = [number(scope, actor.0.into())];
        self.call(scope, Function::ObjectEnds, &args);
    }

    /// Hands what was said on a socket to one of these functions: the first, or the second for a close.
    fn socket_message<'s>(
        &self,
        scope: &mut Scope<'s, '_>,
        (message, close): (Function, Function),
        socket: &[v8::Local<'s, v8::Value>],
        said: &Message,
    ) {
        let mut args = socket.to_vec();
        let function = match said {
            Message::Text(text) => {
                args.push(string(scope, &String::from_utf8_lossy(text)));
                message
            }
            Message::Binary(bytes) => {
                args.push(bytes_of(scope, bytes.to_vec()));
                message
            }
            Message::Close { code, reason } => {
                args.push(number(scope, u64::from(*code)));
                args.push(string(scope, reason));
                close
            }
        };
        self.call(scope, function, &args);
    }

    /// Hands an event to JavaScript, without the microtasks it causes.
    pub fn event(&self, scope: &mut Scope<'_, '_>, actor: Actor, event: &mut Delivered) {
        match event {
            Delivered::Fetch {
                link,
                request,
                streamed,
            } => {
                let body = match std::mem::replace(&mut request.body, Body::Empty) {
                    _ if *streamed => v8::Boolean::new(scope, true).into(),
                    Body::Full(bytes) => bytes_of(scope, bytes.into()),
                    Body::Empty | Body::Stream(_) => v8::undefined(scope).into(),
                };
                let args = [
                    number(scope, actor.0.into()),
                    number(scope, link.0),
                    string(scope, request.method.as_str()),
                    string(scope, &request.url),
                    string(scope, &join_headers(&request.headers)),
                    body,
                ];
                match actor {
                    Actor::OWN => self.call(scope, Function::Fetch, &args[1..]),
                    _ => self.call(scope, Function::ObjectFetch, &args),
                }
            }
            Delivered::Rpc { link, push } => {
                let path: Vec<_> = push.path.iter().map(|name| string(scope, name)).collect();
                let arguments = match push.arguments.take() {
                    Some(arguments) => bytes_of(scope, arguments),
                    None => v8::undefined(scope).into(),
                };
                let args = [
                    number(scope, actor.0.into()),
                    number(scope, link.0),
                    v8::Array::new_with_elements(scope, &path).into(),
                    arguments,
                ];
                self.call(scope, Function::ObjectCall, &args);
            }
            Delivered::Scheduled { link, scheduled } => {
                let args = [
                    number(scope, link.0),
                    time(scope, scheduled.time),
                    string(scope, &scheduled.cron),
                ];
                self.call(scope, Function::Scheduled, &args);
            }
            Delivered::Evaluate { link, expression } => {
                let undefined = v8::undefined(scope).into();
                let (compiled, wrong) = match expression::compile(scope, &expression.0) {
                    Ok(compiled) => (compiled, undefined),
                    Err(wrong) => (undefined, wrong),
                };
                let args = [
                    number(scope, actor.0.into()),
                    number(scope, link.0),
                    compiled,
                    wrong,
                ];
                self.call(scope, Function::Evaluate, &args);
            }
            Delivered::FetchAborted { link } => {
                let args = [number(scope, link.0)];
                self.call(scope, Function::FetchAborted, &args);
            }
            Delivered::Connected { port, reconnected } => {
                let reconnected = v8::Boolean::new(scope, *reconnected).into();
                let args = [number(scope, port.0), reconnected];
                self.call(scope, Function::Connect, &args);
            }
            Delivered::Message { port, data } => {
                let data = std::mem::take(data);
                let args = [number(scope, port.0), bytes_of(scope, data)];
                self.call(scope, Function::Message, &args);
            }
            Delivered::PortClosed { port, reason } => {
                let args = [number(scope, port.0), string(scope, reason.code())];
                self.call(scope, Function::PortClosed, &args);
            }
            Delivered::PortLeft { port } => {
                let args = [number(scope, port.0)];
                self.call(scope, Function::PortLeft, &args);
            }
            Delivered::PortFailed { port, failure } => {
                let args = [
                    number(scope, port.0),
                    string(scope, failure.code.as_str()),
                    string(scope, &failure.message),
                    number(scope, failure.retry_after_ms),
                ];
                self.call(scope, Function::PortFailed, &args);
            }
            Delivered::Alarm(alarm) => {
                let args = [
                    number(scope, actor.0.into()),
                    time(scope, alarm.scheduled),
                    number(scope, u64::from(alarm.retries)),
                ];
                match actor {
                    Actor::OWN => self.call(scope, Function::Alarm, &args[1..]),
                    _ => self.call(scope, Function::ObjectAlarm, &args),
                }
            }
            Delivered::Socket { link, delivery } => {
                let socket = [number(scope, link.0)];
                let functions = (Function::SocketMessage, Function::SocketClose);
                self.socket_message(scope, functions, &socket, &delivery.message);
            }
            Delivered::SocketMoves { link, is_over } => {
                let is_over = v8::Boolean::new(scope, *is_over).into();
                let args = [number(scope, link.0), is_over];
                self.call(scope, Function::SocketMoves, &args);
            }
            Delivered::Hibernatable { socket, delivery } => {
                let socket = [number(scope, actor.0.into()), number(scope, socket.0)];
                let functions = (Function::ObjectSocketMessage, Function::ObjectSocketClose);
                self.socket_message(scope, functions, &socket, &delivery.message);
            }
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

#[expect(clippy::cast_precision_loss, reason = "a time within Date's range")]
fn time<'s>(scope: &mut Scope<'s, '_>, milliseconds: i64) -> v8::Local<'s, v8::Value> {
    v8::Number::new(scope, milliseconds as f64).into()
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
