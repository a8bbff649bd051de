//! The tests on a real cluster: what users see of Portside there, and what it survives.
//!
//! `make e2e` runs this with a cluster and images at hand; `src/settings.rs` has what it takes to run it by itself.
//! The tests run one after another: many of them kill what all of them use.
#![allow(
    clippy::unwrap_used,
    reason = "this is test code: a panic is how a test fails"
)]

mod apps;
mod argo;
mod class;
mod cluster;
mod flux;
mod load;
mod node;
mod page;
mod release;
mod settings;
mod suite;
mod team;
mod test;
mod workers;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Conclusion};

use crate::cluster::Cluster;
use crate::release::Release;
use crate::settings::Settings;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    if arguments.list {
        let settings = Settings::nowhere();
        return libtest_mimic::run(&arguments, suite::all(&Arc::new(Cluster::new(settings))))
            .exit_code();
    }
    let settings = match Settings::from_env() {
        Ok(settings) => settings,
        Err(problem) => {
            eprintln!("error: {problem}");
            return ExitCode::FAILURE;
        }
    };
    run(&arguments, settings).exit_code()
}

/// Installs the charts, runs the tests and takes everything away again.
fn run(arguments: &Arguments, settings: Settings) -> Conclusion {
    let keep = settings.keep;
    let cluster = Arc::new(Cluster::new(settings));
    let runtime = test::runtime();
    let release = Release::new(&cluster);
    runtime.block_on(release.install());
    let conclusion = libtest_mimic::run(arguments, suite::all(&cluster));
    if !keep {
        runtime.block_on(release.remove());
    }
    conclusion
}
