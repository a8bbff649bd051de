//! JavaScript's behaviour through the real runtime, on a real store.
//!
//! One program for all of it, for it links V8: `conformance` has the requirements of the standard, each test named by the
//! numbers it proves; `hostile` has workers that misbehave; `objects` has Durable Objects; `platform` has what other
//! standards ask; `surface` uses every name that JavaScript sees. Not libtest's own `main`, because V8 wants to be started on
//! the main thread.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod app;
mod assets;
mod caches;
mod compiled;
mod conformance;
mod crons;
mod durability;
mod held;
mod hostile;
mod lab;
mod leaving;
mod objects;
mod platform;
mod pods;
mod reads;
mod ready;
mod reloads;
mod room;
mod surface;
mod turns;
mod types;

use std::pin::Pin;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// A test: its name, and what it does.
pub type Case = (&'static str, fn() -> Pin<Box<dyn Future<Output = ()>>>);

/// Lists async test functions as cases named after them.
#[macro_export]
macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        &[$((stringify!($name), || Box::pin($name()))),*]
    };
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    app::start_isolates();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let handle = runtime.handle().clone();
    let trials = conformance::SECTIONS
        .iter()
        .chain(hostile::SECTIONS)
        .chain(platform::SECTIONS)
        .chain(&[
            ("assets", assets::CASES),
            ("caches", caches::CASES),
            ("compiled", compiled::CASES),
            ("crons", crons::CASES),
            ("durability", durability::CASES),
            ("leaving", leaving::CASES),
            ("objects::alarms", objects::alarms::CASES),
            ("objects::calls", objects::calls::CASES),
            ("objects::hibernation", objects::hibernation::CASES),
            ("objects::isolation", objects::isolation::CASES),
            ("objects::large", objects::large::CASES),
            ("pods", pods::CASES),
            ("reads", reads::CASES),
            ("ready", ready::CASES),
            ("reloads", reloads::CASES),
            ("room", room::CASES),
            ("surface", surface::CASES),
            ("turns", turns::CASES),
            ("types", types::CASES),
            ("surface::durable", surface::durable::CASES),
            ("surface::outgoing", surface::outgoing::CASES),
        ])
        .flat_map(|(section, cases)| cases.iter().map(move |case| (section, case)))
        .map(|(section, (name, test))| {
            let handle = handle.clone();
            Trial::test(format!("{section}::{name}"), move || {
                handle.block_on(test());
                Ok(())
            })
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}
