//! Showing what is wrong with an application.

use portside_bundle::Problem;

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
