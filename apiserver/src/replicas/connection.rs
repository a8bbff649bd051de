//! A connection to another replica, for one request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http2::SendRequest;
use portside_manage::API_SERVER;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::ServerName;
use tokio::time::timeout;

use crate::certificate::{Certificate, Roots};
use crate::dial::{Windows, dial};

/// How long it may take until there is a connection.
const CONNECT: Duration = Duration::from_secs(2);

/// Connects, with the certificate that all replicas share.
///
/// # Errors
///
/// Nobody answers there, or not with a certificate of the roots and of that name; says what.
pub(super) async fn open(
    address: SocketAddr,
    own: &Certificate,
    roots: Roots,
) -> Result<SendRequest<Empty<Bytes>>, String> {
    let provider = Arc::new(default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
    let verifier = verifier.map_err(|error| error.to_string())?;
    let name = ServerName::try_from(API_SERVER).map_err(|error| error.to_string())?;
    let dialing = dial((address, name), own, verifier, Windows::default());
    let connecting = timeout(CONNECT, dialing).await;
    connecting.map_err(|_| "it cannot be connected to in time".to_owned())?
}
