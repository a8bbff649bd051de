//! This server's own certificate, in files that change: it is replaced long before it is over.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

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

/// Keeps `certificate` as the files `tls.crt` and `tls.key` in a folder have it; what cannot be read replaces nothing. Does not
/// end.
pub async fn follow(folder: &Path, certificate: watch::Sender<Option<Certificate>>) {
    let mut before = None;
    let mut told = String::new();
    loop {
        match read(folder).await {
            Ok(files) if before.as_ref() == Some(&files) => {}
            Ok(files) => match parse(&files) {
                Ok(parsed) => {
                    tracing::info!(folder = %folder.display(), "the certificate is read");
                    certificate.send_replace(Some(Arc::new(parsed)));
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
        tracing::warn!(folder = %folder.display(), %why, "no certificate can be read here; trying again");
        *told = why;
    }
}

/// The certificate's file, and the key's.
type Files = (Vec<u8>, Vec<u8>);

async fn read(folder: &Path) -> Result<Files, String> {
    let file = async |name: &str| {
        let read = tokio::fs::read(folder.join(name)).await;
        read.map_err(|error| format!("{name}: {error}"))
    };
    Ok((file("tls.crt").await?, file("tls.key").await?))
}

fn parse((chain, key): &Files) -> Result<CertifiedKey, String> {
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

    #[tokio::test]
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
        sleep(Duration::from_millis(20)).await;
        assert!(is(&first, &seen.borrow()));
        let second = write(folder.path(), "second");
        seen.wait_for(|it| is(&second, it)).await.unwrap();
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let one = rcgen::generate_simple_self_signed(vec!["a".to_owned()]).unwrap();
        let other = rcgen::generate_simple_self_signed(vec!["a".to_owned()]).unwrap();
        let files = (
            one.cert.pem().into_bytes(),
            other.signing_key.serialize_pem().into_bytes(),
        );
        assert!(parse(&files).is_err());
    }
}
