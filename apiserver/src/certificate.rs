//! This server's own certificate, in files that change: it is replaced long before it is over.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use tokio::sync::watch;
use tokio::time::sleep;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// A certificate with its key.
pub type Certificate = Arc<CertifiedKey>;

/// Who signs the certificates of the installation.
pub type Roots = Arc<RootCertStore>;

/// Keeps `certificate` as the files `tls.crt` and `tls.key` in a folder have it; what cannot be read replaces nothing. Does not
/// end.
pub async fn follow(folder: &Path, certificate: watch::Sender<Option<Certificate>>) {
    follow_files(folder, ["tls.crt", "tls.key"], parse, certificate).await;
}

/// The same of the authority that has signed it, in the file `ca.crt`, by which replicas know each other.
pub async fn follow_roots(folder: &Path, roots: watch::Sender<Option<Roots>>) {
    follow_files(folder, ["ca.crt"], parse_roots, roots).await;
}

async fn follow_files<T, const N: usize>(
    folder: &Path,
    names: [&str; N],
    parse: fn(&[Vec<u8>; N]) -> Result<T, String>,
    value: watch::Sender<Option<Arc<T>>>,
) {
    let mut before = None;
    let mut told = String::new();
    loop {
        match read(folder, names).await {
            Ok(files) if before.as_ref() == Some(&files) => {}
            Ok(files) => match parse(&files) {
                Ok(parsed) => {
                    tracing::info!(folder = %folder.display(), files = names.join(" and "), "read");
                    value.send_replace(Some(Arc::new(parsed)));
                    before = Some(files);
                    told.clear();
                }
                Err(why) => tell(&mut told, folder, why),
            },
            Err(why) => tell(&mut told, folder, why),
        }
        sleep(LOOK).await;
    }
}

/// Once for each reason.
fn tell(told: &mut String, folder: &Path, why: String) {
    if *told != why {
        tracing::warn!(folder = %folder.display(), %why, "what is needed for TLS cannot be read here; trying again");
        *told = why;
    }
}

async fn read<const N: usize>(folder: &Path, names: [&str; N]) -> Result<[Vec<u8>; N], String> {
    let mut files = [const { vec![] }; N];
    for (file, name) in files.iter_mut().zip(names) {
        let read = tokio::fs::read(folder.join(name)).await;
        *file = read.map_err(|error| format!("{name}: {error}"))?;
    }
    Ok(files)
}

fn parse_roots([bundle]: &[Vec<u8>; 1]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bundle) {
        let certificate = certificate.map_err(|error| format!("ca.crt: {error}"))?;
        let added = roots.add(certificate);
        added.map_err(|error| format!("ca.crt: {error}"))?;
    }
    if roots.is_empty() {
        return Err("ca.crt has no certificate".to_owned());
    }
    Ok(roots)
}

fn parse([chain, key]: &[Vec<u8>; 2]) -> Result<CertifiedKey, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
    let chain = chain.map_err(|error| format!("tls.crt: {error}"))?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| format!("tls.key: {error}"))?;
    // Fails if one is of before a change and the other of after it.
    CertifiedKey::from_der(chain, key, &default_provider()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, name: &str) -> Vec<u8> {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        std::fs::write(folder.join("tls.crt"), made.cert.pem()).unwrap();
        std::fs::write(folder.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
        made.cert.der().to_vec()
    }

    #[tokio::test(start_paused = true)]
    async fn a_certificate_is_read_anew_when_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let (send, mut seen) = watch::channel(None::<Certificate>);
        let path = folder.path().to_owned();
        tokio::spawn(async move { follow(&path, send).await });
        let first = write(folder.path(), "first");
        let is = |der: &[u8], it: &Option<Certificate>| {
            it.as_ref().is_some_and(|it| it.cert[0].as_ref() == der)
        };
        seen.wait_for(|it| is(&first, it)).await.unwrap();
        std::fs::write(folder.path().join("tls.crt"), "garbage").unwrap();
        // It has been looked at by then.
        sleep(3 * LOOK).await;
        assert!(is(&first, &seen.borrow()));
        let second = write(folder.path(), "second");
        seen.wait_for(|it| is(&second, it)).await.unwrap();
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let one = rcgen::generate_simple_self_signed(vec!["a".to_owned()]).unwrap();
        let other = rcgen::generate_simple_self_signed(vec!["a".to_owned()]).unwrap();
        let files = [
            one.cert.pem().into_bytes(),
            other.signing_key.serialize_pem().into_bytes(),
        ];
        assert!(parse(&files).is_err());
    }
}
