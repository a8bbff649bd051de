//! Users, as the cluster's API server tells who asks: requests come from it alone, which proves itself with a certificate
//! (<https://kubernetes.io/docs/tasks/extend-kubernetes/configure-aggregation-layer/>).

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::sync::watch;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::User;
use crate::status::Refusal;

const NAMESPACE: &str = "kube-system";
const NAME: &str = "extension-apiserver-authentication";

/// What of a key of `extra` cannot stand in a header's name, whose capital letters are lost.
const IN_A_NAME: &AsciiSet = &capitals(CONTROLS)
    .add(b' ')
    .add(b'"')
    .add(b'%')
    .add(b'(')
    .add(b')')
    .add(b',')
    .add(b'/')
    .add(b':')
    .add(b';')
    .add(b'<')
    .add(b'=')
    .add(b'>')
    .add(b'?')
    .add(b'@')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'{')
    .add(b'}');

const fn capitals(set: &AsciiSet) -> AsciiSet {
    let mut all = set.add(b'A');
    let mut letter = b'B';
    while letter <= b'Z' {
        all = all.add(letter);
        letter += 1;
    }
    all
}

/// How long one watch takes, in seconds: of a connection that died without a word nothing else is heard.
const WATCH_SECONDS: u32 = 50;

/// By what the cluster's API server is known, and where it says who asks.
#[derive(Debug, Clone)]
pub struct Authority {
    /// Who signs its certificate.
    pub roots: Arc<RootCertStore>,
    /// Common names of its certificate; any, if there is none.
    names: Vec<String>,
    user: Vec<String>,
    uid: Vec<String>,
    group: Vec<String>,
    extra: Vec<String>,
}

impl Authority {
    /// Reads the ConfigMap `extension-apiserver-authentication`.
    ///
    /// # Errors
    ///
    /// It has not what is needed, or in another form; says what.
    pub fn parse(data: &BTreeMap<String, String>) -> Result<Self, String> {
        let bundle = "requestheader-client-ca-file";
        let pem = data.get(bundle).ok_or_else(|| {
            format!("it has no {bundle}: the cluster's API server has no aggregation layer")
        })?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let certificate = certificate.map_err(|error| format!("{bundle}: {error}"))?;
            let added = roots.add(certificate);
            added.map_err(|error| format!("{bundle}: {error}"))?;
        }
        if roots.is_empty() {
            return Err(format!("{bundle} has no certificate"));
        }
        let list = |key: &str| match data.get(key) {
            None => Ok(vec![]),
            Some(text) => serde_json::from_str(text).map_err(|error| format!("{key}: {error}")),
        };
        Ok(Self {
            roots: Arc::new(roots),
            names: list("requestheader-allowed-names")?,
            user: list("requestheader-username-headers")?,
            uid: list("requestheader-uid-headers")?,
            group: list("requestheader-group-headers")?,
            extra: list("requestheader-extra-headers-prefix")?,
        })
    }

    /// Who asks, by a request's headers. `certificate` is that of the connection's other end, which was found to be signed by
    /// one of the roots.
    ///
    /// # Errors
    ///
    /// The other end is not the cluster's API server, or says nothing of a user.
    pub fn user(
        &self,
        certificate: Option<&CertificateDer<'_>>,
        headers: &HeaderMap,
    ) -> Result<User, Refusal> {
        let certificate = certificate.ok_or_else(|| {
            let message =
                "this server is asked by the cluster's API server, which shows its certificate";
            Refusal::unauthorized(message)
        })?;
        if !self.names.is_empty() && !common_names(certificate).any(|it| self.names.contains(&it)) {
            let message = "the certificate has none of the names in requestheader-allowed-names";
            return Err(Refusal::unauthorized(message));
        }
        self.told(headers)
    }

    /// Who asks, by the headers of somebody who was found to be one that may say so.
    ///
    /// # Errors
    ///
    /// They say nothing of a user.
    pub fn told(&self, headers: &HeaderMap) -> Result<User, Refusal> {
        let name = values(headers, &self.user)?.into_iter().next();
        let name = name.filter(|it| !it.is_empty());
        let name = name.ok_or_else(|| Refusal::unauthorized("no header says which user asks"))?;
        Ok(User {
            name,
            uid: values(headers, &self.uid)?.into_iter().next(),
            groups: values(headers, &self.group)?,
            extra: self.extra(headers)?,
        })
    }

    /// The headers that say that this user asks: nothing but what [`Self::told`] has read.
    ///
    /// # Errors
    ///
    /// There is no header for it.
    pub fn tell(&self, user: &User) -> Result<HeaderMap, Refusal> {
        let mut headers = HeaderMap::new();
        let mut add = |name: Option<String>, value: &str| {
            let name = name.and_then(|it| HeaderName::try_from(it).ok());
            let value = HeaderValue::from_str(value).ok();
            let (name, value) = name.zip(value).ok_or_else(|| {
                Refusal::unauthorized("who asks cannot be told to another replica in headers")
            })?;
            headers.append(name, value);
            Ok(())
        };
        add(self.user.first().cloned(), &user.name)?;
        if let Some(uid) = &user.uid {
            add(self.uid.first().cloned(), uid)?;
        }
        for group in &user.groups {
            add(self.group.first().cloned(), group)?;
        }
        for (key, values) in &user.extra {
            let key = utf8_percent_encode(key, IN_A_NAME).to_string();
            let name = self.extra.first().map(|prefix| format!("{prefix}{key}"));
            for value in values {
                add(name.clone(), value)?;
            }
        }
        Ok(headers)
    }

    fn extra(&self, headers: &HeaderMap) -> Result<BTreeMap<String, Vec<String>>, Refusal> {
        let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for name in headers.keys() {
            let prefixes = self.extra.iter().map(|it| it.to_ascii_lowercase());
            let mut keys = prefixes.filter_map(|it| name.as_str().strip_prefix(&*it));
            let Some(key) = keys.next() else { continue };
            let key = percent_decode_str(key).decode_utf8_lossy().into_owned();
            let found = values(headers, &[name.as_str().to_owned()])?;
            extra.entry(key).or_default().extend(found);
        }
        Ok(extra)
    }
}

/// The values of the first of these headers that is there.
fn values(headers: &HeaderMap, names: &[String]) -> Result<Vec<String>, Refusal> {
    for name in names {
        let found: Result<Vec<String>, _> = headers
            .get_all(name.to_ascii_lowercase())
            .iter()
            .map(|it| it.to_str().map(str::to_owned))
            .collect();
        let found = found.map_err(|_| Refusal::unauthorized(format!("{name} is no text")))?;
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Ok(vec![])
}

fn common_names(certificate: &CertificateDer<'_>) -> impl Iterator<Item = String> {
    let parsed = X509Certificate::from_der(certificate);
    let names: Vec<String> = parsed.map_or_else(
        |_| vec![],
        |(_, it)| {
            let names = it.subject().iter_common_name();
            let texts = names.filter_map(|name| name.as_str().ok());
            texts.map(str::to_owned).collect()
        },
    );
    names.into_iter()
}

/// Keeps `authority` as the ConfigMap has it; what cannot be read replaces nothing. Does not end.
pub async fn follow(client: Client, authority: watch::Sender<Option<Authority>>) {
    let api: Api<ConfigMap> = Api::namespaced(client, NAMESPACE);
    let only = format!("metadata.name={NAME}");
    let config = watcher::Config::default()
        .fields(&only)
        .timeout(WATCH_SECONDS);
    let found = watcher(api, config).default_backoff().applied_objects();
    let mut found = std::pin::pin!(found);
    while let Some(next) = found.next().await {
        let read = next
            .map_err(|error| error.to_string())
            .and_then(|map| Authority::parse(&map.data.unwrap_or_default()));
        match read {
            Ok(read) => drop(authority.send_replace(Some(read))),
            Err(why) => {
                tracing::warn!(%why, "the ConfigMap {NAMESPACE}/{NAME} cannot be read; going on with what is known");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    fn certificate(name: &str) -> rcgen::Certificate {
        let mut params = CertificateParams::new(vec!["x".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap()
    }

    fn authority(names: &str) -> Authority {
        let data = [
            ("requestheader-client-ca-file", certificate("ca").pem()),
            ("requestheader-allowed-names", names.to_owned()),
            (
                "requestheader-username-headers",
                r#"["X-Remote-User"]"#.to_owned(),
            ),
            (
                "requestheader-group-headers",
                r#"["X-Remote-Group"]"#.to_owned(),
            ),
            (
                "requestheader-extra-headers-prefix",
                r#"["X-Remote-Extra-"]"#.to_owned(),
            ),
        ];
        Authority::parse(&data.map(|(key, value)| (key.to_owned(), value)).into()).unwrap()
    }

    fn headers() -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-remote-user", "ada"),
            ("x-remote-group", "admins"),
            ("x-remote-group", "system:authenticated"),
            ("x-remote-extra-example.org%2Fscopes", "a"),
            ("x-remote-uid", "not named by the ConfigMap"),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn headers_of_the_api_server_say_who_asks() {
        let proxy = certificate("front-proxy-client");
        let user = authority(r#"["other","front-proxy-client"]"#);
        let user = user.user(Some(proxy.der()), &headers()).unwrap();
        assert_eq!(user.name, "ada");
        assert_eq!(user.groups, ["admins", "system:authenticated"]);
        assert_eq!(user.extra["example.org/scopes"], ["a"]);
        assert_eq!(user.uid, None);
    }

    #[test]
    fn what_is_told_to_another_replica_is_what_was_told() {
        let authority = authority("[]");
        let mut headers = headers();
        for name in ["x-remote-extra-%41%25%7b%c3%a4", "x-remote-extra-a_b.c~"] {
            headers.append(name, "v".parse().unwrap());
            headers.append(name, "w".parse().unwrap());
        }
        headers.insert("authorization", "Bearer x".parse().unwrap());
        let user = authority.told(&headers).unwrap();
        assert_eq!(user.extra["A%{ä"], ["v", "w"]);
        let told = authority.tell(&user).unwrap();
        assert_eq!(authority.told(&told), Ok(user));
        assert!(told.keys().all(|it| it.as_str().starts_with("x-remote-")));
    }

    #[test]
    fn headers_of_others_say_nothing() {
        let authority = authority(r#"["front-proxy-client"]"#);
        let other = certificate("somebody");
        let proxy = certificate("front-proxy-client");
        for (certificate, headers) in [
            (None, headers()),
            (Some(other.der()), headers()),
            (Some(proxy.der()), HeaderMap::new()),
        ] {
            let refusal = authority.user(certificate, &headers).unwrap_err();
            assert_eq!(refusal.code, 401);
        }
    }

    #[test]
    fn without_names_any_certificate_of_the_authority_is_good() {
        let other = certificate("somebody");
        let user = authority("[]").user(Some(other.der()), &headers());
        assert_eq!(user.unwrap().name, "ada");
    }

    #[test]
    fn what_is_missing_is_told() {
        let why = Authority::parse(&BTreeMap::new()).unwrap_err();
        assert!(why.contains("requestheader-client-ca-file"), "{why}");
    }
}
