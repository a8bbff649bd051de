//! A bundle as a cluster takes it: manifests for `kubectl apply`.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use portside_assets::archive;
use portside_crds::plain::Plain;
use serde_json::Value;

use crate::assets::ASSETS_FILE;
use crate::file::{self, FileError};
use crate::{BUNDLE_FILE, Bundled, Problem};

/// The largest bundle that goes into a ConfigMap, in bytes. ConfigMaps hold 1 MiB; the operator's own copy has the class
/// in it too (<https://kubernetes.io/docs/concepts/configuration/configmap/>).
pub const MAX_CONFIG_MAP_BUNDLE: usize = (1 << 20) - (16 << 10);

/// Why there are no manifests for a bundle.
#[derive(Debug, thiserror::Error)]
pub enum ManifestsError {
    /// The folder has no class.
    #[error("the folder has no class.yaml, which says the name: add one")]
    NoClass,
    /// The folder's wrangler configuration has what a class cannot have.
    #[error("the configuration has what a class in a cluster cannot have")]
    Unfit(Vec<Problem>),
    /// The bundle does not go into a ConfigMap.
    #[error(
        "the bundle has {} KiB{}, and a ConfigMap takes {} KiB of it: put it into a registry with portside push, and name the \
         artifact in spec.code.oci",
        bytes.div_ceil(1024),
        with_assets(*assets),
        MAX_CONFIG_MAP_BUNDLE / 1024
    )]
    TooLarge {
        /// The size of the bundle's file and of its assets' archive.
        bytes: usize,
        /// Of which the archive has these.
        assets: usize,
    },
    /// The assets cannot be read.
    #[error("the assets cannot be read: {0}")]
    Assets(std::io::Error),
    /// The bundle cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The class cannot be written.
    #[error("the class cannot be written as YAML: {0}")]
    Yaml(#[from] serde_saphyr::ser::Error),
}

/// What the size of a bundle's assets is in a message.
fn with_assets(bytes: usize) -> String {
    match bytes {
        0 => String::new(),
        bytes => format!(
            " with its assets, which have {} KiB compressed",
            bytes.div_ceil(1024)
        ),
    }
}

/// A ConfigMap `NAME-code` with the bundle and its assets' archive, and the class with its code there, as two YAML documents.
///
/// Applied server-side: what `kubectl apply` would keep of it in an annotation can be too large.
///
/// # Errors
/// See [`ManifestsError`].
pub fn manifests(bundled: &Bundled) -> Result<String, ManifestsError> {
    let class = bundled.manifest.as_ref().ok_or(ManifestsError::NoClass)?;
    if !class.unfit.is_empty() {
        return Err(ManifestsError::Unfit(class.unfit.clone()));
    }
    let bundle = file::encode(&bundled.bundle)?;
    let mut archive = vec![];
    if let Some(assets) = &bundled.assets {
        archive::pack(assets, &mut archive).map_err(ManifestsError::Assets)?;
    }
    let bytes = bundle.len() + archive.len();
    if bytes > MAX_CONFIG_MAP_BUNDLE {
        let assets = archive.len();
        return Err(ManifestsError::TooLarge { bytes, assets });
    }
    let name = format!("{}-code", class.name);
    let mut text = format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n");
    if let Some(namespace) = class.namespace() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  namespace: {}", quoted(namespace));
    }
    if !archive.is_empty() {
        let archive = BASE64.encode(archive);
        let _ = writeln!(text, "binaryData:\n  {ASSETS_FILE}: {archive}");
    }
    let _ = write!(
        text,
        "data:\n  {BUNDLE_FILE}: {}\n---\n{}",
        quoted(&String::from_utf8_lossy(&bundle)),
        serde_saphyr::to_string(&Plain(&class.with_bundle_in(&name)))?
    );
    Ok(text)
}

/// Text as a double-quoted scalar on one line, which YAML 1.1 and 1.2 read alike.
fn quoted(text: &str) -> String {
    let json = Value::from(text).to_string();
    let mut quoted = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            // Not printable in YAML, or a line's end.
            '\u{7f}'..='\u{9f}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{feff}'
            | '\u{fffe}'
            | '\u{ffff}' => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_numbers() {
        let value = serde_json::json!({"a": [2, -1, 1.5, true, null, "2"]});
        let yaml = serde_saphyr::to_string(&Plain(&value)).unwrap();
        assert_eq!(yaml, "a:\n- 2\n- -1\n- 1.5\n- true\n- null\n- \"2\"\n");
    }

    #[test]
    fn any_text_can_be_quoted() {
        let text = "a\"b\\c\n\t\u{1}\u{7f}\u{85}\u{2028}\u{feff}é𝄞: #{}";
        let read: String = serde_saphyr::from_str(&quoted(text)).unwrap();
        assert_eq!(read, text);
        assert!(!quoted(text).contains(['\u{85}', '\u{2028}', '\n']));
    }
}
