//! Wrangler's configuration in an application's folder: `wrangler.json`, `wrangler.jsonc` or `wrangler.toml`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::manifest::Manifest;
use crate::node::Node;
use crate::problem::{Place, Problem};
use rules::Rules;

mod assets;
mod dev_vars;
mod exports;
mod jsonc;
mod migrations;
mod read;
pub(crate) mod rules;
mod settings;
#[cfg(test)]
mod tests;
mod toml;

pub use dev_vars::read as dev_vars;

/// The files, in wrangler's order: the first that is there is the configuration.
const NAMES: [&str; 3] = ["wrangler.json", "wrangler.jsonc", "wrangler.toml"];

/// What a wrangler configuration says that a class has no place for, in the environment that was chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wrangler {
    /// The configuration's name.
    pub file: String,
    /// The names of the environments, in the configuration's order.
    pub environments: Vec<String>,
    /// The secrets that there have to be, by `secrets.required`, if it says so.
    pub secrets: Option<Vec<String>>,
}

/// What a configuration makes.
#[derive(Debug)]
pub(crate) struct Project {
    /// `main`, and what to say at its place should it be missing; nothing if there is none, which is reported elsewhere if
    /// it is wrong.
    pub main: Option<(String, Problem)>,
    /// The class that runs it.
    pub manifest: Manifest,
    pub rules: Rules,
    /// What else it says.
    pub wrangler: Wrangler,
}

/// The text of a configuration is not in its language.
#[derive(Debug)]
struct Unreadable {
    place: Place,
    message: String,
}

/// The name of the folder's configuration, if it has one.
pub(crate) fn file(root: &Path) -> Option<&'static str> {
    NAMES.into_iter().find(|name| is_there(root, name))
}

/// Whether the folder has something of this name, a link to nothing included.
fn is_there(root: &Path, name: &str) -> bool {
    root.join(name).symlink_metadata().is_ok()
}

/// The text of a file that is there.
fn text_of(root: &Path, name: &str) -> Result<String, Vec<Problem>> {
    let path = root.join(name);
    let problem = |message: String| vec![Problem::of_file(name, message)];
    if !path.is_file() {
        return Err(problem("is not a file".to_owned()));
    }
    std::fs::read_to_string(path).map_err(|error| problem(format!("cannot be read: {error}")))
}

/// Reads the folder's configuration, if it has one, for an environment or for none. Warnings are found whether or not
/// something is wrong.
///
/// # Errors
/// Everything that is wrong with it.
pub(crate) fn find(
    root: &Path,
    env: Option<&str>,
    is_main_given: bool,
    inputs: &mut BTreeSet<PathBuf>,
    warnings: &mut Vec<Problem>,
) -> Result<Option<Project>, Vec<Problem>> {
    let Some(name) = file(root) else {
        return Ok(None);
    };
    let text = text_of(root, name)?;
    inputs.insert(root.join(name));
    let folder = root
        .file_name()
        .map_or("app".into(), |name| name.to_string_lossy());
    let document = document(name, &text)?;
    read::project(name, &document, env, is_main_given, &folder, warnings).map(Some)
}

/// The document in the text of a file of that name.
fn document(name: &str, text: &str) -> Result<Node, Vec<Problem>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let read = if name.ends_with(".toml") {
        toml::read(text)
    } else {
        jsonc::read(text)
    };
    read.map_err(|Unreadable { place, message }| vec![Problem::at(name, place, message)])
}
