//! Who gets a connection, and who none.

use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::AsyncReadExt;
use tokio_rustls::TlsConnector;

use super::*;

fn key() -> Key {
    Key::generate().unwrap()
}

/// How both sides fare if the dialer expects `expected` and the listener knows `known`.
async fn meet(
    [dialer, listener]: [&Key; 2],
    expected: Fingerprint,
    known: Fingerprint,
) -> [Result<(), String>; 2] {
    let (one, other) = narrow();
    let dialed = dial(one, dialer, expected, Limits::default());
    let accepted = accept(other, listener, only(known), Limits::default());
    let (dialed, accepted) = tokio::join!(dialed, accepted);
    [dialed, accepted].map(|outcome| outcome.map(drop).map_err(|error| error.to_string()))
}

#[tokio::test]
async fn both_sides_must_have_the_right_key() {
    let [dialer, listener, other] = [key(), key(), key()];
    let keys = [&dialer, &listener];
    let [d, l, o] = [&dialer, &listener, &other].map(Key::fingerprint);
    assert_eq!(meet(keys, l, d).await, [Ok(()), Ok(())]);
    for (expected, known, wrong, who) in [(o, d, l, 0), (l, o, d, 1), (d, d, l, 0)] {
        let outcomes = meet(keys, expected, known).await;
        assert!(outcomes.iter().all(Result::is_err), "{outcomes:?}");
        let said = outcomes[who].as_ref().unwrap_err();
        assert!(said.contains(&wrong.to_string()), "{said}");
    }
}

#[tokio::test]
async fn who_shows_a_key_must_have_it() {
    let [dialer, listener, thief] = [key(), key(), key()];
    let [d, l] = [&dialer, &listener].map(Key::fingerprint);
    let false_dialer = thief.pretending_to_be(&dialer);
    let false_listener = thief.pretending_to_be(&listener);
    for keys in [[&false_dialer, &listener], [&dialer, &false_listener]] {
        let outcomes = meet(keys, l, d).await;
        let signature = "BadSignature";
        assert!(outcomes.iter().all(Result::is_err), "{outcomes:?}");
        let refused = |outcome: &Result<(), String>| {
            outcome.as_ref().is_err_and(|why| why.contains(signature))
        };
        assert!(outcomes.iter().any(refused), "{outcomes:?}");
    }
}

#[tokio::test]
async fn peers_are_looked_up_in_each_handshake() {
    let [dialer, listener] = [key(), key()];
    let asked = Arc::new(AtomicUsize::new(0));
    let counts = asked.clone();
    // It is known twice only.
    let peers: Arc<dyn Peers> =
        Arc::new(move |_: &Fingerprint| counts.fetch_add(1, Ordering::Relaxed) < 2);
    for attempt in 0..3 {
        let (one, other) = narrow();
        let dialed = dial(one, &dialer, listener.fingerprint(), Limits::default());
        let accepted = accept(other, &listener, peers.clone(), Limits::default());
        let (dialed, accepted) = tokio::join!(dialed, accepted);
        assert_eq!(
            (dialed.is_ok(), accepted.is_ok()),
            (attempt < 2, attempt < 2)
        );
    }
    assert_eq!(asked.load(Ordering::Relaxed), 3);
}

/// Takes any key of a server's, and has none itself.
#[derive(Debug)]
struct Nameless {
    raw: bool,
}

impl ServerCertVerifier for Nameless {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = default_provider().signature_verification_algorithms;
        algorithms.supported_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.raw
    }
}

/// Would prove a raw key, but has none.
#[derive(Debug)]
struct NoKey;

impl ResolvesClientCert for NoKey {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn only_raw_public_keys(&self) -> bool {
        true
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// Why the listener does not take a client with this configuration, all else of which is right.
async fn turned_away(mut config: ClientConfig) -> String {
    config.alpn_protocols = vec![b"portside-links".to_vec()];
    let (one, other) = narrow();
    let nameless = async {
        let connector = TlsConnector::from(Arc::new(config));
        let mut stream = connector.connect(no_name(), one).await?;
        stream.read_u8().await
    };
    let listener = key();
    let peers: Arc<dyn Peers> = Arc::new(|_: &Fingerprint| true);
    let accepted = accept(other, &listener, peers, Limits::default());
    let (nameless, accepted) = tokio::join!(nameless, accepted);
    assert!(nameless.is_err());
    accepted.err().expect("nobody is there").to_string()
}

#[tokio::test]
async fn who_shows_no_key_gets_no_connection() {
    let client = |raw| {
        ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Nameless { raw }))
    };
    let no_key = client(true).with_client_cert_resolver(Arc::new(NoKey));
    let why = turned_away(no_key).await;
    assert!(why.contains("sent no certificates"), "{why}");
    // These speak of certificates, as clients usually do.
    for raw in [true, false] {
        let why = turned_away(client(raw).with_no_client_auth()).await;
        assert!(why.contains("CertificateType"), "{why}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_or_nonsense_gets_no_connection_either() {
    let listener = key();
    let peers: Arc<dyn Peers> = Arc::new(|_: &Fingerprint| true);
    let (_silent, other) = narrow();
    let accepted = accept(other, &listener, peers.clone(), Limits::default());
    assert!(matches!(accepted.await, Err(ConnectError::TimedOut(_))));
    let (mut nonsense, other) = narrow();
    tokio::io::AsyncWriteExt::write_all(&mut nonsense, b"GET / HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    let accepted = accept(other, &listener, peers, Limits::default());
    assert!(matches!(accepted.await, Err(ConnectError::Tls(_))));
    let (_silent, one) = narrow();
    let dialer = key();
    let dialed = dial(one, &dialer, listener.fingerprint(), Limits::default());
    assert!(matches!(dialed.await, Err(ConnectError::TimedOut(_))));
}
