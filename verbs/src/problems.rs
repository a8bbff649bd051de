//! Showing what is wrong with an application.

use std::path::Path;

use portside_bundle::{Bundled, Options, Problem};

/// The application in `dir`, bundled, its warnings printed. `None` if there are problems, which have been printed then.
pub async fn bundled(dir: &Path, options: &Options) -> Option<Bundled> {
    portside_bundle::bundle(dir, options)
        .await
        .inspect(|bundled| warn(&bundled.warnings))
        .inspect_err(|found| print(found))
        .ok()
}

/// Prints each warning with its place.
pub fn warn(warnings: &[Problem]) {
    for warning in warnings {
        eprintln!("{}", warning.as_warning());
    }
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
