//! Certificates as they are read, and who accepts which.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use pem::{EncodeConfig, LineEnding, Pem};
use rcgen::KeyPair;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;

/// What is made is good from so much earlier on, for clocks that are behind.
pub(super) const BACKDATED: SignedDuration = SignedDuration::from_hours(1);

const TAG: &str = "CERTIFICATE";

/// A certificate.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Certificate {
    der: CertificateDer<'static>,
    begins: Timestamp,
    ends: Timestamp,
    public_key: Vec<u8>,
    /// Whether it may sign others.
    pub is_authority: bool,
}

impl Certificate {
    /// Reads one.
    pub(super) fn read(der: &[u8]) -> Result<Self, String> {
        let (rest, read) = x509_parser::parse_x509_certificate(der)
            .map_err(|error| format!("a certificate cannot be read: {error}"))?;
        if !rest.is_empty() {
            return Err("a certificate is followed by something else".to_owned());
        }
        let validity = read.validity();
        let time = |seconds: i64| {
            Timestamp::from_second(seconds)
                .map_err(|_| "a certificate has a time that is none".to_owned())
        };
        Ok(Self {
            begins: time(validity.not_before.timestamp())?,
            ends: time(validity.not_after.timestamp())?,
            public_key: read.public_key().subject_public_key.data.to_vec(),
            is_authority: read.is_ca(),
            der: CertificateDer::from(der.to_vec()),
        })
    }

    /// Reads those in a file.
    pub(super) fn all_in(text: &[u8]) -> Result<Vec<Self>, String> {
        let all = pem::parse_many(text).map_err(|error| error.to_string())?;
        let all = all.iter().map(|one| match one.tag() {
            TAG => Self::read(one.contents()),
            other => Err(format!("{other} is among the certificates")),
        });
        all.collect()
    }

    /// A file of these.
    pub(super) fn to_pem<'c>(all: impl IntoIterator<Item = &'c Self>) -> String {
        let all: Vec<Pem> = all
            .into_iter()
            .map(|one| Pem::new(TAG, one.der.to_vec()))
            .collect();
        let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
        pem::encode_many_config(&all, config)
    }

    /// As others take it.
    pub(super) fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// When it was made, if it was made here.
    pub(super) fn made(&self) -> Timestamp {
        self.begins + BACKDATED
    }

    /// When it is over.
    pub(super) fn ends(&self) -> Timestamp {
        self.ends
    }

    /// Whether it is good then.
    pub(super) fn is_valid(&self, at: Timestamp) -> bool {
        self.begins <= at && at <= self.ends
    }

    /// Whether it is this key's.
    pub(super) fn is_of(&self, key: &KeyPair) -> bool {
        self.public_key == key.public_key_raw()
    }

    /// Whether whoever believes these authorities takes it then for a server of each of these names, and for a client.
    pub(super) fn is_accepted<'c>(
        &self,
        authorities: impl IntoIterator<Item = &'c Self>,
        names: &[String],
        at: Timestamp,
    ) -> bool {
        self.verify(authorities, names, at).is_ok()
    }

    fn verify<'c>(
        &self,
        authorities: impl IntoIterator<Item = &'c Self>,
        names: &[String],
        at: Timestamp,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let mut roots = RootCertStore::empty();
        // Not all programs refuse an authority that is over; Kubernetes does.
        for authority in authorities.into_iter().filter(|one| one.is_valid(at)) {
            roots.add(authority.der.clone())?;
        }
        let (roots, provider) = (Arc::new(roots), Arc::new(default_provider()));
        let at = SystemTime::from(at).duration_since(SystemTime::UNIX_EPOCH)?;
        let at = UnixTime::since_unix_epoch(Duration::from_secs(at.as_secs()));
        WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
            .build()?
            .verify_client_cert(&self.der, &[], at)?;
        let servers = WebPkiServerVerifier::builder_with_provider(roots, provider).build()?;
        for name in names {
            let name = ServerName::try_from(name.as_str())?;
            servers.verify_server_cert(&self.der, &[], &name, &[], at)?;
        }
        Ok(())
    }
}
