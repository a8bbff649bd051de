//! The two Secrets, between what is decided and the API server. Every write names the version that it replaces: of two operators that
//! write at once one is refused, and looks again.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, PostParams};
use kube::{Client, Resource as _};
use portside_crds::names::{FIELD_MANAGER, MANAGED_BY, MANAGED_BY_LABEL};

use super::authority::{Authorities, Signer};
use super::certificate::Certificate;
use super::leaf::Leaf;

/// The certificates of those who are believed, in both Secrets.
const AUTHORITIES: &str = "ca.crt";
/// The key of the authority that signs.
const AUTHORITY_KEY: &str = "ca.key";
/// The key of the one that will.
const NEXT_KEY: &str = "next.key";
const LEAF: &str = "tls.crt";
const LEAF_KEY: &str = "tls.key";

/// A Secret's contents.
type Data = BTreeMap<String, ByteString>;

/// A Secret, and what it means.
pub(super) struct Stored<T> {
    /// As it is there. `None` if it is not.
    pub secret: Option<Secret>,
    /// What is in it. `None` if it is not there.
    pub content: Option<Result<T, String>>,
}

impl<T> Stored<T> {
    fn of(secret: Option<Secret>, read: impl Fn(&Data) -> Result<T, String>) -> Self {
        let content = secret
            .as_ref()
            .map(|secret| read(secret.data.as_ref().unwrap_or(&Data::new())));
        Self { secret, content }
    }

    /// What is in it, if that can be used.
    pub(super) fn usable(&self) -> Option<&T> {
        self.content.as_ref()?.as_ref().ok()
    }

    /// Why not.
    pub(super) fn damage(&self) -> Option<&str> {
        let content = self.content.as_ref()?.as_ref();
        content.err().map(String::as_str)
    }
}

/// The Secrets of an API server of that name.
pub(super) struct Secrets {
    api: Api<Secret>,
    service: String,
}

impl Secrets {
    pub(super) fn new(client: Client, namespace: &str, service: &str) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            service: service.to_owned(),
        }
    }

    /// The name of the one with the authorities.
    pub(super) fn authorities_name(&self) -> String {
        authorities_name(&self.service)
    }

    /// The name of the one with the API server's own certificate.
    pub(super) fn leaf_name(&self) -> String {
        leaf_name(&self.service)
    }

    pub(super) async fn authorities(&self) -> Result<Stored<Authorities>, kube::Error> {
        let secret = self.api.get_opt(&self.authorities_name()).await?;
        Ok(Stored::of(secret, read_authorities))
    }

    pub(super) async fn leaf(&self) -> Result<Stored<Leaf>, kube::Error> {
        let secret = self.api.get_opt(&self.leaf_name()).await?;
        Ok(Stored::of(secret, read_leaf))
    }

    /// Writes in place of what was found.
    pub(super) async fn put_authorities(
        &self,
        found: Option<Secret>,
        all: &Authorities,
    ) -> Result<(), kube::Error> {
        let name = self.authorities_name();
        self.put(found, name, "Opaque", authorities_data(all)).await
    }

    /// Writes in place of what was found.
    pub(super) async fn put_leaf(
        &self,
        found: Option<Secret>,
        leaf: &Leaf,
    ) -> Result<(), kube::Error> {
        let name = self.leaf_name();
        self.put(found, name, "kubernetes.io/tls", leaf_data(leaf))
            .await
    }

    async fn put(
        &self,
        found: Option<Secret>,
        name: String,
        kind: &str,
        data: Data,
    ) -> Result<(), kube::Error> {
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let Some(mut secret) = found else {
            let secret = Secret {
                metadata: ObjectMeta {
                    name: Some(name),
                    labels: Some(labels()),
                    ..ObjectMeta::default()
                },
                type_: Some(kind.to_owned()),
                data: Some(data),
                ..Secret::default()
            };
            self.api.create(&params, &secret).await?;
            return Ok(());
        };
        // Its version stays in it.
        let meta = secret.meta_mut();
        meta.managed_fields = None;
        meta.labels.get_or_insert_default().extend(labels());
        secret.data = Some(data);
        self.api.replace(&name, &params, &secret).await?;
        Ok(())
    }
}

/// The Secret with the authorities of an API server of that name. Nobody mounts it.
pub(crate) fn authorities_name(service: &str) -> String {
    format!("{service}-ca")
}

/// The Secret with its own certificate, which its pods mount.
pub(crate) fn leaf_name(service: &str) -> String {
    format!("{service}-tls")
}

fn labels() -> BTreeMap<String, String> {
    [
        (MANAGED_BY_LABEL, MANAGED_BY),
        ("app.kubernetes.io/part-of", "portside"),
    ]
    .map(|(label, value)| (label.to_owned(), value.to_owned()))
    .into()
}

fn text<'d>(data: &'d Data, key: &str) -> Result<&'d str, String> {
    let bytes = data.get(key).ok_or_else(|| format!("{key} is missing"))?;
    std::str::from_utf8(&bytes.0).map_err(|_| format!("{key} is no text"))
}

fn certificates(data: &Data, key: &str) -> Result<Vec<Certificate>, String> {
    Certificate::all_in(text(data, key)?.as_bytes()).map_err(|error| format!("{key}: {error}"))
}

/// What the Secret of the authorities says.
pub(super) fn read_authorities(data: &Data) -> Result<Authorities, String> {
    let mut all = certificates(data, AUTHORITIES)?;
    if all.is_empty() || !all.iter().all(|one| one.is_authority) {
        return Err(format!(
            "{AUTHORITIES} has to be certificates of authorities"
        ));
    }
    let signing = all.remove(0);
    let signing = Signer::read(signing, text(data, AUTHORITY_KEY)?)
        .map_err(|error| format!("{AUTHORITY_KEY}: {error}"))?;
    let next = match data.get(NEXT_KEY) {
        Some(_) if !all.is_empty() => {
            let next = Signer::read(all.remove(0), text(data, NEXT_KEY)?);
            Some(next.map_err(|error| format!("{NEXT_KEY}: {error}"))?)
        }
        _ => None,
    };
    Ok(Authorities {
        signing,
        next,
        former: all,
    })
}

/// What the API server's own Secret says.
pub(super) fn read_leaf(data: &Data) -> Result<Leaf, String> {
    let mut all = certificates(data, LEAF)?;
    if all.len() != 1 {
        return Err(format!("{LEAF} has to be one certificate"));
    }
    // Where it cannot be read it is written anew, and nothing else.
    let believed = certificates(data, AUTHORITIES).unwrap_or_default();
    Leaf::read(all.remove(0), text(data, LEAF_KEY)?, believed)
}

fn bytes<const N: usize>(pairs: [(&str, String); N]) -> Data {
    pairs
        .map(|(key, text)| (key.to_owned(), ByteString(text.into_bytes())))
        .into()
}

/// The contents that mean these authorities.
pub(super) fn authorities_data(all: &Authorities) -> Data {
    let mut data = bytes([
        (AUTHORITIES, all.to_pem()),
        (AUTHORITY_KEY, all.signing.key.clone()),
    ]);
    if let Some(next) = &all.next {
        data.extend(bytes([(NEXT_KEY, next.key.clone())]));
    }
    data
}

/// The contents that mean this certificate.
pub(super) fn leaf_data(leaf: &Leaf) -> Data {
    bytes([
        (LEAF, Certificate::to_pem([&leaf.certificate])),
        (LEAF_KEY, leaf.key.clone()),
        (AUTHORITIES, Certificate::to_pem(&leaf.believed)),
    ])
}
