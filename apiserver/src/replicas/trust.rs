//! By what a replica is known.

use portside_manage::API_SERVER;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;

/// Whether a certificate, which the installation's authority was found to have signed, is that of this server and its replicas.
#[must_use]
pub fn is_replica(certificate: &CertificateDer<'_>) -> bool {
    let Ok(name) = ServerName::try_from(API_SERVER) else {
        return false;
    };
    let parsed = ParsedCertificate::try_from(certificate);
    parsed.is_ok_and(|it| rustls::client::verify_server_name(&it, &name).is_ok())
}
