//! Files that belong to the code though no import leads to them: those that the globs of `spec.code.include` name.

use std::path::{Path, PathBuf};

use portside_core::bundle::ModuleKind;

use crate::kinds;
use crate::layout::Layout;
use crate::problem::Problem;

/// What globs have brought in.
#[derive(Debug, Default)]
pub(crate) struct Included {
    /// Code, in the order of its paths.
    pub scripts: Vec<PathBuf>,
    /// What is no code, and what it is.
    pub data: Vec<(PathBuf, ModuleKind)>,
}

/// The modules below the layout's root that the globs name. A glob that names none has its problem among the warnings.
///
/// Folders whose names begin with a dot, and `node_modules`, are left out, and so are files that are no modules.
pub(crate) fn find(
    layout: &Layout,
    globs: &[(String, Problem)],
    warnings: &mut Vec<Problem>,
) -> Included {
    let mut included = Included::default();
    if globs.is_empty() {
        return included;
    }
    let mut modules = vec![];
    walk(layout, &layout.root, &mut modules);
    modules.sort_by(|(a, ..), (b, ..)| a.cmp(b));
    let names_it = |glob: &str, name: &str| {
        fast_glob::glob_match(glob.strip_prefix("./").unwrap_or(glob), name)
    };
    for (glob, problem) in globs {
        if !modules.iter().any(|(name, ..)| names_it(glob, name)) {
            let message = format!("the glob \"{glob}\" names no module: it has no effect");
            warnings.push(Problem {
                message,
                ..problem.clone()
            });
        }
    }
    for (name, file, kind) in modules {
        if globs.iter().any(|(glob, _)| names_it(glob, &name)) {
            match kind {
                ModuleKind::JavaScript => included.scripts.push(file),
                kind => included.data.push((file, kind)),
            }
        }
    }
    included
}

/// Adds the modules of a folder and of those in it: each with its name, its file, and what it is.
fn walk(layout: &Layout, folder: &Path, modules: &mut Vec<(String, PathBuf, ModuleKind)>) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        // Links may lead out of the folder, or round in circles.
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        if kind.is_dir() && !name.starts_with('.') && name != "node_modules" {
            walk(layout, &entry.path(), modules);
        } else if kind.is_file()
            && let Some(kind) = kinds::module_kind(&name)
            && let Some(name) = layout.name(&entry.path())
        {
            modules.push((name, entry.path(), kind));
        }
    }
}
