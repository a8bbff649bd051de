//! A connection to another replica, for one request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use portside_manage::API_SERVER;
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS13;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::certificate::{Certificate, Roots};

/// How long it may take until there is a connection.
const CONNECT: Duration = Duration::from_secs(2);
/// A replica that is gone without a word is found out so.
const PING: Duration = Duration::from_secs(10);

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
    let connecting = timeout(CONNECT, connect(address, own, roots)).await;
    connecting.map_err(|_| "it cannot be connected to in time".to_owned())?
}

async fn connect(
    address: SocketAddr,
    own: &Certificate,
    roots: Roots,
) -> Result<SendRequest<Empty<Bytes>>, String> {
    let connector = connector(own, roots).map_err(|error| error.to_string())?;
    let name = ServerName::try_from(API_SERVER).map_err(|error| error.to_string())?;
    let stream = TcpStream::connect(address).await;
    let stream = stream.map_err(|error| error.to_string())?;
    let _ = stream.set_nodelay(true);
    let stream = connector.connect(name, stream).await;
    let stream = stream.map_err(|error| error.to_string())?;
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    // Ends with the answer that is read of it, or when the other end is gone.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

fn connector(own: &Certificate, roots: Roots) -> Result<TlsConnector, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(own))));
    // Each handshake is a whole one, for what was true of the one before need not be.
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config).into())
}
