//! From a URL to an open connection: TCP, TLS and the handshake.

use deno_core::url::Url;
use deno_error::JsErrorBox;
use deno_fetch::Client;
use deno_permissions::PermissionsContainer;
use deno_tls::SocketUse;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Uri};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::upgrade::Upgraded;
use hyper_util::client::legacy::connect::Connection;
use hyper_util::rt::TokioIo;
use portside_websocket::client::{Agreed, Handshake};

/// Lines of an answer's head.
const MAX_HEADERS: usize = 256;
/// Bytes of an answer's head.
const MAX_HEAD: usize = 64 << 10;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Where to connect, and what to ask for.
pub(super) struct Target {
    /// With the scheme of HTTP, which is what it starts as.
    uri: Uri,
    url: Url,
    authorization: Option<HeaderValue>,
    protocols: Vec<String>,
}

impl Target {
    /// Takes a `ws:` or `wss:` URL without credentials and fragment.
    pub(super) fn new(
        url: &str,
        authorization: String,
        protocols: Vec<String>,
    ) -> Result<Self, BoxError> {
        let mut url = Url::parse(url)?;
        let scheme = if url.scheme() == "wss" {
            "https"
        } else {
            "http"
        };
        url.set_scheme(scheme)
            .map_err(|()| JsErrorBox::generic("the URL is not one of a WebSocket"))?;
        Ok(Self {
            uri: url.as_str().parse()?,
            url,
            authorization: match authorization.as_str() {
                "" => None,
                value => Some(value.parse()?),
            },
            protocols,
        })
    }
}

/// Whether an isolate may connect there by its name. A name's addresses are judged when it is resolved.
///
/// # Errors
/// It may not; the text says so.
pub(super) fn check(permissions: &mut PermissionsContainer, target: &Target) -> Result<(), String> {
    permissions
        .check_net_url(&target.url, "new WebSocket()")
        .map_err(|error| error.to_string())
}

/// Connects and shakes hands. Redirects are not followed. Dropping the future ends the connection.
pub(super) async fn connect(
    client: &Client,
    target: Target,
) -> Result<(Agreed, Upgraded), BoxError> {
    let connection = client
        .connect(target.uri.clone(), SocketUse::Http1Only)
        .await?;
    let proxied = connection.connected().is_proxied() && target.uri.scheme_str() == Some("http");
    let (request, handshake) = request(client, &target, proxied)?;
    let (mut sender, connection) = http1::Builder::new()
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD)
        .handshake(TokioIo::new(connection))
        .await?;
    let answer = async {
        let response = sender.send_request(request).await?;
        let agreed = handshake.check(&response)?;
        Ok((agreed, hyper::upgrade::on(response).await?))
    };
    // It ends when it has handed over what it was; a failure of it the request sees.
    let driver = async {
        let _ = connection.with_upgrades().await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        answer = answer => answer,
        () = driver => unreachable!("it is pending for ever"),
    }
}

fn request(
    client: &Client,
    target: &Target,
    proxied: bool,
) -> Result<(Request<Empty<bytes::Bytes>>, Handshake), BoxError> {
    let uri = if proxied {
        target.uri.clone()
    } else {
        target
            .uri
            .path_and_query()
            .map_or("/", |path| path.as_str())
            .parse()?
    };
    let mut headers = HeaderMap::new();
    let host = target.uri.authority().map_or("", |host| host.as_str());
    headers.insert(header::HOST, host.parse()?);
    if let Some(authorization) = &target.authorization {
        headers.insert(header::AUTHORIZATION, authorization.clone());
    }
    let handshake = Handshake::offer(&mut headers, &target.protocols, true)?;
    let mut request = Request::builder().method(Method::GET).uri(uri);
    client.inject_common_headers(&mut request);
    let mut request = request.body(Empty::new())?;
    request.headers_mut().extend(headers);
    Ok((request, handshake))
}
