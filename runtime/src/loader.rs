//! Modules from a bundle.

use std::borrow::Cow;
use std::sync::Arc;

use deno_core::{
    ModuleLoadOptions, ModuleLoadReferrer, ModuleLoadResponse, ModuleLoader, ModuleSource,
    ModuleSourceCode, ModuleSpecifier, ModuleType, ResolutionKind, resolve_import,
};
use deno_error::JsErrorBox;
use portside_core::bundle::{Bundle, Module, ModuleKind};
use portside_surface::resolve;

/// Serves a bundle's modules under `file:///`.
pub struct BundleLoader {
    bundle: Arc<Bundle>,
}

impl BundleLoader {
    /// A loader of this bundle's modules and nothing else.
    pub fn new(bundle: Arc<Bundle>) -> Self {
        Self { bundle }
    }

    /// The URL of a module.
    pub fn url(path: &str) -> Result<ModuleSpecifier, JsErrorBox> {
        resolve::url_of(path)
            .ok_or_else(|| JsErrorBox::type_error(format!("{path:?} is not the path of a module")))
    }

    fn module(&self, url: &str) -> Option<&Module> {
        let url = ModuleSpecifier::parse(url).ok()?;
        self.bundle.modules.get(&resolve::path_of(&url)?)
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
        let Some(module) = self.module(specifier.as_str()) else {
            return ModuleLoadResponse::Sync(Err(JsErrorBox::type_error(format!(
                "the application has no module {:?}",
                resolve::path_of(specifier).unwrap_or_else(|| specifier.to_string())
            ))));
        };
        ModuleLoadResponse::Sync(as_javascript(module).map(|code| {
            ModuleSource::new(
                ModuleType::JavaScript,
                ModuleSourceCode::String(code.into()),
                specifier,
                None,
            )
        }))
    }

    fn get_source_map(&self, file_name: &str) -> Option<Cow<'_, [u8]>> {
        self.module(file_name)?
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
