//! Credentials for registries, in the file that `docker login` writes and that Secrets of type
//! `kubernetes.io/dockerconfigjson` have.
//!
//! Its keys are read as Kubernetes does (<https://kubernetes.io/docs/concepts/containers/images/#config-json>): a
//! registry, with `*` within its labels, perhaps a scheme, and perhaps a path that repositories begin with.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use oci_client::Reference;
use oci_client::secrets::RegistryAuth;
use serde::Deserialize;

/// With or without padding: both are found in Secrets.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Who asks a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// Nobody in particular.
    Anonymous,
    /// Somebody whose credentials the file has.
    Known(RegistryAuth),
    /// Nobody in particular: there are credentials, and this is why they are of no use here.
    Unusable(String),
}

/// Why credentials cannot be read. Never has any of them.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not JSON with the fields of such a file.
    #[error("is not as docker login writes it, at line {line}, column {column}")]
    Malformed {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// An entry without sense.
    #[error("has for {0:?} an auth that is not the base64 of username:password")]
    Auth(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    #[serde(default)]
    creds_store: Option<String>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    identitytoken: String,
    #[serde(default)]
    registrytoken: String,
}

impl Login {
    /// Looks in a file's text for credentials for the reference's repository: those whose key says most of it.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn find(text: &str, reference: &Reference) -> Result<Self, ConfigError> {
        let config: Config =
            serde_json::from_str(text).map_err(|error| ConfigError::Malformed {
                line: error.line(),
                column: error.column(),
            })?;
        let matching = config.auths.iter().filter_map(|(key, entry)| {
            let rank = Key::new(key).rank(reference)?;
            (!entry.is_empty()).then_some((rank, key, entry))
        });
        if let Some((_, key, entry)) = matching.max_by_key(|(rank, ..)| *rank) {
            return entry.login(key);
        }
        let mut helpers = config.cred_helpers.iter();
        let helper = helpers.find(|(key, _)| Key::new(key).rank(reference).is_some());
        let helper = helper.map(|(_, helper)| helper);
        Ok(match helper.or(config.creds_store.as_ref()) {
            Some(helper) => Self::Unusable(format!(
                "they are kept by the credential helper docker-credential-{helper}, which is not asked"
            )),
            None => Self::Anonymous,
        })
    }

    /// As the client takes it.
    pub(super) fn auth(&self) -> RegistryAuth {
        match self {
            Self::Known(auth) => auth.clone(),
            Self::Anonymous | Self::Unusable(_) => RegistryAuth::Anonymous,
        }
    }
}

impl Entry {
    /// With a credential helper, entries only tell where somebody has logged in.
    fn is_empty(&self) -> bool {
        [
            &self.auth,
            &self.username,
            &self.identitytoken,
            &self.registrytoken,
        ]
        .iter()
        .all(|field| field.is_empty())
    }

    fn login(&self, key: &str) -> Result<Login, ConfigError> {
        let basic = |username: &str, password: &str| {
            Login::Known(RegistryAuth::Basic(
                username.to_owned(),
                password.to_owned(),
            ))
        };
        if !self.identitytoken.is_empty() {
            let why = "they are an identity token, which is not understood here".to_owned();
            return Ok(Login::Unusable(why));
        }
        if !self.registrytoken.is_empty() {
            return Ok(Login::Known(RegistryAuth::Bearer(
                self.registrytoken.clone(),
            )));
        }
        if self.auth.is_empty() {
            return Ok(basic(&self.username, &self.password));
        }
        let bytes = BASE64.decode(self.auth.trim()).ok();
        let pair = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        match pair.as_deref().and_then(|pair| pair.split_once(':')) {
            Some((username, password)) => Ok(basic(username, password.trim_end_matches('\0'))),
            None => Err(ConfigError::Auth(key.to_owned())),
        }
    }
}

/// What a key of the file stands for.
struct Key<'a> {
    host: &'a str,
    path: &'a str,
}

impl<'a> Key<'a> {
    fn new(key: &'a str) -> Self {
        let key = key.strip_prefix("https://").unwrap_or(key);
        let key = key.strip_prefix("http://").unwrap_or(key);
        let (host, path) = key.split_once('/').unwrap_or((key, ""));
        let path = path.trim_end_matches('/');
        Self {
            host,
            // The API's version, which older tools write.
            path: if matches!(path, "v1" | "v2") {
                ""
            } else {
                path
            },
        }
    }

    /// How much it says of the reference, more being greater; `None` if it is about something else.
    fn rank(&self, reference: &Reference) -> Option<(usize, bool)> {
        // One registry is known by two names: the one that references leave out, and the one it answers at.
        let host = self.names(reference.registry()) || self.names(reference.resolve_registry());
        let rest = reference.repository().strip_prefix(self.path);
        let path = self.path.is_empty()
            || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        (host && path).then(|| (self.path.len(), !self.host.contains('*')))
    }

    fn names(&self, registry: &str) -> bool {
        let (patterns, labels) = (self.host.split('.'), registry.split('.'));
        patterns.clone().count() == labels.clone().count()
            && patterns
                .zip(labels)
                .all(|(pattern, label)| fits(pattern, label))
    }
}

/// Whether a label is as a pattern with at most one `*` says.
fn fits(pattern: &str, label: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == label,
        Some((start, end)) => label
            .strip_prefix(start)
            .is_some_and(|rest| rest.ends_with(end)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(config: &str, reference: &str) -> Result<Login, ConfigError> {
        Login::find(config, &reference.parse().unwrap())
    }

    fn user(login: Result<Login, ConfigError>) -> String {
        match login.unwrap() {
            Login::Known(RegistryAuth::Basic(username, password)) => {
                format!("{username}/{password}")
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn credentials_are_found_by_registry_and_repository() {
        // "a:b:c", then "d:e" without padding.
        let config = r#"{"auths": {
            "registry.example": {"auth": "YTpiOmM="},
            "https://registry.example/team/": {"username": "team", "password": "p"},
            "registry.example:5000": {"auth": "ZDpl"},
            "*.cloud.example": {"username": "any", "password": "p"},
            "eu-*.cloud.example": {"username": "region", "password": "p", "auth": ""}
        }}"#;
        let user = |reference| user(find(config, reference));
        assert_eq!(user("registry.example/a:1"), "a/b:c");
        assert_eq!(user("registry.example/teams/a"), "a/b:c");
        assert_eq!(user("registry.example/team/a"), "team/p");
        assert_eq!(user("registry.example:5000/a"), "d/e");
        assert_eq!(user("us.cloud.example/a"), "any/p");
        assert_eq!(user("a.us.cloud.example/a"), "Anonymous");
        assert_eq!(user("registry.example:5001/a"), "Anonymous");
    }

    #[test]
    fn the_registry_that_references_leave_out_has_two_names() {
        let short: Reference = "acme/a".parse().unwrap();
        let (name, address) = (short.registry(), short.resolve_registry());
        assert_ne!(name, address);
        for key in [name.to_owned(), format!("https://{address}/v1/")] {
            let entry = r#"{"username": "hub", "password": "p"}"#;
            let config = format!(r#"{{"auths": {{"{key}": {entry}}}}}"#);
            assert_eq!(user(find(&config, "acme/a")), "hub/p", "{key}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_told_apart() {
        let unusable = |config| match find(config, "registry.example/a").unwrap() {
            Login::Unusable(why) => why,
            other => panic!("{other:?}"),
        };
        let store = r#"{"auths": {"registry.example": {}}, "credsStore": "desktop"}"#;
        assert!(unusable(store).contains("docker-credential-desktop"));
        let helper = r#"{"credHelpers": {"registry.example": "ecr-login"}}"#;
        assert!(unusable(helper).contains("docker-credential-ecr-login"));
        let token =
            r#"{"auths": {"registry.example": {"auth": "MDo=", "identitytoken": "secret"}}}"#;
        assert!(unusable(token).contains("identity token"));
        let other = r#"{"credHelpers": {"other.example": "ecr-login"}}"#;
        assert_eq!(find(other, "registry.example/a").unwrap(), Login::Anonymous);
    }

    #[test]
    fn errors_have_no_secrets() {
        let message = |config| find(config, "a.b/c").unwrap_err().to_string();
        let auth = r#"{"auths": {"a.b": {"auth": "c2VjcmV0"}}}"#;
        assert_eq!(
            message(auth),
            "has for \"a.b\" an auth that is not the base64 of username:password"
        );
        let malformed = "{\"auths\":\n {\"a.b\": \"c2VjcmV0\"}}";
        assert!(
            message(malformed).ends_with("at line 2, column 19"),
            "{}",
            message(malformed)
        );
    }
}
