//! How the bundler is set up.

use std::path::Path;
use std::sync::Arc;

use rolldown::{
    AttachDebugInfo, BundlerOptions, ChunkFilenamesOutputOption, ExperimentalOptions,
    InlineConstOption, OptimizationOption, OutputFormat, PathsOutputOption, Platform,
    RawMinifyOptions, ResolveOptions, SanitizeFilename, SourceMapType,
};

use crate::layout::Layout;

/// Conditions for the `exports` and `imports` of packages, besides `import` or `require`, `module` and `default`.
///
/// Packages' builds for web workers and browsers expect what workers have. `workerd` is not among them: such builds may
/// rely on `cloudflare:sockets` or parts of Node.js.
const CONDITIONS: [&str; 4] = ["portside", "worker", "browser", "module"];

/// Fields of package.json that name a package without `exports`, best first.
const MAIN_FIELDS: [&str; 3] = ["browser", "module", "main"];

const EXTENSIONS: [&str; 7] = [".ts", ".mts", ".tsx", ".js", ".mjs", ".cjs", ".json"];

/// Where the bundler believes its output goes; nothing is written.
pub(crate) const OUT: &str = ".portside-bundle";

/// One ES module for each source, its code otherwise left as it is.
pub(crate) fn options<'e>(
    layout: &Layout,
    entries: impl Iterator<Item = &'e Path>,
) -> BundlerOptions {
    let strings = |all: &[&str]| Some(all.iter().map(ToString::to_string).collect::<Vec<_>>());
    let names = layout.clone();
    let filename = ChunkFilenamesOutputOption::Fn(Arc::new(move |chunk| {
        let id = chunk.facade_module_id.as_ref().or(chunk.module_ids.last());
        let name = id.map_or_else(|| chunk.name.to_string(), |id| names.output(id.as_str()));
        Box::pin(async move { Ok(name) })
    }));
    let names = layout.clone();
    BundlerOptions {
        input: Some(
            entries
                .map(|entry| entry.to_string_lossy().into_owned().into())
                .collect(),
        ),
        cwd: Some(layout.root.clone()),
        dir: Some(OUT.to_owned()),
        format: Some(OutputFormat::Esm),
        // One module in, one module out: stack traces and the paths of workers stay what the developer wrote.
        preserve_modules: Some(true),
        preserve_modules_root: Some(layout.root.to_string_lossy().into_owned()),
        entry_filenames: Some(filename.clone()),
        chunk_filenames: Some(filename),
        sanitize_filename: Some(SanitizeFilename::Boolean(false)),
        paths: Some(PathsOutputOption::Fn(Arc::new(move |id| {
            let path = names.name(Path::new(id)).unwrap_or_else(|| id.to_owned());
            Box::pin(async move { Ok(path) })
        }))),
        sourcemap: Some(SourceMapType::Hidden),
        minify: Some(RawMinifyOptions::Bool(false)),
        optimization: Some(OptimizationOption {
            inline_const: Some(InlineConstOption::Bool(false)),
            ..OptimizationOption::default()
        }),
        keep_names: Some(true),
        profiler_names: Some(false),
        platform: Some(Platform::Neutral),
        resolve: Some(ResolveOptions {
            condition_names: strings(&CONDITIONS),
            main_fields: strings(&MAIN_FIELDS),
            alias_fields: Some(vec![vec!["browser".to_owned()]]),
            extensions: strings(&EXTENSIONS),
            ..ResolveOptions::default()
        }),
        // Packages choose their production code by this; there is no `process` at run time.
        define: Some(
            [(
                "process.env.NODE_ENV".to_owned(),
                "\"production\"".to_owned(),
            )]
            .into_iter()
            .collect(),
        ),
        experimental: Some(ExperimentalOptions {
            attach_debug_info: Some(AttachDebugInfo::None),
            ..ExperimentalOptions::default()
        }),
        ..BundlerOptions::default()
    }
}
