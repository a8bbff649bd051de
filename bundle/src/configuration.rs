//! What an application's configuration says, its code unread.

use std::path::Path;

use portside_core::bundle::ModuleKind;

use crate::entry::{self, Entry};
use crate::wrangler::Wrangler;
use crate::wrangler::rules::Rules;
use crate::{Manifest, Options, Problem};

/// An application's configuration.
#[derive(Debug)]
pub struct Configuration {
    /// The main module, relative to the folder, with forward slashes; nothing if there are assets alone.
    pub main: Option<String>,
    /// The folder's `ServerlessWorkerClass`, if it has one, or what its wrangler configuration makes of one.
    pub manifest: Option<Manifest>,
    /// What else its wrangler configuration says, if that counts.
    pub wrangler: Option<Wrangler>,
    /// Which imports are no code, by wrangler's rules in their order, as globs; nothing if those do not count.
    pub rules: Vec<(String, ModuleKind)>,
    /// What the folder has and will not have an effect, or not the one that it may be there for.
    pub warnings: Vec<Problem>,
}

/// Reads the configuration of the application in `dir`, and finds its main module, as [`bundle`](crate::bundle) does.
///
/// # Errors
/// Every problem with it that was found, sorted by place.
pub fn configuration(dir: &Path, options: &Options) -> Result<Configuration, Vec<Problem>> {
    let mut warnings = vec![];
    let Entry {
        layout,
        main,
        manifest,
        wrangler,
        rules,
        ..
    } = entry::find(dir, options, &mut warnings)?;
    let outside = || {
        vec![Problem::of_file(
            ".",
            "the main module is not in the folder",
        )]
    };
    Ok(Configuration {
        main: match main {
            Some(main) => Some(layout.name(&main).ok_or_else(outside)?),
            None => None,
        },
        manifest,
        wrangler,
        rules: rules.as_ref().map_or(&[][..], Rules::globs).to_vec(),
        warnings,
    })
}
