//! Modules that are not code: which files they are, and what importing them gives.

use portside_core::bundle::ModuleKind;

/// Starts a specifier whose module's kind was decided by the import itself.
const MARK: &str = "portside-kind:";

/// Puts the kind into the specifier, which is all that the bundler passes on.
pub(crate) fn mark(kind: ModuleKind, specifier: &str) -> String {
    format!("{MARK}{}:{specifier}", name(kind))
}

/// Undoes [`mark`].
pub(crate) fn unmark(specifier: &str) -> (Option<ModuleKind>, &str) {
    let marked = specifier
        .strip_prefix(MARK)
        .and_then(|rest| rest.split_once(':'))
        .and_then(|(kind, rest)| Some((kind_named(kind)?, rest)));
    match marked {
        Some((kind, rest)) => (Some(kind), rest),
        None => (None, specifier),
    }
}

/// What `with { type: "…" }` asks for. WebAssembly has no attribute: its file's name says it.
pub(crate) fn kind_of_attribute(kind: &str) -> Option<ModuleKind> {
    matches!(kind, "json" | "text" | "bytes")
        .then(|| kind_named(kind))
        .flatten()
}

/// JSON, if the name says so. JSON alone depends on the import: one that asks for named exports is left to the bundler,
/// which makes code of it, as packages written for bundlers expect.
pub(crate) fn json_by_name(specifier: &str) -> Option<ModuleKind> {
    specifier.ends_with(".json").then_some(ModuleKind::Json)
}

/// What a file is by its name, if it is neither code nor JSON.
pub(crate) fn kind_by_name(file: &str) -> Option<ModuleKind> {
    let (_, extension) = file.rsplit_once('.')?;
    match extension {
        "txt" | "html" | "css" | "md" | "sql" => Some(ModuleKind::Text),
        "bin" => Some(ModuleKind::Bytes),
        "wasm" => Some(ModuleKind::Wasm),
        _ => None,
    }
}

const CODE: [&str; 8] = ["js", "mjs", "cjs", "jsx", "ts", "mts", "cts", "tsx"];

/// What module a file is by its name alone; nothing if it says none, or if it has types only.
pub(crate) fn module_kind(file: &str) -> Option<ModuleKind> {
    let (stem, extension) = file.rsplit_once('.')?;
    if CODE.contains(&extension) {
        return (!stem.ends_with(".d")).then_some(ModuleKind::JavaScript);
    }
    kind_by_name(file).or_else(|| json_by_name(file))
}

/// The path in the bundle of `file` imported as `kind`.
///
/// Its own, unless its name promises another kind: then the kind is appended, since one file may be imported both ways.
/// A name that promises neither code nor anything in particular stands for bytes.
pub(crate) fn path(file: &str, kind: ModuleKind) -> String {
    let promised = match file.rsplit_once('.') {
        Some((_, extension)) if CODE.contains(&extension) => ModuleKind::JavaScript,
        _ => kind_by_name(file)
            .or_else(|| json_by_name(file))
            .unwrap_or(ModuleKind::Bytes),
    };
    if promised == kind {
        file.to_owned()
    } else {
        format!("{file}.{}", name(kind))
    }
}

/// Every kind by the name it has in specifiers and bundle files.
const NAMES: [(ModuleKind, &str); 5] = [
    (ModuleKind::JavaScript, "javascript"),
    (ModuleKind::Json, "json"),
    (ModuleKind::Text, "text"),
    (ModuleKind::Bytes, "bytes"),
    (ModuleKind::Wasm, "wasm"),
];

pub(crate) fn name(kind: ModuleKind) -> &'static str {
    NAMES
        .iter()
        .find_map(|(known, name)| (*known == kind).then_some(*name))
        .expect("NAMES has every kind")
}

pub(crate) fn kind_named(name: &str) -> Option<ModuleKind> {
    NAMES
        .iter()
        .find_map(|(kind, known)| (*known == name).then_some(*kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_name() {
        for kind in [
            ModuleKind::JavaScript,
            ModuleKind::Json,
            ModuleKind::Text,
            ModuleKind::Bytes,
            ModuleKind::Wasm,
        ] {
            assert_eq!(kind_named(name(kind)), Some(kind));
            assert_eq!(unmark(&mark(kind, "./a:b.js")), (Some(kind), "./a:b.js"));
        }
        assert_eq!(unmark("./a.js"), (None, "./a.js"));
    }

    #[test]
    fn one_file_imported_both_ways_has_two_paths() {
        assert_eq!(path("a.json", ModuleKind::Json), "a.json");
        assert_eq!(path("a.json", ModuleKind::Text), "a.json.text");
        assert_eq!(path("a.js", ModuleKind::Text), "a.js.text");
        assert_eq!(path("a.wasm", ModuleKind::Wasm), "a.wasm");
        assert_eq!(path("a.wasm", ModuleKind::Bytes), "a.wasm.bytes");
        assert_eq!(path("logo.svg", ModuleKind::Bytes), "logo.svg");
        assert_eq!(path("logo.svg", ModuleKind::Text), "logo.svg.text");
    }
}
