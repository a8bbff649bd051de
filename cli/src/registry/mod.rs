//! Bundles in OCI registries: artifacts whose layers are the bundle's file and, if it has some, the archive of its assets.
//!
//! What is asked of a registry is in <https://github.com/opencontainers/distribution-spec/blob/main/spec.md>.

mod credentials;
mod error;
mod repository;
#[cfg(test)]
pub mod testkit;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;
use oci_client::client::{Client, ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError as Cause;
use oci_client::manifest::{OCI_IMAGE_MEDIA_TYPE, OciDescriptor, OciImageManifest, OciManifest};
use oci_client::secrets::RegistryAuth;
use oci_client::{ParseError, Reference, RegistryOperation};
use portside_core::backoff::Backoff;
use sha2::{Digest, Sha256};

use repository::Repository;

pub use credentials::Login;
pub use error::{Error, Kind};

/// The artifact's type and that of its layer.
pub const MEDIA_TYPE: &str = "application/vnd.portside.bundle.v1+json";

/// The largest bundle, in bytes. It is kept in memory, parsed, and evaluated by every thread that runs servers.
pub const MAX_BYTES: u64 = 64 << 20;

/// The type of the layer with assets.
pub const ASSETS_TYPE: &str = "application/vnd.portside.assets.v1.tar+gzip";

/// The largest archive of assets, in bytes. It passes through a file, and what is in it is limited as well.
pub const MAX_ASSETS_BYTES: u64 = portside_assets::MOST_ARCHIVED_BYTES;

/// The names that tools give the layers when they write them to a folder.
const FILE: &str = "bundle.json";
const ASSETS_FILE: &str = "assets.tar.gz";

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

const USER_AGENT: &str = concat!("portside/", env!("CARGO_PKG_VERSION"));

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
    /// The archive of its assets, likewise, to be read from its start. It has no name, and goes when it is closed.
    pub assets: Option<File>,
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
        let repository = Repository::new(&self.reference)?;
        let pulling = async {
            let mut failures = 0;
            loop {
                match self.try_to_pull(&repository).await {
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

    /// Pushes the bundle whose file has these bytes, and the archive of its assets, if it has some, which stands at its start. Returns the manifest's digest:
    /// equal bundles and assets give equal ones.
    ///
    /// # Errors
    /// See [`Kind`].
    pub async fn push(&self, bytes: Vec<u8>, assets: Option<File>) -> Result<String, Error> {
        let failed = |error| self.failed(error);
        let bundle = Layer::BUNDLE.descriptor(sha256(&bytes), bytes.len() as u64);
        let mut layers = vec![self.checked(Layer::BUNDLE, bundle)?];
        if let Some(archive) = &assets {
            let unreadable = |error: io::Error| failed(error.into());
            let (digest, size) = digest_of(archive).map_err(unreadable)?;
            let descriptor = Layer::ASSETS.descriptor(digest, size);
            layers.push(self.checked(Layer::ASSETS, descriptor)?);
        }
        let manifest = OciImageManifest {
            media_type: Some(OCI_IMAGE_MEDIA_TYPE.to_owned()),
            artifact_type: Some(MEDIA_TYPE.to_owned()),
            config: descriptor(EMPTY_TYPE, sha256(EMPTY), EMPTY.len() as u64),
            layers,
            ..OciImageManifest::default()
        };
        let client = self.client()?;
        let layers = &manifest.layers;
        self.store(&client, Blob::Bytes(bytes), &layers[0]).await?;
        if let (Some(archive), Some(layer)) = (assets, layers.get(1)) {
            self.store(&client, Blob::File(archive), layer).await?;
        }
        let empty = Blob::Bytes(EMPTY.to_vec());
        self.store(&client, empty, &manifest.config).await?;
        let text = serde_json::to_vec(&manifest).map_err(|error| failed(error.into()))?;
        let digest = sha256(&text);
        let media_type = OCI_IMAGE_MEDIA_TYPE.parse().expect("it is plain ASCII");
        self.log_in(&client).await?;
        let stored = client.push_manifest_raw(&self.reference, text, media_type);
        stored.await.map_err(failed)?;
        Ok(digest)
    }

    /// The layer, unless it is too large.
    fn checked(&self, layer: Layer, found: OciDescriptor) -> Result<OciDescriptor, Error> {
        let bytes = u64::try_from(found.size).unwrap_or(u64::MAX);
        match bytes > layer.most {
            true => Err(self.error(Kind::NotABundle, &layer.too_large(bytes))),
            false => Ok(found),
        }
    }

    async fn store(&self, client: &Client, blob: Blob, to: &OciDescriptor) -> Result<(), Error> {
        // Anew for each: the one before it may have taken longer than a token lasts.
        self.log_in(client).await?;
        let (reference, digest) = (&self.reference, &*to.digest);
        let stored = match blob {
            Blob::Bytes(bytes) => client.push_blob(reference, bytes, digest).await,
            Blob::File(file) => {
                let size = u64::try_from(to.size).ok();
                let stream = futures::stream::iter(pieces(file));
                client
                    .push_blob_stream(reference, stream, digest, size)
                    .await
            }
        };
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

    async fn try_to_pull(&self, from: &Repository<'_>) -> Result<Pulled, Error> {
        let other = |what: String| self.error(Kind::NotABundle, &what);
        let auth = from.token(self.login.auth(), RegistryOperation::Pull);
        let auth = auth.await?;
        let (manifest, digest) = from.manifest(&auth).await?;
        let (bundle, assets) = layers(manifest).map_err(other)?;
        let mut bytes = vec![];
        self.read(from, &auth, Layer::BUNDLE, &bundle, &mut bytes)
            .await?;
        let assets = match assets {
            None => None,
            Some(layer) => {
                let no_room = |error| self.no_room(error);
                let mut file = tempfile::tempfile().map_err(no_room)?;
                self.read(from, &auth, Layer::ASSETS, &layer, &mut file)
                    .await?;
                file.rewind().map_err(no_room)?;
                Some(file)
            }
        };
        Ok(Pulled {
            bytes,
            assets,
            digest,
        })
    }

    /// Reads a layer to its stated size and not beyond, and verifies its digest.
    async fn read(
        &self,
        from: &Repository<'_>,
        auth: &RegistryAuth,
        layer: Layer,
        descriptor: &OciDescriptor,
        to: &mut impl Write,
    ) -> Result<(), Error> {
        let other = |what: String| self.error(Kind::NotABundle, &what);
        let digest = descriptor.digest.as_str();
        let is_known = pinned(&self.reference, digest).is_ok() && digest.starts_with("sha256:");
        if !is_known {
            return Err(other(format!(
                "its layer has the digest {digest:?}, not one of SHA-256"
            )));
        }
        let size = u64::try_from(descriptor.size).unwrap_or_default();
        if size > layer.most {
            return Err(other(layer.too_large(size)));
        }
        // Without the layer's own addresses: only the registry that the class names is asked.
        let mut answer = from.blob(auth, digest).await?;
        let (mut read, mut hash) = (0, Sha256::new());
        let broken = |read: u64, error: reqwest::Error| {
            let error = error.without_url();
            let what = format!("the layer broke off after {read} of {size} bytes: {error}");
            self.error(Kind::Unavailable, &what)
        };
        while let Some(chunk) = answer.chunk().await.map_err(|error| broken(read, error))? {
            read += chunk.len() as u64;
            if read > size {
                let what = format!("the layer is longer than the {size} bytes of the manifest");
                return Err(self.error(Kind::Damaged, &what));
            }
            hash.update(&chunk);
            to.write_all(&chunk).map_err(|error| self.no_room(error))?;
        }
        let found = hex(&hash.finalize());
        if found != digest {
            let what = format!("the layer has the digest {found}, not {digest}");
            return Err(self.error(Kind::Damaged, &what));
        }
        Ok(())
    }

    /// There is no room for what is pulled.
    fn no_room(&self, error: io::Error) -> Error {
        let folder = std::env::temp_dir();
        let what = format!("cannot be kept in {}: {error}", folder.display());
        self.error(Kind::Unavailable, &what)
    }

    /// Asks for a token, where the registry wants one, and says why there is none: what follows would only be refused.
    async fn log_in(&self, client: &Client) -> Result<(), Error> {
        let repository = Repository::new(&self.reference)?;
        let operation = RegistryOperation::Push;
        let auth = repository.token(self.login.auth(), operation).await?;
        let known = client.auth(&self.reference, &auth, operation).await;
        known.map(drop).map_err(|error| self.failed(error))
    }

    /// What pushes.
    fn client(&self) -> Result<Client, Error> {
        let config = ClientConfig {
            protocol: if is_loopback(self.reference.registry()) {
                ClientProtocol::Http
            } else {
                ClientProtocol::Https
            },
            connect_timeout: Some(CONNECT),
            read_timeout: Some(UPLOAD),
            // As other tools do. Some registries do not take parts.
            use_monolithic_push: true,
            user_agent: USER_AGENT,
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

/// What a layer is.
#[derive(Clone, Copy)]
struct Layer {
    what: &'static str,
    media_type: &'static str,
    file: &'static str,
    /// Its most bytes.
    most: u64,
}

impl Layer {
    const BUNDLE: Self = Self {
        what: "a bundle",
        media_type: MEDIA_TYPE,
        file: FILE,
        most: MAX_BYTES,
    };
    const ASSETS: Self = Self {
        what: "an archive of assets",
        media_type: ASSETS_TYPE,
        file: ASSETS_FILE,
        most: MAX_ASSETS_BYTES,
    };

    fn descriptor(self, digest: String, bytes: u64) -> OciDescriptor {
        let title = "org.opencontainers.image.title".to_owned();
        OciDescriptor {
            annotations: Some(BTreeMap::from([(title, self.file.to_owned())])),
            ..descriptor(self.media_type, digest, bytes)
        }
    }

    fn too_large(self, bytes: u64) -> String {
        format!(
            "{} of {} MiB, and {} MiB are allowed",
            self.what,
            bytes.div_ceil(1 << 20),
            self.most >> 20
        )
    }
}

/// The layers of a bundle's artifact, the second being that of assets, if it has some; or what the artifact is instead.
///
/// Its own type is not looked at: tools give what they push one of their own.
fn layers(manifest: OciManifest) -> Result<(OciDescriptor, Option<OciDescriptor>), String> {
    let OciManifest::Image(image) = manifest else {
        return Err("an index of several images".to_owned());
    };
    let count = image.layers.len();
    let mut layers = image.layers.into_iter();
    let (Some(bundle), assets, None) = (layers.next(), layers.next(), layers.next()) else {
        return Err(format!("an artifact of {count} layers"));
    };
    let is = |layer: &OciDescriptor, wanted: &str| match &layer.media_type {
        found if found == wanted => Ok(()),
        found => Err(format!("a layer of type {found:?}, not {wanted}")),
    };
    is(&bundle, MEDIA_TYPE)?;
    if let Some(assets) = &assets {
        is(assets, ASSETS_TYPE)?;
    }
    Ok((bundle, assets))
}

/// What is stored.
enum Blob {
    Bytes(Vec<u8>),
    /// From its start, a piece at a time.
    File(File),
}

/// What is read of a file at a time.
const PIECE: usize = 1 << 20;

/// The content of a file from where it stands.
fn pieces(mut file: File) -> impl Iterator<Item = Result<Bytes, Cause>> + Send + 'static {
    std::iter::from_fn(move || {
        let mut piece = Vec::with_capacity(PIECE);
        match (&mut file).take(PIECE as u64).read_to_end(&mut piece) {
            Ok(0) => None,
            Ok(_) => Some(Ok(piece.into())),
            Err(error) => Some(Err(error.into())),
        }
    })
}

/// The digest of a file's content, and how many bytes it has. Afterwards it stands at its start.
fn digest_of(mut file: &File) -> io::Result<(String, u64)> {
    let mut hash = Sha256::new();
    let bytes = io::copy(&mut file, &mut hash)?;
    file.rewind()?;
    Ok((hex(&hash.finalize()), bytes))
}

fn descriptor(media_type: &str, digest: String, bytes: u64) -> OciDescriptor {
    OciDescriptor {
        media_type: media_type.to_owned(),
        digest,
        size: i64::try_from(bytes).unwrap_or(i64::MAX),
        ..OciDescriptor::default()
    }
}

/// `sha256:` and 64 hexadecimal digits.
fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(hash: &[u8]) -> String {
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// Whether a registry is on this machine, where there is no need of TLS.
fn is_loopback(registry: &str) -> bool {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    host == "localhost" || host.parse().is_ok_and(|ip: Ipv4Addr| ip.is_loopback())
}
