//! A client's request becomes the application's.

use std::sync::Arc;

use http::header::{self, HeaderValue};
use http::request::Parts;
use http::uri::Authority;
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::{Body as _, Incoming};
use portside_exchange as exchange;
use portside_websocket::headers::tokens;
use tokio::sync::OwnedSemaphorePermit;
use url::{Position, Url};

use crate::body::{Fault, Outgoing, Upload};
use crate::connection::Connection;
use crate::forwarded::Origin;
use crate::headers::{content_length, join_cookies, remove_hop_by_hop};
use crate::io::Framing;
use crate::response::{self, Refusal};
use crate::websocket::{self, Handshake};
use crate::{Config, forwarded};

/// Bodies announced to be at most this long are read before the application runs: that costs less than a stream,
/// and a body that breaks off never reaches it.
const WHOLE_BODY: usize = 16 << 10;

/// Answers one request.
pub(crate) async fn answer(
    connection: &Connection,
    request: Request<Incoming>,
    id: &HeaderValue,
) -> Response<Outgoing> {
    let (mut parts, incoming) = request.into_parts();
    let version = parts.version;
    let framing = framing(connection, &parts, &incoming);
    let prepared = if framing == Framing::Contradictory {
        Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "content-length and transfer-encoding exclude each other",
        ))
    } else {
        prepare(connection, &mut parts, incoming, id).await
    };
    let answered = match prepared {
        Ok(prepared) => fetch(connection, parts, prepared, id).await,
        Err(refusal) => {
            tell(connection, &parts, &refusal, id);
            Err(refusal)
        }
    };
    let mut response = answered.unwrap_or_else(|refusal| response::refuse(refusal, id));
    let upgrade = response.status() == StatusCode::UPGRADE_REQUIRED;
    let headers = response.headers_mut();
    if upgrade && version == Version::HTTP_11 {
        // RFC 9110 section 15.5.22: it must say to what, and there is one protocol to change to at this hop.
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    if framing != Framing::Chunked {
        // RFC 9112 section 6.1: where the next request begins is not certain.
        headers.append(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// What the application gets beside a request's head, which is as it shall see it.
struct Prepared {
    url: String,
    body: exchange::Body,
    fault: Fault,
    handshake: Option<Handshake>,
    permit: OwnedSemaphorePermit,
}

/// Looks through a request, and makes its headers those that the application sees.
async fn prepare(
    connection: &Connection,
    parts: &mut Parts,
    incoming: Incoming,
    id: &HeaderValue,
) -> Result<Prepared, Refusal> {
    let door = &*connection.door;
    let permit = Arc::clone(&door.slots)
        .try_acquire_owned()
        .map_err(|_| Refusal::busy())?;
    check_target(parts, &door.config)?;
    check_codings(parts)?;
    let host = host(connection, parts)?;
    let handshake = websocket::handshake(parts)?;
    remove_hop_by_hop(&mut parts.headers);
    // Behind what a client may have named in `connection`.
    parts.headers.insert(exchange::REQUEST_ID, id.clone());
    join_cookies(&mut parts.headers);
    let asked = HeaderValue::from_str(host.as_str()).expect("a host has only visible ASCII");
    parts.headers.insert(header::HOST, asked);
    if handshake.is_some() {
        parts
            .headers
            .insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    let origin = forwarded::apply(connection, host, &mut parts.headers)
        .map_err(|detail| Refusal::new(StatusCode::BAD_REQUEST, detail))?;
    let url = url(&origin, parts, &door.config)?;
    let fault = Fault::default();
    let body = read_body(connection, parts, incoming, &fault).await?;
    Ok(Prepared {
        url,
        body,
        fault,
        handshake,
        permit,
    })
}

/// Has the application answer.
async fn fetch(
    connection: &Connection,
    parts: Parts,
    prepared: Prepared,
    id: &HeaderValue,
) -> Result<Response<Outgoing>, Refusal> {
    let door = &*connection.door;
    let Prepared {
        url,
        body,
        fault,
        handshake,
        permit,
    } = prepared;
    let head_only = parts.method == Method::HEAD;
    let fetched = door
        .application
        .fetch(exchange::Request {
            method: parts.method,
            url,
            headers: parts.headers,
            body,
            websocket: handshake.is_some(),
        })
        .await;
    if let Some(refusal) = fault.refusal() {
        return Err(refusal);
    }
    let answered =
        fetched.map_err(|error| Refusal::from_fetch(&error, door.config.show_errors, id))?;
    let mut response = finish(connection, answered, handshake, head_only, id)?;
    response.body_mut().hold(permit);
    Ok(response)
}

/// Tells the application of a request that it is not asked to answer.
fn tell(connection: &Connection, parts: &Parts, refusal: &Refusal, id: &HeaderValue) {
    let named = parts.headers.get(header::HOST);
    let named = named.and_then(|host| host.to_str().ok());
    let authority = parts.uri.authority().map(Authority::as_str);
    connection.door.application.refused(exchange::Refused {
        method: &parts.method,
        host: authority.or(named).unwrap_or_default(),
        path: parts.uri.path(),
        id,
        status: refusal.status(),
    });
}

/// How the length of a body is given, where that can matter.
fn framing(connection: &Connection, parts: &Parts, incoming: &Incoming) -> Framing {
    if parts.version == Version::HTTP_2 {
        return Framing::Chunked;
    }
    let framing = if parts.headers.contains_key(header::TRANSFER_ENCODING) {
        connection.heads.framing(&parts.method)
    } else {
        Framing::Chunked
    };
    connection.heads.end(!incoming.is_end_stream());
    framing
}

fn check_target(parts: &Parts, config: &Config) -> Result<(), Refusal> {
    // The methods no `Request` may have (Fetch standard, "forbidden method"), and the form only one of them uses.
    let forbidden = matches!(parts.method.as_str(), "CONNECT" | "TRACE" | "TRACK");
    if forbidden || parts.uri.path() == "*" {
        return Err(Refusal::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "this method is not served",
        ));
    }
    let path = parts.uri.path_and_query();
    check_length(path.map_or("", |path| path.as_str()), config)?;
    // HTTP/1 heads are checked while they are parsed.
    if parts.version == Version::HTTP_2 && parts.headers.len() > config.max_headers {
        return Err(Refusal::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "there are too many headers",
        ));
    }
    Ok(())
}

fn check_length(path_and_query: &str, config: &Config) -> Result<(), Refusal> {
    if path_and_query.len() > config.max_uri_bytes {
        return Err(Refusal::new(
            StatusCode::URI_TOO_LONG,
            "the path and query are too long",
        ));
    }
    Ok(())
}

/// Refuses a body in another coding than chunks (RFC 9112 section 6.1): it is not decoded here, and the application would
/// not be told of it, for the header ends at this hop.
fn check_codings(parts: &Parts) -> Result<(), Refusal> {
    let mut codings = tokens(&parts.headers, &header::TRANSFER_ENCODING);
    let chunked = |coding: &str| coding.eq_ignore_ascii_case("chunked");
    if codings.next().is_none_or(chunked) && codings.next().is_none() {
        return Ok(());
    }
    Err(Refusal::new(
        StatusCode::NOT_IMPLEMENTED,
        "no transfer coding but chunked is served",
    ))
}

/// The URL a client asked for, as the URL standard serializes it. Whoever looks at it, to route by it or to allow what it
/// names, sees what `new URL()` makes of it: no dots left to resolve, one spelling of each host.
fn url(origin: &Origin, parts: &Parts, config: &Config) -> Result<String, Refusal> {
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let text = [origin.scheme, "://", origin.host.as_str(), path].concat();
    let url = Url::parse(&text)
        .map_err(|_| Refusal::new(StatusCode::BAD_REQUEST, "the host is invalid"))?;
    // What has to be escaped has grown.
    check_length(&url[Position::BeforePath..], config)?;
    Ok(url.into())
}

/// The host a client asked for (RFC 9112 section 3.2, RFC 9113 section 8.3.1).
fn host(connection: &Connection, parts: &Parts) -> Result<Authority, Refusal> {
    let bad = |detail| Refusal::new(StatusCode::BAD_REQUEST, detail);
    let mut lines = parts.headers.get_all(header::HOST).iter();
    let line = lines.next();
    if lines.next().is_some() {
        return Err(bad("there is more than one host header"));
    }
    let named = match line {
        Some(line) => {
            Some(forwarded::host(line.as_bytes()).ok_or_else(|| bad("the host is invalid"))?)
        }
        None => None,
    };
    let Some(authority) = parts.uri.authority() else {
        return match named {
            Some(named) => Ok(named),
            // The only version that may say nothing.
            None if parts.version <= Version::HTTP_10 => {
                forwarded::host(connection.local.to_string().as_bytes())
                    .ok_or_else(|| bad("there is no host"))
            }
            None => Err(bad("there is no host header")),
        };
    };
    let authority =
        forwarded::host(authority.as_str().as_bytes()).ok_or_else(|| bad("the host is invalid"))?;
    match named {
        None if parts.version == Version::HTTP_11 => Err(bad("there is no host header")),
        Some(named) if parts.version == Version::HTTP_2 && named != authority => {
            Err(bad("the host header contradicts the authority"))
        }
        // An absolute target outranks the header.
        _ => Ok(authority),
    }
}

async fn read_body(
    connection: &Connection,
    parts: &Parts,
    incoming: Incoming,
    fault: &Fault,
) -> Result<exchange::Body, Refusal> {
    if incoming.is_end_stream() {
        return Ok(exchange::Body::Empty);
    }
    let config = &connection.door.config;
    let length = content_length(&parts.headers).and_then(|length| usize::try_from(length).ok());
    if length.is_some_and(|length| length > config.max_body_bytes) {
        return Err(Refusal::too_large());
    }
    let heads = Arc::clone(&connection.heads);
    let upload = Upload::new(incoming, parts.version, config, heads, fault);
    match length {
        Some(length) if length <= WHOLE_BODY => match upload.collect(length).await {
            Ok(bytes) => Ok(exchange::Body::Full(bytes)),
            Err(_) => Err(fault.refusal().expect("a failed upload notes its fault")),
        },
        _ => Ok(exchange::Body::Stream(Box::pin(upload))),
    }
}

fn finish(
    connection: &Connection,
    answered: exchange::Response,
    handshake: Option<Handshake>,
    head_only: bool,
    id: &HeaderValue,
) -> Result<Response<Outgoing>, Refusal> {
    let show = connection.door.config.show_errors;
    let switching = answered.status == StatusCode::SWITCHING_PROTOCOLS;
    match (answered.socket, handshake) {
        (None, _) if answered.status.is_informational() => Err(Refusal::application(
            "the application answered with a 1xx status but no WebSocket",
            show,
            id,
        )),
        (None, _) => Ok(response::from_application(
            answered.status,
            answered.reason,
            answered.headers,
            answered.body,
            head_only,
        )),
        (Some(socket), Some(handshake)) if switching => {
            let (response, accepted) = handshake.accept(answered.headers, socket);
            *connection
                .accepted
                .lock()
                .unwrap_or_else(|poison| poison.into_inner()) = Some(accepted);
            Ok(response)
        }
        (Some(_), _) => Err(Refusal::application(
            "the application accepted a WebSocket that the client did not offer",
            show,
            id,
        )),
    }
}
