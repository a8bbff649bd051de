//! A gateway in front of one pod that echoes, without a cluster: what `scripts/wire` sends its suites to.
//!
//! Gateway and pod are two front doors with a connection between them, as in a cluster. Only the pod's application is
//! plain Rust: it sends WebSocket messages and bodies back. Prints the gateway's URL, and runs until it is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use http::{HeaderMap, StatusCode};
use portside_crds::class::Route;
use portside_crds::routes::{Claim, ClassKey, Routes};
use portside_crds::sidecar::{Ownership, State};
use portside_exchange::{
    Application, Body, FetchError, Lasts, Message, Request, Response, Socket, SocketSender,
    outgoing,
};
use portside_frontdoor::{Config, FrontDoor, TrustedProxies};
use portside_gateway::{ClassFacts, Endpoint, Gateway, Metrics, Settings, Topology};
use prometheus_client::registry::Registry;

/// The pod has nothing new to say of itself, so the gateway's question waits for as long as it may.
const ASKED_FOR: Duration = Duration::from_secs(20);

/// h2spec sends what is wrong right behind a request. An answer that is faster ends the stream, rightly, and what comes after
/// that is ignored, rightly, but h2spec waits for a complaint.
const THINKS_FOR: Duration = Duration::from_millis(100);

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let gateway_config = Config {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        ..Config::default()
    };
    let pod_config = Config {
        trusted_proxies: TrustedProxies::All,
        ..gateway_config.clone()
    };
    let pod = Endpoint {
        pod: "echo".into(),
        http: serve(pod_config.clone(), Arc::new(Echo)).await?,
        admin: serve(pod_config, Arc::new(Admin)).await?,
    };
    let settings = Settings {
        hold: Duration::from_secs(10),
        access_log: false,
        max_message_bytes: gateway_config.max_message_bytes,
        replay_bytes: 64 << 20,
    };
    let gateway = Arc::new(Gateway::new(
        settings,
        Metrics::register(&mut Registry::default()),
    ));
    let address = serve(gateway_config, gateway.clone()).await?;
    gateway.apply(topology(pod, address));
    #[allow(clippy::print_stdout, reason = "what this program says")]
    {
        println!("the gateway listens on http://{address}");
    }
    std::future::pending().await
}

async fn serve(config: Config, application: Arc<dyn Application>) -> std::io::Result<SocketAddr> {
    let door = FrontDoor::bind(config, application).await?;
    let address = door.local_addr();
    tokio::spawn(door.run(std::future::pending()));
    Ok(address)
}

/// One class with one pod, for every request that names the gateway's own address.
fn topology(pod: Endpoint, gateway: SocketAddr) -> Topology {
    let class = ClassKey {
        namespace: "wire".into(),
        name: "echo".into(),
    };
    let routes = [Route {
        host: gateway.ip().to_string(),
        path: "/".into(),
        ..Route::default()
    }];
    let facts = ClassFacts {
        uid: "1".into(),
        stopped: None,
        request_timeout: Duration::from_secs(60),
        endpoints: BTreeSet::from([pod]),
    };
    Topology {
        routes: Routes::new([Claim {
            class: class.clone(),
            created: None,
            routes: &routes,
        }]),
        classes: BTreeMap::from([(class, facts)]),
    }
}

/// Sends back what it gets.
struct Echo;

impl Application for Echo {
    fn fetch(&self, request: Request) -> BoxFuture<'_, Result<Response, FetchError>> {
        let response = if request.websocket {
            respond(
                StatusCode::SWITCHING_PROTOCOLS,
                Body::Empty,
                Some(echoing()),
            )
        } else if matches!(request.body, Body::Empty) {
            respond(StatusCode::OK, Body::Full("hello\n".into()), None)
        } else {
            respond(StatusCode::OK, request.body, None)
        };
        Box::pin(async {
            if response.socket.is_none() {
                tokio::time::sleep(THINKS_FOR).await;
            }
            Ok(response)
        })
    }
}

fn echoing() -> Socket {
    let (outbox, outgoing) = outgoing();
    let incoming = SocketSender::new(16, move |delivery| outbox.send(answer(delivery.message)));
    Socket {
        outgoing,
        incoming,
        lasts: Lasts::No,
    }
}

/// A message itself; to a close the answer of the closing handshake, which a lost client does not hear.
fn answer(message: Message) -> Message {
    match message {
        Message::Close { code, reason } => Message::Close {
            code: if code == 1006 { 1005 } else { code },
            reason,
        },
        message => message,
    }
}

/// The pod's admin port: it is the active one.
struct Admin;

impl Application for Admin {
    fn fetch(&self, request: Request) -> BoxFuture<'_, Result<Response, FetchError>> {
        Box::pin(async move {
            if request.url.contains("not=") {
                tokio::time::sleep(ASKED_FOR).await;
            }
            let active = Ownership {
                pod: "echo".into(),
                state: State::Active,
                term: 1,
                incarnation: None,
                renewals: None,
            };
            let text = serde_json::to_vec(&active)
                .map_err(|error| FetchError::Failed(error.to_string()))?;
            Ok(respond(StatusCode::OK, Body::Full(text.into()), None))
        })
    }
}

fn respond(status: StatusCode, body: Body, socket: Option<Socket>) -> Response {
    Response {
        status,
        reason: bytes::Bytes::new(),
        headers: HeaderMap::new(),
        body,
        socket,
    }
}
