//! The client's side of the opening handshake (RFC 6455 section 4.1).

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use sha1::{Digest, Sha1};

use crate::deflate::{self, Deflate};
use crate::headers::{has_token, tokens};

/// The name-based UUID of section 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What a client asked for, to be compared with the answer.
#[derive(Debug)]
pub struct Handshake {
    accept: HeaderValue,
    protocols: Vec<String>,
    compression: bool,
}

/// What both ends agreed on.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Agreed {
    /// The subprotocol; empty for none.
    pub protocol: String,
    /// The extensions, as the server wrote them; empty for none.
    pub extensions: String,
    /// The compression.
    pub deflate: Option<Deflate>,
}

/// Why an answer does not open a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The status is another than 101.
    #[error("the server answered with the status {0}")]
    Status(StatusCode),
    /// It switches to another protocol.
    #[error("the server does not upgrade to websocket")]
    Upgrade,
    /// It answers another request than ours.
    #[error("sec-websocket-accept is wrong")]
    Accept,
    /// It wants what was not offered, or in a way that was not.
    #[error("the server wants extensions that were not offered")]
    Extensions,
    /// It chose a subprotocol that was not offered, or none of those that were.
    #[error("the server does not speak an offered subprotocol")]
    Protocol,
}

impl Handshake {
    /// Turns the headers of a GET request into an offer of a WebSocket with a new key.
    ///
    /// # Errors
    /// A protocol is no token, for a header cannot carry it.
    pub fn offer(
        headers: &mut HeaderMap,
        protocols: &[String],
        compression: bool,
    ) -> Result<Self, header::InvalidHeaderValue> {
        let key = BASE64_STANDARD.encode(rand::random::<[u8; 16]>());
        let accept = accept_for(key.as_bytes());
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        let version = HeaderValue::from_static("13");
        headers.insert(header::SEC_WEBSOCKET_VERSION, version);
        headers.insert(header::SEC_WEBSOCKET_KEY, HeaderValue::try_from(key)?);
        headers.remove(header::SEC_WEBSOCKET_EXTENSIONS);
        if compression {
            let offer = HeaderValue::from_static(deflate::OFFER);
            headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, offer);
        }
        if !protocols.is_empty() {
            let offer = HeaderValue::try_from(protocols.join(", "))?;
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, offer);
        }
        Ok(Self {
            accept,
            protocols: protocols.to_vec(),
            compression,
        })
    }

    /// Judges the answer.
    ///
    /// # Errors
    /// It does not open a WebSocket, or not one that was asked for.
    pub fn check<B>(&self, response: &Response<B>) -> Result<Agreed, Refused> {
        let agreed = self.check_but_protocol(response)?;
        // The WebSockets standard asks for more than RFC 6455 does: who offered some gets one.
        if self.protocols.is_empty() != agreed.protocol.is_empty()
            || !agreed.protocol.is_empty() && !self.protocols.contains(&agreed.protocol)
        {
            return Err(Refused::Protocol);
        }
        Ok(agreed)
    }

    /// The same, leaving the judgement of the subprotocol to somebody else: for an intermediary.
    ///
    /// # Errors
    /// It does not open a WebSocket, or not with the extensions that were offered.
    pub fn check_but_protocol<B>(&self, response: &Response<B>) -> Result<Agreed, Refused> {
        let headers = response.headers();
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(Refused::Status(response.status()));
        }
        if !has_token(headers, &header::UPGRADE, "websocket")
            || !has_token(headers, &header::CONNECTION, "upgrade")
        {
            return Err(Refused::Upgrade);
        }
        if single(headers, &header::SEC_WEBSOCKET_ACCEPT) != Some(self.accept.as_bytes()) {
            return Err(Refused::Accept);
        }
        let extensions: Vec<_> = tokens(headers, &header::SEC_WEBSOCKET_EXTENSIONS).collect();
        let deflate = match &extensions[..] {
            [] => None,
            [answer] if self.compression => Some(Deflate::agreed(answer)),
            _ => return Err(Refused::Extensions),
        };
        let protocol = if headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL) {
            let chosen = single(headers, &header::SEC_WEBSOCKET_PROTOCOL);
            let chosen = chosen.and_then(|chosen| std::str::from_utf8(chosen).ok());
            let chosen = chosen.filter(|chosen| !chosen.is_empty());
            chosen.ok_or(Refused::Protocol)?.to_owned()
        } else {
            String::new()
        };
        Ok(Agreed {
            protocol,
            extensions: extensions.join(", "),
            deflate: deflate
                .map(|deflate| deflate.ok_or(Refused::Extensions))
                .transpose()?,
        })
    }
}

/// The value of a header that is there once.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut lines = headers.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) => Some(line.as_bytes().trim_ascii()),
        _ => None,
    }
}

/// What a server that understood this key answers with.
pub(crate) fn accept_for(key: &[u8]) -> HeaderValue {
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    HeaderValue::try_from(BASE64_STANDARD.encode(digest)).expect("base64 is visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_standard_is_answered() {
        assert_eq!(
            accept_for(b"dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    /// The answer to an offer, with these headers instead of or beside the right ones; an empty value removes one.
    fn answered(
        protocols: &[&str],
        compression: bool,
        status: u16,
        changes: &[(&'static str, &str)],
    ) -> Result<Agreed, Refused> {
        let mut request = HeaderMap::new();
        let protocols: Vec<_> = protocols.iter().map(|&name| name.to_owned()).collect();
        let handshake = Handshake::offer(&mut request, &protocols, compression).unwrap();
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        let accept = accept_for(request[header::SEC_WEBSOCKET_KEY].as_bytes());
        let headers = response.headers_mut();
        headers.insert("upgrade", HeaderValue::from_static("WebSocket"));
        let connection = HeaderValue::from_static("keep-alive, Upgrade");
        headers.insert("connection", connection);
        headers.insert("sec-websocket-accept", accept);
        for (name, value) in changes {
            match value.strip_prefix('+') {
                Some(value) => _ = headers.append(*name, value.parse().unwrap()),
                None if value.is_empty() => _ = headers.remove(*name),
                None => _ = headers.insert(*name, value.parse().unwrap()),
            }
        }
        handshake.check(&response)
    }

    #[test]
    fn a_right_answer_is_agreed_to() {
        assert_eq!(answered(&[], false, 101, &[]), Ok(Agreed::default()));
        let answer = "permessage-deflate;server_no_context_takeover; client_no_context_takeover";
        let agreed = answered(
            &["a", "b"],
            true,
            101,
            &[
                ("sec-websocket-protocol", "b"),
                ("sec-websocket-extensions", answer),
            ],
        )
        .unwrap();
        assert_eq!((&*agreed.protocol, &*agreed.extensions), ("b", answer));
        assert_eq!(agreed.deflate, Some(Deflate::default()));
        assert_eq!(answered(&[], true, 101, &[]), Ok(Agreed::default()));
    }

    #[test]
    fn a_wrong_answer_is_refused() {
        const ALONE: &str = "permessage-deflate; server_no_context_takeover";
        const EXTENSIONS: &str = "sec-websocket-extensions";
        for status in [200, 302, 401] {
            let refused = Refused::Status(StatusCode::from_u16(status).unwrap());
            assert_eq!(answered(&[], true, status, &[]), Err(refused));
        }
        for (name, value, expected) in [
            ("upgrade", "h2c", Refused::Upgrade),
            ("connection", "", Refused::Upgrade),
            ("sec-websocket-accept", "", Refused::Accept),
            ("sec-websocket-accept", "a", Refused::Accept),
            ("sec-websocket-accept", "+a", Refused::Accept),
            (EXTENSIONS, "x-other", Refused::Extensions),
            (EXTENSIONS, "permessage-deflate", Refused::Extensions),
            ("sec-websocket-protocol", "a", Refused::Protocol),
        ] {
            let refused = answered(&[], true, 101, &[(name, value)]);
            assert_eq!(refused, Err(expected), "{name}: {value}");
        }
        let unasked = answered(&[], false, 101, &[(EXTENSIONS, ALONE)]);
        assert_eq!(unasked, Err(Refused::Extensions));
        for other in [&[][..], &[("sec-websocket-protocol", "b")]] {
            assert_eq!(answered(&["a"], true, 101, other), Err(Refused::Protocol));
        }
        let twice = [(EXTENSIONS, ALONE), (EXTENSIONS, &format!("+{ALONE}"))];
        assert_eq!(answered(&[], true, 101, &twice), Err(Refused::Extensions));
    }

    #[test]
    fn every_offer_has_its_own_key() {
        let key = || {
            let mut headers = HeaderMap::new();
            Handshake::offer(&mut headers, &[], false).unwrap();
            headers.remove("sec-websocket-key").unwrap()
        };
        let (first, second) = (key(), key());
        assert_ne!(first, second);
        assert_eq!(BASE64_STANDARD.decode(first.as_bytes()).unwrap().len(), 16);
    }
}
