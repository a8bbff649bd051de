//! The server's `env` in a pod: plain values from the manifest, others from files that the kubelet mounts.

use std::io::ErrorKind;
use std::path::Path;

use portside_bundle::{EnvValue, Manifest};
use portside_core::variable::{Value, Variables};
use portside_crds::sidecar::TerminationReason as Reason;

use super::failure::Failure;

/// The values, in the manifest's order. An entry that comes from a Secret or ConfigMap is the content of the file of its
/// name in `dir`.
///
/// # Errors
/// Entries whose source is not there; where to look, never a value.
pub fn read(dir: &Path, manifest: Option<&Manifest>) -> Result<Variables, Failure> {
    let mut env = vec![];
    let mut missing = vec![];
    for (name, value) in manifest.into_iter().flat_map(|manifest| &manifest.env) {
        match value {
            EnvValue::Plain(value) => env.push((name.clone(), value.clone().into())),
            EnvValue::Json(value) => env.push((name.clone(), Value::Json(value.to_string()))),
            EnvValue::Elsewhere(source) => match std::fs::read(dir.join(name)) {
                Ok(bytes) => match String::from_utf8(bytes) {
                    Ok(value) => env.push((name.clone(), value.into())),
                    Err(_) => missing.push(format!("env {name}: {source} is not UTF-8 text")),
                },
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    if !source.optional {
                        missing.push(format!(
                            "env {name}: there is no {source}: create it, or set optional: true"
                        ));
                    }
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

#[cfg(test)]
mod tests {
    use super::*;

    const CLASS: &str = r"
apiVersion: portside.dev/v1alpha1
kind: ServerlessWorkerClass
metadata: { name: a }
spec:
  code: { main: server.js }
  env:
    - { name: PLAIN, value: here }
    - { name: TOKEN, valueFrom: { secretKeyRef: { name: chat, key: token } } }
    - { name: COLOUR, valueFrom: { configMapKeyRef: { name: look, key: colour, optional: true } } }
";

    #[tokio::test(flavor = "multi_thread")]
    async fn values_are_files_and_what_is_missing_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let server = "export default { fetch: () => new Response() };";
        std::fs::write(dir.path().join("server.js"), server).unwrap();
        std::fs::write(dir.path().join("class.yaml"), CLASS).unwrap();
        let manifest = portside_bundle::load(dir.path(), dir.path())
            .await
            .unwrap()
            .manifest;
        let mounted = tempfile::tempdir().unwrap();
        let read = || read(mounted.path(), manifest.as_ref());

        let Err(Failure::Start(missing)) = read() else {
            panic!("TOKEN is not mounted");
        };
        assert_eq!(missing.reason, Reason::EnvMissing);
        assert_eq!(
            missing.message,
            "env TOKEN: there is no key token of Secret chat: create it, or set optional: true"
        );

        std::fs::write(mounted.path().join("TOKEN"), "s3cret\n").unwrap();
        let env = read().ok().unwrap();
        // As it is: a value may end in a line break.
        assert_eq!(env[1], ("TOKEN".to_owned(), "s3cret\n".into()));
        assert_eq!(env.len(), 2);

        std::fs::write(mounted.path().join("COLOUR"), [0xff]).unwrap();
        let Err(Failure::Start(wrong)) = read() else {
            panic!("COLOUR is not text");
        };
        assert!(
            wrong
                .message
                .contains("key colour of ConfigMap look is not UTF-8")
        );
    }
}
