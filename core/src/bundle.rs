//! An application's code: modules by path, and which of them is the server.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

/// What a class ships: ES modules that need no further resolution, and the server among them.
///
/// Import specifiers inside the modules are relative paths to other modules of the bundle, or built-in names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// The server's path, a key of `modules`.
    pub main: String,
    /// Every module by its path: forward slashes, no leading slash, no `.` or `..`.
    pub modules: BTreeMap<String, Module>,
}

/// One module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// How it is evaluated.
    pub kind: ModuleKind,
    /// Its bytes; UTF-8 for every kind but `Bytes` and `Wasm`.
    pub code: Arc<[u8]>,
    /// A source map (revision 3, JSON) from `code` to what the developer wrote.
    pub source_map: Option<Arc<[u8]>>,
}

/// What importing a module gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModuleKind {
    /// An ES module.
    JavaScript,
    /// The parsed value as default export.
    Json,
    /// A string as default export.
    Text,
    /// A `Uint8Array` as default export.
    Bytes,
    /// A compiled `WebAssembly.Module` as default export.
    Wasm,
}

/// SHA-256 over a bundle's content. Equal digests mean equal behaviour.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct BundleDigest(pub [u8; 32]);

/// The main module of an application without a server: it has assets alone, which answer everything.
const WITHOUT_SERVER: &str = "node_modules/.bundler/without-server.js";

/// Extensions that name the same module before and after its types are stripped.
const SCRIPT_EXTENSIONS: [&str; 8] = ["js", "ts", "mjs", "mts", "cjs", "cts", "jsx", "tsx"];

/// The folder of modules that the bundler makes up, such as its CommonJS helpers.
pub const MADE_UP: &str = "node_modules/.bundler";

/// Whether a module of this path is one that the bundler has made.
#[must_use]
pub fn is_made_up(path: &str) -> bool {
    path.strip_prefix(MADE_UP)
        .is_some_and(|rest| rest.starts_with('/'))
}

impl Bundle {
    /// The bundle of an application that has no server.
    #[must_use]
    pub fn without_server() -> Self {
        let module = Module {
            kind: ModuleKind::JavaScript,
            code: Arc::from(&b"export default {};\n"[..]),
            source_map: None,
        };
        Self {
            main: WITHOUT_SERVER.to_owned(),
            modules: BTreeMap::from([(WITHOUT_SERVER.to_owned(), module)]),
        }
    }

    /// Whether there is a server.
    #[must_use]
    pub fn has_server(&self) -> bool {
        self.main != WITHOUT_SERVER
    }

    /// The module that `path` means: itself, or its twin with another script extension (`room.js` for `room.ts`).
    #[must_use]
    pub fn find(&self, path: &str) -> Option<&str> {
        if let Some((found, _)) = self.modules.get_key_value(path) {
            return Some(found);
        }
        let (stem, extension) = path.rsplit_once('.')?;
        if !SCRIPT_EXTENSIONS.contains(&extension) {
            return None;
        }
        SCRIPT_EXTENSIONS.iter().find_map(|twin| {
            let (found, _) = self.modules.get_key_value(&format!("{stem}.{twin}"))?;
            Some(found.as_str())
        })
    }

    /// The digest of main, paths, kinds, code and source maps, each preceded by its length.
    #[must_use]
    pub fn digest(&self) -> BundleDigest {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        part(self.main.as_bytes());
        for (path, module) in &self.modules {
            part(path.as_bytes());
            part(&[module.kind as u8]);
            part(&module.code);
            part(module.source_map.as_deref().unwrap_or_default());
        }
        BundleDigest(hash.finalize().into())
    }
}

/// `sha256:` and 64 hexadecimal digits, as OCI writes it.
impl fmt::Display for BundleDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for BundleDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
