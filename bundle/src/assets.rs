//! The static assets of an application.

use std::path::Path;

use portside_assets::{
    Assets, HtmlHandling, NotFoundHandling, Note, Scanned, ServerFirst, Settings, archive,
};
use portside_core::compatibility::Feature;
use portside_crds::class;

use crate::manifest::Manifest;
use crate::problem::{Place, Problem};

/// The assets that belong to a bundle, among the files of a prepared folder.
pub(crate) const ASSETS_FILE: &str = "assets.tar.gz";

/// Finds the assets in the folder that the manifest names, if it asks for some.
///
/// # Errors
/// What keeps them from being served.
pub(crate) fn find(
    root: &Path,
    manifest: Option<&Manifest>,
    has_server: bool,
    warnings: &mut Vec<Problem>,
) -> Result<Option<Assets>, Vec<Problem>> {
    let Some((manifest, wanted)) = wanted(manifest) else {
        return Ok(None);
    };
    let place = |message: String| Problem {
        message,
        ..manifest.assets_place.clone()
    };
    let Some(directory) = &manifest.assets_in else {
        let message = "spec.assets has no directory: name the folder with the files".to_owned();
        return Err(vec![place(message)]);
    };
    if !root.join(directory).is_dir() {
        return Err(vec![place(format!(
            "assets: there is no folder {directory}"
        ))]);
    }
    let folder = root.join(directory);
    let scanned = Assets::scan(&folder, settings(manifest, wanted, has_server));
    let name = |path: &str| named(directory, path);
    let Scanned {
        found,
        warnings: notes,
    } = scanned.map_err(|notes| told(notes, name))?;
    warnings.extend(told(notes, name));
    Ok(Some(found))
}

/// The assets that came with a bundle, if the manifest asks for some: in an archive beside it, which is unpacked.
///
/// # Errors
/// What keeps them from being served.
pub(crate) fn beside(
    root: &Path,
    unpack_to: &Path,
    manifest: Option<&Manifest>,
    has_server: bool,
) -> Result<Option<Assets>, Vec<Problem>> {
    let problem = |message: String| vec![Problem::of_file(ASSETS_FILE, message)];
    let archive = root.join(ASSETS_FILE);
    if wanted(manifest).is_none() || !archive.is_file() {
        return unpacked(None, manifest, has_server);
    }
    let file = std::fs::File::open(archive);
    let file = file.map_err(|error| problem(format!("cannot be read: {error}")))?;
    archive::unpack(file, unpack_to).map_err(|error| problem(error.to_string()))?;
    unpacked(Some(unpack_to), manifest, has_server)
}

/// The assets that came with a bundle, if the manifest asks for some: in a folder.
///
/// # Errors
/// What keeps them from being served.
pub(crate) fn unpacked(
    folder: Option<&Path>,
    manifest: Option<&Manifest>,
    has_server: bool,
) -> Result<Option<Assets>, Vec<Problem>> {
    let Some((manifest, wanted)) = wanted(manifest) else {
        return Ok(None);
    };
    let folder = folder.ok_or_else(|| {
        let message = "spec.assets asks for assets, and there are none beside the bundle: make both with portside push or \
                       portside bundle";
        vec![Problem::of_file(ASSETS_FILE, message)]
    })?;
    let scanned = Assets::scan(folder, settings(manifest, wanted, has_server));
    let scanned = scanned.map_err(|notes| told(notes, str::to_owned))?;
    Ok(Some(scanned.found))
}

fn wanted(manifest: Option<&Manifest>) -> Option<(&Manifest, &class::Assets)> {
    let manifest = manifest?;
    Some((manifest, manifest.assets.as_ref()?))
}

fn settings(manifest: &Manifest, wanted: &class::Assets, has_server: bool) -> Settings {
    Settings {
        html: match wanted.html_handling {
            class::HtmlHandling::AutoTrailingSlash => HtmlHandling::AutoTrailingSlash,
            class::HtmlHandling::ForceTrailingSlash => HtmlHandling::ForceTrailingSlash,
            class::HtmlHandling::DropTrailingSlash => HtmlHandling::DropTrailingSlash,
            class::HtmlHandling::None => HtmlHandling::None,
        },
        not_found: match wanted.not_found_handling {
            class::NotFoundHandling::None => NotFoundHandling::None,
            class::NotFoundHandling::NotFoundPage => NotFoundHandling::NotFoundPage,
            class::NotFoundHandling::SinglePageApplication => {
                NotFoundHandling::SinglePageApplication
            }
        },
        server_first: ServerFirst::new(&wanted.server_first),
        navigation_prefers_assets: (manifest.objects.compatibility())
            .has(Feature::NavigationPrefersAssets),
        has_server,
    }
}

/// The path of a file in the assets' folder, as the application's has it.
fn named(directory: &str, path: &str) -> String {
    let directory = directory.trim_start_matches("./").trim_end_matches('/');
    match (directory, path) {
        ("" | ".", path) => path.to_owned(),
        (directory, "") => directory.to_owned(),
        (directory, path) => format!("{directory}/{path}"),
    }
}

fn told(notes: Vec<Note>, name: impl Fn(&str) -> String) -> Vec<Problem> {
    let problem = |Note {
                       path,
                       line,
                       message,
                   }: Note| match line {
        Some(line) => Problem::at(name(&path), Place { line, column: 1 }, message),
        None => Problem::of_file(name(&path), message),
    };
    notes.into_iter().map(problem).collect()
}
