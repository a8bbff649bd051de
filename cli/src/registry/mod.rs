//! Bundles in OCI registries: artifacts of one layer, which is the bundle's file.
//!
//! What is asked of a registry is in <https://github.com/opencontainers/distribution-spec/blob/main/spec.md>.

mod credentials;
mod error;
#[cfg(test)]
pub mod testkit;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use futures::StreamExt;
use oci_client::client::{Client, ClientConfig, ClientProtocol, SizedStream};
use oci_client::errors::OciDistributionError as Cause;
use oci_client::manifest::{OCI_IMAGE_MEDIA_TYPE, OciDescriptor, OciImageManifest, OciManifest};
use oci_client::{ParseError, Reference, RegistryOperation};
use portside_core::backoff::Backoff;
use sha2::{Digest, Sha256};

pub use credentials::Login;
pub use error::{Error, Kind};

/// The artifact's type and that of its layer.
pub const MEDIA_TYPE: &str = "application/vnd.portside.bundle.v1+json";

/// The largest bundle, in bytes. It is kept in memory, parsed, and evaluated by every thread that runs servers.
pub const MAX_BYTES: u64 = 64 << 20;

/// The name that tools give the layer when they write it to a folder.
const FILE: &str = "bundle.json";

/// The configuration of artifacts that have none
/// (<https://github.com/opencontainers/image-spec/blob/main/manifest.md#guidance-for-an-empty-descriptor>).
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
const EMPTY: &[u8] = b"{}";

const CONNECT: Duration = Duration::from_secs(10);
/// How long a registry may be silent while it is read from.
const SILENCE: Duration = Duration::from_secs(30);
/// How long it may take to store a bundle that is sent over a slow line.
const UPLOAD: Duration = Duration::from_secs(10 * 60);
/// How long pulling may take with all its tries: less than the kubelet waits for a pod to start.
const PATIENCE: Duration = Duration::from_secs(180);

const TRIES: u32 = 4;
const PAUSE: Backoff = Backoff {
    first_ms: 250,
    max_ms: 4_000,
};

/// An artifact in a registry, and who asks for it.
pub struct Artifact {
    reference: Reference,
    login: Login,
}

/// What was pulled.
#[derive(Debug)]
pub struct Pulled {
    /// The bundle's file. It has the digest that the manifest gives it.
    pub bytes: Vec<u8>,
    /// The digest of the manifest, which a tag may not name any more.
    pub digest: String,
}

/// The reference with a digest, which then decides alone, in place of its tag.
///
/// # Errors
/// Text that is no digest.
pub fn pinned(reference: &Reference, digest: &str) -> Result<Reference, ParseError> {
    format!(
        "{}/{}@{digest}",
        reference.registry(),
        reference.repository()
    )
    .parse()
}

impl Artifact {
    /// The artifact of that reference.
    pub fn new(reference: Reference, login: Login) -> Self {
        Self { reference, login }
    }

    /// Pulls the bundle into memory. What may pass is tried again for up to three minutes.
    ///
    /// # Errors
    /// See [`Kind`].
    pub async fn pull(&self) -> Result<Pulled, Error> {
        let client = self.client(SILENCE)?;
        let pulling = async {
            let mut failures = 0;
            loop {
                match self.try_to_pull(&client).await {
                    Err(error) if error.kind == Kind::Unavailable && failures + 1 < TRIES => {
                        tracing::warn!(%error, "pulling again");
                        let pause = Duration::from_millis(PAUSE.delay_ms(failures));
                        tokio::time::sleep(pause).await;
                        failures += 1;
                    }
                    outcome => return outcome,
                }
            }
        };
        let timed = tokio::time::timeout(PATIENCE, pulling).await;
        timed.unwrap_or_else(|_| {
            let seconds = PATIENCE.as_secs();
            Err(self.error(Kind::Unavailable, &format!("took over {seconds} seconds")))
        })
    }

    /// Pushes the bundle whose file has these bytes. Returns the manifest's digest: equal bundles give equal ones.
    ///
    /// # Errors
    /// See [`Kind`].
    pub async fn push(&self, bytes: Vec<u8>) -> Result<String, Error> {
        if bytes.len() as u64 > MAX_BYTES {
            return Err(self.error(Kind::NotABundle, &too_large(bytes.len() as u64)));
        }
        let failed = |error| self.failed(error);
        let manifest = OciImageManifest {
            media_type: Some(OCI_IMAGE_MEDIA_TYPE.to_owned()),
            artifact_type: Some(MEDIA_TYPE.to_owned()),
            config: descriptor(EMPTY_TYPE, EMPTY),
            layers: vec![OciDescriptor {
                annotations: Some(BTreeMap::from([(
                    "org.opencontainers.image.title".to_owned(),
                    FILE.to_owned(),
                )])),
                ..descriptor(MEDIA_TYPE, &bytes)
            }],
            ..OciImageManifest::default()
        };
        let (layer, config) = (&manifest.layers[0].digest, &manifest.config.digest);
        let client = self.client(UPLOAD)?;
        self.log_in(&client, RegistryOperation::Push).await?;
        self.store(&client, bytes, layer).await?;
        self.store(&client, EMPTY.to_vec(), config).await?;
        let text = serde_json::to_vec(&manifest).map_err(|error| failed(error.into()))?;
        let digest = sha256(&text);
        let media_type = OCI_IMAGE_MEDIA_TYPE.parse().expect("it is plain ASCII");
        let stored = client.push_manifest_raw(&self.reference, text, media_type);
        stored.await.map_err(failed)?;
        Ok(digest)
    }

    async fn store(&self, client: &Client, blob: Vec<u8>, digest: &str) -> Result<(), Error> {
        let stored = client.push_blob(&self.reference, blob, digest).await;
        let Err(error) = stored else { return Ok(()) };
        // Some registries leave out where they have stored it.
        let is_there = matches!(error, Cause::RegistryNoLocationError)
            && client
                .blob_exists(&self.reference, digest)
                .await
                .is_ok_and(|is_there| is_there);
        if is_there {
            Ok(())
        } else {
            Err(self.failed(error))
        }
    }

    async fn try_to_pull(&self, client: &Client) -> Result<Pulled, Error> {
        let failed = |error| self.failed(error);
        let other = |what: String| self.error(Kind::NotABundle, &what);
        self.log_in(client, RegistryOperation::Pull).await?;
        let auth = self.login.auth();
        let manifest = client.pull_manifest(&self.reference, &auth).await;
        let (manifest, digest) = manifest.map_err(failed)?;
        let layer = layer(manifest).map_err(other)?;
        pinned(&self.reference, &layer.digest).map_err(|error| {
            other(format!(
                "its layer has the digest {:?}: {error}",
                layer.digest
            ))
        })?;
        let size = u64::try_from(layer.size).unwrap_or_default();
        if size > MAX_BYTES {
            return Err(other(too_large(size)));
        }
        // Without the layer's own addresses: only the registry that the class names is asked.
        let layer = client.pull_blob_stream(&self.reference, layer.digest.as_str());
        let stream = layer.await.map_err(failed)?;
        let bytes = self.collect(stream, size).await?;
        Ok(Pulled { bytes, digest })
    }

    /// Reads the layer, whose digest the stream verifies, to its stated size and not beyond.
    async fn collect(&self, mut stream: SizedStream, size: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        while let Some(chunk) = stream.next().await {
            match chunk {
                Ok(chunk) => bytes.extend_from_slice(&chunk),
                Err(error) if (bytes.len() as u64) < size => {
                    let what = format!(
                        "the layer broke off after {} of {size} bytes: {error}",
                        bytes.len()
                    );
                    return Err(self.error(Kind::Unavailable, &what));
                }
                Err(error) => return Err(self.error(Kind::Damaged, &error.to_string())),
            }
            if bytes.len() as u64 > size {
                let what = format!("the layer is longer than the {size} bytes of the manifest");
                return Err(self.error(Kind::Damaged, &what));
            }
        }
        Ok(bytes)
    }

    /// Asks for a token, where the registry wants one, and says why there is none: what follows would only be refused.
    async fn log_in(&self, client: &Client, operation: RegistryOperation) -> Result<(), Error> {
        let auth = self.login.auth();
        let asked = client.auth(&self.reference, &auth, operation).await;
        asked.map(drop).map_err(|error| self.failed(error))
    }

    fn client(&self, read_timeout: Duration) -> Result<Client, Error> {
        let config = ClientConfig {
            protocol: if is_loopback(self.reference.registry()) {
                ClientProtocol::Http
            } else {
                ClientProtocol::Https
            },
            connect_timeout: Some(CONNECT),
            read_timeout: Some(read_timeout),
            // As other tools do. Some registries do not take parts.
            use_monolithic_push: true,
            user_agent: concat!("portside/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        Client::try_from(config).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: Cause) -> Error {
        Error::of(&self.reference, error)
    }

    fn error(&self, kind: Kind, what: &str) -> Error {
        Error::new(&self.reference, kind, what)
    }
}

/// The one layer that a bundle's artifact has, or what the artifact is instead.
///
/// Its own type is not looked at: tools give what they push one of their own.
fn layer(manifest: OciManifest) -> Result<OciDescriptor, String> {
    let OciManifest::Image(image) = manifest else {
        return Err("an index of several images".to_owned());
    };
    let count = image.layers.len();
    let Ok([layer]) = <[OciDescriptor; 1]>::try_from(image.layers) else {
        return Err(format!("an artifact of {count} layers"));
    };
    if layer.media_type != MEDIA_TYPE {
        let found = layer.media_type;
        return Err(format!("a layer of type {found:?}, not {MEDIA_TYPE}"));
    }
    Ok(layer)
}

fn too_large(bytes: u64) -> String {
    format!(
        "a bundle of {} MiB, and {} MiB are allowed",
        bytes.div_ceil(1 << 20),
        MAX_BYTES >> 20
    )
}

fn descriptor(media_type: &str, bytes: &[u8]) -> OciDescriptor {
    OciDescriptor {
        media_type: media_type.to_owned(),
        digest: sha256(bytes),
        size: i64::try_from(bytes.len()).unwrap_or(i64::MAX),
        ..OciDescriptor::default()
    }
}

/// `sha256:` and 64 hexadecimal digits.
fn sha256(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// Whether a registry is on this machine, where there is no need of TLS.
fn is_loopback(registry: &str) -> bool {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    host == "localhost" || host.parse().is_ok_and(|ip: Ipv4Addr| ip.is_loopback())
}
