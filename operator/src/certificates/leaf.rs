//! The API server's own certificate: decided from what is stored and the time.

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use portside_manage::API_SERVER;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
};

use super::authority::{Authorities, Moment, set_validity};
use super::certificate::Certificate;

/// How long a certificate lasts.
pub(super) const LASTS: SignedDuration = SignedDuration::from_hours(90 * 24);

/// When it is replaced: after two thirds of that.
const RENEWED: SignedDuration = SignedDuration::from_hours(60 * 24);

/// How long before its end nothing else is waited for.
const AT_LAST: SignedDuration = SignedDuration::from_hours(7 * 24);

/// By what names the API server is reached.
pub(super) fn names(service: &str, namespace: &str) -> Vec<String> {
    let host = format!("{service}.{namespace}.svc");
    let long = format!("{host}.cluster.local");
    vec![host, long, API_SERVER.to_owned()]
}

/// The certificate with its key. Not to be printed.
#[derive(Clone)]
pub(super) struct Leaf {
    /// The certificate.
    pub certificate: Certificate,
    /// Its key.
    pub key: String,
    /// Whom whoever has it believes, as it was told.
    pub believed: Vec<Certificate>,
}

impl Leaf {
    /// Puts together what was stored.
    pub(super) fn read(
        certificate: Certificate,
        key: &str,
        believed: Vec<Certificate>,
    ) -> Result<Self, String> {
        // What is wrong with a key is not said: it might tell something of it.
        let pair = KeyPair::from_pem(key).map_err(|_| "its key cannot be read".to_owned())?;
        if !certificate.is_of(&pair) {
            return Err("its key is not that of its certificate".to_owned());
        }
        Ok(Self {
            certificate,
            key: key.to_owned(),
            believed,
        })
    }

    /// Those among the believed who have signed it.
    pub(super) fn signers(&self, now: Timestamp) -> Vec<Certificate> {
        let believed = self.believed.iter();
        let have_signed = believed
            .filter(|one| one.is_authority && self.certificate.is_accepted([*one], &[], now));
        have_signed.cloned().collect()
    }

    /// Why it is to be replaced, if it is. What others accept stays until they know whoever signs another one.
    pub(super) fn trouble(
        &self,
        authorities: &Authorities,
        names: &[String],
        moment: Moment,
    ) -> Option<&'static str> {
        let now = moment.now;
        let is_accepted_by = |one: &Certificate| self.certificate.is_accepted([one], names, now);
        if !authorities.believed().any(is_accepted_by) {
            return Some("it is not accepted");
        }
        let signing = &authorities.signing.certificate;
        let is_last = self.certificate.ends() <= now + AT_LAST;
        if !moment.is_known(signing) && !is_last {
            return None;
        }
        if !is_accepted_by(signing) {
            Some("another authority signs now")
        } else if self.certificate.made() + RENEWED <= now {
            Some("two thirds of its time are over")
        } else {
            None
        }
    }

    /// A new one.
    pub(super) fn issue(
        authorities: &Authorities,
        names: &[String],
        now: Timestamp,
    ) -> Result<Self, String> {
        let key = KeyPair::generate().map_err(|error| error.to_string())?;
        let mut params = CertificateParams::new(names).map_err(|error| error.to_string())?;
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, API_SERVER);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        let signing = &authorities.signing;
        let until = (now + LASTS).min(signing.certificate.ends());
        set_validity(&mut params, now, until);
        let made = params.signed_by(&key, &signing.issuer()?);
        let made = made.map_err(|error| error.to_string())?;
        Ok(Self {
            certificate: Certificate::read(made.der())?,
            key: key.serialize_pem(),
            believed: authorities.believed().cloned().collect(),
        })
    }
}
