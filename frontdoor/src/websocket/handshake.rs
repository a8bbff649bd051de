//! The opening handshake.

use bytes::Bytes;
use http::header::{self, HeaderMap};
use http::request::Parts;
use http::{Response, StatusCode};
use portside_exchange::Socket;
use portside_websocket::Deflate;
use portside_websocket::server::{Invalid, Offer};

use crate::body::Outgoing;
use crate::headers::remove_hop_by_hop;
use crate::response::Refusal;

/// A client's valid offer of a WebSocket.
pub(crate) struct Handshake {
    path: Box<str>,
    offer: Offer,
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
    let found = Offer::find(parts).map_err(|invalid| match invalid {
        Invalid::Version => Refusal::websocket_version(),
        Invalid::Key => Refusal::new(
            StatusCode::BAD_REQUEST,
            "sec-websocket-key is not 16 bytes of base64",
        ),
    })?;
    Ok(found.map(|offer| Handshake {
        path: parts.uri.path().into(),
        offer,
    }))
}

impl Handshake {
    /// The response that turns the connection into a WebSocket, with the application's own headers.
    pub(crate) fn accept(
        self,
        mut headers: HeaderMap,
        socket: Socket,
    ) -> (Response<Outgoing>, Accepted) {
        let Self { path, offer } = self;
        let deflate = offer.deflate;
        remove_hop_by_hop(&mut headers);
        headers.remove(header::CONTENT_LENGTH);
        offer.accept(&mut headers);
        let mut response = Response::new(Outgoing::whole(Bytes::new()));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *response.headers_mut() = headers;
        let accepted = Accepted {
            path,
            socket,
            deflate,
        };
        (response, accepted)
    }
}
