//! A class's code as files, and what they are known by.

use std::collections::BTreeMap;

use portside_crds::ServerlessWorkerClass;
use portside_crds::class::{DurableObjects, Network, OciCode, Triggers};
use portside_crds::names::{self, ASSETS_FILE, BUNDLE_FILE, MANIFEST_FILE};
use portside_crds::plain::Plain;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Files by path. Keys of a ConfigMap are paths without folders.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// The files that count: without a manifest, whose place the effective one takes, and the bundle alone, with its assets, if
/// there is one.
pub(crate) fn effective(mut files: Files) -> Files {
    if files.contains_key(BUNDLE_FILE) {
        files.retain(|path, _| [BUNDLE_FILE, ASSETS_FILE].contains(&&**path));
        return files;
    }
    files.remove(MANIFEST_FILE);
    files
}

/// What an artifact is known by, in place of files: only the pods see those.
fn artifact(oci: &OciCode) -> Files {
    let digest = oci.digest.clone().unwrap_or_default();
    [("reference", oci.reference.clone()), ("digest", digest)]
        .map(|(name, value)| (name.to_owned(), value.into_bytes()))
        .into()
}

/// What is to be known of code without having it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Summary {
    /// The digest of its files.
    pub digest: String,
    /// The digest of its files and the manifest.
    pub whole: String,
    /// Its files' paths.
    pub paths: Vec<String>,
    /// How many bytes a ConfigMap needs for it and the manifest.
    pub bytes: usize,
}

impl Summary {
    /// Of files, of which all count.
    pub(crate) fn of(files: &Files, manifest: &str) -> Self {
        let keys = names::file_keys(files.keys().map(String::as_str));
        let keys: usize = keys.values().map(String::len).sum();
        let contents: usize = files.values().map(Vec::len).sum();
        Self {
            digest: digest(files),
            whole: whole(files, manifest),
            paths: files.keys().cloned().collect(),
            bytes: keys + contents + MANIFEST_FILE.len() + manifest.len(),
        }
    }

    /// Of an artifact: the pods have its files, and a ConfigMap the manifest.
    pub(crate) fn of_artifact(oci: &OciCode, manifest: &str) -> Self {
        let artifact = artifact(oci);
        Self {
            digest: digest(&artifact),
            whole: whole(&artifact, manifest),
            ..Self::of(&Files::new(), manifest)
        }
    }
}

/// The digest of files with the manifest among them.
fn whole(files: &Files, manifest: &str) -> String {
    let manifest = (MANIFEST_FILE, manifest.as_bytes());
    let others = files
        .iter()
        .map(|(path, content)| (&**path, &**content))
        .filter(|(path, _)| *path != MANIFEST_FILE);
    let all: BTreeMap<&str, &[u8]> = others.chain([manifest]).collect();
    digest_of(all.into_iter())
}

/// SHA-256 over paths and contents, each preceded by its length, as `sha256:` and 64 hexadecimal digits.
pub(crate) fn digest(files: &Files) -> String {
    digest_of(files.iter().map(|(path, content)| (&**path, &**content)))
}

fn digest_of<'f>(files: impl Iterator<Item = (&'f str, &'f [u8])>) -> String {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    for (path, content) in files {
        part(path.as_bytes());
        part(content);
    }
    let hex: String = hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{hex}")
}

/// The manifest that the sidecar reads beside the files: of the class, what running it needs.
///
/// JSON, which is YAML that every reader understands alike.
pub(crate) fn manifest(class: &ServerlessWorkerClass) -> String {
    let spec = &class.spec;
    // Without a source: the mounted folder is the code. The reader wants the field.
    let mut effective = json!({
        "code": {},
        "env": spec.env,
        "limits": spec.limits,
        "concurrency": spec.concurrency,
    });
    if let Some(main) = &spec.code.main {
        effective["code"]["main"] = json!(main);
    }
    // Left out where there are none, so that older sidecars read it as well.
    if !spec.code.include.is_empty() {
        effective["code"]["include"] = json!(spec.code.include);
    }
    if let Some(assets) = &spec.assets {
        effective["assets"] = json!(assets);
    }
    if spec.triggers != Triggers::default() {
        effective["triggers"] = json!(spec.triggers);
    }
    if spec.durable_objects != DurableObjects::default() {
        effective["durableObjects"] = json!(spec.durable_objects);
    }
    if spec.network != Network::default() {
        effective["network"] = json!(spec.network);
    }
    let manifest = json!({
        "apiVersion": portside_crds::API_VERSION,
        "kind": portside_crds::KIND,
        "metadata": { "name": class.metadata.name },
        "spec": effective,
    });
    let text = serde_json::to_string_pretty(&Plain(&manifest));
    text.expect("texts, numbers and maps of them are JSON") + "\n"
}

/// A hash of all that a class asks of its pods but their number. Pods are replaced when it changes, and only then.
///
/// It is made of what the class says and not of what the operator makes of it, so that another version of the operator
/// gives the same.
pub(crate) fn inputs(class: &ServerlessWorkerClass, code_digest: &str) -> String {
    let spec = &class.spec;
    let mut wanted = json!({
        "code": code_digest,
        "main": spec.code.main,
        "env": spec.env,
        "database": spec.storage.database,
        "limits": spec.limits,
        "concurrency": spec.concurrency,
        "pod": spec.pod,
    });
    // Left out where there are none: the hash of classes without stays as it was.
    if !spec.code.include.is_empty() {
        wanted["include"] = json!(spec.code.include);
    }
    if let Some(assets) = &spec.assets {
        wanted["assets"] = json!(assets);
    }
    if spec.triggers != Triggers::default() {
        wanted["triggers"] = json!(spec.triggers);
    }
    if spec.durable_objects != DurableObjects::default() {
        wanted["durableObjects"] = json!(spec.durable_objects);
    }
    if spec.network != Network::default() {
        wanted["network"] = json!(spec.network);
    }
    if let Some(OciCode {
        pull_secret: Some(secret),
        ..
    }) = &spec.code.oci
    {
        wanted["pullSecret"] = json!(secret);
    }
    short_hash(&wanted)
}

/// 16 hexadecimal digits that are the same for the same JSON, in every build.
pub(crate) fn short_hash(json: &Value) -> String {
    let text = serde_json::to_string(&Plain(json));
    let hash = Sha256::digest(text.expect("texts, numbers and maps of them are JSON"));
    hash[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(files: &[(&str, &str)]) -> Files {
        let owned = |(path, text): &(&str, &str)| ((*path).to_owned(), text.as_bytes().to_vec());
        files.iter().map(owned).collect()
    }

    fn class(spec: serde_json::Value) -> ServerlessWorkerClass {
        serde_json::from_value(json!({"metadata": {"name": "chat"}, "spec": spec})).unwrap()
    }

    #[test]
    fn digests_tell_paths_from_contents() {
        let one = digest(&files(&[("a", "bc")]));
        assert_eq!(one.len(), "sha256:".len() + 64);
        assert_ne!(one, digest(&files(&[("ab", "c")])));
        assert_ne!(one, digest(&files(&[("a", "bc"), ("b", "")])));
        assert_eq!(one, digest(&files(&[("a", "bc")])));
    }

    #[test]
    fn a_bundle_stands_alone_and_manifests_are_replaced() {
        let with_manifest = files(&[("class.yaml", "x"), ("server.js", "y")]);
        assert_eq!(effective(with_manifest), files(&[("server.js", "y")]));
        let bundled = files(&[("bundle.json", "{}"), ("server.js", "y")]);
        assert_eq!(effective(bundled), files(&[("bundle.json", "{}")]));
        let with_assets = files(&[("assets.tar.gz", "x"), ("bundle.json", "{}")]);
        assert_eq!(effective(with_assets.clone()), with_assets);
    }

    #[test]
    fn inputs_are_what_pods_are_made_of() {
        let base = json!({"code": {"inline": {"server.js": "x"}}});
        let of = |change: serde_json::Value| {
            let mut spec = base.clone();
            for (field, value) in change.as_object().unwrap() {
                spec[field] = value.clone();
            }
            inputs(&class(spec), "sha256:1")
        };
        let plain = of(json!({}));
        for same in [
            json!({"scaling": {"replicas": 3}}),
            json!({"suspend": true}),
            json!({"routes": [{"host": "a.com"}]}),
            json!({"storage": {"deletionPolicy": "Delete"}}),
        ] {
            assert_eq!(of(same.clone()), plain, "{same}");
        }
        for other in [
            json!({"env": [{"name": "A", "value": "b"}]}),
            json!({"pod": {"image": "mine"}}),
            json!({"limits": {"heap": "1Mi"}}),
            json!({"concurrency": {"inputGate": true}}),
            json!({"network": {"deny": ["10.0.0.0/8"]}}),
            json!({"durableObjects": {"classes": [{"name": "Counter"}]}}),
            json!({"assets": {"directory": "public"}}),
            json!({"triggers": {"crons": ["0 8 * * MON-FRI"]}}),
            json!({"code": {"inline": {"server.js": "x"}, "include": ["*.js"]}}),
            json!({"storage": {"database": {"secretKeyRef": {"name": "x"}}}}),
            json!({"storage": {"database": {"ca": {"configMapKeyRef": {"name": "x"}}}}}),
            json!({"code": {"oci": {"reference": "a.b/c", "pullSecret": {"name": "x"}}}}),
        ] {
            assert_ne!(of(other.clone()), plain, "{other}");
        }
        assert_ne!(inputs(&class(base), "sha256:2"), plain);
    }
}
