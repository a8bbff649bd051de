//! Who is at the other end: keys that pods make when they start, known to each other by their SHA-256.
//!
//! TLS 1.3 with raw public keys (RFC 7250): a key proves itself, and whoever gave the fingerprint says whose it is. Each
//! handshake is a whole one, for a session that was resumed would be known by what was true before.

use std::fmt;
use std::sync::Arc;

use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::Ed25519KeyPair;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, ring::default_provider,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    ServerConfig, SignatureScheme,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// What is spoken behind the handshake: so that nobody takes it for something else.
const PROTOCOL: &[u8] = b"portside-links";

/// A pod's private key, in memory only.
#[derive(Clone)]
pub struct Key {
    certified: Arc<CertifiedKey>,
    provider: Arc<CryptoProvider>,
    fingerprint: Fingerprint,
}

/// The SHA-256 of a public key, in its `SubjectPublicKeyInfo`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    fn of(public_key: &[u8]) -> Self {
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest(&SHA256, public_key).as_ref());
        Self(fingerprint)
    }
}

/// In hexadecimal.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A key could not be made.
#[derive(Debug, thiserror::Error)]
#[error("no key could be made: {0}")]
pub struct KeyError(&'static str);

impl Key {
    /// Makes a key (Ed25519).
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn generate() -> Result<Self, KeyError> {
        let provider = default_provider();
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
        let document = document.map_err(|_| KeyError("the system gives no random numbers"))?;
        let private = PrivateKeyDer::Pkcs8(document.as_ref().to_vec().into());
        let private = provider.key_provider.load_private_key(private);
        let private = private.map_err(|_| KeyError("the TLS library does not take it"))?;
        let public = private.public_key();
        let public = public.ok_or(KeyError("the TLS library has no public half of it"))?;
        let fingerprint = Fingerprint::of(&public);
        let public = CertificateDer::from(public.to_vec());
        Ok(Self {
            certified: Arc::new(CertifiedKey::new(vec![public], private)),
            provider: Arc::new(provider),
            fingerprint,
        })
    }

    /// What others know it by.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Shows another's public key, without having its private one.
    #[cfg(test)]
    pub(crate) fn pretending_to_be(&self, other: &Self) -> Self {
        let public = other.certified.cert.clone();
        let private = self.certified.key.clone();
        Self {
            certified: Arc::new(CertifiedKey::new(public, private)),
            ..other.clone()
        }
    }

    fn pinned(&self, peers: Arc<dyn Peers>) -> Arc<Pinned> {
        let algorithms = self.provider.signature_verification_algorithms;
        Arc::new(Pinned { peers, algorithms })
    }

    /// Calls the peer with this key and nobody else.
    pub(crate) fn connector(&self, peer: Fingerprint) -> Result<TlsConnector, Error> {
        let own = AlwaysResolvesClientRawPublicKeys::new(self.certified.clone());
        let mut config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(
                self.pinned(Arc::new(move |known: &Fingerprint| *known == peer)),
            )
            .with_client_cert_resolver(Arc::new(own));
        config.resumption = Resumption::disabled();
        config.enable_sni = false; // the key is its name
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Arc::new(config).into())
    }

    /// Listens to those that `peers` knows.
    pub(crate) fn acceptor(&self, peers: Arc<dyn Peers>) -> Result<TlsAcceptor, Error> {
        let own = AlwaysResolvesServerRawPublicKeys::new(self.certified.clone());
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(self.pinned(peers))
            .with_cert_resolver(Arc::new(own));
        config.send_tls13_tickets = 0;
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Arc::new(config).into())
    }
}

/// A name for where TLS must have one; nobody looks at it.
pub(crate) fn no_name() -> ServerName<'static> {
    ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into())
}

/// The fingerprint of whoever proved to have a key in a handshake.
pub(crate) fn proven(keys: Option<&[CertificateDer<'_>]>) -> Option<Fingerprint> {
    keys?.first().map(|key| Fingerprint::of(key))
}

/// Who may be at the other end.
pub trait Peers: Send + Sync + 'static {
    /// Whether the holder of this key is a peer now. Asked in each handshake; must not block.
    fn knows(&self, peer: &Fingerprint) -> bool;
}

impl<F: Fn(&Fingerprint) -> bool + Send + Sync + 'static> Peers for F {
    fn knows(&self, peer: &Fingerprint) -> bool {
        self(peer)
    }
}

/// The key is nobody's that is known.
#[derive(Debug, thiserror::Error)]
#[error("no peer is known to have the key {0}")]
struct UnknownKey(Fingerprint);

/// Takes keys that are known, and signatures made with them.
struct Pinned {
    peers: Arc<dyn Peers>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Pinned {
    fn check(&self, key: &[u8]) -> Result<(), Error> {
        let peer = Fingerprint::of(key);
        if self.peers.knows(&peer) {
            return Ok(());
        }
        let unknown = OtherError(Arc::new(UnknownKey(peer)));
        Err(CertificateError::Other(unknown).into())
    }

    fn verify(
        &self,
        message: &[u8],
        key: &[u8],
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(key);
        verify_tls13_signature_with_raw_key(message, &key, signed, &self.algorithms)
    }
}

fn only_tls13() -> Result<HandshakeSignatureValid, Error> {
    Err(Error::General("only TLS 1.3 is spoken here".to_owned()))
}

impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pinned")
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        key: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(key).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        only_tls13()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, key, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Pinned {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        key: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(key).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        only_tls13()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, key, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
