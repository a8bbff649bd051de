//! The port at which the API server of workers asks a pod. TLS 1.3, and both prove who they are:
//!
//! - the API server by a certificate that the installation's own authority has signed ([`RUNTIME_CA_FILE`]), with the name [`API_SERVER`];
//! - the pod, inside that channel, by its service account's token ([`Identity`]), which only the API server can get to see. Its own
//!   certificate means nothing.
//!
//! Without an authority every handshake fails: there is no API server.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::Listener;
use axum::{Json, body};
use http::{StatusCode, Uri, header};
use portside_crds::names::{RUNTIME_CA_FILE, RUNTIME_TOKEN_FILE};
use portside_exchange::Body;
use portside_manage::{API_SERVER, Identity, PATH, Problem};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use url::Url;

use super::answers::{MOST_BYTES, elsewhere};
use crate::app::App;

/// How long a handshake may take, and how many may be under way.
const HANDSHAKE: Duration = Duration::from_secs(5);
const HANDSHAKES: usize = 64;
/// After an error of accepting, as when there are too many open files.
const AGAIN: Duration = Duration::from_millis(100);

/// The port, listening but not yet answering.
pub struct Port {
    listener: TcpListener,
    /// Where [`RUNTIME_CA_FILE`] and [`RUNTIME_TOKEN_FILE`] are, and change.
    directory: PathBuf,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Port {
    /// Starts to listen.
    ///
    /// # Errors
    /// The address is taken, not ours, or not allowed to us; or no key can be made.
    pub async fn bind(address: SocketAddr, directory: PathBuf) -> std::io::Result<Self> {
        let names = vec!["pod".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).map_err(std::io::Error::other)?;
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        Ok(Self {
            listener: TcpListener::bind(address).await?,
            directory,
            certificate: made.cert.der().clone(),
            key: key.into(),
        })
    }

    /// The address, with the port that was really taken.
    ///
    /// # Errors
    /// The system does not know it.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers for the application until the process ends.
    pub async fn run(self, app: Arc<App>) {
        let token = self.directory.join(RUNTIME_TOKEN_FILE);
        let identity = format!("{PATH}/identity");
        let router = Router::new()
            .route(&identity, get(move || identify(token.clone())))
            .fallback(answer)
            .with_state(app);
        let address = self.listener.local_addr();
        let (send, accepted) = mpsc::channel(1);
        tokio::spawn(self.accept(send));
        let listener = Accepted { accepted, address };
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "the port for the API server of workers is closed");
        }
    }

    async fn accept(self, accepted: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>) {
        let room = Arc::new(Semaphore::new(HANDSHAKES));
        while !accepted.is_closed() {
            // It is never closed.
            let Ok(permit) = room.clone().acquire_owned().await else {
                return;
            };
            let Ok((stream, peer)) = self.listener.accept().await else {
                sleep(AGAIN).await;
                continue;
            };
            let acceptor = self.acceptor();
            let accepted = accepted.clone();
            tokio::spawn(async move {
                let _permit = permit;
                let shaken = async { hands_shaken(acceptor?, stream).await };
                match timeout(HANDSHAKE, shaken).await {
                    // Nobody is left to serve it when the process ends.
                    Ok(Ok(stream)) => drop(accepted.send((stream, peer)).await),
                    Ok(Err(why)) => {
                        tracing::debug!(%peer, %why, "refused on the port for the API server of workers");
                    }
                    Err(_) => {}
                }
            });
        }
    }

    /// Lets those in whom the authority has signed that is there now.
    fn acceptor(&self) -> Result<TlsAcceptor, String> {
        let provider = Arc::new(default_provider());
        let roots = Arc::new(roots(&self.directory.join(RUNTIME_CA_FILE))?);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone())
            .build()
            .map_err(|error| error.to_string())?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| error.to_string())?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![self.certificate.clone()], self.key.clone_key())
            .map_err(|error| error.to_string())?;
        // Each handshake is a whole one, for what was true of the one before need not be.
        config.send_tls13_tickets = 0;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config).into())
    }
}

fn roots(file: &Path) -> Result<RootCertStore, String> {
    let unreadable = |why: String| format!("{}: {why}", file.display());
    let text = std::fs::read(file).map_err(|error| unreadable(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| unreadable(error.to_string()))?;
        let added = roots.add(certificate);
        added.map_err(|error| unreadable(error.to_string()))?;
    }
    Ok(roots)
}

async fn hands_shaken(
    acceptor: TlsAcceptor,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, String> {
    let stream = acceptor.accept(stream).await;
    let stream = stream.map_err(|error| error.to_string())?;
    let (_, connection) = stream.get_ref();
    let certificates = connection.peer_certificates().unwrap_or_default();
    let certificate = certificates.first().ok_or("there is no certificate")?;
    let named = ServerName::try_from(API_SERVER).map_err(|error| error.to_string())?;
    let parsed = ParsedCertificate::try_from(certificate).map_err(|error| error.to_string())?;
    rustls::client::verify_server_name(&parsed, &named).map_err(|error| error.to_string())?;
    Ok(stream)
}

/// Connections after their handshakes.
struct Accepted {
    accepted: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    address: std::io::Result<SocketAddr>,
}

impl Listener for Accepted {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.accepted.recv().await {
            Some(accepted) => accepted,
            // Whoever accepts ends with the process.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        match &self.address {
            Ok(address) => Ok(*address),
            Err(error) => Err(error.kind().into()),
        }
    }
}

async fn identify(file: PathBuf) -> Response {
    match tokio::fs::read_to_string(&file).await {
        Ok(token) => {
            let token = token.trim().to_owned();
            (
                [(header::CACHE_CONTROL, "no-store")],
                Json(Identity { token }),
            )
                .into_response()
        }
        Err(error) => {
            let error = format!("this pod has no token: {error}");
            (StatusCode::SERVICE_UNAVAILABLE, Json(Problem { error })).into_response()
        }
    }
}

async fn answer(State(app): State<Arc<App>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(url) = url(&head.uri) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let Ok(body) = body::to_bytes(body, MOST_BYTES).await else {
        let error = "the body did not arrive, or is larger than 16 MiB".to_owned();
        return (StatusCode::PAYLOAD_TOO_LARGE, Json(Problem { error })).into_response();
    };
    let mut body = Body::Full(body);
    let asked = (&head.method, &url, &mut body);
    match super::answer(&app, asked, elsewhere).await {
        Some(answered) => response(answered),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// The path and the query, as a URL.
fn url(uri: &Uri) -> Result<Url, url::ParseError> {
    let path = uri.path_and_query().map_or("/", |it| it.as_str());
    Url::parse(&format!("http://pod{path}"))
}

fn response(answered: portside_exchange::Response) -> Response {
    let body = match answered.body {
        Body::Empty => body::Body::empty(),
        Body::Full(bytes) => body::Body::from(bytes),
        Body::Stream(stream) => body::Body::from_stream(stream),
    };
    let mut response = Response::new(body);
    *response.status_mut() = answered.status;
    *response.headers_mut() = answered.headers;
    response
}
