//! Code from an OCI registry.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use oci_client::Reference;
use portside_assets::archive::{self, UnpackError};
use portside_crds::sidecar::TerminationReason as Reason;

use super::failure::Failure;
use crate::registry::{Artifact, Error, Kind, Login, pinned};

/// Which artifact has the code, and who asks for it.
#[derive(clap::Args)]
pub struct ArtifactArgs {
    /// The OCI artifact with the class's bundle. It takes the place of code in the folder
    #[arg(long, value_name = "REFERENCE")]
    artifact: Option<String>,
    /// The digest of the artifact's manifest: whatever the reference's tag names now, this is pulled
    #[arg(long, value_name = "sha256:HEX", requires = "artifact")]
    artifact_digest: Option<String>,
    /// A file with credentials for the registry, as docker login writes it
    #[arg(long, value_name = "FILE", requires = "artifact")]
    pull_secret_file: Option<PathBuf>,
}

/// Code that was pulled.
pub struct Code {
    /// The bundle's file.
    pub bundle: Vec<u8>,
    /// The folder with its assets, if there are some.
    pub assets: Option<PathBuf>,
}

impl ArtifactArgs {
    /// Pulls the bundle's file into memory, if the code is in a registry, and unpacks its assets to that folder.
    pub async fn pull(&self, assets: &Path) -> Result<Option<Code>, Failure> {
        let Some(reference) = &self.artifact else {
            return Ok(None);
        };
        let (reference, login) = (self.reference(reference)?, self.login(reference)?);
        let artifact = Artifact::new(reference.clone(), login.clone());
        let pulled = artifact.pull().await;
        let pulled = pulled.map_err(|error| self.failure(&error, &login))?;
        let shown = reference.whole();
        tracing::info!(artifact = shown, manifest = pulled.digest, "pulled");
        let assets = match pulled.assets {
            Some(archive) => Some(unpacked(&shown, archive, assets.to_owned()).await?),
            None => None,
        };
        Ok(Some(Code {
            bundle: pulled.bytes,
            assets,
        }))
    }

    fn reference(&self, text: &str) -> Result<Reference, Failure> {
        let wrong = |field: &str, text: &str, error: &dyn std::fmt::Display| {
            let message = format!("spec.code.oci.{field}: {text:?}: {error}");
            Failure::new(Reason::ClassInvalid, message)
        };
        let reference: Reference = text
            .parse()
            .map_err(|error| wrong("reference", text, &error))?;
        match &self.artifact_digest {
            None => Ok(reference),
            Some(digest) => {
                pinned(&reference, digest).map_err(|error| wrong("digest", digest, &error))
            }
        }
    }

    fn login(&self, reference: &str) -> Result<Login, Failure> {
        let Some(file) = &self.pull_secret_file else {
            return Ok(Login::Anonymous);
        };
        let failed = |what: String| {
            let message = format!("{reference}: the pull secret {what}");
            Failure::new(Reason::CodePullFailed, message)
        };
        let text = read(file).map_err(failed)?;
        let reference = self.reference(reference)?;
        Login::find(&text, &reference).map_err(|error| failed(error.to_string()))
    }

    /// The reason, and what to do.
    fn failure(&self, error: &Error, login: &Login) -> Failure {
        let (reason, step) = match error.kind {
            Kind::Denied => (Reason::CodePullFailed, self.login_step(login)),
            Kind::Absent if self.artifact_digest.is_some() => (
                Reason::CodePullFailed,
                "check spec.code.oci: was the artifact of this digest pushed there, and not deleted?"
                    .to_owned(),
            ),
            Kind::Absent => (
                Reason::CodePullFailed,
                "check spec.code.oci.reference, or push the artifact".to_owned(),
            ),
            Kind::Unavailable => (
                Reason::CodePullFailed,
                "check the registry, and that the pods' network reaches it".to_owned(),
            ),
            Kind::Damaged => (
                Reason::CodeDigestMismatch,
                "push it again, and check what is between the pods and the registry".to_owned(),
            ),
            Kind::NotABundle => (
                Reason::CodeInvalid,
                "push it with `portside push`".to_owned(),
            ),
        };
        Failure::new(reason, format!("{error}; {step}"))
    }

    fn login_step(&self, login: &Login) -> String {
        let check =
            "check that the credentials in spec.code.oci.pullSecret may pull it, and its reference";
        match (login, &self.pull_secret_file) {
            (Login::Known(_), _) => check.to_owned(),
            (Login::Unusable(why), _) => {
                format!("the pull secret has credentials, but {why}: add a username and password")
            }
            (Login::Anonymous, Some(_)) => {
                "the pull secret has no credentials for this registry: add them, or check the reference"
                    .to_owned()
            }
            (Login::Anonymous, None) => {
                "name a Secret of type kubernetes.io/dockerconfigjson in spec.code.oci.pullSecret, or \
                 check the reference"
                    .to_owned()
            }
        }
    }
}

/// The folder that an archive of assets was unpacked to.
async fn unpacked(artifact: &str, archive: File, folder: PathBuf) -> Result<PathBuf, Failure> {
    let unpacking = tokio::task::spawn_blocking(move || {
        archive::unpack(archive, &folder)?;
        Ok(folder)
    });
    let unpacked = unpacking
        .await
        .unwrap_or_else(|error| Err(UnpackError::Malformed(std::io::Error::other(error))));
    unpacked.map_err(|error| {
        let reason = match &error {
            UnpackError::NoRoom { .. } => Reason::CodePullFailed,
            _ => Reason::CodeInvalid,
        };
        Failure::new(reason, format!("{artifact}: {error}"))
    })
}

/// The mounted Secret, or what is wrong with it.
fn read(file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            "is not there: does the Secret of spec.code.oci.pullSecret exist, and has it the key \
                                .dockerconfigjson?"
                .to_owned()
        }
        _ => format!("cannot be read: {error}"),
    })
}

#[cfg(test)]
mod tests;
