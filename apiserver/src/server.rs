//! Listens with TLS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS13;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::access::{Authority, Peer};
use crate::certificate::{Certificate, Roots};
use crate::replicas::is_replica;
use crate::service::Service;

/// How long a handshake may take, and how many connections there may be, from their first moment on.
const HANDSHAKE: Duration = Duration::from_secs(5);
const CONNECTIONS: usize = 4_000;
/// How many of these may be of clients that show no certificate, or one that means nothing, and how long each may be open: they may
/// ask how it is, and keep nobody else out.
const STRANGERS: usize = 200;
const STRANGER: Duration = Duration::from_secs(15);
/// The most that all headers of a request may have: somebody may be in hundreds of groups.
const MOST_HEADERS: u32 = 1 << 20;
/// How long a request's head may take.
const HEAD: Duration = Duration::from_secs(10);
/// A client that is gone without a word is found out so.
const PING: Duration = Duration::from_secs(20);
/// After an error of accepting, as when there are too many open files.
const AGAIN: Duration = Duration::from_millis(100);
/// How long what runs has to end.
const DRAIN: Duration = Duration::from_secs(15);

/// A listening server.
pub struct Server {
    listener: TcpListener,
    own: watch::Receiver<Option<Certificate>>,
    authority: watch::Receiver<Option<Authority>>,
    roots: watch::Receiver<Option<Roots>>,
}

/// Who may have signed a client's certificate.
#[derive(Clone, Default)]
struct Signers {
    /// Of the cluster's API server.
    proxy: Option<Roots>,
    /// Of replicas of this server.
    replica: Option<Roots>,
}

impl Server {
    /// Starts to listen. Each connection is served with the certificate `own` that there is then, and of those who show one it is
    /// found out whether `authority` has signed it, or `roots`, as it has those of replicas.
    ///
    /// # Errors
    ///
    /// The address is taken, not ours, or not allowed to us.
    pub async fn bind(
        address: SocketAddr,
        own: watch::Receiver<Option<Certificate>>,
        authority: watch::Receiver<Option<Authority>>,
        roots: watch::Receiver<Option<Roots>>,
    ) -> std::io::Result<Self> {
        Ok(Self {
            listener: TcpListener::bind(address).await?,
            own,
            authority,
            roots,
        })
    }

    /// The address, with the port that was really taken.
    ///
    /// # Errors
    ///
    /// The system does not know it.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop`, and then lets what runs end.
    pub async fn run(self, service: Arc<Service>, stop: CancellationToken) {
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        let strangers = Arc::new(Semaphore::new(STRANGERS));
        let graceful = GracefulShutdown::new();
        loop {
            // It is never closed.
            let permit = tokio::select! {
                permit = Arc::clone(&room).acquire_owned() => permit,
                () = stop.cancelled() => break,
            };
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stop.cancelled() => break,
            };
            let Ok((stream, peer)) = accepted else {
                sleep(AGAIN).await;
                continue;
            };
            let signers = self.signers();
            let acceptor = self.acceptor(&signers);
            let (service, watcher) = (Arc::clone(&service), graceful.watcher());
            let strangers = Arc::clone(&strangers);
            tokio::spawn(async move {
                let _permit = permit;
                let shaken = async { hands_shaken(acceptor?, stream).await };
                match timeout(HANDSHAKE, shaken).await {
                    Ok(Ok(stream)) => {
                        let peer = signers
                            .peer(stream.get_ref().1.peer_certificates().unwrap_or_default());
                        let is_stranger = matches!(peer, Peer::Anybody);
                        let serving = serve(stream, peer, service, watcher);
                        if !is_stranger {
                            serving.await;
                        } else if let Ok(_one_of_few) = strangers.try_acquire() {
                            let _ = timeout(STRANGER, serving).await;
                        }
                    }
                    Ok(Err(why)) => tracing::debug!(%peer, %why, "a connection was refused"),
                    Err(_) => {}
                }
            });
        }
        drop(self.listener);
        if timeout(DRAIN, graceful.shutdown()).await.is_err() {
            tracing::warn!("cutting off connections");
        }
    }

    fn signers(&self) -> Signers {
        let authority = self.authority.borrow();
        Signers {
            proxy: authority.as_ref().map(|it| Arc::clone(&it.roots)),
            replica: self.roots.borrow().clone(),
        }
    }

    /// Lets those in whose certificate has one of the signers, and those who show none: they may ask how it is.
    fn acceptor(&self, signers: &Signers) -> Result<TlsAcceptor, String> {
        let own = self.own.borrow().clone();
        let own = own.ok_or_else(|| "there is no certificate yet".to_owned())?;
        let provider = Arc::new(default_provider());
        let mut roots = RootCertStore::empty();
        for signer in [&signers.proxy, &signers.replica].into_iter().flatten() {
            roots.extend(signer.roots.iter().cloned());
        }
        let verifier = if roots.is_empty() {
            WebPkiClientVerifier::no_client_auth()
        } else {
            verifier(roots.into())?
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| error.to_string())?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(own)));
        // Each handshake is a whole one, for what was true of the one before need not be.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config).into())
    }
}

/// Of certificates of these signers.
fn verifier(roots: Roots) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let provider = Arc::new(default_provider());
    let builder = WebPkiClientVerifier::builder_with_provider(roots, provider);
    let built = builder.allow_unauthenticated().build();
    built.map_err(|error| error.to_string())
}

impl Signers {
    /// Who shows these certificates, of which the handshake has found that one of the signers has signed them.
    ///
    /// Which one it was is asked again: what the one has signed must not be taken for the other's.
    fn peer(&self, certificates: &[CertificateDer<'_>]) -> Peer {
        let Some((first, rest)) = certificates.split_first() else {
            return Peer::Anybody;
        };
        let has_signed = |roots: &Option<Roots>| {
            let verifier = roots.clone().and_then(|it| verifier(it).ok());
            verifier.is_some_and(|it| it.verify_client_cert(first, rest, UnixTime::now()).is_ok())
        };
        if has_signed(&self.proxy) {
            Peer::Proxy(first.clone().into_owned())
        } else if has_signed(&self.replica) && is_replica(first) {
            Peer::Replica
        } else {
            Peer::Anybody
        }
    }
}

async fn hands_shaken(
    acceptor: TlsAcceptor,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, String> {
    let _ = stream.set_nodelay(true);
    let stream = acceptor.accept(stream).await;
    stream.map_err(|error| error.to_string())
}

async fn serve(
    stream: TlsStream<TcpStream>,
    peer: Peer,
    service: Arc<Service>,
    watcher: hyper_util::server::graceful::Watcher,
) {
    let peer = Arc::new(peer);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .max_header_list_size(MOST_HEADERS)
        .max_concurrent_streams(1_000);
    let answering = service_fn(move |request| {
        let (service, peer) = (Arc::clone(&service), Arc::clone(&peer));
        async move {
            let answer = service.answer(&peer, request).await;
            Ok::<_, std::convert::Infallible>(answer)
        }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), answering);
    // Its client has gone away.
    let _ = watcher.watch(connection.into_owned()).await;
}
