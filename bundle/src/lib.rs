//! From a folder of sources to a [`Bundle`].
//!
//! The folder has a server (see [`bundle`]), worker scripts, and perhaps `node_modules`. Every file of it that is used
//! becomes one module of the bundle under the same path; TypeScript takes JavaScript's extension. Workers are found
//! where they are constructed: `new ServerlessWorker("./room.js", …)`, relative to the module that says it. The script may
//! also be a constant of that module, or a choice between two: `isLarge ? "./hall.js" : "./room.js"`. Those whose names are
//! computed are named by globs in the manifest's `spec.code.include`, as are other modules that no import leads to, or
//! listed in package.json: `"portside": { "workers": ["./room.js"] }`.
//!
//! Bundling is done by rolldown: it is maintained, it is a Rust library (no Node.js to install), it keeps modules apart
//! when asked to, and it has Rollup's and esbuild's handling of CommonJS, `exports` and TypeScript. A package's
//! CommonJS modules run when the first module that imports them starts, after the ES modules that one imports.
//!
//! `exports` conditions are `portside`, `worker`, `browser`, `module`, `import` or `require`, and `default`; packages
//! without `exports` are entered by `browser`, `module` or `main`. `process.env.NODE_ENV` is `"production"`.
//!
//! Imports that are not code: `.json`, `.txt` `.html` `.css` `.md` `.sql` (a string), `.bin` (bytes) and `.wasm` (a
//! compiled module) by their names, any file `with { type: "json" | "text" | "bytes" }`. They stay imports of the same
//! path, without attributes. Where a file is imported as what its name does not say, the kind is appended: `data.json` as
//! text is `data.json.text`. A name that says nothing stands for bytes: `logo.svg` as text is `logo.svg.text`.

use std::path::{Path, PathBuf};

use portside_assets::Assets;
use portside_core::bundle::Bundle;

mod assets;
mod build;
mod configuration;
mod entry;
mod include;
mod inspect;
mod kinds;
mod layout;
mod manifest;
mod node;
mod options;
mod plugin;
mod problem;
mod resolve;
mod scripts;
mod server;
mod structure;
mod yaml;

pub mod wrangler;

pub mod cluster;
pub mod file;
pub mod types;

pub use configuration::{Configuration, configuration};
pub use manifest::{Elsewhere, EnvValue, Manifest, SourceKind};
pub use problem::Problem;

/// A bundle among the files of a prepared folder.
const BUNDLE_FILE: &str = "bundle.json";

/// Where the kubelet keeps the files of a mounted ConfigMap; those in the volume's root are links into it. Seen through
/// them, a file's path would have the time of mounting in it, and so would the bundle.
const PROJECTED: &str = "..data";

/// How to bundle.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The main module, relative to the folder, whatever the manifest or package.json say.
    pub main: Option<String>,
    /// The environment of a wrangler configuration; none is its top level.
    pub env: Option<String>,
}

/// A bundled application.
#[derive(Debug)]
pub struct Bundled {
    /// Its modules.
    pub bundle: Bundle,
    /// Every file that was read, absolute and sorted: a change of any of them may change the bundle.
    pub inputs: Vec<PathBuf>,
    /// The folder's `ServerlessWorkerClass`, if it has one, or what its wrangler configuration makes of one.
    pub manifest: Option<Manifest>,
    /// What else the wrangler configuration says that the manifest was made from.
    pub wrangler: Option<wrangler::Wrangler>,
    /// The scripts of workers that the code constructs, or package.json lists, by their paths in the bundle. None of a
    /// bundle that was made before.
    pub workers: Vec<String>,
    /// Its static assets, if the manifest asks for some.
    pub assets: Option<Assets>,
    /// What the folder has and will not have an effect, or not the one that it may be there for.
    pub warnings: Vec<Problem>,
}

/// What was found out about an application.
#[derive(Debug, Default)]
pub struct Checked {
    /// What keeps it from being bundled, or its server from answering, sorted by place.
    pub problems: Vec<Problem>,
    /// What does not, and should be known.
    pub warnings: Vec<Problem>,
}

/// Bundles the application in `dir`.
///
/// The folder is the code, unless the manifest has the files themselves in `spec.code.inline`: then these alone are.
///
/// The server is the manifest's `spec.code.main`, else the `main` of wrangler's configuration if there is one, else
/// `server.ts`, `server.js` or `server.mjs`, else the `main` of package.json. With assets there may be none. Equal sources give
/// equal bundles, wherever the folder is.
///
/// Needs a multi-threaded tokio runtime.
///
/// # Errors
/// Every problem that was found, sorted by place.
pub async fn bundle(dir: &Path, options: &Options) -> Result<Bundled, Vec<Problem>> {
    let mut warnings = vec![];
    let entry = entry::find(dir, options, &mut warnings)?;
    let (assets, built) = (assets_of(&entry, &mut warnings), build::build(&entry).await);
    let (assets, built) = match (assets, built) {
        (Ok(assets), Ok(built)) => (assets, built),
        (assets, built) => {
            let problems = [assets.err(), built.err()];
            return Err(problems.into_iter().flatten().flatten().collect());
        }
    };
    warnings.extend(built.warnings);
    let mut inputs = built.inputs;
    inputs.extend(entry.inputs);
    if entry.inline.is_some() {
        // What was written for the bundler will not change, but the manifest may.
        inputs.retain(|file| !entry.layout.contains(file));
    }
    let assets = match (assets, entry.inline) {
        (Some(assets), Some(folder)) => Some(assets.in_temporary(folder)),
        (assets, _) => assets,
    };
    Ok(Bundled {
        bundle: built.bundle,
        inputs: inputs.into_iter().collect(),
        manifest: entry.manifest,
        wrangler: entry.wrangler,
        workers: built.workers,
        assets,
        warnings,
    })
}

/// The assets that an application has beside its code.
fn assets_of(
    entry: &entry::Entry,
    warnings: &mut Vec<Problem>,
) -> Result<Option<Assets>, Vec<Problem>> {
    let manifest = entry.manifest.as_ref();
    assets::find(&entry.layout.root, manifest, entry.main.is_some(), warnings)
}

/// Bundles the application in a folder that was prepared for it, or takes the bundle it has.
///
/// A `bundle.json` (see [`file`]) in the folder is the whole bundle; the manifest is read all the same. Its assets are in an
/// `assets.tar.gz`, which is unpacked to a folder of its own, `unpack_to`. The folder may be a mounted ConfigMap, whose files
/// are links into a folder of their own.
///
/// Needs a multi-threaded tokio runtime.
///
/// # Errors
/// As for [`bundle`]; what is wrong with `bundle.json` has that path.
pub async fn load(dir: &Path, unpack_to: &Path) -> Result<Bundled, Vec<Problem>> {
    let dir = files(dir);
    if dir.join(BUNDLE_FILE).is_file() {
        entry::made(&dir, entry::Made::InFolder { unpack_to })
    } else {
        bundle(&dir, &Options::default()).await
    }
}

/// Takes a bundle that came from elsewhere, as the bytes of its file (see [`file`]) and the folder with its assets, if it has
/// some, with the manifest in a folder that was prepared for it. Of the folder's other files none is read.
///
/// # Errors
/// As for [`load`].
pub fn load_made(dir: &Path, bytes: &[u8], assets: Option<&Path>) -> Result<Bundled, Vec<Problem>> {
    entry::made(&files(dir), entry::Made::Given { bytes, assets })
}

/// The folder that has the files of a prepared one.
fn files(dir: &Path) -> PathBuf {
    let projected = dir.join(PROJECTED);
    if projected.is_dir() {
        projected
    } else {
        dir.to_owned()
    }
}

/// Every problem that keeps the application in `dir` from being bundled, and every warning. If there is no problem: whether its
/// server cannot have a `fetch` handler, as far as its syntax tells. Such a one answers each request with an error.
///
/// Needs a multi-threaded tokio runtime.
pub async fn check(dir: &Path, options: &Options) -> Checked {
    let mut warnings = vec![];
    let entry = match entry::find(dir, options, &mut warnings) {
        Ok(entry) => entry,
        Err(problems) => return Checked { problems, warnings },
    };
    let assets = assets_of(&entry, &mut warnings);
    let mut problems = match build::build(&entry).await {
        Ok(built) => {
            warnings.extend(built.warnings);
            built.without_fetch.into_iter().collect()
        }
        Err(problems) => problems,
    };
    problems.extend(assets.err().into_iter().flatten());
    problems.sort();
    Checked { problems, warnings }
}
