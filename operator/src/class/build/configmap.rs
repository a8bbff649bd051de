//! The class's code as the pods mount it, and whom they believe.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use portside_crds::names;

use super::{RuntimeMap, meta, texts};
use crate::certificates::Trust;
use crate::class::validate::{Valid, Workload};

/// The immutable copy of the code and the effective manifest, named by what it holds. `None` if it is there already.
pub(super) fn code(valid: &Valid, workload: &Workload) -> Option<ConfigMap> {
    let files = workload.files.as_ref()?;
    let keys = names::file_keys(files.keys().map(String::as_str));
    let mut map = ConfigMap {
        metadata: meta(valid, workload.config_map.clone()),
        immutable: Some(true),
        ..ConfigMap::default()
    };
    let data = map.data.get_or_insert_default();
    data.insert(names::MANIFEST_FILE.to_owned(), workload.manifest.clone());
    for (path, content) in &**files {
        let key = keys[path.as_str()].clone();
        match String::from_utf8(content.clone()) {
            Ok(text) => {
                data.insert(key, text);
            }
            Err(error) => {
                let bytes = ByteString(error.into_bytes());
                map.binary_data.get_or_insert_default().insert(key, bytes);
            }
        }
    }
    Some(map)
}

/// The certificates of those who sign for the API server of workers.
pub(super) fn runtime(valid: &Valid) -> Option<RuntimeMap> {
    let name = names::runtime(&valid.key.name);
    match &valid.trust {
        Trust::Nobody => None,
        Trust::Unread => Some(RuntimeMap::Left(name)),
        Trust::In(authorities) => Some(RuntimeMap::Whole(Box::new(ConfigMap {
            metadata: meta(valid, name),
            data: Some(texts([(names::RUNTIME_CA_FILE, authorities)])),
            ..ConfigMap::default()
        }))),
    }
}
