//! The server's side of the opening handshake (RFC 6455 section 4.2).

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Version};

use crate::client::accept_for;
use crate::deflate::Deflate;
use crate::headers::has_token;

/// A client's valid offer of a WebSocket.
#[derive(Debug)]
pub struct Offer {
    accept: HeaderValue,
    /// The compression that accepting it agrees on.
    pub deflate: Option<Deflate>,
}

/// Why an offer of a WebSocket cannot be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// It is for another version than 13: to be answered with 426 and `sec-websocket-version: 13`.
    #[error("the version of the WebSocket protocol is not 13")]
    Version,
    /// Its key is wrong: to be answered with 400.
    #[error("sec-websocket-key is not 16 bytes of base64")]
    Key,
}

impl Offer {
    /// Looks for an offer of a WebSocket in a request.
    ///
    /// # Errors
    /// There is one, but it cannot be accepted.
    pub fn find(request: &Parts) -> Result<Option<Self>, Invalid> {
        let headers = &request.headers;
        let offered = request.version == Version::HTTP_11
            && request.method == Method::GET
            && has_token(headers, &header::UPGRADE, "websocket")
            && has_token(headers, &header::CONNECTION, "upgrade");
        if !offered {
            return Ok(None);
        }
        let version = headers.get(header::SEC_WEBSOCKET_VERSION);
        if version.is_none_or(|version| version.as_bytes().trim_ascii() != b"13") {
            return Err(Invalid::Version);
        }
        let mut keys = headers.get_all(header::SEC_WEBSOCKET_KEY).iter();
        let key = match (keys.next(), keys.next()) {
            (Some(key), None) => key.as_bytes().trim_ascii(),
            _ => b"",
        };
        if BASE64_STANDARD.decode(key).map_or(0, |nonce| nonce.len()) != 16 {
            return Err(Invalid::Key);
        }
        Ok(Some(Self {
            accept: accept_for(key),
            deflate: Deflate::negotiate(headers),
        }))
    }

    /// Puts what accepts the offer into the headers of a response, whose status has to be 101. A subprotocol is the
    /// caller's choice.
    pub fn accept(self, headers: &mut HeaderMap) {
        headers.remove(header::SEC_WEBSOCKET_EXTENSIONS);
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, self.accept);
        if let Some(deflate) = self.deflate {
            headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, deflate.response());
        }
    }
}
