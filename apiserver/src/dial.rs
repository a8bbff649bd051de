//! Connections to others, pods and replicas: HTTP/2 over TLS, with this server's own certificate.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Body;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS13;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::certificate::Certificate;

/// Who is gone without a word is found out so.
const PING: Duration = Duration::from_secs(10);

/// How many bytes may be on their way and not read yet (RFC 9113 section 5.2).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Windows {
    /// Of one answer.
    pub(crate) stream: u32,
    /// Of all answers of a connection together: what is not read of one takes room from all others.
    pub(crate) connection: u32,
}

impl Default for Windows {
    /// Large, for answers that are read as they come.
    fn default() -> Self {
        Self {
            stream: 2 << 20,
            connection: 5 << 20,
        }
    }
}

/// Connects to whoever `verifier` takes to have that name. The connection ends when the last handle of it is gone, or the other end is.
///
/// # Errors
///
/// Nobody answers there, or somebody else; says what. It has no limit of time.
pub(crate) async fn dial<B>(
    (address, name): (SocketAddr, ServerName<'static>),
    own: &Certificate,
    verifier: Arc<dyn ServerCertVerifier>,
    windows: Windows,
) -> Result<SendRequest<B>, String>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let connector = connector(own, verifier).map_err(|error| error.to_string())?;
    let stream = TcpStream::connect(address).await;
    let stream = stream.map_err(|error| error.to_string())?;
    let _ = stream.set_nodelay(true);
    let stream = connector.connect(name, stream).await;
    let stream = stream.map_err(|error| error.to_string())?;
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .initial_stream_window_size(windows.stream)
        .initial_connection_window_size(windows.connection)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

fn connector(
    own: &Certificate,
    verifier: Arc<dyn ServerCertVerifier>,
) -> Result<TlsConnector, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(own))));
    // Each handshake is a whole one, for what was true of the one before need not be.
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config).into())
}
