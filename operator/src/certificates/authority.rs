//! Who signs the API server's certificate: decided from what is stored and the time.
//!
//! An authority that is about to end gets a successor, which signs only when everybody who verifies has had a day to read it. What one
//! has signed is over before the authority itself is, and until then it is believed.

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::certificate::{BACKDATED, Certificate};
use super::leaf::{self, Leaf};

/// How long an authority lasts.
const LASTS: SignedDuration = SignedDuration::from_hours(2 * 365 * 24);

/// How long before its end it gets a successor: longer than anything that it has signed lasts, and a month for an operator that is not there.
const SUCCEEDED: SignedDuration = leaf::LASTS.saturating_add(SignedDuration::from_hours(30 * 24));

/// How long those who verify have for reading a new authority's certificate, before it signs anything.
const SPREADS: SignedDuration = SignedDuration::from_hours(24);

/// How long this operator has to have told everybody what is stored: the one before may have ended when it had only stored it.
const TOLD: SignedDuration = SignedDuration::from_hours(1);

/// When something is decided.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    /// The time.
    pub now: Timestamp,
    /// Since when this operator tells everybody what is stored.
    pub told: Timestamp,
}

impl Moment {
    /// Whether everybody who verifies has the certificate of an authority.
    pub(super) fn is_known(self, authority: &Certificate) -> bool {
        authority.made() + SPREADS <= self.now && self.told + TOLD <= self.now
    }
}

/// An authority with its key. Not to be printed.
#[derive(Clone)]
pub(super) struct Signer {
    /// Its certificate.
    pub certificate: Certificate,
    /// Its key.
    pub key: String,
}

impl Signer {
    /// Puts together what was stored.
    pub(super) fn read(certificate: Certificate, key: &str) -> Result<Self, String> {
        // What is wrong with a key is not said: it might tell something of it.
        let pair = KeyPair::from_pem(key).map_err(|_| "a key cannot be read".to_owned())?;
        if !certificate.is_authority || !certificate.is_of(&pair) {
            return Err("a key is not that of an authority's certificate".to_owned());
        }
        Ok(Self {
            certificate,
            key: key.to_owned(),
        })
    }

    /// A new one.
    fn make(now: Timestamp) -> Result<Self, String> {
        let key = KeyPair::generate().map_err(|error| error.to_string())?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let subject = format!("Portside authority of {}", now.strftime("%Y-%m-%d"));
        params.distinguished_name.push(DnType::CommonName, subject);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        set_validity(&mut params, now, now + LASTS);
        let made = params
            .self_signed(&key)
            .map_err(|error| error.to_string())?;
        Ok(Self {
            certificate: Certificate::read(made.der())?,
            key: key.serialize_pem(),
        })
    }

    /// What signs with its key.
    pub(super) fn issuer(&self) -> Result<Issuer<'static, KeyPair>, String> {
        let key = KeyPair::from_pem(&self.key).map_err(|_| "a key cannot be read".to_owned())?;
        Issuer::from_ca_cert_der(self.certificate.der(), key).map_err(|error| error.to_string())
    }
}

/// When a certificate that is made now is good.
pub(super) fn set_validity(params: &mut CertificateParams, now: Timestamp, until: Timestamp) {
    params.not_before = std::time::SystemTime::from(now - BACKDATED).into();
    params.not_after = std::time::SystemTime::from(until).into();
}

/// Those who sign, will sign, and have signed.
#[derive(Clone)]
pub(super) struct Authorities {
    /// Signs.
    pub signing: Signer,
    /// Will sign, once everybody knows it.
    pub next: Option<Signer>,
    /// Have signed what may still be in use.
    pub former: Vec<Certificate>,
}

impl Authorities {
    /// Whom those who verify have to believe: who signs comes first.
    pub(super) fn believed(&self) -> impl Iterator<Item = &Certificate> {
        let signers = [Some(&self.signing), self.next.as_ref()];
        let signers = signers.into_iter().flatten();
        signers.map(|one| &one.certificate).chain(&self.former)
    }

    /// The file of these.
    pub(super) fn to_pem(&self) -> String {
        Certificate::to_pem(self.believed())
    }

    /// What is to be stored in place of what was found, and why; `None` if that is as it should be. Where nothing was found, what is in use
    /// stays good: whoever signed that is still believed.
    pub(super) fn after(
        found: Option<&Self>,
        used: Option<&Leaf>,
        moment: Moment,
    ) -> Result<Option<(Self, &'static str)>, String> {
        let now = moment.now;
        let Some(found) = found else {
            let all = Self {
                signing: Signer::make(now)?,
                next: None,
                former: used.map_or_else(Vec::new, |leaf| leaf.signers(now)),
            };
            return Ok(Some((all, "there was none")));
        };
        let mut all = found.clone();
        all.former.retain(|one| one.is_valid(now));
        let ends = all.signing.certificate.ends();
        let is_short = ends <= now + leaf::LASTS;
        let is_due = |next: &Signer| {
            next.certificate.is_valid(now) && (is_short || moment.is_known(&next.certificate))
        };
        let why = if !all.signing.certificate.is_valid(now) {
            let next = all.next.take();
            let next = next.filter(|next| next.certificate.is_valid(now));
            all.signing = next.map_or_else(|| Signer::make(now), Ok)?;
            "the one before is not valid any more"
        } else if let Some(next) = all.next.take_if(|next| is_due(next)) {
            let before = std::mem::replace(&mut all.signing, next);
            all.former.insert(0, before.certificate);
            "the next one signs from now on"
        } else if all.next.is_none() && ends <= now + SUCCEEDED {
            all.next = Some(Signer::make(now)?);
            "the one that signs is about to end, and another one will sign in a day"
        } else if all.former.len() < found.former.len() {
            "what a former one has signed is over"
        } else {
            return Ok(None);
        };
        Ok(Some((all, why)))
    }
}
