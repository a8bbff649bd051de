//! Where an application starts: its manifest or wrangler configuration, its main module, its listed workers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tempfile::TempDir;

use crate::include::{self, Included};
use crate::layout::Layout;
use crate::manifest::{self, Manifest};
use crate::plugin::worker_file;
use crate::problem::{Place, Problem};
use crate::resolve::{join, source_candidates};
use crate::wrangler::rules::Rules;
use crate::wrangler::{self, Project, Wrangler};
use crate::{BUNDLE_FILE, Bundled, Options, assets, file};

/// The names of a server that nothing else names, best first.
const SERVERS: [&str; 3] = ["server.ts", "server.js", "server.mjs"];

const PACKAGE: &str = "package.json";

/// What to build.
pub(crate) struct Entry {
    pub layout: Layout,
    /// The server, unless there are assets alone.
    pub main: Option<PathBuf>,
    /// The workers that package.json lists.
    pub workers: Vec<PathBuf>,
    /// What the manifest brings in.
    pub included: Included,
    pub manifest: Option<Manifest>,
    /// The name of the wrangler configuration that made the manifest.
    pub wrangler: Option<Wrangler>,
    /// Which imports are no code, if wrangler's rules count.
    pub rules: Option<Rules>,
    /// Files read so far.
    pub inputs: BTreeSet<PathBuf>,
    /// The layout's root, if the code is in the manifest.
    pub inline: Option<TempDir>,
}

/// The fields of package.json that matter here.
#[derive(Debug, Default, Deserialize)]
struct Package {
    main: Option<String>,
    #[serde(default)]
    portside: Portside,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Portside {
    #[serde(default)]
    workers: Vec<String>,
}

/// Reads the folder's manifest or wrangler configuration, and package.json, and finds the files they name. Warnings are found
/// whether or not there are problems.
pub(crate) fn find(
    dir: &Path,
    options: &Options,
    warnings: &mut Vec<Problem>,
) -> Result<Entry, Vec<Problem>> {
    let root = root(dir)?;
    let mut inputs = BTreeSet::new();
    let mut problems = vec![];
    let manifest = manifest::find(&root, &mut inputs).unwrap_or_else(|found| {
        problems.extend(found);
        None
    });
    let mut project = None;
    // Where the manifest is broken it may be the one that counts.
    if problems.is_empty() {
        let manifest = manifest.as_ref();
        match self::project(&root, options, manifest, &mut inputs, warnings) {
            Ok(found) => project = found,
            Err(found) => problems.extend(found),
        }
    }
    let inline = match manifest
        .as_ref()
        .and_then(|manifest| manifest.inline.as_ref())
    {
        Some(files) => Some(written(files).map_err(|error| {
            let message =
                format!("spec.code.inline cannot be written to a temporary folder: {error}");
            vec![Problem::of_file(".", message)]
        })?),
        None => None,
    };
    let root = match &inline {
        Some(folder) => self::root(folder.path())?,
        None => root,
    };
    let package = package(&root, &mut inputs).unwrap_or_else(|found| {
        problems.push(found);
        (Package::default(), String::new())
    });
    let mut workers = vec![];
    for script in &package.0.portside.workers {
        match join(PACKAGE, script).and_then(|path| worker_file(&root, &path)) {
            Some(file) => workers.push(file),
            None => problems.push(in_package(
                &package.1,
                script,
                format!("worker script \"{script}\" not found"),
            )),
        }
    }
    let named = (manifest
        .as_ref()
        .and_then(|manifest| manifest.main.as_ref()))
    .or_else(|| project.as_ref().and_then(|project| project.main.as_ref()));
    let has_assets = (manifest.as_ref())
        .or(project.as_ref().map(|project| &project.manifest))
        .is_some_and(|manifest| manifest.assets.is_some());
    // wrangler knows no other names.
    let is_alone = has_assets && project.is_some() && named.is_none() && options.main.is_none();
    let main = match is_alone {
        true => Ok(None),
        false => main(&root, options, named, &package, has_assets),
    };
    let main = main.map_err(|found| {
        // A broken manifest or package.json is reason enough for not finding the server.
        if problems.is_empty() {
            problems.push(found);
        }
    });
    problems.sort();
    let layout = Layout {
        root,
        takes_outside: project.is_some(),
    };
    let globs = manifest.as_ref().map(|manifest| &*manifest.include);
    let included = include::find(&layout, globs.unwrap_or_default(), warnings);
    let (made, wrangler, rules) = match project {
        Some(project) => (
            Some(project.manifest),
            Some(project.wrangler),
            Some(project.rules),
        ),
        None => (None, None, None),
    };
    match main {
        Ok(main) if problems.is_empty() => Ok(Entry {
            layout,
            main,
            workers,
            included,
            manifest: manifest.or(made),
            wrangler,
            rules,
            inputs,
            inline,
        }),
        _ => Err(problems),
    }
}

/// What the folder's wrangler configuration makes, unless there is a manifest.
fn project(
    root: &Path,
    options: &Options,
    manifest: Option<&Manifest>,
    inputs: &mut BTreeSet<PathBuf>,
    warnings: &mut Vec<Problem>,
) -> Result<Option<Project>, Vec<Problem>> {
    let env = options.env.as_deref();
    if let Some(file) = manifest.and_then(|manifest| manifest.file.as_ref()) {
        if env.is_some() {
            let message = format!("--env is for wrangler configurations, and {file} counts here");
            return Err(vec![Problem::of_file(&**file, message)]);
        }
        warnings.extend(wrangler::file(root).map(|name| {
            let message = format!("has no effect: the class in {file} counts; keep one of the two");
            Problem::of_file(name, message)
        }));
        return Ok(None);
    }
    let project = wrangler::find(root, env, options.main.is_some(), inputs, warnings)?;
    if let (None, Some(env)) = (&project, env) {
        let message =
            format!("there is no wrangler configuration, so no environment {env}: leave --env out");
        return Err(vec![Problem::of_file(".", message)]);
    }
    Ok(project)
}

/// Where a bundle is that was made before.
pub(crate) enum Made<'m> {
    /// In the folder, with the archive of its assets, to be unpacked there.
    InFolder { unpack_to: &'m Path },
    /// Here, with the folder of its assets.
    Given {
        bytes: &'m [u8],
        assets: Option<&'m Path>,
    },
}

/// Reads a bundle that was made before, and the folder's manifest.
pub(crate) fn made(dir: &Path, made: Made<'_>) -> Result<Bundled, Vec<Problem>> {
    let root = root(dir)?;
    let mut inputs = BTreeSet::new();
    let manifest = manifest::find(&root, &mut inputs);
    let bundle = match made {
        Made::Given { bytes, .. } => file::decode(bytes),
        Made::InFolder { .. } => {
            let path = root.join(BUNDLE_FILE);
            let bundle = file::read(&path);
            inputs.insert(path);
            bundle
        }
    };
    let bundle = bundle.map_err(|error| vec![Problem::of_file(BUNDLE_FILE, error.to_string())]);
    match (bundle, manifest) {
        (Ok(bundle), Ok(manifest)) => {
            let has_server = bundle.has_server();
            let assets = match made {
                Made::Given { assets, .. } => {
                    assets::unpacked(assets, manifest.as_ref(), has_server)
                }
                Made::InFolder { unpack_to } => {
                    assets::beside(&root, unpack_to, manifest.as_ref(), has_server)
                }
            };
            Ok(Bundled {
                bundle,
                assets: assets?,
                inputs: inputs.into_iter().collect(),
                manifest,
                wrangler: None,
                workers: vec![],
                warnings: vec![],
            })
        }
        (bundle, manifest) => {
            let problems = [bundle.err(), manifest.err()];
            Err(problems.into_iter().flatten().flatten().collect())
        }
    }
}

/// The files in a folder of their own. As in a cluster, there is nothing beside them.
fn written(files: &BTreeMap<String, String>) -> std::io::Result<TempDir> {
    let folder = tempfile::tempdir()?;
    for (path, text) in files {
        let file = folder.path().join(path);
        if let Some(parent) = file.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(file, text)?;
    }
    Ok(folder)
}

/// The folder, without symbolic links.
fn root(dir: &Path) -> Result<PathBuf, Vec<Problem>> {
    dir.canonicalize().map_err(|error| {
        let message = format!("cannot open the folder: {error}");
        vec![Problem::of_file(".", message)]
    })
}

fn main(
    root: &Path,
    options: &Options,
    named: Option<&(String, Problem)>,
    package: &(Package, String),
    may_be_without: bool,
) -> Result<Option<PathBuf>, Problem> {
    if let Some(main) = &options.main {
        return source(root, main)
            .map(Some)
            .ok_or_else(|| Problem::of_file(".", format!("main module \"{main}\" not found")));
    }
    if let Some((main, place)) = named {
        return source(root, main).map(Some).ok_or_else(|| Problem {
            message: format!("main module \"{main}\" not found"),
            ..place.clone()
        });
    }
    let server = SERVERS.iter().map(|name| root.join(name));
    if let Some(server) = server.into_iter().find(|file| file.is_file()) {
        return Ok(Some(server));
    }
    match &package.0.main {
        Some(main) => source(root, main).map(Some).ok_or_else(|| {
            in_package(
                &package.1,
                main,
                format!("main module \"{main}\" not found"),
            )
        }),
        None if may_be_without => Ok(None),
        None => Err(Problem::of_file(".", "no server found").help(
            "add server.ts, server.js or server.mjs, or name the main module in package.json",
        )),
    }
}

fn source(root: &Path, path: &str) -> Option<PathBuf> {
    source_candidates(&join("", path)?)
        .iter()
        .map(|candidate| root.join(candidate))
        .find(|file| file.is_file())
}

fn package(root: &Path, inputs: &mut BTreeSet<PathBuf>) -> Result<(Package, String), Problem> {
    let path = root.join(PACKAGE);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Default::default()),
        Err(error) => {
            return Err(Problem::of_file(
                PACKAGE,
                format!("cannot be read: {error}"),
            ));
        }
    };
    inputs.insert(path);
    let package = serde_json::from_str(&text).map_err(|error| {
        let at = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).max(1);
        let place = Place {
            line: at(error.line()),
            column: at(error.column()),
        };
        Problem::at(PACKAGE, place, error.to_string())
    })?;
    Ok((package, text))
}

/// A problem with a string of package.json.
fn in_package(text: &str, string: &str, message: String) -> Problem {
    let offset = serde_json::to_string(string)
        .ok()
        .and_then(|quoted| text.find(&quoted))
        .unwrap_or_default();
    Problem::at(PACKAGE, Place::of(text, offset), message)
}
