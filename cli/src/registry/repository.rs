//! What is asked of a registry by requests of our own: whatever is sent credentials, or answers with what is kept in memory.

use http::StatusCode;
use http::header::{ACCEPT, HeaderMap, WWW_AUTHENTICATE};
use http_auth::parser::ChallengeParser;
use oci_client::errors::{OciDistributionError as Cause, OciEnvelope};
use oci_client::manifest::{
    IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE,
    OCI_IMAGE_MEDIA_TYPE, OciManifest,
};
use oci_client::secrets::RegistryAuth;
use oci_client::{Reference, RegistryOperation};
use reqwest::{Client, RequestBuilder, Response};
use serde::Deserialize;
use url::Url;

use super::{CONNECT, Error, Kind, SILENCE, USER_AGENT, is_loopback, sha256};

/// The most bytes of a manifest: as many as registries have to take
/// (<https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-manifests>).
const MAX_MANIFEST: usize = 4 << 20;
/// The most bytes of an answer with a token, and of a refusal's words.
const MAX_WORDS: usize = 64 << 10;

/// One repository of a registry.
pub(super) struct Repository<'r> {
    reference: &'r Reference,
    client: Client,
}

/// Who gives tokens, and for what.
#[derive(Debug, PartialEq, Eq)]
struct Challenge {
    realm: String,
    service: Option<String>,
}

/// What a token server answers: one of these, or both, which are the same then
/// (<https://distribution.github.io/distribution/spec/auth/token/>).
#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

impl<'r> Repository<'r> {
    /// Asks nothing yet.
    pub(super) fn new(reference: &'r Reference) -> Result<Self, Error> {
        let client = Client::builder()
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .user_agent(USER_AGENT)
            // Also where it redirects to.
            .https_only(!is_loopback(reference.registry()))
            .build();
        let failed = |error| Error::of(reference, Cause::RequestError(error));
        Ok(Self {
            reference,
            client: client.map_err(failed)?,
        })
    }

    /// What shows who asks: a token, where the registry wants one. None is asked for without TLS, but of this machine.
    pub(super) async fn token(
        &self,
        auth: RegistryAuth,
        operation: RegistryOperation,
    ) -> Result<RegistryAuth, Error> {
        if matches!(auth, RegistryAuth::Bearer(_)) {
            return Ok(auth);
        }
        let answer = self.send(self.client.get(self.url(""))).await?;
        let Some(challenge) = challenge(answer.headers()) else {
            return Ok(auth);
        };
        let realm = self.realm(&challenge)?;
        let actions = match operation {
            RegistryOperation::Pull => "pull",
            RegistryOperation::Push => "pull,push",
        };
        let scope = format!("repository:{}:{actions}", self.reference.repository());
        let service = challenge.service.as_deref();
        let service = service.map(|service| ("service", service));
        let query: Vec<_> = [("scope", &*scope)].into_iter().chain(service).collect();
        let request = shown(self.client.get(realm).query(&query), &auth);
        let answer = self.send(request).await?;
        let status = answer.status();
        let no_token = |words: &str| self.of(Cause::AuthenticationFailure(words.to_owned()));
        let (bytes, is_whole) = self.read(answer, MAX_WORDS).await?;
        if status != StatusCode::OK {
            return Err(no_token(&String::from_utf8_lossy(&bytes)));
        }
        if !is_whole {
            return Err(no_token("the answer is too long"));
        }
        match serde_json::from_slice::<Token>(&bytes) {
            Ok(answer) => match answer.token.or(answer.access_token) {
                Some(token) => Ok(RegistryAuth::Bearer(token)),
                None => Err(no_token("the answer has none")),
            },
            Err(error) => Err(no_token(&format!("the answer is none: {error}"))),
        }
    }

    /// Where tokens are given, if it may be asked with credentials.
    fn realm(&self, challenge: &Challenge) -> Result<Url, Error> {
        let realm = Url::parse(&challenge.realm).ok();
        let is_here = |realm: &Url| {
            is_loopback(self.reference.registry()) && realm.host_str().is_some_and(is_loopback)
        };
        let safe = realm.filter(|realm| realm.scheme() == "https" || is_here(realm));
        safe.ok_or_else(|| {
            let what = format!(
                "it wants credentials to be sent to {}, which is no https URL",
                challenge.realm
            );
            Error::new(self.reference, Kind::Denied, &what)
        })
    }

    /// The manifest, and its digest. It is the one that the reference asks for.
    pub(super) async fn manifest(
        &self,
        auth: &RegistryAuth,
    ) -> Result<(OciManifest, String), Error> {
        const KINDS: [&str; 4] = [
            IMAGE_MANIFEST_MEDIA_TYPE,
            IMAGE_MANIFEST_LIST_MEDIA_TYPE,
            OCI_IMAGE_MEDIA_TYPE,
            OCI_IMAGE_INDEX_MEDIA_TYPE,
        ];
        let named = self.reference.digest().or(self.reference.tag());
        let url = self.url(&format!("manifests/{}", named.unwrap_or("latest")));
        let request = self.client.get(url).header(ACCEPT, KINDS.join(", "));
        let answer = self.success(shown(request, auth)).await?;
        let (bytes, is_whole) = self.read(answer, MAX_MANIFEST).await?;
        let other = |what: &str| Error::new(self.reference, Kind::NotABundle, what);
        if !is_whole {
            return Err(other("its manifest has over 4 MiB"));
        }
        let digest = sha256(&bytes);
        if let Some(wanted) = self.reference.digest()
            && wanted != digest
        {
            let what = format!("the manifest has the digest {digest}, not {wanted}");
            return Err(Error::new(self.reference, Kind::Damaged, &what));
        }
        let manifest = serde_json::from_slice(&bytes).map_err(|error| other(&error.to_string()))?;
        Ok((manifest, digest))
    }

    /// The bytes of a blob, as they come.
    pub(super) async fn blob(&self, auth: &RegistryAuth, digest: &str) -> Result<Response, Error> {
        let url = self.url(&format!("blobs/{digest}"));
        self.success(shown(self.client.get(url), auth)).await
    }

    /// Of the repository, or with an empty rest of the registry.
    fn url(&self, rest: &str) -> String {
        let scheme = match is_loopback(self.reference.registry()) {
            true => "http",
            false => "https",
        };
        let registry = self.reference.resolve_registry();
        match rest {
            "" => format!("{scheme}://{registry}/v2/"),
            rest => {
                let repository = self.reference.repository();
                format!("{scheme}://{registry}/v2/{repository}/{rest}")
            }
        }
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Error> {
        let sent = request.send().await;
        sent.map_err(|error| self.of(Cause::RequestError(error)))
    }

    /// The answer of a request that succeeds; or the registry's words.
    async fn success(&self, request: RequestBuilder) -> Result<Response, Error> {
        let answer = self.send(request).await?;
        let (status, url) = (answer.status(), String::new());
        if status == StatusCode::OK {
            return Ok(answer);
        }
        if status == StatusCode::UNAUTHORIZED {
            return Err(self.of(Cause::UnauthorizedError { url }));
        }
        let (bytes, _) = self.read(answer, MAX_WORDS).await?;
        let envelope = serde_json::from_slice::<OciEnvelope>(&bytes);
        Err(self.of(match envelope {
            Ok(envelope) if status.is_client_error() => Cause::RegistryError { envelope, url },
            _ => Cause::ServerError {
                code: status.as_u16(),
                url,
                message: String::from_utf8_lossy(&bytes).into_owned(),
            },
        }))
    }

    /// Reads to a limit, and says whether that was all.
    async fn read(&self, mut answer: Response, most: usize) -> Result<(Vec<u8>, bool), Error> {
        let mut bytes = vec![];
        loop {
            let chunk = answer.chunk().await;
            let Some(chunk) = chunk.map_err(|error| self.of(Cause::RequestError(error)))? else {
                return Ok((bytes, true));
            };
            let room = most - bytes.len();
            bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() > room {
                return Ok((bytes, false));
            }
        }
    }

    fn of(&self, cause: Cause) -> Error {
        Error::of(self.reference, cause)
    }
}

/// With what shows who asks.
fn shown(request: RequestBuilder, auth: &RegistryAuth) -> RequestBuilder {
    match auth {
        RegistryAuth::Anonymous => request,
        RegistryAuth::Basic(user, password) => request.basic_auth(user, Some(password)),
        RegistryAuth::Bearer(token) => request.bearer_auth(token),
    }
}

/// Who gives the tokens that an answer asks for, if it asks for one.
fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    let texts = headers.get_all(WWW_AUTHENTICATE).iter();
    let texts = texts.filter_map(|value| value.to_str().ok());
    let challenges = texts.flat_map(ChallengeParser::new).filter_map(Result::ok);
    let mut bearers = challenges.filter(|one| one.scheme.eq_ignore_ascii_case("bearer"));
    bearers.find_map(|bearer| {
        let parameter = |name: &str| {
            let mut all = bearer.params.iter();
            let found = all.find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.to_unescaped())
        };
        Some(Challenge {
            realm: parameter("realm")?,
            service: parameter("service"),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_sent_over_tls_only() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        for (registry, realm, is_safe) in [
            ("registry.example", "https://auth.example/token", true),
            ("registry.example", "http://auth.example/token", false),
            ("registry.example", "http://localhost/token", false),
            ("registry.example", "token", false),
            ("localhost:5000", "http://127.0.0.1:5001/token", true),
            ("localhost:5000", "http://auth.example/token", false),
            ("localhost:5000", "https://auth.example/token", true),
        ] {
            let reference: Reference = format!("{registry}/acme/chat:1").parse().unwrap();
            let repository = Repository::new(&reference).unwrap();
            let challenge = Challenge {
                realm: realm.to_owned(),
                service: None,
            };
            let found = repository.realm(&challenge);
            assert_eq!(found.is_ok(), is_safe, "{registry} {realm}");
            if let Err(error) = found {
                assert_eq!(error.kind, Kind::Denied);
                assert!(error.to_string().contains(realm), "{error}");
            }
        }
    }

    #[test]
    fn a_challenge_is_found_among_others() {
        for (text, expected) in [
            ("Basic realm=\"a\"", None),
            ("Bearer service=\"a\"", None),
            (
                "Basic realm=\"a\", bearer realm=\"https://b\"",
                Some(("https://b", None)),
            ),
            (
                "Bearer realm=\"https://b\",service=\"c\",scope=\"d\"",
                Some(("https://b", Some("c"))),
            ),
        ] {
            let headers = HeaderMap::from_iter([(WWW_AUTHENTICATE, text.parse().unwrap())]);
            let expected = expected.map(|(realm, service): (&str, Option<&str>)| Challenge {
                realm: realm.to_owned(),
                service: service.map(ToOwned::to_owned),
            });
            assert_eq!(challenge(&headers), expected, "{text}");
        }
    }
}
