//! Showing what is wrong with an application.

use std::path::Path;

use portside_bundle::{Bundled, Options, Problem};

/// The application in `dir`, bundled; `main` is its main module if the folder is not to say. `None` if there are
/// problems, which have been printed then.
pub async fn bundled(dir: &Path, main: Option<String>) -> Option<Bundled> {
    portside_bundle::bundle(dir, &Options { main })
        .await
        .inspect_err(|found| print(found))
        .ok()
}

/// Prints each problem with its place, then how many there were.
pub fn print(problems: &[Problem]) {
    for problem in problems {
        eprintln!("{problem}");
    }
    match problems.len() {
        1 => eprintln!("1 problem"),
        count => eprintln!("{count} problems"),
    }
}
