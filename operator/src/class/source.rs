//! A class's code: read where it has to be written, and otherwise known by what it is.
//!
//! Nothing here keeps code in memory: that of all classes could be more than there is.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::Api;
use kube::core::Status;
use portside_crds::ServerlessWorkerClass;
use portside_crds::names;
use portside_crds::routes::ClassKey;
use serde_json::json;

use super::Context;
use super::code::{self, Files, Summary};
use super::fetch::Live;
use super::owned::Kind;
use super::queue::key_of;
use crate::caches::{Class, meta_in};

/// Where code in the class itself is.
const INLINE: &str = "spec.code.inline";

/// In place of `spec.code.inline` in the caches: the digest of what it is. Of a class in the cluster it says nothing.
const INLINE_ANNOTATION: &str = "portside.dev/inline-digest";

/// Where a class's code comes from, as far as it could be read.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// The code.
    Code(Code),
    /// There is no such ConfigMap.
    Missing { name: String },
    /// An OCI artifact, which the pods pull.
    Oci,
    /// None is named.
    None,
}

/// A class's code.
#[derive(Debug, Clone)]
pub(crate) struct Code {
    /// Where it is, for messages.
    pub place: String,
    /// What it is.
    pub summary: Arc<Summary>,
    /// Its files, unless they have been written to where pods find them.
    pub files: Option<Arc<Files>>,
}

impl Code {
    /// Code that was just read.
    pub(crate) fn read(place: impl Into<String>, files: Files, manifest: &str) -> Self {
        let files = code::effective(files);
        Self {
            place: place.into(),
            summary: Arc::new(Summary::of(&files, manifest)),
            files: Some(Arc::new(files)),
        }
    }
}

/// What code is that was read before. Cloning gives another handle.
#[derive(Clone, Default)]
pub(crate) struct SourceMemory(Arc<Mutex<HashMap<ClassKey, Remembered>>>);

struct Remembered {
    origin: Origin,
    summary: Arc<Summary>,
}

/// What code was read from, and for which manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Origin {
    /// The ConfigMap. `None` for the class itself.
    config_map: Option<String>,
    /// The ConfigMap's version, or the inline code's digest.
    version: Option<String>,
    /// A hash.
    manifest: String,
}

impl Origin {
    fn new(config_map: Option<String>, version: Option<String>, manifest: &str) -> Self {
        Self {
            config_map,
            version,
            manifest: code::short_hash(&json!(manifest)),
        }
    }
}

impl SourceMemory {
    /// Forgets a class.
    pub(crate) fn forget(&self, key: &ClassKey) {
        self.lock().remove(key);
    }

    fn get(&self, key: &ClassKey, origin: &Origin) -> Option<Arc<Summary>> {
        let all = self.lock();
        let known = all.get(key).filter(|known| known.origin == *origin)?;
        Some(Arc::clone(&known.summary))
    }

    fn remember(&self, key: ClassKey, origin: Origin, summary: Arc<Summary>) {
        self.lock().insert(key, Remembered { origin, summary });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ClassKey, Remembered>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the code out of a class that is to be kept in a cache, and remembers what it is.
pub(crate) fn take_inline(class: &mut Class, memory: &SourceMemory) {
    let Ok(class) = &mut class.0 else {
        return;
    };
    if let Some(annotations) = &mut class.metadata.annotations {
        annotations.remove(INLINE_ANNOTATION);
    }
    let Some(inline) = class.spec.code.inline.take() else {
        return;
    };
    let manifest = code::manifest(class);
    let code = Code::read(INLINE, files_of(inline), &manifest);
    let digest = code.summary.digest.clone();
    let origin = Origin::new(None, Some(digest.clone()), &manifest);
    memory.remember(key_of(&class.metadata), origin, code.summary);
    let annotations = class.metadata.annotations.get_or_insert_default();
    annotations.insert(INLINE_ANNOTATION.to_owned(), digest);
}

fn files_of(inline: BTreeMap<String, String>) -> Files {
    let texts = inline.into_iter();
    texts
        .map(|(path, text)| (path, text.into_bytes()))
        .collect()
}

/// The class's code. Its files are read only if they have not been written yet, or it is not known what they are.
pub(super) async fn source(
    context: &Context,
    class: &ServerlessWorkerClass,
    key: &ClassKey,
    live: &Live,
) -> Result<Source, kube::Error> {
    let code = &class.spec.code;
    let manifest = code::manifest(class);
    if let Some(inline) = &code.inline {
        let code = Code::read(INLINE, files_of(inline.clone()), &manifest);
        return Ok(Source::Code(code));
    }
    if code.oci.is_some() {
        return Ok(Source::Oci);
    }
    let name = code.config_map.as_ref().map(|map| map.name.clone());
    let inline = class.annotations().get(INLINE_ANNOTATION);
    let (place, origin) = match (inline, name) {
        (Some(digest), _) => {
            let origin = Origin::new(None, Some(digest.clone()), &manifest);
            (INLINE.to_owned(), origin)
        }
        (None, Some(name)) => {
            let Some(meta) = meta_in(&context.caches.config_maps, &key.namespace, &name) else {
                return Ok(Source::Missing { name });
            };
            let place = format!("ConfigMap {name}");
            (
                place,
                Origin::new(Some(name), meta.resource_version, &manifest),
            )
        }
        (None, None) => return Ok(Source::None),
    };
    if let Some(summary) = context.sources.get(key, &origin)
        && is_written(live, key, &summary)
    {
        return Ok(Source::Code(Code {
            place,
            summary,
            files: None,
        }));
    }
    read(context, key, place, origin, &manifest).await
}

/// Whether there is a ConfigMap for pods with this code.
fn is_written(live: &Live, key: &ClassKey, summary: &Summary) -> bool {
    let name = names::code_config_map(&key.name, &summary.whole);
    let mut owned = live.owned.iter();
    owned.any(|one| one.kind == Kind::ConfigMap && one.name == name)
}

async fn read(
    context: &Context,
    key: &ClassKey,
    place: String,
    mut origin: Origin,
    manifest: &str,
) -> Result<Source, kube::Error> {
    let files = match origin.config_map.clone() {
        None => inline(context, key).await?,
        Some(name) => {
            let api: Api<ConfigMap> = Api::namespaced(context.client.clone(), &key.namespace);
            let Some(map) = api.get_opt(&name).await? else {
                return Ok(Source::Missing { name });
            };
            origin.version = map.resource_version();
            files_in(map)
        }
    };
    let code = Code::read(place, files, manifest);
    if origin.config_map.is_none() && origin.version.as_ref() != Some(&code.summary.digest) {
        // The rest of the class may have changed as well.
        return Err(kube::Error::Api(Box::new(Status {
            code: 409,
            message: "the class has changed meanwhile".to_owned(),
            ..Status::default()
        })));
    }
    let summary = Arc::clone(&code.summary);
    context.sources.remember(key.clone(), origin, summary);
    Ok(Source::Code(code))
}

/// The class's own code, which the caches do not have.
async fn inline(context: &Context, key: &ClassKey) -> Result<Files, kube::Error> {
    let api: Api<ServerlessWorkerClass> = Api::namespaced(context.client.clone(), &key.namespace);
    let class = api.get(&key.name).await?;
    Ok(class.spec.code.inline.map(files_of).unwrap_or_default())
}

/// What is in a ConfigMap.
pub(super) fn files_in(map: ConfigMap) -> Files {
    let text = map.data.into_iter().flatten();
    let text = text.map(|(path, text)| (path, text.into_bytes()));
    let bytes = map.binary_data.into_iter().flatten();
    text.chain(bytes.map(|(path, bytes)| (path, bytes.0)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::class::testkit;

    #[test]
    fn the_caches_have_no_code() {
        let memory = SourceMemory::default();
        let mut class = testkit::class("code: { inline: { server.js: secret-code } }");
        let manifest = code::manifest(&class);
        let mut annotations = BTreeMap::new();
        annotations.insert(INLINE_ANNOTATION.to_owned(), "forged".to_owned());
        class.metadata.annotations = Some(annotations);
        let mut kept = kube::core::DeserializeGuard(Ok(class));
        take_inline(&mut kept, &memory);
        let class = kept.0.unwrap();
        let text = serde_json::to_string(&class).unwrap();
        assert!(!text.contains("secret-code") && !text.contains("forged"));
        let digest = class.annotations()[INLINE_ANNOTATION].clone();
        let origin = Origin::new(None, Some(digest.clone()), &manifest);
        let summary = memory.get(&key_of(&class.metadata), &origin).unwrap();
        assert_eq!(
            (&summary.digest, &*summary.paths),
            (&digest, &["server.js".to_owned()][..])
        );

        let mut other = testkit::class("code: { configMap: { name: a } }");
        other.metadata.annotations = Some([(INLINE_ANNOTATION.to_owned(), digest)].into());
        let mut kept = kube::core::DeserializeGuard(Ok(other));
        take_inline(&mut kept, &memory);
        assert!(kept.0.unwrap().annotations().is_empty());
    }
}
