//! Modules from a bundle.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use deno_core::{
    ModuleLoadOptions, ModuleLoadReferrer, ModuleLoadResponse, ModuleLoader, ModuleSource,
    ModuleSourceCode, ModuleSpecifier, ModuleType, ResolutionKind, SourceCodeCacheInfo,
    resolve_import, v8,
};
use deno_error::JsErrorBox;
use portside_core::bundle::{Bundle, Module, ModuleKind};
use portside_surface::resolve;

use crate::script::Script;

/// Serves a bundle's modules under `file:///`, with what is compiled of them.
pub struct BundleLoader {
    bundle: Arc<Bundle>,
    script: Arc<Script>,
    /// Debuggers are told where the modules come from.
    is_inspected: bool,
    loaded: RefCell<BTreeSet<ModuleSpecifier>>,
}

impl BundleLoader {
    /// A loader of this bundle's modules and nothing else, for an instance of `script`.
    pub fn new(bundle: Arc<Bundle>, script: Arc<Script>, is_inspected: bool) -> Self {
        Self {
            bundle,
            script,
            is_inspected,
            loaded: RefCell::default(),
        }
    }

    /// Gives away what is compiled of the loaded modules.
    pub fn keep_code(&self, scope: &mut v8::PinScope<'_, '_>) {
        let loaded = self.loaded.borrow();
        let modules = loaded.iter().filter_map(|url| {
            let source = self.source(self.module(url)?).ok()?;
            Some((url.as_str(), source))
        });
        self.script.code.keep(scope, modules);
    }

    /// The URL of a module.
    pub fn url(path: &str) -> Result<ModuleSpecifier, JsErrorBox> {
        resolve::url_of(path)
            .ok_or_else(|| JsErrorBox::type_error(format!("{path:?} is not the path of a module")))
    }

    /// A module's JavaScript as V8 gets it.
    fn source(&self, module: &Module) -> Result<String, JsErrorBox> {
        let mut source = as_javascript(module)?;
        if let (true, Some(map)) = (self.is_inspected, &module.source_map) {
            source.push_str("\n//# sourceMappingURL=data:application/json;base64,");
            BASE64.encode_string(map, &mut source);
        }
        Ok(source)
    }

    fn module(&self, url: &ModuleSpecifier) -> Option<&Module> {
        self.bundle.modules.get(&resolve::path_of(url)?)
    }
}

impl ModuleLoader for BundleLoader {
    fn resolve(
        &self,
        specifier: &str,
        referrer: &str,
        _kind: ResolutionKind,
    ) -> Result<ModuleSpecifier, JsErrorBox> {
        resolve_import(specifier, referrer)
            .map_err(|error| JsErrorBox::type_error(error.to_string()))
    }

    fn load(
        &self,
        specifier: &ModuleSpecifier,
        _referrer: Option<&ModuleLoadReferrer>,
        _options: ModuleLoadOptions,
    ) -> ModuleLoadResponse {
        let Some(module) = self.module(specifier) else {
            return ModuleLoadResponse::Sync(Err(JsErrorBox::type_error(format!(
                "the application has no module {:?}",
                resolve::path_of(specifier).unwrap_or_else(|| specifier.to_string())
            ))));
        };
        ModuleLoadResponse::Sync(self.source(module).map(|code| {
            self.loaded.borrow_mut().insert(specifier.clone());
            let compiled = self.script.code.of(specifier.as_str());
            ModuleSource::new(
                ModuleType::JavaScript,
                ModuleSourceCode::String(code.into()),
                specifier,
                compiled.map(|compiled| SourceCodeCacheInfo {
                    hash: 0, // for files, of which there are none
                    data: Some(Cow::Owned(compiled.to_vec())),
                }),
            )
        }))
    }

    /// Called when V8 refused what it was given, with what it compiled anew.
    fn code_cache_ready(
        &self,
        url: ModuleSpecifier,
        _hash: u64,
        _compiled: &[u8],
    ) -> Pin<Box<dyn Future<Output = ()>>> {
        tracing::warn!(%url, "V8 refused the code that it had compiled itself");
        self.script.code.forget(url.as_str());
        Box::pin(async {})
    }

    fn get_source_map(&self, file_name: &str) -> Option<Cow<'_, [u8]>> {
        self.module(&ModuleSpecifier::parse(file_name).ok()?)?
            .source_map
            .as_deref()
            .map(Cow::Borrowed)
    }

    /// A stack trace names the sources of the bundle's modules; those of published packages may exist nowhere.
    fn source_map_source_exists(&self, source: &str) -> Option<bool> {
        let path = resolve::path_of(&ModuleSpecifier::parse(source).ok()?)?;
        Some(self.bundle.find(&path).is_some())
    }
}

/// A module's JavaScript. The other kinds become modules with their content as default export: then importing them needs
/// no attribute, and a bundle means the same wherever it runs.
fn as_javascript(module: &Module) -> Result<String, JsErrorBox> {
    let text = || {
        std::str::from_utf8(&module.code)
            .map_err(|error| JsErrorBox::type_error(format!("not UTF-8: {error}")))
    };
    Ok(match module.kind {
        ModuleKind::JavaScript => text()?.to_owned(),
        ModuleKind::Json => format!("export default JSON.parse({});", quoted(text()?)),
        ModuleKind::Text => format!("export default {};", quoted(text()?)),
        ModuleKind::Bytes => format!("export default {};", bytes(&module.code)),
        ModuleKind::Wasm => format!(
            "export default new WebAssembly.Module({});",
            bytes(&module.code)
        ),
    })
}

/// A JavaScript string literal.
fn quoted(text: &str) -> String {
    let mut literal = String::with_capacity(text.len() + 2);
    literal.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => literal.extend(['\\', c]),
            '\n' => literal.push_str("\\n"),
            '\r' => literal.push_str("\\r"),
            '\u{2028}' => literal.push_str("\\u2028"),
            '\u{2029}' => literal.push_str("\\u2029"),
            c => literal.push(c),
        }
    }
    literal.push('"');
    literal
}

/// A JavaScript expression for these bytes.
fn bytes(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            hex.push(char::from_digit(u32::from(digit), 16).expect("below 16"));
        }
    }
    format!("Uint8Array.fromHex(\"{hex}\")")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_becomes_a_literal() {
        assert_eq!(quoted("a\"b\\c\nd\r\u{2028}"), r#""a\"b\\c\nd\r\u2028""#);
        assert_eq!(bytes(&[0, 255, 16]), "Uint8Array.fromHex(\"00ff10\")");
    }
}
