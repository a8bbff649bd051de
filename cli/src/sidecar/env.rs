//! The server's `env` in a pod: plain values from the manifest, others from files that the kubelet mounts.

use std::io::ErrorKind;
use std::path::Path;

use portside_bundle::{EnvValue, Manifest};
use portside_crds::sidecar::TerminationReason as Reason;

use super::failure::Failure;

/// The values, in the manifest's order. An entry that comes from a Secret or ConfigMap is the content of the file of its
/// name in `dir`.
///
/// # Errors
/// Entries whose source is not there; where to look, never a value.
pub fn read(dir: &Path, manifest: Option<&Manifest>) -> Result<Vec<(String, String)>, Failure> {
    let mut env = vec![];
    let mut missing = vec![];
    for (name, value) in manifest.into_iter().flat_map(|manifest| &manifest.env) {
        match value {
            EnvValue::Plain(value) => env.push((name.clone(), value.clone())),
            EnvValue::Elsewhere(_) => match std::fs::read(dir.join(name)) {
                Ok(bytes) => match String::from_utf8(bytes) {
                    Ok(value) => env.push((name.clone(), value)),
                    Err(_) => missing.push(format!("env {name}: its value is not UTF-8 text")),
                },
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    missing.push(format!("env {name}: what it refers to does not exist: create it, or say optional: true"));
                }
                Err(error) => missing.push(format!("env {name}: cannot be read: {error}")),
            },
        }
    }
    if missing.is_empty() {
        Ok(env)
    } else {
        Err(Failure::new(Reason::EnvMissing, missing.join("\n")))
    }
}
