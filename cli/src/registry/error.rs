//! What a registry, or the way to it, did wrong.

use oci_client::Reference;
use oci_client::errors::{OciDistributionError as Cause, OciErrorCode as Code};

/// The most characters of a registry's own words that are passed on.
const WORDS: usize = 300;

/// Why an artifact was not pulled or pushed: which, and what its registry said. The next step is the caller's to add.
#[derive(Debug, thiserror::Error)]
#[error("{reference}: {what}")]
pub struct Error {
    /// What kind of failure it is.
    pub kind: Kind,
    reference: String,
    what: String,
}

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The registry wants other credentials. Some say this of what they do not have, too.
    Denied,
    /// The registry has no such artifact.
    Absent,
    /// The registry cannot be reached or has trouble of its own. It may pass.
    Unavailable,
    /// What the registry sent does not have the digest or the size that it should.
    Damaged,
    /// The artifact is none of one bundle, or of one that is too large.
    NotABundle,
}

impl Error {
    pub(super) fn new(reference: &Reference, kind: Kind, what: &str) -> Self {
        let registry = reference.resolve_registry();
        let what = shortened(what);
        let what = match kind {
            Kind::Denied => format!("{registry} denies access: {what}"),
            Kind::Absent => format!("{registry} does not have it: {what}"),
            Kind::Unavailable => format!("{registry} cannot be used now: {what}"),
            Kind::Damaged => format!("what {registry} sent was changed or damaged: {what}"),
            Kind::NotABundle => format!("this is not a bundle: {what}"),
        };
        Self {
            kind,
            reference: reference.whole(),
            what,
        }
    }

    /// From what the client says. Addresses are left out: those that registries redirect to have signatures in them.
    pub(super) fn of(reference: &Reference, cause: Cause) -> Self {
        let (kind, what) = match cause {
            Cause::UnauthorizedError { .. } => (Kind::Denied, "HTTP status 401".to_owned()),
            Cause::AuthenticationFailure(words) => {
                (Kind::Denied, format!("it gives no token: {words}"))
            }
            Cause::ServerError { code, message, .. } => {
                let kind = match code {
                    401 | 403 => Kind::Denied,
                    404 => Kind::Absent,
                    _ => Kind::Unavailable,
                };
                (kind, format!("HTTP status {code} {message}"))
            }
            Cause::RegistryError { envelope, .. } => {
                let codes = envelope.errors.iter();
                let kind = codes.map(|one| kind(&one.code)).next();
                let words = envelope.errors.iter();
                let words: Vec<String> = words
                    .map(|one| format!("{:?} {}", one.code, one.message))
                    .collect();
                (kind.unwrap_or(Kind::Unavailable), words.join(", "))
            }
            Cause::DigestError(error) => (Kind::Damaged, error.to_string()),
            Cause::ManifestEncodingError(_)
            | Cause::ManifestParsingError(_)
            | Cause::VersionedParsingError(_)
            | Cause::UnsupportedMediaTypeError(_)
            | Cause::UnsupportedSchemaVersionError(_) => (Kind::NotABundle, cause.to_string()),
            Cause::RequestError(error) => {
                let error = anyhow::Error::new(error.without_url());
                (Kind::Unavailable, format!("{error:#}"))
            }
            cause => (
                Kind::Unavailable,
                format!("{:#}", anyhow::Error::new(cause)),
            ),
        };
        Self::new(reference, kind, &what)
    }
}

fn kind(code: &Code) -> Kind {
    match code {
        Code::Unauthorized | Code::Denied => Kind::Denied,
        Code::ManifestUnknown | Code::NameUnknown | Code::BlobUnknown | Code::NotFound => {
            Kind::Absent
        }
        _ => Kind::Unavailable,
    }
}

/// One line, of a length that a status can have.
fn shortened(words: &str) -> String {
    let mut words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    words.retain(|c| !c.is_control());
    if let Some((end, _)) = words.char_indices().nth(WORDS) {
        words.truncate(end);
        words.push('…');
    }
    words
}
