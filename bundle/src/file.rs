//! A bundle in one file.
//!
//! A JSON document: `format` (this version's [`FORMAT`]), `digest`, `main`, and `modules` sorted by path, each with
//! `path`, `kind`, `code`, `encoding` (`"base64"` for bytes and WebAssembly, otherwise absent) and perhaps
//! `sourceMap`. Equal bundles give equal bytes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use portside_core::bundle::{Bundle, Module, ModuleKind};
use serde::{Deserialize, Serialize};

use crate::kinds;

/// What `format` says in files that this version writes and reads.
pub const FORMAT: &str = "portside-bundle/v1";

/// Why a bundle file could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file system refused.
    #[error("cannot read {}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason.
        error: std::io::Error,
    },
    /// Not JSON, or not with the fields of a bundle.
    #[error("not a bundle file: {0}; make one with `portside bundle DIR -o FILE`")]
    Malformed(#[from] serde_json::Error),
    /// A format that this version does not know.
    #[error("bundle format {0:?} is not known here, only {FORMAT:?}; bundle the sources again")]
    Format(String),
    /// A module's path, kind or code is not as it must be.
    #[error("module {path:?}: {reason}; bundle the sources again")]
    Module {
        /// The module.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The content is not what was written.
    #[error("the content's digest is {actual}, the file says {stated}; it was changed or damaged")]
    Digest {
        /// In the file.
        stated: String,
        /// Computed from the file's content.
        actual: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document<'a> {
    format: Cow<'a, str>,
    digest: Cow<'a, str>,
    main: Cow<'a, str>,
    modules: Vec<Entry<'a>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry<'a> {
    path: Cow<'a, str>,
    kind: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    encoding: Option<Cow<'a, str>>,
    code: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source_map: Option<Cow<'a, str>>,
}

/// The bytes of the file for a bundle.
///
/// # Errors
/// [`FileError::Module`] for code or a source map that must be UTF-8 and is not.
pub fn encode(bundle: &Bundle) -> Result<Vec<u8>, FileError> {
    let modules = bundle
        .modules
        .iter()
        .map(|(path, module)| entry(path, module))
        .collect::<Result<_, _>>()?;
    let document = Document {
        format: FORMAT.into(),
        digest: bundle.digest().to_string().into(),
        main: (&*bundle.main).into(),
        modules,
    };
    let mut bytes = serde_json::to_vec(&document)?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn entry<'a>(path: &'a str, module: &'a Module) -> Result<Entry<'a>, FileError> {
    let utf8 = |bytes: &'a [u8]| {
        std::str::from_utf8(bytes).map_err(|_| FileError::Module {
            path: path.to_owned(),
            reason: "is not UTF-8",
        })
    };
    let binary = is_binary(module.kind);
    Ok(Entry {
        path: path.into(),
        kind: kinds::name(module.kind).into(),
        encoding: binary.then_some("base64".into()),
        code: if binary {
            BASE64.encode(&module.code).into()
        } else {
            utf8(&module.code)?.into()
        },
        source_map: match &module.source_map {
            Some(map) => Some(utf8(map)?.into()),
            None => None,
        },
    })
}

/// The bundle in the bytes of a file.
///
/// # Errors
/// Any [`FileError`] but [`FileError::Io`]: a bundle that comes out is the one that went in.
pub fn decode(bytes: &[u8]) -> Result<Bundle, FileError> {
    #[derive(Deserialize)]
    struct Format {
        format: String,
    }
    let Format { format } = serde_json::from_slice(bytes)?;
    if format != FORMAT {
        return Err(FileError::Format(format));
    }
    let document: Document<'_> = serde_json::from_slice(bytes)?;
    let mut modules = BTreeMap::new();
    for entry in document.modules {
        let path = entry.path.to_string();
        let module = module(entry).and_then(|module| match modules.insert(path.clone(), module) {
            None => Ok(()),
            Some(_) => Err("is there twice"),
        });
        module.map_err(|reason| FileError::Module { path, reason })?;
    }
    let bundle = Bundle {
        main: document.main.into_owned(),
        modules,
    };
    if !bundle.modules.contains_key(&bundle.main) {
        return Err(FileError::Module {
            path: bundle.main,
            reason: "is the main module, and missing",
        });
    }
    let actual = bundle.digest().to_string();
    if actual != document.digest {
        let stated = document.digest.into_owned();
        return Err(FileError::Digest { stated, actual });
    }
    Ok(bundle)
}

fn module(entry: Entry<'_>) -> Result<Module, &'static str> {
    if entry
        .path
        .split('/')
        .any(|part| matches!(part, "" | "." | ".."))
    {
        return Err("is not a plain relative path");
    }
    let kind = kinds::kind_named(&entry.kind).ok_or("has an unknown kind")?;
    let code = match (is_binary(kind), entry.encoding.as_deref()) {
        (true, Some("base64")) => BASE64
            .decode(entry.code.as_bytes())
            .map_err(|_| "is not base64")?,
        (false, None) => entry.code.into_owned().into_bytes(),
        _ => return Err("has the wrong encoding for its kind"),
    };
    Ok(Module {
        kind,
        code: code.into(),
        source_map: entry
            .source_map
            .map(|map| map.into_owned().into_bytes().into()),
    })
}

fn is_binary(kind: ModuleKind) -> bool {
    matches!(kind, ModuleKind::Bytes | ModuleKind::Wasm)
}

/// Reads a bundle and verifies its digest.
///
/// # Errors
/// [`FileError::Io`], and those of [`decode`].
pub fn read(path: &Path) -> Result<Bundle, FileError> {
    let bytes = std::fs::read(path).map_err(|error| FileError::Io {
        path: path.to_owned(),
        error,
    })?;
    decode(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle() -> Bundle {
        let module = |kind, code: &[u8], map: Option<&[u8]>| Module {
            kind,
            code: code.into(),
            source_map: map.map(Into::into),
        };
        let modules = [
            (
                "server.js",
                module(ModuleKind::JavaScript, b"1", Some(b"{}")),
            ),
            ("a/b.txt", module(ModuleKind::Text, "é\"".as_bytes(), None)),
            ("c.bin", module(ModuleKind::Bytes, &[0, 255], None)),
        ];
        Bundle {
            main: "server.js".to_owned(),
            modules: modules
                .map(|(path, module)| (path.to_owned(), module))
                .into(),
        }
    }

    #[test]
    fn reads_what_it_wrote() {
        let bytes = encode(&bundle()).unwrap();
        assert_eq!(decode(&bytes).unwrap(), bundle());
        assert_eq!(encode(&bundle()).unwrap(), bytes);
    }

    #[test]
    fn refuses_what_was_changed() {
        let text = String::from_utf8(encode(&bundle()).unwrap()).unwrap();
        let message = |from: &str, to: &str| {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text, "{from} is in the file");
            decode(changed.as_bytes()).unwrap_err().to_string()
        };
        assert!(message("\"code\":\"1\"", "\"code\":\"2\"").contains("digest"));
        assert!(message("bundle/v1", "bundle/v2").contains("portside-bundle/v2"));
        assert!(message("a/b.txt", "../b.txt").contains("plain relative path"));
        assert!(message("\"text\"", "\"poem\"").contains("unknown kind"));
        assert!(message("AP8=", "?").contains("base64"));
        assert!(message("\"main\":\"server.js\"", "\"main\":\"x.js\"").contains("missing"));
        assert!(message("{", "[").contains("not a bundle file"));
    }
}
