//! `--inspect`: where Chrome's DevTools, and editors, find the isolates and debug them.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::header::HOST;
use http::{HeaderMap, StatusCode};
use portside_exchange::{
    Application, Body, FetchError, Lasts, Message, Outbox, Request, Response, Socket, SocketSender,
    outgoing,
};
use portside_frontdoor::{Config as DoorConfig, FrontDoor};
use portside_runtime::{Debugger, Inspector, Target, V8_VERSION};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use url::Url;

use super::answers::{response, text};
use super::local::is_of_this_machine;

/// The port that debuggers look at by themselves.
pub const PORT: &str = "9229";

/// Where an isolate's WebSocket is: its number follows, or its secret.
const SOCKET: &str = "/ws/";

/// Messages of one debugger on their way to its isolate before it has to wait.
const WINDOW: usize = 64;

/// How long a limit of real time lasts that a paused isolate would go over.
pub const UNHURRIED: Duration = Duration::from_secs(24 * 60 * 60);

/// Listens for debuggers of this machine.
///
/// # Errors
/// The port is taken.
pub async fn listen(inspector: Arc<Inspector>, port: u16) -> anyhow::Result<FrontDoor> {
    let config = DoorConfig {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        shutdown_timeout: Duration::from_millis(100),
        ..DoorConfig::default()
    };
    let desk = Desk {
        inspector,
        is_secret: false,
    };
    let bound = FrontDoor::bind(config, Arc::new(desk)).await;
    bound.with_context(|| format!("debuggers cannot be listened for on 127.0.0.1:{port}; choose another port with --inspect=PORT"))
}

/// Listens on a free port, for debuggers that know an isolate's secret; where it does, and what comes before that in the path.
///
/// # Errors
/// There is no port.
pub async fn listen_in_secret(inspector: Arc<Inspector>) -> std::io::Result<(u16, String)> {
    let config = DoorConfig {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        ..DoorConfig::default()
    };
    let desk = Desk {
        inspector,
        is_secret: true,
    };
    let door = FrontDoor::bind(config, Arc::new(desk)).await?;
    let port = door.local_addr().port();
    tokio::spawn(door.run(std::future::pending()));
    Ok((port, SOCKET.to_owned()))
}

/// Shows debuggers to isolates.
struct Desk {
    inspector: Arc<Inspector>,
    /// Whether only those are told anything who know an isolate's secret: code of the application reaches this address as well.
    is_secret: bool,
}

impl Application for Desk {
    fn fetch(&self, request: Request) -> BoxFuture<'_, Result<Response, FetchError>> {
        std::future::ready(Ok(self.answer(&request))).boxed()
    }
}

impl Desk {
    fn answer(&self, request: &Request) -> Response {
        let url = Url::parse(&request.url).ok();
        let Some(url) = url.filter(|url| is_of_this_machine(url, &request.headers)) else {
            return text(StatusCode::FORBIDDEN, "only for debuggers of this machine");
        };
        if let Some(which) = url.path().strip_prefix(SOCKET) {
            return self.attached(request, which);
        }
        match url.path() {
            _ if self.is_secret => text(StatusCode::NOT_FOUND, "there is nothing at this path"),
            "/json" | "/json/list" => {
                let host = request
                    .headers
                    .get(HOST)
                    .and_then(|host| host.to_str().ok());
                let host = host.unwrap_or_default();
                let targets = self.inspector.targets();
                json_answer(
                    &targets
                        .iter()
                        .map(|target| described(target, host))
                        .collect(),
                )
            }
            "/json/version" => json_answer(&json!({
                "Browser": format!("Portside/{}", env!("CARGO_PKG_VERSION")),
                "Protocol-Version": "1.3",
                "V8-Version": V8_VERSION,
            })),
            _ => text(
                StatusCode::NOT_FOUND,
                "there are /json/list, /json/version, and a WebSocket for each isolate",
            ),
        }
    }

    /// By an isolate's number, or by its secret.
    fn attached(&self, request: &Request, which: &str) -> Response {
        if !request.websocket {
            return text(StatusCode::UPGRADE_REQUIRED, "a WebSocket is wanted here");
        }
        let debugger = match self.is_secret {
            true => self.inspector.attach_by(which),
            false => which.parse().ok().and_then(|it| self.inspector.attach(it)),
        };
        let Some(debugger) = debugger else {
            return text(
                StatusCode::NOT_FOUND,
                "there is no such isolate: it may have fallen asleep; see /json/list",
            );
        };
        let (outbox, outgoing) = outgoing();
        let (delivered, incoming) = mpsc::unbounded_channel();
        tokio::spawn(speak(debugger, outbox, incoming));
        let incoming = SocketSender::new(WINDOW, move |delivery| {
            // Nobody reads any more: the isolate is gone, and the socket is being closed.
            let _ = delivered.send(delivery.message);
        });
        Response {
            status: StatusCode::SWITCHING_PROTOCOLS,
            reason: Default::default(),
            headers: HeaderMap::new(),
            body: Body::Empty,
            socket: Some(Socket {
                outgoing,
                incoming,
                lasts: Lasts::No,
            }),
        }
    }
}

/// Passes messages on until the isolate or the debugger is gone.
async fn speak(
    mut debugger: Debugger,
    outbox: Outbox,
    mut incoming: mpsc::UnboundedReceiver<Message>,
) {
    let close = |code, reason: &str| Message::Close {
        code,
        reason: reason.to_owned(),
    };
    loop {
        tokio::select! {
            message = debugger.message() => match message {
                Some(message) => outbox.send(Message::Text(message.into())),
                None => return outbox.send(close(1001, "the isolate is gone")),
            },
            message = incoming.recv() => match message {
                Some(Message::Text(text)) => {
                    debugger.send(String::from_utf8_lossy(&text).into_owned());
                }
                Some(Message::Binary(_)) => return outbox.send(close(1003, "text is wanted")),
                Some(Message::Close { code, .. }) => return outbox.send(close(code, "")),
                None => return,
            },
        }
    }
}

fn described(target: &Target, host: &str) -> Value {
    let Target { number, title, url } = target;
    let socket = format!("{host}{SOCKET}{number}");
    let frontend = "devtools://devtools/bundled/js_app.html?experiments=true&v8only=true&ws=";
    json!({
        "id": number.to_string(),
        "type": "node",
        "title": title,
        "description": "an isolate of Portside",
        "url": url,
        "webSocketDebuggerUrl": format!("ws://{socket}"),
        "devtoolsFrontendUrl": format!("{frontend}{socket}"),
    })
}

fn json_answer(value: &Value) -> Response {
    response(
        StatusCode::OK,
        "application/json;charset=UTF-8",
        value.to_string(),
    )
}
