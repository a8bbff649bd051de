//! The opening handshake (RFC 6455 section 4.2).

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode, Version};
use portside_exchange::Socket;
use sha1::{Digest, Sha1};

use super::deflate::Deflate;
use crate::body::Outgoing;
use crate::headers::{has_token, remove_hop_by_hop};
use crate::response::Refusal;

/// The name-based UUID of section 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A client's valid offer of a WebSocket.
pub(crate) struct Handshake {
    path: Box<str>,
    accept: HeaderValue,
    deflate: Option<Deflate>,
}

/// A WebSocket that starts once its handshake's response is written.
pub(crate) struct Accepted {
    /// What the client asked for, without the query.
    pub(crate) path: Box<str>,
    pub(super) socket: Socket,
    pub(super) deflate: Option<Deflate>,
}

/// Looks for an offer of a WebSocket.
///
/// # Errors
///
/// There is one, but of another version (426) or with an invalid key (400).
pub(crate) fn handshake(parts: &Parts) -> Result<Option<Handshake>, Refusal> {
    let offered = parts.version == Version::HTTP_11
        && parts.method == Method::GET
        && has_token(&parts.headers, &header::UPGRADE, "websocket")
        && has_token(&parts.headers, &header::CONNECTION, "upgrade");
    if !offered {
        return Ok(None);
    }
    let version = parts.headers.get(header::SEC_WEBSOCKET_VERSION);
    if version.is_none_or(|version| version.as_bytes().trim_ascii() != b"13") {
        return Err(Refusal::websocket_version());
    }
    let mut keys = parts.headers.get_all(header::SEC_WEBSOCKET_KEY).iter();
    let key = match (keys.next(), keys.next()) {
        (Some(key), None) => key.as_bytes().trim_ascii(),
        _ => b"",
    };
    if BASE64_STANDARD.decode(key).map_or(0, |nonce| nonce.len()) != 16 {
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "sec-websocket-key is not 16 bytes of base64",
        ));
    }
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    Ok(Some(Handshake {
        path: parts.uri.path().into(),
        accept: HeaderValue::try_from(BASE64_STANDARD.encode(digest))
            .expect("base64 is visible ASCII"),
        deflate: Deflate::negotiate(&parts.headers),
    }))
}

impl Handshake {
    /// The response that turns the connection into a WebSocket, with the application's own headers.
    pub(crate) fn accept(
        self,
        mut headers: HeaderMap,
        socket: Socket,
    ) -> (Response<Outgoing>, Accepted) {
        remove_hop_by_hop(&mut headers);
        headers.remove(header::CONTENT_LENGTH);
        headers.remove(header::SEC_WEBSOCKET_EXTENSIONS);
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, self.accept);
        if let Some(deflate) = self.deflate {
            headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, deflate.response());
        }
        let mut response = Response::new(Outgoing::whole(Bytes::new()));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *response.headers_mut() = headers;
        let Self { path, deflate, .. } = self;
        let accepted = Accepted {
            path,
            socket,
            deflate,
        };
        (response, accepted)
    }
}
